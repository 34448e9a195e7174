"""attribute(): from a photograph and a target to a map."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from featvis.attribution import by_captum
from featvis.attribution.choices import BY_CAPTUM, STEPS, Choices, make_choices
from featvis.attribution.extremal import extremal
from featvis.attribution.grad_cam import cam_layer, grad_cam
from featvis.attribution.measure import deletion_insertion, rank_correlation, similarity
from featvis.attribution.relevance import relevance
from featvis.attribution.result import Attribution
from featvis.attribution.sanity import randomized
from featvis.attribution.scoring import Score, Wish, find_target, scored
from featvis.errors import CanvasError, FeatvisWarning, OutputError, TargetError
from featvis.models.handle import ModelHandle
from featvis.objectives.base import Objective
from featvis.photographs.framing import frame_middle, frame_whole
from featvis.photographs.photos import read_photo, resampling
from featvis.results.picture import to_levels

Found = tuple[Tensor, dict[str, Any]]


def attribute(
    model: ModelHandle,
    photo: str | Path | Tensor,
    target: Wish,
    method: str = "saliency",
    *,
    size: int | tuple[int, int] | None = None,
    curves: bool = False,
    sanity: bool = False,
    **options: Any,
) -> Attribution:
    """Say where in a photograph a target fires.

    Args:
        model: from :func:`featvis.load_model`.
        photo: a file, or an image ``(C, H, W)`` in [0, 1].
        target: an address of one unit (``blocks.3:5``, ``blocks.3:5@4,6``, ``classifier:tabby``) or an
            objective (``fv.direction("blocks.3", vector)``, a sum).
        method: ``saliency``, ``guided-backprop``, ``integrated-gradients``, ``lrp``, ``grad-cam``,
            ``occlusion`` or ``extremal``.
        size: the canvas, a side or (height, width), filled from the photograph's middle; by default the
            whole photograph, its shorter side as the network's input.
        curves: measure deletion and insertion too.
        sanity: compare the map with those of networks with randomized layers.
        options: the method's own, see :class:`featvis.attribution.choices.Choices`.

    Raises:
        RecipeError: an unknown method or option, or a value out of range.
        TargetError: the target names no unit, or more than one.
        OutputError: the photograph cannot be read.
        ModelError: Captum is needed and not installed.
    """
    choices = make_choices((method,), options)
    if method in BY_CAPTUM:
        by_captum.captum()  # before anything is computed
    levels = photo_levels(model, photo, size)
    image = torch.from_numpy(levels)[None].float().to(model.device) / 255
    canvas = (image.shape[2], image.shape[3])
    objective, name = find_target(model, target, canvas)
    values, numbers, score = _run(model, objective, image, method, choices, curves)
    if not bool(values.any()):
        line = f"{method}: the map of {name} is 0 everywhere; it does not respond to this photograph"
        warnings.warn(FeatvisWarning(line), stacklevel=2)
    if numbers.get("area_missed"):
        line = (
            f"{method}: the mask keeps {numbers['area']:.0%} of the canvas, "
            f"not the {choices.area:.0%} asked for, after {choices.steps or STEPS[method]} steps; "
            "give it more"
        )
        warnings.warn(FeatvisWarning(line), stacklevel=2)
    told = Attribution(
        method, name, model.name, values.cpu().numpy(), levels, score, _label(objective), numbers
    )
    if sanity:
        told.sanity = _sanity(model, objective, image, method, choices, values)
    return told


def photo_levels(
    model: ModelHandle, photo: str | Path | Tensor, size: int | tuple[int, int] | None
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return what the network will be shown of a photograph, ``(C, H, W)``."""
    if isinstance(photo, Tensor):
        if photo.dim() != 3 or photo.shape[0] != model.channels:
            raise OutputError(f"a photograph is ({model.channels}, H, W), got shape {tuple(photo.shape)}")
        if size is not None:
            raise OutputError("size is for photographs from files; a tensor is taken as it is")
        if not bool(((photo >= 0) & (photo <= 1)).all()):
            raise OutputError("a photograph's values lie in [0, 1]")
        return to_levels(photo)
    path = Path(photo)
    if not path.is_file():
        raise OutputError(f"no photograph {str(photo)!r}")
    read = read_photo(path, model.channels)
    if read is None:
        raise OutputError(f"{path} is no readable photograph")
    how = resampling(model.interpolation)
    given = (read.height, read.width)
    if size is not None:
        canvas = (size, size) if isinstance(size, int) else size
        model.at(canvas)
        return frame_middle(given, canvas).lay(read, how)
    whole = frame_whole(given, min(model.input_size))
    try:
        model.at(whole.canvas)
    except CanvasError:
        return frame_middle(given, model.input_size).lay(read, how)
    return whole.lay(read, how)


def _run(
    model: ModelHandle,
    objective: Objective,
    image: Tensor,
    method: str,
    choices: Choices,
    curves: bool = False,
) -> tuple[Tensor, dict[str, Any], float]:
    canvas = (image.shape[2], image.shape[3])
    also: tuple[str, ...] = ()
    if method == "grad-cam":
        also = (cam_layer(model.at(canvas), objective.layers, choices.layer).name,)
    with scored(model, objective, canvas, also) as score:
        value = float(score.values(image))
        if method == "grad-cam":
            found, numbers = _grad_cam(score, image, also[0])
        else:
            found, numbers = _METHODS[method](score, image, choices)
        found = found.detach().float()
        if not bool(torch.isfinite(found).all()):
            raise TargetError(f"{method} of {objective.describe()} is not finite on this photograph")
        if curves:
            filler = by_captum.baseline_of(score, image, "mean")
            blurred = by_captum.baseline_of(score, image, "blur")
            lost, gained = deletion_insertion(score, image, found, filler, blurred)
            numbers = {**numbers, "deletion": lost, "insertion": gained}
        return found, numbers, value


def _grad_cam(score: Score, image: Tensor, layer: str) -> Found:
    info = score.model.at((image.shape[2], image.shape[3])).layer(layer)
    return grad_cam(score, image, info), {"layer": layer}


def _lrp(score: Score, image: Tensor, _: Choices) -> Found:
    pixels, kept = relevance(score, image)
    return pixels.sum(1)[0], {"kept_by_biases": float(kept)}


def _extremal(score: Score, image: Tensor, choices: Choices) -> Found:
    found = extremal(score, image, choices.area, choices.steps or STEPS["extremal"])
    kept = float(found.mask.mean())
    numbers = {"kept_score": found.kept, "blurred_score": found.blurred, "area": kept}
    return found.mask, {**numbers, "area_wanted": choices.area, "area_missed": found.missed}


_METHODS: dict[str, Callable[[Score, Tensor, Choices], Found]] = {
    "saliency": by_captum.saliency,
    "guided-backprop": by_captum.guided_backprop,
    "integrated-gradients": by_captum.integrated_gradients,
    "occlusion": by_captum.occlusion,
    "lrp": _lrp,
    "extremal": _extremal,
}


def _sanity(
    model: ModelHandle, objective: Objective, image: Tensor, method: str, choices: Choices, values: Tensor
) -> list[dict[str, Any]]:
    told = []
    for stage in randomized(model, objective.layers, image):
        found, _, _ = _run(stage.model, objective, image, method, choices)
        told.append(
            {
                "randomized": len(stage.layers),
                "down_to": stage.layers[-1],
                "rank_correlation": rank_correlation(values.abs(), found.abs()),
                "ssim": similarity(values.abs(), found.abs()),
            }
        )
    return told


def _label(objective: Objective) -> str:
    return str(getattr(objective, "label", ""))
