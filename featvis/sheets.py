"""A labelled grid of pictures; dead units are said to be dead, never shown as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from featvis.errors import UserError
from featvis.pictures import Picture

_GAP = 6
_PAPER, _INK, _FAINT = (255, 255, 255), (32, 32, 32), (208, 208, 208)


def grid(
    pictures: Sequence[Picture], columns: int | None = None, *, captions: bool = True, title: str = ""
) -> Image.Image:
    """Put pictures side by side, each under its caption, at their own resolution.

    Args:
        pictures: of any sizes; each cell has the largest's.
        columns: how many; by default about as wide as high, at most 8.
        captions: unit, class name and score under each picture.
        title: a line above.

    Raises:
        UserError: no pictures, or columns below 1.
    """
    if not pictures:
        raise UserError("a grid needs at least one picture")
    if columns is not None and columns < 1:
        raise UserError(f"a grid has at least one column, got {columns}")
    count = columns or min(8, math.ceil(math.sqrt(len(pictures))))
    tiles = [picture.pil.convert("RGB") for picture in pictures]
    width = max(tile.width for tile in tiles)
    height = max(tile.height for tile in tiles)
    letter = max(10, min(16, width // 11))
    font = ImageFont.load_default(letter)
    strip = (2 * letter + 8) if captions else 0
    top = (letter + 14) if title else 0
    rows = math.ceil(len(tiles) / count)
    sheet = Image.new(
        "RGB",
        (count * (width + _GAP) + _GAP, top + rows * (height + strip + _GAP) + _GAP),
        _PAPER,
    )
    draw = ImageDraw.Draw(sheet)
    if title:
        draw.text((_GAP, _GAP), title, fill=_INK, font=font)
    for place, (picture, tile) in enumerate(zip(pictures, tiles, strict=True)):
        left = _GAP + place % count * (width + _GAP)
        upper = top + _GAP + place // count * (height + strip + _GAP)
        if picture.status == "dead":
            _draw_dead(draw, (left, upper, left + width, upper + height), font)
        else:
            sheet.paste(tile, (left, upper))
        if captions:
            for line, text in enumerate(_caption(picture)):
                shown = _shorten(text, width, font)
                draw.text((left, upper + height + 2 + line * (letter + 2)), shown, fill=_INK, font=font)
    return sheet


def _caption(picture: Picture) -> tuple[str, str]:
    name = picture.target if picture.unit is None else str(picture.unit)
    if "@" in picture.target and picture.unit is not None:
        name += "@" + picture.target.rpartition("@")[2]
    if picture.label:
        name += " " + picture.label.partition(",")[0]
    if picture.seed:
        name += f" seed {picture.seed}"
    return name, "dead" if picture.status == "dead" else f"{picture.start_score:.2g} to {picture.score:.3g}"


def _draw_dead(
    draw: ImageDraw.ImageDraw,
    box: tuple[int, int, int, int],
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
) -> None:
    left, top, right, bottom = box
    draw.rectangle((left, top, right - 1, bottom - 1), fill=_PAPER, outline=_FAINT)
    draw.line((left, top, right, bottom), fill=_FAINT)
    draw.line((left, bottom, right, top), fill=_FAINT)
    draw.text(((left + right) // 2, (top + bottom) // 2), "dead", fill=_INK, font=font, anchor="mm")


def _shorten(text: str, width: int, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
