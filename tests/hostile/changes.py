"""Changes that make a real file a hostile one: of its bytes, and of what they mean."""

from __future__ import annotations

import io
import json
import random
import re
import struct
import zipfile
import zlib
from typing import Any

VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**19, 10**400, -(10**30), 1e308, -0.0, 1e-320),
    *(float("nan"), float("inf"), float("-inf"), "", "nan", "\x00", "\x1b[2J", "\ud800", "x" * 70_000),
    *("../../../etc/passwd", "/dev/zero", "file:x.py:f", "a\nb", "9" * 5000, "seeds 0-999999999 of a:1"),
    *([], {}, [[]], [None], [1, 2], ["a"], {"name": "fourier"}, {"a": {"b": {}}}, [[1, 2], [3, 4]]),
]
"""What stands where something else is expected."""


def deep(levels: int, table: bool = False) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value} if table else [value]
    return value


def change_bytes(content: bytes, chance: random.Random) -> bytes:
    """Flip, cut, repeat or overwrite some bytes, up to eight times."""
    data = bytearray(content)
    for _ in range(chance.randint(1, 8)):
        place = chance.randrange(len(data) + 1)
        kind = chance.randrange(7)
        if kind == 0 and place < len(data):
            data[place] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del data[place:]
        elif kind == 2:
            del data[place : place + chance.randint(1, 40)]
        elif kind == 3:
            data[place:place] = bytes(chance.randrange(256) for _ in range(chance.randint(1, 40)))
        elif kind == 4:
            data[place:place] = data[place : place + chance.randint(1, 400)] * chance.randint(1, 20)
        elif kind == 5 and len(data) > 8:
            place = chance.randrange(len(data) - 8)
            data[place : place + 4] = struct.pack(">I", chance.choice([0, 1, 2**16, 2**31 - 1, 2**32 - 1]))
        elif kind == 6 and len(data) > 8:
            place = chance.randrange(len(data) - 8)
            data[place : place + 8] = struct.pack("<Q", chance.choice([0, 2**31, 2**63, 2**64 - 1, 10**12]))
    return bytes(data)


def change_json(text: str, chance: random.Random, count: int = 2) -> str:
    """Replace, remove, add or nest some values of a text in JSON."""
    data = json.loads(text)
    for _ in range(chance.randint(1, count)):
        holders = [(holder, key) for holder in _holders(data) for key in _keys(holder)]
        if not holders:
            break
        holder, key = chance.choice(holders)
        kind = chance.randrange(6)
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, dict):
            holder[chance.choice(["levels", "snapshots", "name", "\x00", "", "steps", "x" * 1000])] = holder[
                key
            ]
        elif kind == 2:
            holder[key] = deep(chance.choice([10, 80, 900]), chance.random() < 0.5)
        elif kind == 3:
            holder[key] = [holder[key]] * chance.choice([2, 1000])
        else:
            holder[key] = chance.choice(VALUES)
    return json.dumps(data)


def _holders(data: Any, depth: int = 0) -> list[Any]:
    if not isinstance(data, dict | list) or depth > 40:
        return []
    inner = data.values() if isinstance(data, dict) else data
    return [data, *(found for value in list(inner)[:200] for found in _holders(value, depth + 1))]


def _keys(holder: Any) -> list[Any]:
    return list(holder) if isinstance(holder, dict) else list(range(len(holder)))


def change_toml(text: str, chance: random.Random) -> str:
    """Replace values, add keys, or break lines of a text in TOML."""
    values = ["nan", "inf", "-inf", "1e400", "0", "-1", "true", '""', "[]", "{}", "9" * 30, "9" * 5000, "1e-320",
              "'x'", "[[1, 2], [3]]", "{name = 'phase', statistics = '/dev/zero'}", "1979-05-27", "0x7fffffff",
              "'/dev/zero'", "[{name = 'blur', sigma = 1e9}]", "'file:x.py:f'", "[" * 50 + "]" * 50,
              "'" + "x" * 9000 + "'", "{name = 'mask', inner = {name = 'mask'}}"]  # fmt: skip
    lines = text.splitlines()
    for _ in range(chance.randint(1, 3)):
        place = chance.randrange(len(lines))
        kind = chance.randrange(5)
        if kind < 3 and "=" in lines[place]:
            inside = list(re.finditer(r"= ?([^,={}\[\]]+)", lines[place]))
            found = chance.choice(inside) if inside else None
            value = chance.choice(values)
            if found is not None:
                lines[place] = lines[place][: found.start(1)] + value + lines[place][found.end(1) :]
        elif kind == 3:
            lines.insert(
                place, chance.choice(["[a.b.c]", "[[sections]]", "[[transforms]]", "x = 1", "=", "[", "\x00"])
            )
        else:
            lines[place] = lines[place][: chance.randrange(len(lines[place]) + 1)]
    return "\n".join(lines)


def png_with(content: bytes, text: str | None = None, chunks: list[tuple[bytes, bytes]] = ()) -> bytes:
    """Return a PNG with another text, and chunks added after its header; all their sums are right."""
    made, place = [content[:8]], 8
    while place < len(content):
        (length,) = struct.unpack(">I", content[place : place + 4])
        kind, data = content[place + 4 : place + 8], content[place + 8 : place + 8 + length]
        place += 12 + length
        if kind == b"tEXt" and data.startswith(b"featvis\0") and text is not None:
            data = b"featvis\0" + text.encode("latin-1", "replace")
        made.append(chunk(kind, data))
        if kind == b"IHDR":
            made += [chunk(*each) for each in chunks]
    return b"".join(made)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def text_of(content: bytes) -> str:
    """Return the text of featvis in a PNG."""
    from PIL import Image

    with Image.open(io.BytesIO(content)) as opened:
        return opened.info["featvis"]


def change_png(content: bytes, chance: random.Random) -> bytes:
    if chance.random() < 0.3:
        return change_bytes(content, chance)
    return png_with(content, change_json(text_of(content), chance))


def change_safetensors(content: bytes, chance: random.Random) -> bytes:
    """Change the table at its beginning, or bytes."""
    (length,) = struct.unpack("<Q", content[:8])
    if chance.random() < 0.4:
        return change_bytes(content, chance)
    header = change_json(content[8 : 8 + length].decode(), chance).encode()
    return struct.pack("<Q", len(header)) + header + content[8 + length :]


def change_zip(content: bytes, chance: random.Random) -> bytes:
    """Change one member of a ZIP file, for instance a checkpoint's pickle, or bytes."""
    if chance.random() < 0.3:
        return change_bytes(content, chance)
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(made, "w") as new:
        names = old.namelist()
        changed = chance.choice([name for name in names if name.endswith("data.pkl")] * 3 + names)
        for name in names:
            data = old.read(name)
            new.writestr(name, change_bytes(data, chance) if name == changed else data)
    return made.getvalue()
