"""Pictures made of photographs: how one is laid on a canvas, rendered, and saved with what it was made of."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from featvis.errors import OutputError, RecipeError, UserError
from featvis.files import to_bytes, write_whole
from featvis.models.borrow.loan import with_gradients
from featvis.models.handle import ModelHandle
from featvis.objectives.base import Objective
from featvis.photographs.framing import Frame, frame_middle
from featvis.photographs.photos import read_photo, resampling
from featvis.results.picture import Picture, load_picture, to_levels
from featvis.run.prepare import prepare
from featvis.run.render import run_plan
from featvis.spec.recipe import Recipe

Size = tuple[int, int]

LONGEST = 384
"""Pixels on the longer side of a photograph whose canvas nobody asked for."""
SMALLEST = 48
"""Pixels that the shorter side of an octave has at least; below, networks see hardly anything."""


@dataclass(frozen=True)
class Redrawn:
    """A picture of a photograph, and where it lies."""

    picture: Picture
    path: Path
    anew: bool
    """Whether it was rendered now; otherwise the file was there already."""
    correlation: float
    """Pearson's, of its 8-bit levels with the photograph's."""


def lay_photograph(model: ModelHandle, path: str | Path, size: Size | None = None) -> Tensor:
    """Read a photograph as ``(C, H, W)`` in [0, 1], 8-bit levels over 255.

    Args:
        model: whose number of channels and way of resizing it gets.
        path: the file; it is turned upright as the camera noted.
        size: the canvas, filled from the photograph's middle; by default the whole photograph, shrunk to
            :data:`LONGEST` pixels where it is longer.

    Raises:
        OutputError: no file, no readable image, or a number of channels that photographs do not have.
    """
    if model.channels not in (1, 3):
        raise OutputError(f"a photograph has 1 or 3 channels, {model.name} takes {model.channels}")
    if not Path(path).is_file():
        raise OutputError(f"no photograph {str(path)!r}")
    read = read_photo(Path(path), model.channels, say=True)
    if read is None:
        raise OutputError(f"{path} is no readable photograph")
    own = (read.height, read.width)
    if size is None:
        share = min(1.0, LONGEST / max(own))
        canvas = (max(1, round(own[0] * share)), max(1, round(own[1] * share)))
        frame = Frame(own, canvas, 0, 0, own[0], own[1])
    else:
        frame = frame_middle(own, size)
    return torch.from_numpy(frame.lay(read, resampling(model.interpolation))).float() / 255


def octaves(size: Size, count: int, scale: float = 1.4) -> list[tuple[Size, float]]:
    """Return the stages of a run over octaves: smaller canvases first, an equal share of the steps on each.

    Args:
        size: the whole canvas, the last octave.
        count: how many; those whose shorter side would be below :data:`SMALLEST` are left out.
        scale: how much longer the sides of each are than those of the one before.

    Raises:
        RecipeError: less than one octave, or a scale of 1 or less.

    >>> octaves((160, 224), 3, 1.4)
    [((82, 114), 0.3333333333333333), ((114, 160), 0.6666666666666666)]
    """
    if count < 1 or not scale > 1:
        raise RecipeError(f"octaves: at least 1, each more than 1 times as large; got {count} and {scale}")
    smaller = [(round(size[0] / scale**n), round(size[1] / scale**n)) for n in range(count - 1, 0, -1)]
    kept = [canvas for canvas in smaller if min(canvas) >= SMALLEST]
    return [(canvas, (place + 1) / (len(kept) + 1)) for place, canvas in enumerate(kept)]


@with_gradients
def redraw(
    model: ModelHandle,
    objective: Objective,
    path: Path,
    photograph: Tensor,
    *,
    recipe: Recipe,
    seed: int = 0,
    start: Tensor | None = None,
    about: dict[str, Any] | None = None,
    report: Callable[[], Any] | None = None,
) -> Redrawn:
    """Render one picture of a photograph; a JSON file beside it says what it was made of.

    If the file is that very picture already, by its key, nothing is rendered. If it is something else, the
    picture goes beside it, to ``<name>-<first digits of its key>.png``.

    Args:
        model: the network.
        objective: what is climbed.
        path: the PNG, where nothing else lies there.
        photograph: ``(C, H, W)`` in [0, 1]; its size is the canvas.
        recipe: whose size is replaced by the canvas.
        seed: of the picture's random numbers.
        start: the image to start from; by default noise.
        about: what else the JSON file says.
        report: makes what shows the run's progress, a context.

    Raises:
        UserError: anything wrong in what was asked, before any compute; or a score that is not finite.
    """
    size = (int(photograph.shape[1]), int(photograph.shape[2]))
    prepared = prepare(model, objective, recipe=recipe.but(size=size), seed=seed, start=start)
    (wanted,) = prepared.plan.wanted
    path, picture = _place(path, wanted.key(prepared.plan.weights))
    anew = picture is None
    if picture is None:
        with report() if report is not None else nullcontext() as shown:
            picture = next(run_plan(prepared, report=shown))
        if picture.status == "failed":
            raise UserError(f"{picture.target} gives no picture: {picture.reason}")
        picture.save(path)
    alike = correlation(picture.image, photograph)
    entry = {
        **(about or {}),
        "canvas": list(size),
        "correlation": round(alike, 4),
        "model": picture.model,
        "start": picture.recipe.get("start"),
        **picture.entry(path.name),
        "recipe": picture.recipe,
    }
    beside = path.with_name(f"{path.stem}.json")
    if anew or not beside.is_file():
        write_whole(beside, to_bytes(json.dumps(entry, indent=1, ensure_ascii=False) + "\n"))
    return Redrawn(picture, path, anew, alike)


def correlation(image: Tensor, other: Tensor) -> float:
    """Return Pearson's correlation of all values of two images, 0 where one of them is uniform."""
    first, second = (values.flatten().double() - values.double().mean() for values in (image, other))
    size = float(first.norm() * second.norm())
    return float(first @ second) / size if size else 0.0


def as_image(image: Tensor) -> Image.Image:
    """Return an image ``(C, H, W)`` in [0, 1] as Pillow's."""
    levels = to_levels(image)
    return Image.fromarray(levels[0] if levels.shape[0] == 1 else levels.transpose(1, 2, 0).copy())


def _place(path: Path, key: str) -> tuple[Path, Picture | None]:
    """Return where a picture of this key lies or may be written, and the picture if it is there."""
    there = _read(path)
    if path.exists() and (there is None or key not in (there.key, there.asked_key)):
        path = path.with_name(f"{path.stem}-{key[:8]}.png")
        there = _read(path)
    if there is None or key not in (there.key, there.asked_key) or there.status in ("stopped", "failed"):
        return path, None
    return path, there


def _read(path: Path) -> Picture | None:
    try:
        return load_picture(path)
    except OutputError:
        return None
