"""The phase image space: the magnitudes of photographs, and only the phases are learned."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from featvis.errors import CanvasError, RecipeError
from featvis.images.base import Parameters
from featvis.images.color import ColoredImage
from featvis.images.spectrum import LAST, photograph_magnitudes
from featvis.images.statistics import statistics_of
from featvis.spec.options import AtLeastOne, Size, Statistics
from featvis.spec.register import part


@part("phase")
class PhaseImage(ColoredImage):
    """Photographs' magnitudes are kept and the phases are learned: MACO (Fel et al. 2023, arXiv 2306.06805).

    sigmoid(C · irfft2(r · e^iφ)), r fixed, φ learned. The phases start uniform and stay as the
    optimizer leaves them, as in the paper. r is scaled so that the raw image has standard deviation 1 over
    all channels: the paper's standardization, which by Parseval's theorem is a constant. Waves that stand
    twice in a half spectrum (its column 0, and the last of an even width) share one phase, so that every
    wave has the magnitude r. The mean and the waves that are their own mirror image have no phase to learn,
    and are left out: each raw channel has mean 0.

    Without ``statistics`` r is the formula of :func:`~featvis.images.spectrum.photograph_magnitudes`, which
    needs a side of 4 pixels. A run starts in full contrast; an image cannot be fitted, for it has other
    magnitudes.

    Options: ``decorrelate`` colours; ``statistics``, a file of :func:`featvis.image_statistics` whose
    magnitudes, measured at the canvas' size, and colours are used.
    Parameters: ``phases``, ``(B, C, n)`` in radians, one for each independent wave with any magnitude.

    >>> import featvis as fv
    >>> space = fv.PhaseImage(size=(24, 32))
    >>> space.magnitudes().shape, space.fits
    (torch.Size([3, 24, 17]), False)
    """

    fits = False
    starts_grey = False
    usual_rate = 0.1
    smallest = math.ceil(1 / LAST)

    size: Size | None = None
    channels: AtLeastOne = 3
    decorrelate: bool = True
    statistics: Statistics | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size is not None:
            _check_canvas(self.size, self.channels, self.statistics)

    def resized(self, size: tuple[int, int]) -> PhaseImage:  # noqa: D102
        _check_canvas(size, self.channels, self.statistics)
        return super().resized(size)

    def draw(self, generator: torch.Generator, spread: float = 1.0) -> Parameters:
        """Draw the phases of one picture's start, uniform on [-π, π), whatever the ``spread``."""
        shape = (self.channels, self._waves(torch.device("cpu")).where.numel())
        return {"phases": (torch.rand(shape, generator=generator) * 2 - 1) * math.pi}

    def decode_raw(self, parameters: Parameters) -> Tensor:  # noqa: D102
        phases = parameters["phases"]
        waves = self._waves(phases.device)
        height, width = self.canvas
        turned = torch.polar(waves.magnitudes.expand_as(phases), phases)
        spectrum = turned.new_zeros((*phases.shape[:2], height * (width // 2 + 1)))
        spectrum = spectrum.index_copy(2, waves.where, turned)
        if waves.mirrors.numel():
            twins = turned.index_select(2, waves.mirrored).conj().resolve_conj()
            spectrum = spectrum.index_copy(2, waves.mirrors, twins)
        spectrum = spectrum.view(*phases.shape[:2], height, width // 2 + 1)
        raw: Tensor = torch.fft.irfft2(spectrum, s=(height, width), norm="ortho")
        return raw

    def magnitudes(self) -> Tensor:
        """Return r, ``(C, H, W // 2 + 1)``, as the raw image's orthonormal ``rfft2`` has it."""
        height, width = self.canvas
        waves = self._waves(torch.device("cpu"))
        full = torch.zeros(self.channels, height * (width // 2 + 1))
        full[:, waves.where] = waves.magnitudes
        full[:, waves.mirrors] = waves.magnitudes[:, waves.mirrored]
        return full.view(self.channels, height, width // 2 + 1)

    def _waves(self, device: torch.device) -> _Waves:
        return _make_waves(self.channels, *self.canvas, self.statistics, device)


@dataclass(frozen=True)
class _Waves:
    """The independent waves of a canvas; bins are numbered row by row."""

    magnitudes: Tensor  # ``(C, n)``
    where: Tensor  # ``(n,)``: the bin of each wave
    mirrors: Tensor  # Bins that hold the conjugate of another
    mirrored: Tensor  # The wave that each of them mirrors


@lru_cache(maxsize=16)
def _make_waves(
    channels: int, height: int, width: int, statistics: str | None, device: torch.device
) -> _Waves:
    if statistics is None:
        full = photograph_magnitudes(channels, height, width)
    else:
        full = torch.from_numpy(statistics_of(statistics, channels).magnitudes.copy())
    columns = width // 2 + 1
    rows = torch.arange(height)
    edges = [0] if width % 2 else [0, width // 2]
    free = (full > 0).any(0)
    # A wave and its mirror image have one magnitude; of a mean over photographs this holds anyway.
    free[:, edges] &= ((rows > 0) & (rows * 2 < height))[:, None]
    with torch.inference_mode(False):  # they are kept, and a later run climbs through them
        where = free.flatten().nonzero().flatten()
        number = torch.full((height * columns,), -1).index_copy(0, where, torch.arange(len(where)))
        tied = [row * columns + edge for row in range(1, (height + 1) // 2) for edge in edges]
        tied = [place for place in tied if number[place] >= 0]
        mirrors = [(height - place // columns) * columns + place % columns for place in tied]
        # Every wave stands twice in a whole spectrum; Parseval's theorem for orthonormal waves.
        energy = 2 * (full**2 * free).sum() / (channels * height * width)
        if float(energy) <= 0:
            raise CanvasError(f"a canvas of {height}x{width} has no wave of any magnitude")
        return _Waves(
            (full.flatten(1)[:, where] / energy.sqrt()).float().to(device),
            where.to(device),
            torch.tensor(mirrors, dtype=torch.long, device=device),
            number[tied].to(device),
        )


def _check_canvas(size: tuple[int, int], channels: int, statistics: str | None) -> None:
    if statistics is None and max(size) < PhaseImage.smallest:
        least = f"the magnitudes of 'phase' need a side of at least {PhaseImage.smallest} pixels"
        raise CanvasError(f"{least}, got {size[0]}x{size[1]}")
    measured = statistics_of(statistics, channels).size if statistics is not None else tuple(size)
    if measured != tuple(size):
        where = f"statistics measured at {measured[0]}x{measured[1]} are none of a canvas of"
        raise RecipeError(f"{where} {size[0]}x{size[1]}; measure them with size=({size[0]}, {size[1]})")
