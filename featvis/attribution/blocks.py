"""Building blocks: which units of a layer speak for a target, at each place of a photograph.

Olah et al. 2018, "The Building Blocks of Interpretability": a unit at a place contributes its activation
times the gradient of the score with respect to it. That is exact where the score is linear in the layer,
and the first-order part elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from featvis.attribution.attribute import photo_levels
from featvis.attribution.result import Attribution, png
from featvis.attribution.scoring import find_target, scored
from featvis.errors import OutputError, TargetError
from featvis.models.borrow.loan import with_gradients
from featvis.models.handle import ModelHandle
from featvis.models.photograph import Photograph
from featvis.plan.make import AnyTarget
from featvis.read import open_image
from featvis.results.manifest import read_manifest
from featvis.results.sheets import make_sheet
from featvis.spec.same import SameByValue

_CELL = 48
"""Least side of a place on the sheet, in pixels."""


@dataclass(frozen=True, repr=False, eq=False)
class Blocks(SameByValue):
    """What each unit of a layer contributes to a target's score at each place of a photograph."""

    layer: str
    target: str
    model: str
    contributions: NDArray[np.float32]
    """``(units, rows, columns)``."""
    photo: NDArray[np.uint8]
    score: float
    activations: NDArray[np.float32]
    """``(units, rows, columns)``."""
    gradients: NDArray[np.float32]
    """Of the score with respect to the activations, ``(units, rows, columns)``."""
    reads: tuple[str, ...]
    """The layers that the target reads."""

    def __repr__(self) -> str:
        units = ", ".join(f"{unit}: {value:+.3g}" for unit, value in self.strongest(3))
        return f"Blocks({self.layer!r} for {self.target!r}, score {self.score:.4g}, strongest {units})"

    def _repr_png_(self) -> bytes:
        return png(self.sheet())

    def strongest(self, count: int = 8) -> list[tuple[int, float]]:
        """Return the units that contribute most over the photograph, with what they contribute."""
        totals = self.contributions.sum((1, 2), dtype=np.float64)
        order = np.argsort(-totals, kind="stable")[:count]
        return [(int(unit), float(totals[unit])) for unit in order]

    def places(self) -> list[list[tuple[int, float]]]:
        """Return for each row and column of the map the unit that contributes most, and how much."""
        best = self.contributions.argmax(0)
        return [
            [(int(unit), float(self.contributions[unit, row, column])) for column, unit in enumerate(units)]
            for row, units in enumerate(best)
        ]

    def to_json(self, count: int = 8) -> dict[str, Any]:
        """Return the numbers, ready for JSON."""
        return {
            **{name: getattr(self, name) for name in ("model", "layer", "target", "score")},
            "sum": float(self.contributions.sum(dtype=np.float64)),
            "units": [{"unit": unit, "contribution": value} for unit, value in self.strongest(count)],
            "places": [
                [{"unit": unit, "contribution": value} for unit, value in row] for row in self.places()
            ],
        }

    def sheet(self, count: int = 8, icons: Mapping[int, Image.Image] | None = None) -> Image.Image:
        """Return a picture: the best unit of each place, and below where each of the strongest units is.

        A unit without a picture in ``icons`` is shown by its number.
        """
        icons = icons or {}
        _, rows, columns = self.contributions.shape
        height, width = self.photo.shape[1:]
        scale = max(1.0, _CELL * rows / height, _CELL * columns / width)
        size = (round(width * scale), round(height * scale))
        grey = Image.fromarray(self.photo.transpose(1, 2, 0) if len(self.photo) == 3 else self.photo[0])
        shown = grey.convert("L").convert("RGB").resize(size, Image.Resampling.BICUBIC)
        self._draw_places(shown, icons)
        strongest = self.strongest(count)
        tiles = [self._tile(unit, icons.get(unit), _CELL * 3) for unit, _ in strongest]
        across = max(1, shown.width // (tiles[0].width + 6))
        below = make_sheet(tiles, [(f"{unit}: {value:+.3g}",) for unit, value in strongest], across)
        size = (max(shown.width, below.width), shown.height + below.height)
        sheet = Image.new("RGB", size, (255, 255, 255))
        sheet.paste(shown, (0, 0))
        sheet.paste(below, (0, shown.height))
        return sheet

    def _draw_places(self, shown: Image.Image, icons: Mapping[int, Image.Image]) -> None:
        _, rows, columns = self.contributions.shape
        draw, font = ImageDraw.Draw(shown), ImageFont.load_default(11)
        places = self.places()
        most = max((value for row in places for _, value in row), default=0.0)
        for row, line in enumerate(places):
            for column, (unit, value) in enumerate(line):
                if value <= 0 or most <= 0:
                    continue
                top, bottom = (round(n * shown.height / rows) for n in (row, row + 1))
                left, right = (round(n * shown.width / columns) for n in (column, column + 1))
                # The area of a picture is what its unit contributes here.
                share = (value / most) ** 0.5
                tall, wide = max(1, round((bottom - top) * share)), max(1, round((right - left) * share))
                corner = ((left + right - wide) // 2, (top + bottom - tall) // 2)
                if unit in icons:
                    shown.paste(icons[unit].convert("RGB").resize((wide, tall)), corner)
                else:
                    end = (corner[0] + wide - 1, corner[1] + tall - 1)
                    draw.rectangle((*corner, *end), outline=(237, 105, 37))
                    middle = ((left + right) // 2, (top + bottom) // 2)
                    draw.text(middle, str(unit), fill=(255, 220, 120), font=font, anchor="mm")

    def _tile(self, unit: int, icon: Image.Image | None, side: int) -> Image.Image:
        """Return where one unit contributes, beside its picture if there is one."""
        height, width = self.photo.shape[1:]
        where = torch.from_numpy(self.contributions[unit])[None, None]
        fine = torch.nn.functional.interpolate(where, (height, width), mode="bilinear", align_corners=False)
        overlay = Attribution("grad-cam", self.target, self.model, fine[0, 0].numpy(), self.photo, self.score)
        tall = round(side * height / width)
        tile = Image.new("RGB", (side + (tall + 2 if icon is not None else 0), tall), (255, 255, 255))
        tile.paste(overlay.overlay.resize((side, tall)), (tile.width - side, 0))
        if icon is not None:
            tile.paste(icon.convert("RGB").resize((tall, tall)), (0, 0))
        return tile


@with_gradients
def find_blocks(
    model: ModelHandle,
    photo: Photograph,
    target: AnyTarget,
    layer: str,
    *,
    size: int | tuple[int, int] | None = None,
) -> Blocks:
    """Say what each unit of a layer contributes to a target's score at each place of a photograph.

    A unit's contribution at a place is its activation times the gradient of the score (Olah et al. 2018).

    Args:
        model, photo, target, size: as for :func:`featvis.attribute`.
        layer: one that gives a map and runs before the target's.

    Returns:
        The contributions ``(units, rows, columns)``, with the photograph and the score.

    Raises:
        TargetError: the layer gives no map, or does not lead to the target.

    >>> import featvis as fv, torch
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
    >>> model = fv.load_model(network, mean=(0.5,) * 3, std=(0.5,) * 3, input_size=16)
    >>> blocks = fv.find_blocks(model, torch.rand(3, 16, 16), "1:2", "0")
    >>> blocks.contributions.shape, [unit for unit, value in blocks.strongest(1)]
    ((4, 14, 14), [2])
    """
    levels = photo_levels(model, photo, size)
    image = torch.from_numpy(levels)[None].float().to(model.device) / 255
    canvas = (image.shape[2], image.shape[3])
    objective, name = find_target(model, target, canvas)
    network = model.at(canvas)
    info = network.layer(layer)
    if info.kind not in ("map", "map_last"):
        raise TargetError(f"building blocks are of a layer that gives a map; {layer!r} gives {info.shape}")
    if info.order > max(network.find(one).order for one in objective.layers):
        raise TargetError(f"{layer!r} runs after what {name} reads, so its units contribute nothing to it")
    with scored(model, objective, canvas, (layer,)) as score:
        watched = image.requires_grad_()
        activations = score.tap(watched)
        total = objective(activations, watched)
        (gradient,) = torch.autograd.grad(total.sum(), activations[layer], allow_unused=True)
    if gradient is None:
        raise TargetError(f"{layer!r} does not lead to {name}")
    held = activations[layer].detach()
    parts, seen, slopes = (
        one.movedim(info.axis, 1)[0].float().cpu().numpy() for one in (held * gradient, held, gradient)
    )
    score_of = float(total.detach())
    return Blocks(layer, name, model.name, parts, levels, score_of, seen, slopes, objective.layers)


def load_icons(folder: str | Path, layer: str) -> dict[int, Image.Image]:
    """Return the pictures of a layer's units that a gallery holds, by unit."""
    place = Path(folder)
    manifest = read_manifest(place) if place.is_dir() else None
    root = place.resolve()
    if manifest is None:
        raise OutputError(f"{str(folder)!r} is no gallery: it has no manifest")
    icons: dict[int, Image.Image] = {}
    for entry in manifest["pictures"]:
        unit, file = entry.get("unit"), entry.get("file")
        if entry.get("layer") != layer or unit is None or not file or unit in icons:
            continue
        path = place / file
        if entry.get("variant", "picture") == "picture" and path.resolve().is_relative_to(root):
            with suppress(OutputError), open_image(path) as opened:
                icons[unit] = opened.convert("RGB")
    if not icons:
        held = sorted({str(entry.get("layer") or "objectives") for entry in manifest["pictures"]})
        raise OutputError(f"{folder} holds no picture of {layer}; it holds {', '.join(held) or 'none'}")
    return icons
