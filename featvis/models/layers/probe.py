"""What is found out of a network by running it: its layers, the canvases it takes, what can be done to it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from featvis.errors import ModelError, unknown
from featvis.models.borrow.fold import Pair, find_pairs, foldable
from featvis.models.borrow.tap import borrowed
from featvis.models.layers.chance import kept_chance
from featvis.models.layers.failure import explain, runs_at
from featvis.models.layers.measure import Folded, LayerInfo, Measured, measure
from featvis.models.layers.returned import Output
from featvis.models.plain import PlainRun

Size = tuple[int, int]
log = logging.getLogger(__name__)


def measure_layers(
    run: PlainRun, size: Size, name: str, input_size: Size, *, axes: dict[str, int], labels: Sequence[str]
) -> Measured:
    """Return the layers at a canvas by name, in the order of :meth:`torch.nn.Module.named_modules`.

    ``axes`` are the units' axis by layer name, as the user settled it; ``labels`` name the classes. Where the
    network does not run at this canvas, the error says whether that is the canvas, the form of the images or
    the network itself.
    """
    if any(isinstance(part, UninitializedParameter | UninitializedBuffer) for part in _parts(run.module)):
        raise ModelError(f"{name} has lazy layers that are not made yet; run it once on a batch of images")
    empty = [key for key, part in run.module.state_dict().items() if _is_empty(part)]
    if empty:
        raise ModelError(
            f"{name} has no weights: {empty[0]!r} is on the device meta; load them first, for instance by "
            "net.to_empty(device='cpu') and net.load_state_dict(...)"
        )
    with borrowed(run.module), kept_chance(run.device):
        try:
            measured = measure(run.module, run.channels, size, axes=axes, run=run)
        except ModelError:
            raise
        except Folded:
            raise explain(run, size, name, input_size, None) from None
        except Exception as error:  # whatever a network raises
            raise explain(run, size, name, input_size, error) from error
    log.debug("measured %d layers of %s on a canvas of %dx%d", len(measured.layers), name, *size)
    if not measured.layers:
        raise ModelError(f"{name}: {_no_layer(run.module)}")
    known = {*measured.layers, *measured.others, *dict(run.module.named_modules(remove_duplicate=False))}
    for strange in [key for key in axes if key not in known]:
        told = "unit_axis gives axes by layer name"
        raise ModelError(unknown("layer", strange, list(measured.layers), told))
    most = max(len(layer.shape) for layer in measured.layers.values())
    if not -most < axes.get("", 1) < most:
        given = axes[""]
        raise ModelError(
            f"unit_axis is 1 to {most - 1}, or counted from the end, not {given}; no layer has it"
        )
    order = {key: place for place, (key, _) in enumerate(run.module.named_modules())}
    named = {
        key: _with_labels(measured.layers[key], tuple(labels), measured.output)
        for key in sorted(measured.layers, key=lambda key: order.get(key, len(order)))
    }
    return replace(measured, layers=named)


def takes_one_size(run: PlainRun, input_size: Size) -> bool:
    """Whether the network, which runs at its own input size, runs on images of that only."""
    with borrowed(run.module), kept_chance(run.device):
        return not runs_at(run, (input_size[0] * 2, input_size[1] * 2))


def trusted_pairs(run: PlainRun, input_size: Size) -> tuple[list[Pair], bool | None]:
    """Find what the engine may do to the network: measured, and checked by the output.

    Returns:
        The convolutions that a BatchNorm can be folded into; and whether the network gives the same when its
        images and weights are laid out channels_last: None if it does not run then, though perhaps a part.
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.rand((1, run.channels, *input_size), generator=generator)
    with borrowed(run.module), torch.no_grad(), kept_chance(run.device):
        try:
            pairs = find_pairs(run.module, lambda: run(images))
        except Exception:  # it may need two images
            images = torch.cat([images, images.flip(3)])
            pairs = find_pairs(run.module, lambda: run(images))
        pairs = foldable(pairs, run.module, ())
        plain = run.numbers(images)

    def same(fold: Sequence[Pair], channels_last: bool) -> bool | None:
        with (
            borrowed(run.module, fold=fold, channels_last=channels_last),
            torch.no_grad(),
            kept_chance(run.device),
        ):
            try:
                return _alike(run.numbers(images, channels_last=channels_last), plain)
            except Exception:  # of a layout that it does not take
                return None

    if same(pairs, True):
        return pairs, True
    if not same((), False):
        return [], True  # it is random, or gives no numbers that can be compared
    return (pairs if same(pairs, False) else []), same((), True)


def _alike(numbers: Tensor, plain: Tensor) -> bool:
    finite = plain.isfinite()
    if not bool(finite.any()) or numbers.shape != plain.shape or not torch.equal(numbers.isfinite(), finite):
        return False
    near = 1e-3 * float(plain[finite].abs().max())
    return torch.allclose(numbers[finite], plain[finite], atol=near)


def _is_empty(part: object) -> bool:
    return isinstance(part, Tensor) and part.is_meta


def _parts(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def _no_layer(module: nn.Module) -> str:
    kinds = {type(inner).__name__ for inner in module.modules()}
    if len(kinds) == 1 or not any(module.children()):
        return "the network is one module without parts; no layer gives a tensor with a batch axis"
    return "no layer gives a tensor with a batch axis"


def _with_labels(layer: LayerInfo, labels: tuple[str, ...], output: Output) -> LayerInfo:
    if output.own:  # as many units as there are classes may be features
        of_classes = layer.is_clear and (layer.name == output.own or layer.name in output.alike)
    else:
        of_classes = layer.kind == "vector" or (layer.name == output.layer and layer.is_clear)
    return replace(layer, labels=labels) if of_classes and layer.units == len(labels) else layer
