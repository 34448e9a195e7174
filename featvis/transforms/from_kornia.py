"""Any augmentation of kornia, with each picture's own chance."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from featvis.errors import RecipeError, said_here, unknown
from featvis.spec.options import Options
from featvis.spec.register import part
from featvis.transforms.base import Size, Transform

SEEDS = 1 << 24  # As many as a float32 tells apart


@part("kornia")
class Kornia(Transform):
    """Apply kornia's ``augmentation`` of this name; all other ``options``, written beside it, are its own.

    kornia draws from torch's global generators. They are lent to it, seeded for each picture and step by the
    picture's own draw, and given back as they were; so pictures are augmented one by one, and on a GPU each
    step waits for the seeds and is not replayed as a CUDA graph. Options of kornia are its own: no
    [start, end] over the run.

    Raises:
        RecipeError: kornia is not installed, has no such augmentation or refuses an option; on construction.

    >>> import featvis as fv
    >>> fv.Kornia(augmentation="RandomGaussianBlur", kernel_size=[3, 3], sigma=[0.1, 2.0], p=1.0).options["p"]
    1.0
    """

    numbers = 1
    replayable = False

    augmentation: str = "RandomHorizontalFlip"
    options: Options = ()  # type: ignore[assignment]

    def __post_init__(self) -> None:
        _ = self._module  # mistakes are found before any compute

    @cached_property
    def _module(self) -> Any:
        kinds = _augmentations()
        if self.augmentation not in kinds:
            raise RecipeError("kornia: " + unknown("augmentation", self.augmentation, kinds))
        options = dict(self.options)
        known = [name for name in inspect.signature(kinds[self.augmentation]).parameters if name != "kwargs"]
        for name in options:
            if name not in known:
                raise RecipeError(self._no_option(name, options[name], known))
        try:
            # A list of a recipe stands where kornia wants a tuple.
            return kinds[self.augmentation](**{name: _tuples(value) for name, value in options.items()})
        except Exception as error:
            raise self._refused(error) from None

    def _no_option(self, name: str, value: Any, known: list[str]) -> str:
        if said_here(name, ["augmentation"]):
            return f"kornia: unknown option {name!r}; an augmentation is named so: augmentation={value!r}"
        problem = f"{self.augmentation}: " + unknown("option", name, known)
        unsaid = self.augmentation == type(self).augmentation
        return f"{problem}; another augmentation is named by augmentation" if unsaid else problem

    def _refused(self, error: Exception) -> RecipeError:
        return RecipeError(f"{self.augmentation}: {' '.join(str(error).split())[:160]}")

    def prepare(self, uniform: Tensor, progress: Tensor, canvas: Size, shown_size: Size) -> Tensor:
        """Return a seed for each picture and step, ``(lanes, steps, 1)``."""
        return (uniform * SEEDS).floor()

    def apply(self, images: Tensor, values: Tensor, field: Tensor | None, shown_size: Size) -> Tensor:
        """Augment each picture by itself, after seeding."""
        shown = []
        with _lent_generators(images.device) as generators:
            for image, seed in zip(images[:, None], values[:, 0].tolist(), strict=True):
                for generator in generators:
                    generator.manual_seed(int(seed))
                try:
                    shown.append(self._module(image))
                except (AssertionError, TypeError, ValueError) as error:
                    raise self._refused(error) from None
        changed = torch.cat(shown)
        if changed.shape != images.shape:
            change = f"{self.augmentation} turns {tuple(images.shape)} into {tuple(changed.shape)}"
            hint = "a transform of a list keeps their size (crop and warp resize)"
            raise RecipeError(f"kornia: {change}; {hint}")
        return changed


def _augmentations() -> dict[str, Any]:
    try:
        import kornia.augmentation
    except ImportError:
        raise RecipeError("the transform kornia needs kornia: pip install kornia") from None
    base, mixing = kornia.augmentation.AugmentationBase2D, kornia.augmentation.MixAugmentationBaseV2
    kinds = {name: kind for name, kind in vars(kornia.augmentation).items() if inspect.isclass(kind)}
    return {
        name: kind
        for name, kind in kinds.items()
        if issubclass(kind, base) and not issubclass(kind, mixing) and not inspect.isabstract(kind)
        if not name.endswith(("Base2D", "BaseV2"))
    }


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


@contextmanager
def _lent_generators(device: torch.device) -> Iterator[list[torch.Generator]]:
    """Give torch's global generators of the CPU and this device; afterwards they are as before."""
    lent = [torch.default_generator]
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        lent.append(torch.cuda.default_generators[index])
    elif device.type == "mps":
        lent.append(torch.mps._get_default_mps_generator())
    states = [generator.get_state() for generator in lent]
    try:
        yield lent
    finally:
        for generator, state in zip(lent, states, strict=True):
            generator.set_state(state)
