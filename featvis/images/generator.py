"""A user's generator network as an image space: what is learned is its input."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from featvis.errors import CanvasError, ModelError, RecipeError
from featvis.images.base import ImageSpace, Parameters
from featvis.images.levels import raise_level
from featvis.spec.options import AtLeastOne, Positive, Size, plain
from featvis.spec.register import part

_KEPT: dict[str, tuple[nn.Module, tuple[int, int, int]]] = {}
"""Frozen copies by digest, with the shape of their images."""
_THERE: dict[tuple[str, torch.device], nn.Module] = {}


@part("generator", python_only=True)
class GeneratorImage(ImageSpace):
    """What a generator gives for a learned input (DGN-AM, Nguyen et al. 2016); see :func:`generator_image`.

    A recipe names the generator by the digest of its weights, so it renders only in a program that has
    called :func:`generator_image` with that module. On a canvas larger than the generator's images these are
    enlarged bilinearly. An image cannot be fitted.

    Options: ``generator``, ``sha256:…``; ``latent``, the shape of its input; ``low`` and ``high``, the ends
    of its output's range, which become 0 and 1; ``deviation`` of the start.
    Parameters: ``latent``, ``(B, *latent)``.

    >>> import featvis as fv
    >>> fv.GeneratorImage(generator="sha256:0", latent=[8])
    Traceback (most recent call last):
    featvis.errors.RecipeError: the recipe's generator sha256:0 is a module; give it to fv.generator_image(...
    """

    fits = False
    starts_grey = False

    size: Size | None = None
    channels: AtLeastOne = 3
    generator: str
    latent: list[AtLeastOne]
    low: float = 0.0
    high: float = 1.0
    deviation: Positive = 1.0

    def __post_init__(self) -> None:
        if self.generator not in _KEPT:
            hint = "give it to fv.generator_image(module, latent=...) in this program first"
            raise RecipeError(f"the recipe's generator {self.generator} is a module; {hint}")
        if self.high <= self.low:
            raise RecipeError(f"a generator's range is from low to high, got {self.low} and {self.high}")
        channels, height, width = _KEPT[self.generator][1]
        if channels != self.channels:
            raise CanvasError(f"the generator's images have {channels} channels, not {self.channels}")
        tall, wide = self.size or (height, width)
        if tall < height or wide < width:
            images = f"the generator's images are {height}x{width}"
            raise CanvasError(f"{images}; a canvas of {tall}x{wide} does not hold them")

    def draw(self, generator: torch.Generator, spread: float = 1.0) -> Parameters:  # noqa: D102
        return {"latent": torch.randn(tuple(self.latent), generator=generator) * (self.deviation * spread)}

    def decode(self, parameters: Parameters) -> Tensor:  # noqa: D102
        latent = parameters["latent"]
        made: Tensor = _module(self.generator, latent.device)(latent)
        images = ((made.float() - self.low) / (self.high - self.low)).clamp(0, 1)
        return raise_level(images, self.canvas, "bilinear")


def generator_image(
    module: nn.Module,
    latent: int | tuple[int, ...],
    *,
    low: float = 0.0,
    high: float = 1.0,
    deviation: float = 1.0,
    size: tuple[int, int] | int | None = None,
) -> GeneratorImage:
    """Return the image space of a generator: any module from ``(B, *latent)`` to images ``(B, C, H, W)``.

    The module is copied, in evaluation mode and without gradients of its weights; the original stays as it
    is. The copy is kept until the program ends. Each image must depend on its own input alone.

    Args:
        module: the generator.
        latent: the shape of one image's input, for instance ``(128,)`` or ``(100, 1, 1)``; a number n is
            ``(n,)``.
        low: what is black in its output, for instance -1 after a tanh.
        high: what is white.
        deviation: of the normal start.
        size: (height, width) of the canvas; by default that of the generator's images.

    Raises:
        ModelError: the module does not run, or gives no images.
        UserError: an empty range, or a canvas smaller than the images.

    >>> import featvis as fv
    >>> module = nn.Sequential(nn.ConvTranspose2d(8, 3, 16), nn.Tanh())
    >>> space = fv.generator_image(module, (8, 1, 1), low=-1)
    >>> space.canvas, space.channels
    ((16, 16), 3)
    """
    if not isinstance(module, nn.Module):
        raise ModelError(f"a generator is a torch.nn.Module, got {type(module).__name__}")
    sides = plain(latent if isinstance(latent, list | tuple) else (latent,))
    if not sides or not all(isinstance(side, int) and not isinstance(side, bool) for side in sides):
        raise ModelError(f"latent is the shape of one image's input, whole numbers, got {latent!r}")
    latent = tuple(sides)
    kept = copy.deepcopy(module).eval().requires_grad_(False)
    first = next(iter(kept.state_dict().values()), torch.empty(0))
    try:
        with torch.no_grad():
            made: Any = kept(torch.zeros((2, *latent), device=first.device))
    except Exception as error:  # modules refuse an input in whatever way they like
        raise ModelError(f"the generator does not run on an input of shape {(2, *latent)}: {error}") from None
    if not isinstance(made, Tensor) or made.dim() != 4 or len(made) != 2:
        what = tuple(made.shape) if isinstance(made, Tensor) else type(made).__name__
        raise ModelError(f"a generator gives images (B, C, H, W) for two inputs, this one gave {what}")
    digest = _digest(kept)
    shape = (int(made.shape[1]), int(made.shape[2]), int(made.shape[3]))
    _KEPT[digest] = kept, shape
    about: dict[str, Any] = {"low": low, "high": high, "deviation": deviation, "size": size or shape[1:]}
    space: GeneratorImage = GeneratorImage(generator=digest, latent=list(latent), channels=shape[0], **about)
    return space


def kept_generators(texts: Iterable[str]) -> dict[str, Any]:
    """Return the generators that recipes name, for another process; see :func:`take_generators`."""
    found = {}
    for digest in set(texts) & _KEPT.keys():
        module, shape = _KEPT[digest]
        found[digest] = copy.deepcopy(module).cpu(), shape
    return found


def take_generators(generators: Mapping[str, Any]) -> None:
    """Keep the generators of another process."""
    for digest, kept in generators.items():
        _KEPT.setdefault(digest, kept)


def _digest(module: nn.Module) -> str:
    """Return what tells a module from others: its structure and every value that it holds."""
    digest = hashlib.sha256(f"{type(module).__qualname__}\n{module}\n".encode())
    for name, value in module.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return f"sha256:{digest.hexdigest()[:32]}"


def _module(digest: str, device: torch.device) -> nn.Module:
    if (digest, device) not in _THERE:
        _THERE[digest, device] = copy.deepcopy(_KEPT[digest][0]).to(device)
    return _THERE[digest, device]
