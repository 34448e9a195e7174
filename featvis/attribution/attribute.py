"""attribute(): from a photograph and a target to a map."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from featvis.attribution.by_captum import baseline_of
from featvis.attribution.grad_cam import cam_layer
from featvis.attribution.measure import deletion_insertion, rank_correlation, similarity
from featvis.attribution.register import Outcome, check_options, find_method, methods
from featvis.attribution.result import Attribution
from featvis.attribution.sanity import randomized
from featvis.attribution.scoring import find_target, scored
from featvis.errors import CanvasError, FeatvisWarning, OutputError, TargetError, UserError
from featvis.models.borrow.loan import with_gradients
from featvis.models.handle import ModelHandle
from featvis.models.load import load_model
from featvis.models.photograph import Photograph, Photographs, each, is_picture, read_photograph, read_picture
from featvis.objectives.base import Objective
from featvis.photographs.framing import frame_middle, frame_whole
from featvis.photographs.photos import describe_photograph, list_files, resampling
from featvis.plan.make import AnyTarget
from featvis.results.picture import to_levels


@with_gradients
def attribute(
    model: ModelHandle | str,
    photo: Photograph,
    target: AnyTarget,
    method: str = "saliency",
    *,
    size: int | tuple[int, int] | None = None,
    curves: bool = False,
    sanity: bool = False,
    **options: Any,
) -> Attribution:
    """Say where in a photograph a target fires.

    Args:
        model: from :func:`featvis.load_model`, or a name that it takes.
        photo: a file or a PIL image; or a tensor or array ``(C, H, W)`` in [0, 1], taken at its own size.
        target: an address of one unit (``blocks.3:5``, ``blocks.3:5@4,6``, ``classifier:tabby``) or an
            objective (``fv.direction("blocks.3", vector)``, a sum).
        method: its name; ``featvis attribute --help`` lists those that there are.
        size: the canvas of a file or PIL image, a side or (height, width), filled from the photograph's
            middle; by default the whole photograph, its shorter side as the network's input.
        curves: measure deletion and insertion too (Petsiuk et al. 2018).
        sanity: compare the map with those of networks with randomized layers (Adebayo et al. 2018).
        options: the method's own: the keyword parameters of its function.

    Returns:
        The map ``(H, W)``, its numbers, and the photograph as the network was shown it. Of a signal it is a
        row ``(1, T)``; of a video one map for all frames, their sum where the method is signed.

    Raises:
        RecipeError: an unknown method or option, or a value out of range.
        TargetError: the target names no unit, or more than one.
        CanvasError: the photograph has other channels, or values beyond [0, 1].
        OutputError: the photograph cannot be read.
        ModelError: a package that the method needs is not installed.

    >>> import featvis as fv, torch
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
    >>> model = fv.load_model(network, mean=(0.5,) * 3, std=(0.5,) * 3, input_size=16)
    >>> where = fv.attribute(model, torch.rand(3, 16, 16), "0:2", "lrp")
    >>> where.values.shape, where.signed
    ((16, 16), True)
    """
    given = check_options([method], options)
    entry = methods()[method]
    function = find_method(method)  # before anything is computed
    model = load_model(model)
    levels = photo_levels(model, photo, size)
    image = torch.from_numpy(levels)[None].float().to(model.device) / 255
    canvas = (image.shape[2], image.shape[3])
    objective, name = find_target(model, target, canvas)
    run = partial(
        _run, objective=objective, image=image, function=function, options={**entry.options, **given}
    )
    outcome, score = run(model, curves=curves)
    values = outcome.values
    warning = outcome.warning
    if not bool(values.any()):
        warning = f"the map of {name} is 0 everywhere; it does not respond to this photograph"
    if warning:
        warnings.warn(FeatvisWarning(f"{method}: {warning}"), stacklevel=2)
    attribution = Attribution(
        method,
        name,
        model.name,
        values.cpu().numpy(),
        levels,
        score,
        str(getattr(objective, "label", "")),
        outcome.numbers,
        signed=entry.signed,
        full_scale=entry.full_scale,
        about=describe_photograph(Path(photo)) if isinstance(photo, str | Path) else {},
    )
    if sanity:
        for stage in randomized(model, objective.layers, image):
            changed = run(stage.model)[0].values
            attribution.sanity.append(
                {
                    "randomized": len(stage.layers),
                    "down_to": stage.layers[-1],
                    "rank_correlation": rank_correlation(values.abs(), changed.abs()),
                    "ssim": similarity(values.abs(), changed.abs()),
                }
            )
    return attribution


def photo_levels(
    model: ModelHandle, photo: Photograph, size: int | tuple[int, int] | None
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return what the network will be shown of a photograph, ``(C, H, W)``."""
    if not is_picture(photo):
        image = read_photograph(photo, model.channels)
        if size is not None:
            raise OutputError("size is for photographs from files; a tensor is taken as it is")
        return to_levels(image)
    if isinstance(photo, str | Path) and not Path(photo).is_file():
        raise OutputError(f"no photograph {str(photo)!r}")
    try:
        read = read_picture(photo, model.channels)
    except OutputError:
        what = "the PIL image" if isinstance(photo, Image.Image) else photo
        raise OutputError(f"{what} is no readable photograph") from None
    how = resampling(model.interpolation)
    whole_size = (read.height, read.width)
    if size is not None:
        canvas = (size, size) if isinstance(size, int) else size
        model.at(canvas)
        return frame_middle(whole_size, canvas).lay(read, how)
    whole = frame_whole(whole_size, min(model.input_size))
    try:
        model.at(whole.canvas)
    except CanvasError:
        return frame_middle(whole_size, model.input_size).lay(read, how)
    return whole.lay(read, how)


def photo_images(
    model: ModelHandle, photographs: Photographs, size: int | tuple[int, int] | None
) -> list[Tensor]:
    """Return photographs as the network will be shown them, ``(C, H, W)`` in [0, 1].

    Raises:
        OutputError: a folder that is not there, or nothing in it that can be read.
    """
    if isinstance(photographs, str | Path):
        folder = Path(photographs)
        if not folder.is_dir():
            raise OutputError(f"no folder of photographs {str(folder)!r}")
        images = []
        for name in list_files(folder).names:
            with suppress(OutputError):  # no photograph
                images.append(torch.from_numpy(photo_levels(model, folder / name, size)).float() / 255)
    else:
        images = [
            torch.from_numpy(photo_levels(model, one, size)).float() / 255
            if is_picture(one)
            else read_photograph(one, model.channels)
            for one in each(photographs)
        ]
    if not images:
        where = f"in {photographs}" if isinstance(photographs, str | Path) else "was given"
        raise OutputError(f"no photograph {where}")
    return images


def _run(
    model: ModelHandle,
    objective: Objective,
    image: Tensor,
    function: Callable[..., Outcome],
    options: dict[str, Any],
    curves: bool = False,
) -> tuple[Outcome, float]:
    canvas = (image.shape[2], image.shape[3])
    also: tuple[str, ...] = ()
    if "layer" in options:
        also = (cam_layer(model.at(canvas), objective.layers, options["layer"]).name,)
        options = {**options, "layer": also[0]}
    with scored(model, objective, canvas, also) as score:
        value = float(score.values(image))
        outcome = function(score, image, **options)
        values = outcome.values.detach().float()
        numbers = outcome.numbers
        if tuple(values.shape) != canvas:
            raise UserError(
                f"a method returns a map (height, width), here {canvas}; {function.__name__}() returned "
                f"{tuple(values.shape)}"
            )
        if not bool(torch.isfinite(values).all()):
            raise TargetError(f"the map of {objective.describe()} is not finite on this photograph")
        if curves:
            filler = baseline_of(score, image, "mean")
            blurred = baseline_of(score, image, "blur")
            lost, gained = deletion_insertion(score, image, values, filler, blurred)
            numbers = {**numbers, "deletion": lost, "insertion": gained}
        return Outcome(values, numbers, outcome.warning), value
