"""How saved pictures are shown to a network: resized to what it was trained for, in batches, no gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from featvis.errors import ModelError, UserError
from featvis.models.handle import ModelHandle
from featvis.models.layers.measure import LayerInfo
from featvis.objectives.base import spread_over
from featvis.objectives.reference import fitted
from featvis.results.picture import Picture

Shown = Picture | Tensor
"""A picture, or an image ``(C, H, W)`` in [0, 1] such as a saved picture's levels over 255."""

BATCH = 16
_POOLED_LAYERS = 4


def image_of(picture: Shown) -> Tensor:
    """Return a picture's saved image ``(C, H, W)`` in [0, 1]."""
    image = picture.image if isinstance(picture, Picture) else picture
    if image.dim() != 3:
        raise UserError(f"an image has the shape (C, H, W), got {tuple(image.shape)}")
    return image.float()


def fit(pictures: Sequence[Shown], model: ModelHandle, size: tuple[int, int] | None = None) -> Tensor:
    """Return pictures as a network is shown them: ``(N, C, H, W)`` in [0, 1], on the CPU.

    Bicubic and antialiased to ``size``, by default the network's own, whatever the proportions; a picture
    that has this size already is not touched.
    """
    if not pictures:
        raise UserError("no picture to look at")
    size = size or model.input_size
    images = []
    for picture in pictures:
        image = image_of(picture)
        if image.shape[0] != model.channels:
            raise UserError(
                f"{model.name} takes images of {model.channels} channels, the picture has {image.shape[0]}"
            )
        images.append(fitted(image[None], size)[0])
    return torch.stack(images)


@torch.no_grad()
def read(
    images: Tensor, model: ModelHandle, layers: Sequence[str], reduce: Callable[[str, Tensor], Tensor]
) -> dict[str, Tensor]:
    """Return what some layers say of images, on the CPU; ``reduce`` pools each batch by layer to (B, …)."""
    parts_of: dict[str, list[Tensor]] = {name: [] for name in layers}
    with model.tap(layers, size=(images.shape[2], images.shape[3])) as activations:
        for part in torch.split(images, BATCH):
            values = activations(part.to(model.device))
            for name in layers:
                parts_of[name].append(reduce(name, values[name]).float().cpu())
    return {name: torch.cat(parts) for name, parts in parts_of.items()}


def class_layer(judge: ModelHandle) -> LayerInfo:
    """Return the layer that names a judge's classes, one value for each; a ModelError where there is none."""
    layer = judge.layer(judge.output_layer)
    if not names_classes(layer):
        raise ModelError(f"{judge.name} names no classes: its last layer gives {layer.shape}")
    return layer


def names_classes(layer: LayerInfo) -> bool:
    """Whether a layer gives one value for each class: a vector, or a map of one position."""
    return layer.kind == "vector" or (layer.kind in ("map", "map_last") and not _is_spread(layer))


def read_classes(images: Tensor, judge: ModelHandle) -> Tensor:
    """Return a judge's logits ``(N, classes)`` for images as they are."""
    layer = class_layer(judge)
    return read(images, judge, [layer.name], lambda _, given: _one_each(layer, given))[layer.name]


def _one_each(layer: LayerInfo, given: Tensor) -> Tensor:
    return given if layer.kind == "vector" else units_of(layer, given)


def units_of(layer: LayerInfo, activation: Tensor, position: tuple[int, int] | None = None) -> Tensor:
    """Return ``(B, units)``: the mean over the map or the patch tokens, or the value at one position."""
    if position is None:
        return spread_over(layer, activation).mean(2)
    moved: Tensor = activation.movedim(layer.axis, 1)
    return moved[:, :, position[0], position[1]]


def classes_and_pools(pictures: Sequence[Shown], judge: ModelHandle) -> tuple[Tensor, dict[str, Tensor]]:
    """Return a judge's logits, none of one without classes, and :func:`pool` of pictures in one pass."""
    layers = {layer.name: layer for layer in pooled_layers(judge)}
    last = judge.layer(judge.output_layer)
    names = [last.name] if names_classes(last) else []

    def reduce(name: str, given: Tensor) -> Tensor:
        return _one_each(last, given) if name in names else units_of(layers[name], given)

    values = read(fit(pictures, judge), judge, list(dict.fromkeys((*layers, *names))), reduce)
    logits = values[last.name] if names else torch.zeros(len(pictures), 0)
    return logits, {name: values[name] for name in layers}


def pool(pictures: Sequence[Shown], judge: ModelHandle) -> dict[str, Tensor]:
    """Return what up to four of a judge's layers say of pictures, means over the map, ``(N, units)`` each."""
    layers = {layer.name: layer for layer in pooled_layers(judge)}
    return read(fit(pictures, judge), judge, list(layers), lambda name, given: units_of(layers[name], given))


def likeness(pooled: Mapping[str, Tensor]) -> Tensor:
    """Return ``(N, N)``: how alike every two of what :func:`pool` pooled are to a judge, -1 to 1.

    The mean over the layers of the cosine of two pictures' units, each unit less its mean over all N
    pictures: so it depends on which pictures are compared.
    """
    rows = [functional.normalize(part - part.mean(0), dim=1) for part in pooled.values()]
    return torch.stack([part @ part.T for part in rows]).mean(0)


def pooled_layers(judge: ModelHandle) -> list[LayerInfo]:
    """Return the layers whose means tell what a picture looks like to a judge."""
    clear = sorted((layer for layer in judge.layers if layer.is_clear), key=lambda layer: layer.order)
    maps = [layer for layer in clear if layer.kind in ("map", "map_last", "tokens") and _is_spread(layer)]
    if not maps:
        return clear[-1:]
    count = min(_POOLED_LAYERS, len(maps))
    return [maps[round((place + 1) * len(maps) / count) - 1] for place in range(count)]


def _is_spread(layer: LayerInfo) -> bool:
    return any(side > 1 for axis, side in enumerate(layer.shape) if axis not in (0, layer.axis))
