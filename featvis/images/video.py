"""Video: frames of another image space, mixed so that what moves slowly moves as easily as what flickers."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from featvis.errors import CanvasError, RecipeError
from featvis.images.base import ImageSpace, Parameters
from featvis.images.wrapper import INNER, Wrapper, prefixed, unprefixed
from featvis.spec.options import AtLeastOne, Inner, NonNegative, Size
from featvis.spec.register import part


@part("video")
class VideoImage(Wrapper):
    """Frames of a video, or slices of a volume, with a spectrum over time.

    Frame t is the inner space's image of Σ_k s(k) · B_tk · z_k, z_k its parameters, B the cosines of the
    orthonormal DCT-II over the frames, s(k) ∝ 1 / max(k, 1)^q, such that a start's deviation is the inner
    space's. With q = 0 frames are independent of each other. The images have the channels of all frames, one
    frame after another.

    Options: ``inner``, the space of each frame; ``frames``, by default as many as the network takes;
    ``exponent`` q, larger for slower changes.
    Parameters: ``inner.…``, each ``(B, frames, …)``.

    >>> import featvis as fv
    >>> space, video = fv.VideoImage(size=(12, 16), channels=15, frames=5), torch.rand(15, 12, 16)
    >>> parameters = {name: value[None] for name, value in space.fit(video).items()}
    >>> bool((space.decode(parameters)[0] - video).abs().max() < 0.5 / 255)
    True
    """

    size: Size | None = None
    channels: AtLeastOne = 0  # three for each frame
    inner: Inner = "fourier"
    frames: AtLeastOne = 1
    exponent: NonNegative = 0.5

    def __post_init__(self) -> None:
        if not self.channels:
            object.__setattr__(self, "channels", 3 * self.frames)
        if self.channels % self.frames:
            raise CanvasError(
                f"video: {self.frames} frames have a multiple of so many channels, not {self.channels}"
            )
        space = self._built(self.channels // self.frames)
        if space.coupled:
            raise RecipeError(f"video: frames are no pictures of a set, which {space.part_name!r} is for")
        if space.backdrop is not None:
            raise RecipeError(f"video: a frame has no transparency; {space.part_name!r} goes around a video")
        self._set_within(space)

    @property
    def image_channels(self) -> int:  # noqa: D102
        return self.channels

    def draw(self, generator: torch.Generator, spread: float = 1.0) -> Parameters:  # noqa: D102
        drawn = [self.within.draw(generator, spread) for _ in range(self.frames)]
        return prefixed({name: torch.stack([one[name] for one in drawn]) for name in drawn[0]}, INNER)

    def begin(self, image: Tensor, generator: torch.Generator) -> Parameters:  # noqa: D102
        frames = self.check_image(image).reshape(self.frames, -1, *self.canvas)
        begun = [self.within.begin(frame, generator) for frame in frames]
        undo = torch.linalg.inv(_mixing(self.frames, self.exponent, torch.device("cpu")).double())
        stacked = {name: torch.stack([one[name] for one in begun]) for name in begun[0]}
        unmixed = {
            name: value if name in self.within.held else _mixed(value.double()[None], undo)[0].to(value.dtype)
            for name, value in stacked.items()
        }
        return prefixed(unmixed, INNER)

    def grow(self, parameters: Parameters, larger: ImageSpace) -> Parameters:  # noqa: D102
        inner = larger.within if isinstance(larger, VideoImage) else larger
        flat = {name: value.flatten(0, 1) for name, value in unprefixed(parameters, INNER).items()}
        grown = self.within.grow(flat, inner)
        grown = {name: value.view(-1, self.frames, *value.shape[1:]) for name, value in grown.items()}
        return prefixed(grown, INNER)

    def decode(self, parameters: Parameters) -> Tensor:  # noqa: D102
        frames = {}
        for name, value in unprefixed(parameters, INNER).items():
            by = _mixing(self.frames, self.exponent, value.device)
            frames[name] = (value if name in self.within.held else _mixed(value, by)).flatten(0, 1)
        return self.within.decode(frames).reshape(-1, self.channels, *self.canvas)


def _mixed(values: Tensor, by: Tensor) -> Tensor:
    """Return ``values`` ``(B, frames, …)`` mixed over their frames by a matrix."""
    mixed: Tensor = torch.matmul(by, values.flatten(2)) if values.dim() > 2 else values @ by.mT
    return mixed.view(values.shape)


@lru_cache(maxsize=16)
def _mixing(frames: int, exponent: float, device: torch.device) -> Tensor:
    """The matrix ``(frames, frames)`` from the parameters to those of each frame."""
    with torch.inference_mode(False):  # it is kept, and a later run climbs through it
        number = torch.arange(frames, dtype=torch.float64)
        cosines = torch.cos(torch.pi / frames * (number[:, None] + 0.5) * number)
        cosines = cosines * (2 / frames) ** 0.5
        cosines[:, 0] /= 2**0.5
        strengths = number.clamp(min=1) ** -exponent
        strengths = strengths * (frames / strengths.square().sum()) ** 0.5
        mixing: Tensor = (cosines * strengths).float().to(device)
        return mixing
