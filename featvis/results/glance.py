"""A picture's file looked over: whether each byte is as it was written, and what it says. Nothing is decoded.

A folder of 100,000 pictures is gone through at every start: decoding would take minutes of it.
"""

from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path
from typing import Any

from featvis.errors import OutputError
from featvis.read import IMAGE_BYTES, read_file
from featvis.results.picture import CHUNK, read_content

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ENDS = 12
"""Bytes of a chunk beside its data: its length, its kind, its checksum."""


def glance(path: Path) -> dict[str, Any] | None:
    """Return what a finished picture's PNG says of itself, without decoding it.

    Args:
        path: the file.

    Returns:
        The fields of its text, with its ``status``; None if the file is not there, torn or changed, or is
        not as featvis writes it: :func:`featvis.load_picture` then says why, or reads it.

    >>> import featvis as fv, tempfile, torch
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3))
    >>> model = fv.load_model(network, mean=(0.5,) * 3, std=(0.5,) * 3, input_size=16)
    >>> (picture,) = fv.render(model, "0:1", size=16, steps=1, transforms=[], lanes=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = picture.save(f"{folder}/unit.png")
    ...     whole = glance(path)["key"] == picture.key
    ...     _ = path.write_bytes(path.read_bytes()[:-1])
    ...     whole, glance(path)
    (True, None)
    """
    try:
        content = read_content(_text(read_file(path, IMAGE_BYTES)))
        numbers = [content["score"], content["start_score"], *content["trace"]]
        if not all(map(math.isfinite, numbers)):  # earlier versions called it ok
            return None
    except (OutputError, ValueError, KeyError, TypeError, OverflowError, struct.error):
        return None
    return {"status": "ok", **content}


def _text(png: bytes) -> str:
    """Return the text of a PNG; ValueError if a checksum is not that of its chunk, or it is none of ours."""
    if not png.startswith(_SIGNATURE):
        raise ValueError("no PNG")
    view, place = memoryview(png), len(_SIGNATURE)
    kinds: list[bytes] = []
    found: list[str] = []
    while not kinds or kinds[-1] != b"IEND":
        length, kind = struct.unpack_from(">I4s", png, place)
        end = place + _ENDS + length
        if (zlib.crc32(view[place + 4 : end - 4]),) != struct.unpack_from(">I", png, end - 4):
            raise ValueError("a chunk is damaged")
        kinds.append(kind)
        if kind in (b"tEXt", b"iTXt"):
            name, _, rest = png[place + 8 : end - 4].partition(b"\0")
            if name == CHUNK.encode():
                found.append(_plain(kind, rest))
        place = end
    if kinds[0] != b"IHDR" or b"IDAT" not in kinds or place != len(png) or len(found) != 1:
        raise ValueError("not as featvis writes it")
    return found[0]


def _plain(kind: bytes, content: bytes) -> str:
    if kind == b"tEXt":
        return content.decode("latin-1")
    compressed, _, rest = content[0], content[1], content[2:]
    if compressed:
        raise ValueError("not as featvis writes it")
    return rest.split(b"\0", 2)[2].decode("utf-8")
