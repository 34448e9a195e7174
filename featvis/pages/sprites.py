"""Many small pictures in one image: what a page of a thousand cells asks for at once."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

from PIL import Image

MOST = 16383
"""The longest side of a WebP image."""


def columns_of(count: int) -> int:
    """Return how many tiles lie in a row of a sprite of so many.

    >>> columns_of(1), columns_of(10), columns_of(400)
    (1, 4, 20)
    """
    return max(1, math.ceil(math.sqrt(count)))


def make_sprite(tiles: Sequence[Image.Image | None], side: int, quality: int = 82) -> bytes:
    """Return a WebP with the tiles row by row, each so many pixels wide and high; None leaves grey.

    >>> content = make_sprite([Image.new("RGB", (8, 8), "red"), None], 4)
    >>> content[:4], content[8:12]
    (b'RIFF', b'WEBP')
    """
    columns = columns_of(len(tiles))
    rows = max(1, math.ceil(len(tiles) / columns))
    side = min(side, MOST // max(columns, rows))
    sprite = Image.new("RGB", (columns * side, rows * side), (128, 128, 128))
    for place, tile in enumerate(tiles):
        if tile is not None:
            shown = tile.convert("RGB")
            if shown.size != (side, side):
                shown = shown.resize((side, side), Image.Resampling.LANCZOS)
            sprite.paste(shown, (place % columns * side, place // columns * side))
    return encode_webp(sprite, quality)


def encode_webp(image: Image.Image, quality: int = 82) -> bytes:
    """Return an image's WebP file.

    >>> encode_webp(Image.new("RGB", (3, 2)))[8:12]
    b'WEBP'
    """
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "WEBP", quality=quality, method=4)
    return buffer.getvalue()
