"""ModelHandle: a network, what it expects of an image, and how it is borrowed and read."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn

from featvis.devices import full_precision, repeatable
from featvis.errors import CanvasError, ModelError
from featvis.models.borrow.fold import Pair, foldable
from featvis.models.borrow.gather import can_gather
from featvis.models.borrow.loan import at_rest, own_types, seen_at_rest
from featvis.models.borrow.moments import MOMENTS_FROM, MOMENTS_OF, layer_of
from featvis.models.borrow.tap import Tap, borrowed
from featvis.models.form import IMAGES, Form, find_form, forms_of
from featvis.models.forward import Seen
from featvis.models.layers.answer import answer_of
from featvis.models.layers.chance import kept_chance
from featvis.models.layers.failure import find_size, runs_at
from featvis.models.layers.gradient import lacks_gradient
from featvis.models.layers.listing import Layers
from featvis.models.layers.measure import LayerInfo
from featvis.models.layers.network import NetworkAt
from featvis.models.layers.probe import measure_layers, takes_one_size, trusted_pairs
from featvis.models.layers.receptive import receptive_fields
from featvis.models.layers.window import Window, find_window
from featvis.models.outline import Outline, changed, outline_of
from featvis.models.plain import PlainRun, is_compiled, original_of

Size = tuple[int, int]
_KINKS = 0.5
"""Rounding that moves a value across a ReLU6's corner changes a gradient by up to a sixth of its length."""


class ModelHandle:
    """A network with its preprocessing; made by :func:`featvis.load_model`.

    The network is borrowed: whatever featvis does with it, hooks, ``requires_grad``, train or eval
    mode and memory format are afterwards exactly as they were. It may be changed between two calls, its
    weights and its modules: what was measured of it is then measured anew.

    >>> import featvis as fv, torch
    >>> model = fv.load_model(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3)),
    ...     mean=(0.5,) * 3, std=(0.5,) * 3, input_size=16)
    >>> [(layer.name, layer.units, layer.shape) for layer in model.layers]
    [('0', 4, (1, 4, 14, 14))]
    """

    _input_size: Size | None
    _outline: Outline | None
    _takes_one_size: bool | None
    _form_at: int | None

    def __init__(
        self,
        module: nn.Module,
        *,
        name: str,
        mean: Sequence[float],
        std: Sequence[float],
        input_size: Size | None,
        interpolation: str = "bilinear",
        labels: Sequence[str] = (),
        missing: Sequence[str] = (),
        unit_axes: dict[str, int] | None = None,
        notes: Sequence[str] = (),
        signal: bool = False,
        sample_rate: float | None = None,
        frames: int | None = None,
    ) -> None:
        """Wrap ``module``; what is not named here is as for :func:`featvis.load_model`.

        Args:
            name: how it was asked for; stands in manifests.
            input_size: (height, width); None, where nobody told it: measured when it is first needed.
            interpolation: how photographs are resized for it.
            missing: names of parameters that have no weights.
            unit_axes: the units' axis of layers where it cannot be told; key "" for every layer.
            notes: what its user should know, each one line.
            signal: whether it takes signals ``(B, C, T)`` or ``(B, T)``; the canvas is then one row of T
                values.
            sample_rate: of a signal that can be heard, samples a second.
            frames: of a network of videos or volumes; its images have the channels of all frames.
        """
        if is_compiled(module):
            notes = (*notes, f"{name} is compiled; the network inside is run as it was written")
        self.module = original_of(module)
        self.name = name
        self.mean, self.std = _numbers("mean", mean), _numbers("std", std)
        self._told_size = input_size
        self.signal, self.sample_rate, self.frames = signal, sample_rate, frames
        self.interpolation = interpolation
        self.labels = tuple(labels)
        self.missing = frozenset(missing)
        self.unit_axes = dict(unit_axes or {})
        self.notes = tuple(notes)
        self.spreads = False
        """Whether further GPUs of the same kind may help: its user named no single one."""
        self._forget()
        if len(self.mean) != len(self.std) or not self.mean:
            raise ModelError(f"mean and std have one number for each channel, got {mean} and {std}")
        if any(value <= 0 for value in self.std):
            raise ModelError(f"std is above 0 in every channel, got {tuple(std)}")
        if signal and input_size is not None and input_size[0] != 1:
            raise ModelError(f"a signal's input_size is its length or (1, length), got {input_size}")
        if sample_rate is not None and not (signal and is_rate(sample_rate)):
            raise ModelError(f"sample_rate is a signal's samples a second, from 1 up, got {sample_rate!r}")
        if frames is not None:
            if signal or isinstance(frames, bool) or not isinstance(frames, int) or frames < 1:
                raise ModelError(f"frames counts a video's frames, at least 1, got {frames!r}")
            self.mean, self.std = self.mean * frames, self.std * frames

    @property
    def input_size(self) -> Size:
        """The canvas that it was made for, (height, width)."""
        if self._told_size is None:
            self._notice_changes()
        if self._input_size is None:
            with borrowed(self.module), kept_chance(self.device):
                for run in self._runs():
                    size = find_size(run)
                    if self._input_size is None or runs_at(run, size):
                        self._input_size = size
                    if runs_at(run, size):
                        break
        assert self._input_size is not None
        return self._input_size

    @property
    def channels(self) -> int:
        """How many channels its images have: of a video, those of all frames."""
        return len(self.mean)

    @property
    def _forms(self) -> tuple[Form, ...]:
        return forms_of(signal=self.signal, frames=self.frames, channels=self.channels)

    def _runs(self) -> list[PlainRun]:
        """The network run in each form that it may take."""
        return [
            PlainRun(self.module, self.mean, self.std, signal=self.signal, form=form) for form in self._forms
        ]

    @property
    def form(self) -> Form:
        """How its network takes images; where that may be one of several ways, the one in which it runs."""
        forms = self._forms
        if self._form_at is None:
            found = forms[0] if len(forms) == 1 else None
            if found is None:
                plain = PlainRun(self.module, self.mean, self.std)
                size = self.input_size
                with borrowed(self.module), kept_chance(self.device):
                    found = find_form(forms, plain.run, self.channels, size)
            self._form_at = forms.index(found or forms[0])
        return forms[self._form_at]

    @property
    def device(self) -> torch.device:
        """Where its parameters are."""
        return PlainRun(self.module, self.mean, self.std).device

    @property
    def dtype(self) -> torch.dtype:
        """The type of its parameters."""
        return PlainRun(self.module, self.mean, self.std).dtype

    def at(self, size: Size) -> NetworkAt:
        """Return the layers at this canvas, measured once; a CanvasError names the least side that runs."""
        if self.signal and size[0] != 1:
            raise CanvasError(f"{self.name} takes signals: its canvas is 1xLENGTH, not {size[0]}x{size[1]}")
        self._notice_changes()
        if size not in self._networks:
            with at_rest(self.module):
                before = outline_of(self.module)
            found = measure_layers(
                self._plain, size, self.name, self.input_size, axes=self.unit_axes, labels=self.labels
            )
            self._networks[size] = NetworkAt(
                self.name,
                self.module,
                size,
                found.layers,
                self.missing,
                partial(self._read, size),
                found.others,
                found.output,
                self.fingerprint,
                found.unread,
                self.channels,
            )
            with at_rest(self.module):
                self._outline = outline_of(self.module)
            self._written |= changed(before, self._outline)
        return self._networks[size]

    @property
    def layers(self) -> Layers:
        """Every layer that gives one tensor, in the order of :meth:`torch.nn.Module.named_modules`."""
        return Layers(self.at(self.input_size).layers.values(), self.name)

    def layer(self, name: str) -> LayerInfo:
        """Return the layer called ``name`` at the network's own input size."""
        return self.at(self.input_size).layer(name)

    @property
    def output_layer(self) -> str:
        """The layer that gives the network's output: ``output`` itself, if no module gives it.

        Two heads side by side, cosines to learnt vectors, -x: what forward makes with functions is a layer,
        too, called ``output`` (or ``returned``, if a module has that name).
        """
        return self.at(self.input_size).output_layer

    @property
    def takes_one_size(self) -> bool:
        """Whether the network runs on images of its own input size only."""
        self._notice_changes()
        if self._takes_one_size is None:
            self._takes_one_size = takes_one_size(self._plain, self.input_size)
        return self._takes_one_size

    def layers_with_receptive_fields(self, size: Size) -> Layers:
        """Return the layers at this canvas with their receptive fields measured (seconds)."""
        network = self.at(size)
        with borrowed(self.module):
            layers = receptive_fields(network.layers, self.module, self.channels, size, self._plain)
        return Layers(layers.values(), self.name)

    def check_gradient(self, layers: Sequence[str], size: Size, lanes: int = 1) -> None:
        """Raise a ModelError if no gradient of a layer reaches the image; measured once for each canvas.

        Of one lane, the gradient is also compared with that in the plain layout, which is taken where they
        differ: torch's InstanceNorm of a single image sends back another one in channels_last.
        """
        self._notice_changes()
        asked = (tuple(layers), size)
        if not layers or (*asked, lanes > 1) in self._reached:
            return
        with self.tap(layers, size=size) as activations, kept_chance(self.device):
            why, slope = lacks_gradient(activations, self.channels, size, self.device)
        if why:
            raise ModelError(f"{self.name}: {why}{_why_none(self.module)}")
        if lanes == 1 and slope is not None and not self.signal:
            self._plainly.add(asked)
            with self.tap(layers, size=size) as activations, kept_chance(self.device):
                _, plain = lacks_gradient(activations, self.channels, size, self.device)
            if plain is None or float((slope - plain).norm()) <= _KINKS * float(plain.norm()):
                self._plainly.discard(asked)
        self._reached.add((*asked, lanes > 1))

    @contextmanager
    def tap(
        self,
        layers: Sequence[str],
        *,
        size: Size | None = None,
        precision: str = "float32",
        cheaper: bool = True,
        only: Mapping[str, Sequence[int]] | None = None,
        lanes: int = 1,
    ) -> Iterator[Tap]:
        """Borrow the network and read some of its layers: frozen, truncated, restored.

        Within the context the value is a function from images ``(B, C, H, W)`` in [0, 1] to a dict of
        activations. The forward pass ends when the last of ``layers`` has run.

        Args:
            layers: names, or ``moments of NAME`` for the mean and mean square of what comes into it,
                ``moments from NAME`` for those of what it gives.
            size: the canvas that will be shown, by default the network's own.
            precision: ``float32``, or ``bfloat16`` for autocast.
            cheaper: run modules in cheaper forms that give the same activations; the bench's bare pass
                runs them as they are.
            only: for a layer that :meth:`can_gather`, the units that it computes, in this order.
            lanes: how many images will be shown at once.
        """
        network = self.at(size or self.input_size)
        calls, axes, along, owners = {}, dict[str, int](), dict[str, int](), []
        with at_rest(self.module):  # another borrowing may have folded it already
            names = {id(inner): name for name, inner in self.module.named_modules()}
            modules = dict(self.module.named_modules(remove_duplicate=False))
            for name in layers:
                layer = layer_of(name)
                calls[name] = network.find(layer).calls
                if layer == name:
                    axes[name] = len(network.find(layer).shape)
                elif name.startswith(MOMENTS_FROM):
                    along[name] = network.find(layer).axis
                if network.own_output is not None and layer == network.own_output[0]:
                    continue
                owner = names[id(modules[layer if layer in modules else layer.rpartition("#")[0]])]
                owners.append(MOMENTS_OF + owner if name.startswith(MOMENTS_OF) else owner)
            fold = foldable(self._trusted_pairs(), self.module, owners)
        asked = (tuple(layers), size or self.input_size)
        laid = (lanes > 1 or asked not in self._plainly) and self._is_laid(calls, asked[1], fold)
        with (
            own_types(self.device.type),
            repeatable(self.device),
            borrowed(
                self.module, channels_last=laid, fold=fold, cheaper=cheaper, only=only, precision=precision
            ) as loan,
        ):
            yield Tap(
                self.module,
                calls,
                self.mean,
                self.std,
                precision,
                fold,
                name=self.name,
                axes=axes,
                along=along,
                form=self.form,
                channels_last=laid,
                loan=loan,
                one_by_one=any(network.find(layer_of(name)).mixes for name in layers),
                own=network.own_output,
            )

    def can_gather(self, layer: str, layers: Sequence[str], size: Size) -> bool:
        """Whether ``layer``, read with the others of ``layers``, may compute some of its units only.

        It must be a convolution or a linear layer that runs once and is the last that is needed.
        """
        network = self.at(size)
        info = network.find(layer)
        others = [network.find(layer_of(name)).order for name in layers if name != layer]
        last = info.calls == 1 and info.order > max(others, default=-1)
        with at_rest(self.module):
            return last and can_gather(dict(self.module.named_modules()).get(layer))

    def window(self, layer: str, position: tuple[int, int], size: Size) -> Window | None:
        """Return the part of a canvas that one position of a layer sees, if it is worth cutting out."""
        self._notice_changes()
        asked = (layer, position, size)
        if asked not in self._windows:

            @contextmanager
            def tap(canvas: Size) -> Iterator[Callable[[Tensor], Tensor]]:
                with self.tap([layer], size=canvas) as activations:
                    yield lambda images: activations(images)[layer]

            info = self.at(size).find(layer)
            with full_precision(self.device):
                self._windows[asked] = find_window(info, position, size, self.channels, tap, self.device)
        return self._windows[asked]

    def copy(self, module: nn.Module | None = None, device: str | torch.device | None = None) -> Self:
        """Return a handle like this one that shares nothing with it that may change.

        Its network is ``module``, by default a deep copy, on ``device``, by default where it is.
        """
        other = copy.copy(self)
        with at_rest(self.module):  # whoever has it now: a copy is of what its user gave
            try:
                other.module = copy.deepcopy(self.module) if module is None else module
            except Exception as error:  # a part refuses in whatever way it likes
                problem = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
                raise ModelError(f"{self.name} cannot be copied, which this needs: {problem}") from None
        if device is not None:
            other.module.to(device)
        other.unit_axes = dict(self.unit_axes)
        self._notice_changes()
        measured = self._input_size
        other._forget()
        if module is None:
            other._input_size = measured
            other._form_at, other._written = self._form_at, set(self._written)
            # What was found out of these very modules, as names and numbers, holds for a copy of them. Found
            # out anew on another device it might come out otherwise, and with it a picture's last bits.
            pairs = self._trusted_pairs() if device is not None else self._pairs
            other._pairs = None if pairs is None else list(pairs)
            other._takes_one_size = self._takes_one_size
            other._windows = dict(self._windows)
            other._lays, other._laid, other._reached = self._lays, dict(self._laid), set(self._reached)
            other._plainly = set(self._plainly)
            for size, network in self._networks.items():
                other._networks[size] = network.of(
                    other.module, partial(other._read, size), other.fingerprint
                )
        return other

    def _forget(self) -> None:
        """Begin without anything that was measured: it holds for one module on one device."""
        self._outline, self._calls = None, 0
        self._written: set[tuple[str, str]] = set()
        self._input_size = self._told_size
        self._networks: dict[Size, NetworkAt] = {}
        self._takes_one_size = None
        self._form_at = None
        self._pairs: list[Pair] | None = None
        self._lays: bool | None = None
        self._laid: dict[tuple[tuple[str, ...], Size], bool] = {}
        self._reached: set[tuple[tuple[str, ...], Size, bool]] = set()
        self._plainly: set[tuple[tuple[str, ...], Size]] = set()
        self._windows: dict[tuple[str, tuple[int, int], Size], Window | None] = {}

    @contextmanager
    def unchanging(self) -> Iterator[None]:
        """Look for changes once, and not for each of a thousand targets: meanwhile nobody makes any."""
        self._notice_changes()
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1

    def _notice_changes(self) -> None:
        """Forget what was measured if the network's user changed its modules or weights since.

        Attributes that its own forward writes, such as a counter, are no change.
        """
        if self._calls or (now := seen_at_rest(self.module, outline_of)) is None:
            return
        if self._outline is None:
            self._outline = now
        elif changed(self._outline, now) - self._written:
            self._forget()
            self._outline = now

    def __getstate__(self) -> dict[str, Any]:
        # In another process the modules are others, though the same was measured of them.
        return {**self.__dict__, "_outline": None, "_calls": 0}

    def run_once(self, images: Tensor, *, writes: bool = False) -> None:
        """Run the whole network on images ``(B, C, H, W)`` in [0, 1] for what its own hooks note.

        With ``writes`` its buffers keep what it, or a hook, writes into them.
        """
        with borrowed(self.module, writes=writes), torch.no_grad():
            self._plain(images.cpu())

    def tell_each(self, images: Tensor, hear: Mapping[str, Callable[[Tensor], None]]) -> None:
        """Run the whole network on images ``(B, C, H, W)`` in [0, 1] and tell each named layer's output.

        It is the network's own, before anything behind writes into it, and is not held any longer.
        """
        with borrowed(self.module), kept_chance(self.device), torch.no_grad(), ExitStack() as hooks:
            modules, own = dict(self.module.named_modules()), self.at(self.input_size).own_output
            for name, hearer in hear.items():
                if own is not None and name == own[0]:
                    continue

                def heard(_: nn.Module, __: object, output: Tensor, hearer: Any = hearer) -> None:
                    hearer(output)

                hooks.callback(modules[name].register_forward_hook(heard).remove)
            returned = self._plain(images.cpu())
            answer = answer_of(returned, len(images)) if own is not None and own[0] in hear else None
            if own is not None and answer is not None:
                hear[own[0]](answer)

    def fingerprint(self) -> str:
        """Return the SHA-256 of the weights that were loaded, the network's class and the preprocessing."""
        digest = hashlib.sha256(type(self.module).__qualname__.encode())
        digest.update(repr((self.mean, self.std)).encode())
        if isinstance(self.module, Seen):
            digest.update(self.module.seen.encode())
        with at_rest(self.module):
            named = sorted(self.module.state_dict().items())
        for name, value in named:
            if name in self.missing or not isinstance(value, Tensor):
                continue
            digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
            plain = value.detach().cpu().contiguous()
            digest.update(
                plain.view(torch.uint8).numpy().tobytes() if plain.dim() else repr(plain.item()).encode()
            )
        return digest.hexdigest()

    @property
    def _plain(self) -> PlainRun:
        # Made anew each time, for the module may be exchanged.
        return PlainRun(self.module, self.mean, self.std, signal=self.signal, form=self.form)

    def _read(self, size: Size, layers: Sequence[str], images: Tensor) -> dict[str, Tensor]:
        if images.shape[1] != self.channels:
            raise CanvasError(
                f"{self.name} takes images of {self.channels} channels, the photograph has {images.shape[1]}"
            )
        # By one thread whatever the machine's setting, for the number of threads changes the last bits.
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with torch.no_grad(), self.tap(layers, size=size) as activations:
                read = activations(images.to(self.device))
            return {name: value.detach().clone() for name, value in read.items()}
        finally:
            torch.set_num_threads(before)

    def _trusted_pairs(self) -> list[Pair]:
        """The convolutions that a BatchNorm can be folded into: measured once, and checked by the output."""
        if self._pairs is None:
            with full_precision(self.device):
                self._pairs, self._lays = trusted_pairs(self._plain, self.input_size)
        return self._pairs

    def _is_laid(self, calls: Mapping[str, int], size: Size, fold: Sequence[Pair]) -> bool:
        """Whether the network is shown images that are laid out channels_last: not where it fails then.

        Layout is a trick of ours. What views a feature map as a row cannot do so then.
        """
        if self.form != IMAGES:
            return True
        if self._lays is False:
            return False
        if self._lays and size == self.input_size:
            return True
        asked = (tuple(calls), size)
        if asked not in self._laid:
            grey = torch.full((1, self.channels, *size), 0.5, device=self.device)
            with (
                borrowed(self.module, channels_last=True, fold=fold) as loan,
                torch.no_grad(),
                kept_chance(self.device),
            ):
                own = self.at(size).own_output
                tap = Tap(self.module, calls, self.mean, self.std, "float32", fold, loan=loan, own=own)
                try:
                    tap(grey)
                    self._laid[asked] = True
                except Exception:  # what is wrong with the network itself shows in the plain layout, too
                    self._laid[asked] = False
        return self._laid[asked]

    def __repr__(self) -> str:
        height, width = self.input_size
        return f"ModelHandle({self.name!r}, input {height}x{width}, {len(self.labels)} class names)"


def is_rate(value: object) -> bool:
    """Whether a value is a number of samples a second."""
    return not isinstance(value, bool) and isinstance(value, int | float) and 1 <= value < 2**31


def _numbers(name: str, values: Sequence[float]) -> tuple[float, ...]:
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        numbers = (math.nan,)
    if not all(math.isfinite(number) for number in numbers):
        raise ModelError(
            f"{name} has one number for each channel, for instance (0.5, 0.5, 0.5); got {values!r}"
        )
    return numbers


def _why_none(module: nn.Module) -> str:
    """Return what may keep gradients from the image, as far as it can be seen."""
    for name, inner in module.named_modules():
        if "quantized" in type(inner).__module__:
            kind = type(inner).__name__
            return f"; {name!r} is quantized ({kind}), which has no gradient: take the float network"
    return "; a forward under no_grad, detach(), rounding or conversion to NumPy cuts it off"
