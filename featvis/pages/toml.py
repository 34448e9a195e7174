"""A recipe as the TOML file that ``--recipe`` takes."""

from __future__ import annotations

import json
import re
from typing import Any

_BARE = re.compile(r"^[A-Za-z0-9_-]+$")


def to_toml(table: dict[str, Any]) -> str:
    """Write plain data as TOML; what is None is left out, for TOML has no word for it.

    >>> print(to_toml({"size": [64, 64], "start": None, "space": {"name": "pixel"}}))
    size = [64, 64]
    <BLANKLINE>
    [space]
    name = "pixel"
    """
    lines, tables = [], []
    for key, value in table.items():
        if isinstance(value, dict):
            tables.append([f"[{_key(key)}]", *_lines(value)])
        elif isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
            tables.extend([f"[[{_key(key)}]]", *_lines(one)] for one in value)
        elif value is not None:
            lines.append(f"{_key(key)} = {_value(value)}")
    blocks = ["\n".join(block) for block in ([lines] if lines else []) + tables]
    return "\n\n".join(blocks)


def _lines(table: dict[str, Any]) -> list[str]:
    return [f"{_key(key)} = {_value(value)}" for key, value in table.items() if value is not None]


def _key(key: str) -> str:
    return key if _BARE.match(key) else _string(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list):
        return "[" + ", ".join(_value(one) for one in value if one is not None) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(_lines(value)) + " }" if value else "{}"
    return _string(str(value))


def _string(text: str) -> str:
    # JSON's escapes are TOML's, but for the delete character.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
