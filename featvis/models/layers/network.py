"""A network at one canvas: where objectives find the layers that they name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from torch import Tensor, nn

from featvis.errors import TargetError, unknown
from featvis.models.layers.measure import LayerInfo


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
    ) -> None:
        self.name, self.module, self.size, self.layers = name, module, size, layers
        self._missing = missing  # names of parameters that have no weights
        self._read = read

    @property
    def output_layer(self) -> str:
        """The layer that finishes last."""
        return max(self.layers.values(), key=lambda layer: layer.order).name

    def read(self, layers: Sequence[str], images: Tensor) -> dict[str, Tensor]:
        """Return what layers give for images ``(B, C, *size)`` in [0, 1], without gradients."""
        if self._read is None:
            raise TargetError(f"{self.name} cannot be run from here; bind to model.at(size)")
        return self._read(layers, images)

    def find(self, name: str) -> LayerInfo:
        """Return the layer called ``name``, whatever its kind; a TargetError names the nearest."""
        if name in self.layers:
            return self.layers[name]
        if name in dict(self.module.named_modules()):
            raise TargetError(
                f"layer {name!r} gives no single tensor in a plain forward pass; nothing to climb"
            )
        raise TargetError(
            unknown("layer", name, self.layers, f"`featvis layers {self.name}` lists all {len(self.layers)}")
        )

    def layer(self, name: str) -> LayerInfo:
        """Return the layer called ``name``; a TargetError says why its units cannot be climbed."""
        layer = self.find(name)
        if not layer.is_clear:
            raise TargetError(f"layer {name!r}: {layer.kind.removeprefix('unclear: ')}")
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
        modules = dict(self.module.named_modules())
        norms = [
            layer
            for layer in self.layers.values()
            if isinstance(modules[layer.name], nn.BatchNorm2d) and layer.order <= deepest and layer.calls == 1
        ]
        return [layer.name for layer in sorted(norms, key=lambda layer: layer.order)]
