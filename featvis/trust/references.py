"""What a picture is compared with: noise of two kinds, and photographs of a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from featvis import draws
from featvis.errors import UserError
from featvis.models.handle import ModelHandle
from featvis.photographs.framing import frame_middle
from featvis.photographs.photos import list_files, quiet_decoders, read_photo, resampling
from featvis.results.picture import to_levels
from featvis.spec.same import SameByValue

NOISE = 16
PHOTOGRAPHS = 64
"""At most so many of a folder are shown to the networks one by one; examples are searched among all."""


def noise_images(count: int, channels: int, size: tuple[int, int]) -> Tensor:
    """Return images of noise ``(count, channels, H, W)`` as 8-bit levels over 255, always the same ones.

    Every other one is uniform white noise; the rest have photographs' spectrum (amplitude f^-1.3), mean
    luminance (.46) and contrast (.22), mostly grey.
    """
    height, width = size
    frequency = (torch.fft.fftfreq(height)[:, None].square() + torch.fft.rfftfreq(width).square()).sqrt()
    falling = frequency.clamp(min=1 / max(size)).pow(-1.3)
    falling[0, 0] = 0
    images = []
    for number in range(count):
        generator = draws.stream(number, "noise", 0, "evaluate")
        if number % 2 == 0:
            images.append(torch.rand((channels, *size), generator=generator))
            continue
        white = torch.randn((channels + 1, *size), generator=generator)
        waves = torch.fft.irfft2(torch.fft.rfft2(white) * falling, size)
        waves = waves / waves.std((1, 2), keepdim=True).clamp(min=1e-12)
        images.append(0.46 + 0.21 * waves[:1] + 0.07 * waves[1:])
    return torch.from_numpy(to_levels(torch.stack(images).clamp(0, 1))).float() / 255


@dataclass(frozen=True, eq=False)
class PhotographSample(SameByValue):
    """Some photographs of a folder, evenly from its listing."""

    folder: Path
    names: list[str]
    images: Tensor
    """``(N, C, H, W)`` in [0, 1]: the middle of each, of the size asked for."""


def read_photographs(folder: Path, model: ModelHandle, most: int = PHOTOGRAPHS) -> PhotographSample:
    """Read photographs at a network's own size."""
    listing = list_files(folder)
    names, images = [], []
    # More than are wanted, for some files may be no photographs.
    tried = min(len(listing.names), 2 * most)
    with quiet_decoders():
        for place in range(tried):
            name = listing.names[place * len(listing.names) // tried]
            photo = read_photo(folder / name, model.channels)
            if photo is None:
                continue
            frame = frame_middle((photo.height, photo.width), model.input_size)
            images.append(torch.from_numpy(frame.lay(photo, resampling("bicubic"))).float() / 255)
            names.append(name)
    if not images:
        raise UserError(f"{folder} holds no photograph that can be read")
    kept = [place * len(images) // min(most, len(images)) for place in range(min(most, len(images)))]
    return PhotographSample(
        folder, [names[place] for place in kept], torch.stack([images[place] for place in kept])
    )
