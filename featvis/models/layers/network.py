"""A network at one canvas: where objectives find the layers that they name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from torch import Tensor, nn

from featvis.errors import TargetError
from featvis.models.known import unknown_layer
from featvis.models.layers.answer import modules_of
from featvis.models.layers.measure import WHICH_AXIS, LayerInfo
from featvis.models.layers.returned import Output
from featvis.spec.target import Request, parse_request


class NetworkAt:
    """A network's layers at one canvas: where objectives find what they name."""

    def __init__(
        self,
        name: str,
        module: nn.Module,
        size: tuple[int, int],
        layers: dict[str, LayerInfo],
        missing: Collection[str] = (),
        read: Callable[[Sequence[str], Tensor], dict[str, Tensor]] | None = None,
        others: dict[str, LayerInfo] | None = None,
        output: Output | None = None,
        fingerprint: Callable[[], str] | None = None,
        unread: Mapping[str, str] | None = None,
        channels: int | None = None,
    ) -> None:
        self.others = others or {}
        """Layers by further names: a module's second one, ``NAME#1`` for an earlier call."""
        self._output = output
        self._unread = unread or {}  # why the other modules that run are no layers, in words
        self.name, self.module, self.size, self.layers = name, module, size, layers
        self.channels = channels
        """How many its images have; None if that is not known."""
        self._missing = missing  # names of parameters that have no weights
        self._read = read
        self._fingerprint = fingerprint

    def of(
        self,
        module: nn.Module,
        read: Callable[[Sequence[str], Tensor], dict[str, Tensor]],
        fingerprint: Callable[[], str],
    ) -> NetworkAt:
        """Return the same of a copy of the network: what was measured are names and numbers."""
        layers, others = dict(self.layers), dict(self.others)
        of_copy = (self.name, module, self.size, layers, self._missing, read, others, self._output)
        return NetworkAt(*of_copy, fingerprint, self._unread, self.channels)

    def has_weights(self, fingerprint: str) -> bool:
        """Whether its weights are those of a :meth:`~featvis.models.handle.ModelHandle.fingerprint`."""
        return self._fingerprint is not None and self._fingerprint() == fingerprint

    @property
    def output_layer(self) -> str:
        """The layer that is what the network returns, unit for unit."""
        if self._output is not None and self._output.layer:
            return self._output.layer
        return max(self.layers.values(), key=lambda layer: layer.order).name

    @property
    def own_output(self) -> tuple[str, int] | None:
        """The layer that is what forward returns, if no module gives that; and where it stands in there."""
        output = self._output
        return (output.own, output.place) if output is not None and output.own else None

    @property
    def logits_layer(self) -> str:
        """The layer of the classes: the network's output, or what its probabilities are the softmax of."""
        logits = self._output.logits if self._output is not None else None
        return logits or self.output_layer

    def logits_of(self, name: str) -> str | None:
        """Return the layer that a layer of probabilities is the softmax of; None if there is none such."""
        if self._output is None or name not in self._output.probabilities:
            return None
        same = self._output.logits
        return same if same is not None and self.layers[same].units == self.find(name).units else None

    def gives_probabilities(self, name: str) -> bool:
        """Whether a layer's units are probabilities that sum to 1."""
        return self._output is not None and name in self._output.probabilities

    def read(self, layers: Sequence[str], images: Tensor) -> dict[str, Tensor]:
        """Return what layers give for images ``(B, C, *size)`` in [0, 1], without gradients."""
        if self._read is None:
            raise TargetError(f"{self.name} cannot be run from here; bind to model.at(size)")
        return self._read(layers, images)

    def find(self, name: str) -> LayerInfo:
        """Return the layer called ``name``, whatever its kind; a TargetError names the nearest."""
        if not isinstance(name, str):
            raise TargetError(self._not_named(name))
        found = self.layers.get(name) or self.others.get(name)
        if found is not None:
            return found
        base, _, call = name.rpartition("#")
        if base in self.layers and call.isdecimal():
            calls = self.layers[base].calls
            often = "once in a pass" if calls == 1 else f"{calls} times in a pass, {base}#1 to {base}#{calls}"
            raise TargetError(f"layer {base!r} runs {often}; there is no {name!r}")
        if name in dict(self.module.named_modules(remove_duplicate=False)):
            why = self._unread.get(
                name, "gives no single tensor in a plain forward pass, for it does not run in it"
            )
            raise TargetError(f"layer {name!r} {why}; nothing to climb")
        where = self.logits_layer
        raise unknown_layer(name, self.name, list(self.layers), where, self.layers[where].labels)

    def request(self, address: str) -> Request:
        """Read an address; of several layers that it may begin with, the longest name is meant."""
        return parse_request(address, (*self.layers, *self.others))

    def _not_named(self, given: object) -> str:
        """Say what a layer is called by, and the name of a module that was given itself."""
        own = [name for name, module in self.module.named_modules() if module is given]
        if own:
            return f"a layer is given by its name, here {own[0]!r}, not as the module itself"
        return f"a layer is given by its name, one as a text, got {type(given).__name__}"

    def layer(self, name: str) -> LayerInfo:
        """Return the layer called ``name``; a TargetError says why its units cannot be climbed."""
        layer = self.find(name)
        if not layer.is_clear:
            problem = f"layer {name!r}: {layer.kind.removeprefix('unclear: ')}"
            if not problem.endswith(WHICH_AXIS):
                raise TargetError(problem)
            settled = f"load_model(…, unit_axis={{{name!r}: {len(layer.shape) - 1}}})"
            raise TargetError(
                f"{problem}; say so: {settled}, if it is the last",
                typed=f"{problem}; say so with --unit-axis",
            )
        if layer.fault:
            raise TargetError(f"layer {name!r} {layer.fault}")
        if (lacking := self.first_without_weights(layer)) is not None:
            raise TargetError(
                f"layer {name!r} needs {lacking!r}, which has no weights in the file given; "
                "choose an earlier layer"
            )
        return layer

    def first_without_weights(self, layer: LayerInfo) -> str | None:
        """Return the first module or parameter used up to ``layer`` that lacks weights, or None."""
        lacking = []
        for name in sorted(self._missing):
            owner = name.rpartition(".")[0]
            below = owner + "." if owner else ""
            children = [inner.order for inner in self.layers.values() if inner.name.startswith(below)]
            if children:
                # A container may use its own parameter as soon as it begins.
                lacking.append((min(children), name))
            elif owner in self.layers:
                lacking.append((self.layers[owner].order, owner))
        used = [(order, name) for order, name in lacking if order <= layer.order]
        return min(used)[1] if used else None

    def has_statistics(self, until: Sequence[str]) -> bool:
        """Whether BatchNorm modules with running statistics run up to the deepest of ``until``."""
        modules = dict(self.module.named_modules())
        names = self.batch_norms(until)
        return bool(names) and all(modules[name].running_var is not None for name in names)

    def batch_norms(self, until: Sequence[str]) -> list[str]:
        """Return the names of the BatchNorm modules that run up to the deepest of ``until``, in order."""
        deepest = max((self.find(name).order for name in until), default=0)
        modules = modules_of(self.module)
        norms = [
            layer
            for layer in self.layers.values()
            if isinstance(modules[layer.name], nn.BatchNorm2d) and layer.order <= deepest and layer.calls == 1
        ]
        return [layer.name for layer in sorted(norms, key=lambda layer: layer.order)]

    def source_of(self, name: str) -> str | None:
        """Return the layer whose units another one shows: the last that has weights from many to many.

        Behind it there are activations, norms and pools only, up to what the layer ``name`` gives.
        """
        mixing = self.mixing(name)
        return mixing[-1].name if mixing else None

    def mixing(self, name: str) -> list[LayerInfo]:
        """Return the layers that have weights from many units to many, up to the layer ``name``, in order."""
        until = self.find(name).order
        modules = modules_of(self.module)
        mixing = [
            layer
            for layer in self.layers.values()
            if layer.order <= until and _mixes_units(modules[layer.name])
        ]
        return sorted(mixing, key=lambda layer: layer.order)


def _mixes_units(module: nn.Module) -> bool:
    """Whether a module has weights from many units to many; a container that has some besides is none."""
    if isinstance(module, nn.modules.conv._ConvNd | nn.Linear | nn.MultiheadAttention):
        return True
    return not module._modules and any(one.dim() > 1 for one in module.parameters(recurse=False))
