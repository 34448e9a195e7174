"""The names that torchvision and timm register, read from their files: importing them takes seconds."""

from __future__ import annotations

import importlib.util
import re
from functools import cache
from pathlib import Path

LISTED = ("torchvision", "timm")
"""Prefixes of names, which are the packages that have them."""
_REGISTERED = re.compile(
    r"""^@register_model(?:\((?:\s*name\s*=\s*["'](\w+)["'])?\s*\))?\s*\n(?:@.*\n|[ \t)].*\n)*def (\w+)\(""",
    re.M,
)


@cache
def list_names(package: str) -> list[str]:
    """Return the names of a package's networks, sorted; none where it is not installed.

    >>> "resnet18" in list_names("torchvision"), "vit_tiny_patch16_224" in list_names("timm")
    (True, True)
    """
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        return []
    names: set[str] = set()
    for path in (Path(found.origin).parent / "models").rglob("*.py"):
        for name, function in _REGISTERED.findall(path.read_text("utf-8", "replace")):
            names.add(name or function)
    return sorted(names)
