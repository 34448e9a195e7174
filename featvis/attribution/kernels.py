"""The weights of a layer that reads pixels, as images: what a linear or first-layer unit looks for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from featvis.attribution.colours import balance
from featvis.errors import TargetError, UserError
from featvis.models.borrow.loan import with_gradients
from featvis.models.forward import Seen
from featvis.models.handle import ModelHandle
from featvis.models.layers.answer import modules_of, name_of_output
from featvis.results.sheets import make_sheet

CELL = 64
"""Pixels that a unit's weights are magnified to at least, by a whole number and without smoothing."""

_KINDS = (nn.Conv1d, nn.Conv2d, nn.Linear)


def pixel_weights(model: ModelHandle, layer: str) -> Tensor:
    """Return the signed weights of a layer that reads the network's very pixels, ``(units, C, H, W)``.

    They are of what the network is shown, (image - mean) / std, as it holds them: not scaled, not clipped.
    Whether it reads the pixels is measured: a random image must come into the layer unchanged, as it is or
    flattened; else a TargetError is raised.
    """
    model.layer(layer)
    modules = modules_of(model.module)
    module = modules[layer]
    if not isinstance(module, _KINDS):
        raise TargetError(
            f"{layer!r} is a {type(module).__name__}; the weights of convolutions and linear layers are shown"
        )
    readers = _readers(model)
    if layer not in readers:
        those = ", ".join(repr(name) for name in readers) or "none does here"
        raise TargetError(
            f"{layer!r} reads what other layers made, so its weights are no picture; "
            f"layers that read pixels: {those}"
        )
    weight = module.weight.detach().float().cpu()
    if isinstance(module, nn.Linear):
        weight = weight.reshape(-1, model.channels, *model.input_size)
    weight = weight[:, :, None] if weight.dim() == 3 else weight
    return weight.flip(1) if _is_turned(model) else weight


@with_gradients
def weights_image(
    model: ModelHandle,
    layer: str,
    units: Sequence[int] | None = None,
    *,
    scale: float | None = None,
    columns: int | None = None,
) -> Image.Image:
    """Show the weights of a first convolution, or of a linear model on pixels, as a grid of images.

    Zero is mid-grey in colour and near white in one channel, and ``scale`` is as far from it as minus
    ``scale``, the same for every unit, so that strong and weak ones can be told apart. Weights on three
    channels are colours, zero (128, 128, 128); other numbers of channels lie side by side, blue below and red
    above zero.

    Args:
        model: the network.
        layer: see :func:`pixel_weights`.
        units: which; by default all, in order.
        scale: the weight at the ends of the scale, what is beyond is shown as it; by default the largest
            size in the layer, whichever units are shown.
        columns: of the grid; by default about as wide as high.

    Raises:
        TargetError: the layer reads no pixels, or a unit is out of range.
        UserError: a scale that is not above 0, or no column.

    >>> import featvis as fv, torch
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
    >>> model = fv.load_model(network, mean=(0.5,) * 3, std=(0.5,) * 3, input_size=16)
    >>> fv.weights_image(model, "0", units=[0, 1], columns=2).mode
    'RGB'
    """
    weights = pixel_weights(model, layer)
    chosen = list(range(len(weights)) if units is None else units)
    for unit in chosen:
        if not 0 <= unit < len(weights):
            raise TargetError(f"{layer!r}: unit {unit} is out of range; it has {len(weights)}")
    if not chosen:
        raise TargetError(f"{layer!r}: no unit was given")
    if scale is not None and not 0 < scale < math.inf:
        raise UserError(f"the scale of weights is a number above 0, got {scale}")
    if columns is not None and columns < 1:
        raise UserError(f"a grid has at least one column, got {columns}")
    most = scale or float(weights.abs().max()) or 1.0
    tiles = [_tile((weights[unit] / most).clamp(-1, 1).numpy()) for unit in chosen]
    width, height = max(tile.width for tile in tiles), max(tile.height for tile in tiles)
    count = min(len(tiles), columns or max(4, math.ceil(math.sqrt(len(tiles) * height / width))))
    title = f"{model.name}  {layer}  ±{most:.3g}"
    return make_sheet(tiles, [(str(unit),) for unit in chosen], count, title=title)


def _readers(model: ModelHandle) -> list[str]:
    """Return the convolutions and linear layers that the image comes into as it is, in the order they run."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand((1, model.channels, *model.input_size), generator=generator)
    mean, std = (torch.tensor(numbers)[:, None, None] for numbers in (model.mean, model.std))
    shown = (images - mean) / std
    shown = (shown.flip(1) if _is_turned(model) else shown).flatten()
    reads_pixels: dict[str, bool] = {}

    def watch(name: str) -> object:
        def hook(_: nn.Module, inputs: tuple[object, ...]) -> None:
            came = inputs[0] if inputs else None
            same = isinstance(came, Tensor) and came.numel() == shown.numel()
            if same and isinstance(came, Tensor):
                same = bool(torch.allclose(came.detach().float().cpu().flatten(), shown, atol=1e-5))
            reads_pixels[name] = reads_pixels.get(name, True) and same

        return hook

    with ExitStack() as hooks:
        for name, module in model.module.named_modules():
            if isinstance(module, _KINDS):
                name = name or name_of_output(model.module)
                hooks.callback(module.register_forward_pre_hook(watch(name)).remove)  # type: ignore[arg-type]
        model.run_once(images)
    return [name for name, reads in reads_pixels.items() if reads]


def _is_turned(model: ModelHandle) -> bool:
    """Whether the network takes its channels from the last to the first."""
    return isinstance(model.module, Seen) and model.module.channel_order == "bgr"


def _tile(weights: NDArray[np.float32]) -> Image.Image:
    """Return one unit's weights ``(C, H, W)`` in [-1, 1] as an image, magnified."""
    if weights.shape[0] == 3:
        # 127.5 either way of 127.5 would make zero fall between two levels; 127 of 128 does not.
        levels = np.rint(128 + 127 * weights.transpose(1, 2, 0)).astype(np.uint8)
    else:
        places = np.rint(255 * weights + 255).astype(np.int64)
        levels = np.concatenate(list(balance()[places]), axis=1)
    image = Image.fromarray(np.ascontiguousarray(levels))
    times = max(1, -(-CELL // max(weights.shape[1:])))
    return image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
