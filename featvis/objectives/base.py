"""What every objective is: one score for each picture, larger is better, and their algebra."""

from __future__ import annotations

import copy
import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import MappingProxyType
from typing import Any, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from featvis.errors import TargetError, UserError
from featvis.models.layers.measure import LayerInfo
from featvis.models.layers.network import NetworkAt
from featvis.objectives.shown import Activations, under_reference

_Kind = TypeVar("_Kind")


class Objective(ABC):
    """A score ``(B,)`` for a batch of pictures, larger is better.

    Objectives add, subtract and scale. Sums are flat whatever their length; operands are never changed.

    >>> import featvis as fv
    >>> fv.channel("conv", 5) + 0.5 * fv.logit("Pembroke") - 0.1 * fv.total_variation()
    1*conv:5 + 0.5*logit(Pembroke) + -0.1*total_variation()
    """

    layers: tuple[str, ...] = ()
    """The layers it reads; the forward pass ends at the deepest."""
    reads_shown: bool = False
    """Whether it looks at what the network is shown itself, so that its activations are a :class:`Shown`."""
    coupled: bool = False
    """Whether a picture's score depends on its batch-mates (by design, as in diversity)."""
    constants: tuple[str, ...] = ()
    """Names of attributes that hold tensors, or mappings to tensors, that a run computes with."""
    replayable: bool = True
    """Whether a GPU may record a step of it; one that waits for the device says here that it may not."""
    references: Mapping[str, Tensor] = MappingProxyType({})
    """Photographs ``(1, C, H, W)`` that a bound objective compares with, by digest; the transforms move them
    as they move the image, and :func:`~featvis.objectives.shown.under_reference` says where their
    activations are found.

    They are told beforehand, so that a step reads a photograph once for all terms and crops, and not at all
    where nothing moves it. Who needs the moved image itself, or another network, uses :meth:`Shown.look`."""

    @abstractmethod
    def score(self, activations: Activations, images: Tensor) -> Tensor:
        """Return the scores ``(B,)``.

        Args:
            activations: of :attr:`layers`.
            images: ``(B, C, H, W)`` in [0, 1], as the image space gives them, before the transforms.
        """

    @abstractmethod
    def describe(self) -> str:
        """Return a text that tells this objective from every other; part of a picture's key."""

    def code(self) -> str:
        """Return what tells a user's function from another of its name; empty where there is none."""
        return ""

    def bind(self, network: NetworkAt) -> Objective:
        """Return this objective with everything it must know of the network, or raise a UserError."""
        for name in self.layers:
            network.layer(name)
        return self

    def beside(self, layers: Sequence[str], units: Sequence[int] = ()) -> Objective:
        """Return this penalty for a run whose target reads ``layers``; it may not look deeper than they.

        Where each lane climbs one unit of one layer, ``units`` are those.
        """
        return self

    @contextmanager
    def opened(self, device: torch.device, precision: str = "float32") -> Iterator[Objective]:
        """Hold whatever this bound objective needs besides the network that is climbed, for a run."""
        yield self.on(device)

    def on(self, device: torch.device) -> Self:
        """Return this objective with its own tensors (see :attr:`constants`) on a device.

        Another object: workers on several devices share the one that was asked for.
        """
        if not self.constants:
            return self
        return copy_with(self, **{name: _to(getattr(self, name), device) for name in self.constants})

    def kind(self) -> tuple[object, ...]:
        """Return what objectives have in common whose steps are the same operations on other numbers."""
        return (f"{type(self).__module__}.{type(self).__qualname__}",)

    def replicated(self, device: torch.device, networks: dict[int, Any]) -> Objective:
        """Return this objective for a worker on another device, where it borrows networks of its own.

        ``networks`` are the worker's copies by the original's ``id``; what is missing is added.
        """
        return self

    def by_itself(self) -> Objective:
        """Return this objective for a run whose pictures are to depend on nothing but themselves.

        What cannot know whether it compares pictures, a user's function, finds out in the first step.
        """
        return self

    def place(self) -> tuple[str, tuple[int, int]] | None:
        """Return the layer and the one position of its map that alone is read, or None."""
        return None

    def moved(self, position: tuple[int, int]) -> Objective:
        """Return this objective with another :meth:`place` on the same layer."""
        return self

    def gather(self, lanes: int) -> tuple[Objective, dict[str, tuple[int, ...]]]:
        """Return this bound objective for layers that compute only the units it reads, and those units.

        Lane b then reads the b-th of a layer's units. Without any such layer, the objective itself.
        """
        return self, {}

    @classmethod
    def stack(cls, objectives: Sequence[Any]) -> Objective:
        """Return one objective that scores lane b by ``objectives[b]``; slow unless overridden."""
        return EachItsOwn(objectives)

    def stacks_with(self) -> tuple[object, ...]:
        """Return what must be equal for two objectives to be stacked into one fast one."""
        return (id(self),)

    def __call__(self, activations: Activations, images: Tensor) -> Tensor:
        """Return the scores, checked to be one for each picture."""
        scores = self.score(activations, images)
        if not isinstance(scores, Tensor) or scores.shape != (images.shape[0],):
            came = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
            raise UserError(
                f"{self.describe()} must return one score for each picture, shape ({images.shape[0]},); "
                f"it returned {came}"
            )
        return scores

    def _bound(self, value: _Kind | None) -> _Kind:
        """Return what :meth:`bind` found out, or say that it has not been called."""
        if value is None:
            raise TargetError(f"{self.describe()} is not bound to a network yet; call .bind(model)")
        return value

    def __repr__(self) -> str:
        return self.describe()

    def __add__(self, other: Objective | float) -> Objective:
        if isinstance(other, int | float | np.number) and other == 0:
            return self  # so that sum() works
        if not isinstance(other, Objective):
            return NotImplemented
        return Sum((*_terms(self), *_terms(other)))

    __radd__ = __add__

    __array_ufunc__ = None  # a NumPy number on the left leaves the product to __rmul__

    def __mul__(self, factor: float) -> Objective:
        if isinstance(factor, Tensor | np.ndarray | np.generic):
            factor = _one_number(factor)
        if isinstance(factor, bool) or not isinstance(factor, int | float):
            return NotImplemented
        if not math.isfinite(factor):
            raise UserError(f"an objective's weight is a finite number, got {factor}")
        return Sum(tuple((weight * factor, term) for weight, term in _terms(self)))

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> Objective:
        return self * (1 / divisor)

    def __neg__(self) -> Objective:
        return self * -1.0

    def __sub__(self, other: Objective) -> Objective:
        if not isinstance(other, Objective):
            return NotImplemented
        return self + other * -1.0


def _one_number(factor: Any) -> Any:
    """Return the number that a tensor or array of one holds."""
    if math.prod(factor.shape) != 1:
        kind = f"{type(factor).__name__} of shape {tuple(factor.shape)}"
        raise UserError(f"an objective's weight is one finite number, got a {kind}")
    return factor.item()


def _terms(objective: Objective) -> tuple[tuple[float, Objective], ...]:
    return objective.terms if isinstance(objective, Sum) else ((1.0, objective),)


# Here and not in a module of their own: an objective's operators make sums, and sums are objectives.
class Composite(Objective):
    """An objective made of others: all that a run asks of it follows from these.

    A subclass says how their scores become one, and overrides only what is not theirs. Whatever it sets in
    its ``__init__`` beside :attr:`inner` is kept by :meth:`with_inner`.
    """

    own_layers: tuple[str, ...] = ()
    """Layers that it reads itself, beside those of the inner objectives; set before ``super().__init__``."""

    def __init__(self, inner: Sequence[Objective]) -> None:
        self.inner = tuple(inner)
        self._follow()

    def with_inner(self, inner: Sequence[Objective]) -> Self:
        """Return this objective of other inner objectives."""
        other = copy_with(self, inner=tuple(inner))
        other._follow()
        return other

    def _follow(self) -> None:
        kind, inner = type(self), self.inner
        read = [layer for objective in inner for layer in objective.layers]
        self.layers = tuple(dict.fromkeys((*read, *self.own_layers)))
        self.reads_shown = kind.reads_shown or any(objective.reads_shown for objective in inner)
        self.coupled = kind.coupled or any(objective.coupled for objective in inner)
        self.replayable = kind.replayable and all(objective.replayable for objective in inner)
        self.references = {
            digest: photograph for objective in inner for digest, photograph in objective.references.items()
        }

    def _change(self, change: Callable[[Objective], Objective]) -> Self:
        # An inner objective that stands several times is changed once and stays one.
        different = {id(objective): objective for objective in self.inner}
        changed = {key: change(objective) for key, objective in different.items()}
        return self.with_inner([changed[id(objective)] for objective in self.inner])

    def bind(self, network: NetworkAt) -> Objective:  # noqa: D102
        return self._change(lambda objective: objective.bind(network))

    def beside(self, layers: Sequence[str], units: Sequence[int] = ()) -> Objective:  # noqa: D102
        return self._change(lambda objective: objective.beside(layers, units))

    @contextmanager
    def opened(self, device: torch.device, precision: str = "float32") -> Iterator[Objective]:  # noqa: D102
        with ExitStack() as held:
            ready = self._change(lambda objective: held.enter_context(objective.opened(device, precision)))
            yield ready.on(device)

    def kind(self) -> tuple[object, ...]:  # noqa: D102
        return (*super().kind(), tuple(dict.fromkeys(objective.kind() for objective in self.inner)))

    def code(self) -> str:  # noqa: D102
        return " ".join(filter(None, (objective.code() for objective in self.inner)))

    def replicated(self, device: torch.device, networks: dict[int, Any]) -> Objective:  # noqa: D102
        inner = [objective.replicated(device, networks) for objective in self.inner]
        same = all(new is old for new, old in zip(inner, self.inner, strict=True))
        return self if same else self.with_inner(inner)

    def by_itself(self) -> Objective:  # noqa: D102
        return self._change(lambda objective: objective.by_itself())

    def place(self) -> tuple[str, tuple[int, int]] | None:  # noqa: D102
        # The part of the canvas that one position sees is enough for one reader only; who reads no layer
        # sees the images themselves, whatever the network is shown.
        readers = [objective for objective in self.inner if objective.layers]
        alone = len(readers) == 1 and not self.own_layers and not self.reads_shown
        return readers[0].place() if alone else None

    def moved(self, position: tuple[int, int]) -> Objective:  # noqa: D102
        return self._change(lambda objective: objective.moved(position) if objective.layers else objective)

    def gather(self, lanes: int) -> tuple[Objective, dict[str, tuple[int, ...]]]:  # noqa: D102
        readers = [*self.own_layers, *(layer for objective in self.inner for layer in objective.layers)]
        inner, units = [], {}
        for objective in self.inner:
            narrow, only = objective.gather(lanes)
            # What another reads whole, or in another order, stays whole.
            if only and all(readers.count(layer) == 1 for layer in only):
                inner.append(narrow)
                units.update(only)
            else:
                inner.append(objective)
        return self.with_inner(inner), units

    @classmethod
    def stack(cls, objectives: Sequence[Any]) -> Objective:
        """Stack the inner objectives column by column, for a subclass whose ``stacks_with`` allows it."""
        columns = zip(*(objective.inner for objective in objectives), strict=True)
        together: Objective = objectives[0].with_inner([stack(column) for column in columns])
        return together


class Sum(Composite):
    """A weighted sum of objectives, flat."""

    def __init__(self, terms: Sequence[tuple[float, Objective]]) -> None:
        self.weights = tuple(weight for weight, _ in terms)
        super().__init__([term for _, term in terms])

    @property
    def terms(self) -> tuple[tuple[float, Objective], ...]:
        """The weights and what they weigh."""
        return tuple(zip(self.weights, self.inner, strict=True))

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        total = images.new_zeros(images.shape[0])
        for weight, term in self.terms:
            total = total + weight * term(activations, images)
        return total

    def describe(self) -> str:  # noqa: D102
        return " + ".join(f"{number(weight)}*{term.describe()}" for weight, term in self.terms)

    def stacks_with(self) -> tuple[object, ...]:  # noqa: D102
        return (Sum, self.weights, tuple(term.stacks_with() for term in self.inner))


class EachItsOwn(Composite):
    """Lane b is scored by the b-th objective, on its own activations alone."""

    def score(self, activations: Activations, images: Tensor) -> Tensor:  # noqa: D102
        scores = []
        for lane, objective in enumerate(self.inner):
            own = slice(lane, lane + 1)
            if objective.coupled or objective.reads_shown:
                # It needs the mates, or the batch that this step's transforms were drawn for.
                scores.append(objective(activations, images)[own])
                continue
            beside = [under_reference(name, of) for name in objective.references for of in objective.layers]
            names = [*objective.layers, *(name for name in beside if name in activations)]
            scores.append(objective({name: activations[name][own] for name in names}, images[own]))
        return torch.cat(scores)

    # The lanes may read different places; and given its lane only, none can tell its unit by the lane.
    place, gather = Objective.place, Objective.gather

    def describe(self) -> str:  # noqa: D102
        return "[" + ", ".join(objective.describe() for objective in self.inner) + "]"


def stack(objectives: Sequence[Objective]) -> Objective:
    """Return one objective that scores lane b by ``objectives[b]``, vectorized where they are alike."""
    first = objectives[0]
    if all(objective is first for objective in objectives):
        return first
    if all(objective.stacks_with() == first.stacks_with() for objective in objectives):
        return type(first).stack(objectives)
    return EachItsOwn(objectives)


def number(value: float) -> str:
    """Write a number in a description: short, but never so short that two numbers look the same.

    >>> number(0.5), number(1 / 3)
    ('0.5', '0.3333333333333333')
    """
    short = f"{value:g}"
    return short if float(short) == value else repr(float(value))


def digest_of(values: Tensor) -> str:
    """Tell numbers from all others of their type and shape, in twelve characters."""
    return hashlib.sha256(values.cpu().contiguous().numpy().tobytes()).hexdigest()[:12]


def vector_of(
    what: str, values: Tensor | Sequence[float], power: float = 0.0, axes: Sequence[str] = ("units",)
) -> Tensor:
    """Return the numbers of a direction or pattern, checked, as a tensor that its user cannot change."""
    vector = torch.as_tensor(values).detach().float().clone()
    if vector.dim() != len(axes) or not vector.numel():
        raise TargetError(
            f"{what} is one number for each of ({', '.join(axes)}), got shape {tuple(vector.shape)}"
        )
    if not bool(torch.isfinite(vector).all()) or not bool(vector.any()):
        raise TargetError(f"{what} is finite and not all zero")
    if power < 0:
        raise TargetError(f"{what}'s power is at least 0, got {power}")
    return vector


def copy_with(instance: _Kind, **changes: Any) -> _Kind:
    """Return a shallow copy of an objective with some attributes changed."""
    changed = copy.copy(instance)
    for key, value in changes.items():
        object.__setattr__(changed, key, value)
    return changed


def _to(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, Mapping):
        return {key: _to(inner, device) for key, inner in value.items()}
    return value


def spread_over(layer: LayerInfo, activation: Tensor) -> Tensor:
    """Bring an activation to ``(B, units, positions)``, tokens that are no positions left out."""
    moved = activation.movedim(layer.axis, 1)
    flat = moved.flatten(2) if moved.dim() > 2 else moved[:, :, None]
    return flat[:, :, layer.prefix :] if layer.prefix else flat
