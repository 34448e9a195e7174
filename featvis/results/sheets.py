"""Sheets of images, each over its caption; dead and failed ones are said to be so, never shown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from featvis.errors import UserError
from featvis.results.frames import Frame, each_frame
from featvis.results.picture import Picture

_GAP = 6
_LONGEST = 400
"""Characters of a line; a name that came from a file may have millions."""
_SMALL, _READABLE = 48, 96
"""Tiles of less than so many pixels are enlarged to at least so many."""
_PAPER, _INK, _FAINT = (255, 255, 255), (32, 32, 32), (208, 208, 208)


def grid(
    pictures: Frame | Iterable[Frame],
    columns: int | None = None,
    *,
    captions: bool = True,
    title: str = "",
    cell: int | None = None,
    by_layer: bool = False,
) -> Image.Image:
    """Put pictures side by side, each under its caption, at their own resolution.

    With captions, pictures that are too small for them are enlarged by a whole number.

    Args:
        pictures: of any sizes; each cell has the largest's. Files, PIL images, and tensors or arrays
            ``(C, H, W)`` in [0, 1] or of 8-bit levels are shown, too, without captions.
        columns: how many; by default about as wide as high, at most 8 (16 on a contact sheet).
        captions: unit, class name and score under each picture.
        title: a line above.
        cell: for a contact sheet, the longest side of each picture in pixels: larger ones are shrunk.
        by_layer: begin a new strip, under the layer's name, with each layer.

    Returns:
        An RGB image, which notebooks show and ``save`` writes.

    Raises:
        CanvasError: an image of other channels than 1 or 3, or beyond [0, 1].
        UserError: no pictures, or columns or cell below 1.

    >>> import featvis as fv, torch
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3))
    >>> model = fv.load_model(network, mean=(0.5,) * 3, std=(0.5,) * 3, input_size=16)
    >>> pictures = fv.render(model, "0:0:4", size=16, steps=1, transforms=[], lanes=4)
    >>> fv.grid(pictures, columns=4, captions=False).size
    (94, 28)
    """
    shown = list(each_frame(pictures, "an image of a grid"))
    if not shown:
        raise UserError("a grid needs at least one picture")
    if columns is not None and columns < 1:
        raise UserError(f"a grid has at least one column, got {columns}")
    if cell is not None and cell < 1:
        raise UserError(f"the pictures of a grid have at least one pixel, got {cell}")
    if by_layer:
        layers: dict[str, list[Frame]] = {}
        for picture, levels in shown:
            name = "images" if picture is None else picture.layer or "objectives"
            layers.setdefault(name, []).append(levels if picture is None else picture)
        return make_strips(layers, columns, captions=captions, title=title, cell=cell)
    count = columns or min(8 if cell is None else 16, math.ceil(math.sqrt(len(shown))))
    captions = captions and any(picture is not None for picture, _ in shown)
    tiles = [_shrunk(_tile(picture, levels), cell) for picture, levels in shown]
    return make_sheet(
        _enlarged(tiles, cell) if captions else tiles,
        [("", "") if picture is None else _caption(picture) for picture, _ in shown] if captions else (),
        count,
        title=title,
        crossed={
            place: picture.status
            for place, (picture, _) in enumerate(shown)
            if picture is not None and not picture.is_one
        },
    )


def make_sheet(
    tiles: Sequence[Image.Image],
    captions: Sequence[Sequence[str]],
    columns: int,
    *,
    title: str = "",
    crossed: Mapping[int, str] | None = None,
) -> Image.Image:
    """Put images side by side, row by row, each over its caption's lines; none of them is scaled.

    Each cell has the largest image's size; a line that is too long is cut; ``crossed`` are the places of
    those that are crossed out instead, each with what is written there.
    """
    title, crossed = title[:_LONGEST], crossed or {}
    width, height = max(tile.width for tile in tiles), max(tile.height for tile in tiles)
    letter = max(10, min(16, width // 11))
    font = ImageFont.load_default(letter)
    strip = len(captions[0]) * (letter + 2) + 4 if captions else 0
    top = (letter + 14) if title else 0
    rows = math.ceil(len(tiles) / columns)
    across = max(columns * (width + _GAP), math.ceil(font.getlength(title)) + _GAP) + _GAP
    sheet = Image.new("RGB", (across, top + rows * (height + strip + _GAP) + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, _GAP), title, fill=_INK, font=font)
    for place, tile in enumerate(tiles):
        left = _GAP + place % columns * (width + _GAP)
        upper = top + _GAP + place // columns * (height + strip + _GAP)
        if place in crossed:
            _cross_out(draw, crossed[place], (left, upper, left + width, upper + height), font)
        else:
            sheet.paste(tile.convert("RGB"), (left, upper))
        for line, text in enumerate(captions[place] if captions else ()):
            shown = _shorten(text, width, font)
            draw.text((left, upper + height + 2 + line * (letter + 2)), shown, fill=_INK, font=font)
    return sheet


def make_strips(
    groups: Mapping[str, Sequence[Frame]],
    columns: int | None = None,
    *,
    captions: bool = True,
    title: str = "",
    cell: int | None = None,
) -> Image.Image:
    """Put a grid of each group below the one before, under the group's name; the rest is as for grid."""
    wide = columns or min(16, max(map(len, groups.values())))
    sheets = [grid(group, wide, captions=captions, title=name, cell=cell) for name, group in groups.items()]
    top = 30 if title else 0
    size = (max(sheet.width for sheet in sheets), top + sum(sheet.height for sheet in sheets))
    whole = Image.new("RGB", size, _PAPER)
    ImageDraw.Draw(whole).text((_GAP, _GAP), title, fill=_INK, font=ImageFont.load_default(16))
    for sheet in sheets:
        whole.paste(sheet, (0, top))
        top += sheet.height
    return whole


def _tile(picture: Picture | None, levels: NDArray[np.uint8]) -> Image.Image:
    if picture is None:
        return Image.fromarray(levels[0] if len(levels) == 1 else levels.transpose(1, 2, 0)).convert("RGB")
    # A dead or failed one has no picture to show; its cell is as large as its file would be.
    shown = picture.view if picture.is_one else picture.pil
    if shown.mode in ("RGBA", "LA"):  # over mid-grey, as it was scored
        shown = Image.alpha_composite(Image.new("RGBA", shown.size, (128, 128, 128)), shown.convert("RGBA"))
    return shown.convert("RGB")


def _shrunk(tile: Image.Image, cell: int | None) -> Image.Image:
    if cell is None or max(tile.size) <= cell:
        return tile
    size = tuple(max(1, round(side * cell / max(tile.size))) for side in tile.size)
    return tile.resize((size[0], size[1]), Image.Resampling.LANCZOS)


def _enlarged(tiles: Sequence[Image.Image], cell: int | None) -> list[Image.Image]:
    """Enlarge tiles that no caption fits under, all by one whole number, every pixel a square."""
    side = max(max(tile.size) for tile in tiles)
    times = 1 if side >= _SMALL else math.ceil(_READABLE / side)
    times = times if cell is None else max(1, min(times, cell // side))
    return [
        tile.resize((tile.width * times, tile.height * times), Image.Resampling.NEAREST) for tile in tiles
    ]


def _caption(picture: Picture) -> tuple[str, str]:
    name = picture.target if picture.unit is None else str(picture.unit)
    if "@" in picture.target and picture.unit is not None:
        name += "@" + picture.target.rpartition("@")[2]
    if picture.label:
        name += " " + picture.label.partition(",")[0]
    if picture.variant != "picture":
        name += f" {picture.variant}"
    if picture.seed:
        name += f" seed {picture.seed}"
    return name, f"{picture.start_score:.2g} to {picture.score:.3g}" if picture.is_one else picture.status


def _cross_out(
    draw: ImageDraw.ImageDraw,
    word: str,
    box: tuple[int, int, int, int],
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
) -> None:
    left, top, right, bottom = box
    draw.rectangle((left, top, right - 1, bottom - 1), fill=_PAPER, outline=_FAINT)
    draw.line((left, top, right, bottom), fill=_FAINT)
    draw.line((left, bottom, right, top), fill=_FAINT)
    draw.text(((left + right) // 2, (top + bottom) // 2), word, fill=_INK, font=font, anchor="mm")


def _shorten(text: str, width: int, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    text = text[:_LONGEST]
    if font.getlength(text) <= width:
        return text
    # Halving: a letter at a time is measured twenty times as often, for each of a thousand captions.
    kept, gone = 0, len(text)
    while gone - kept > 1:
        middle = (kept + gone) // 2
        kept, gone = (middle, gone) if font.getlength(text[:middle] + "…") <= width else (kept, middle)
    return text[:kept] + "…"
