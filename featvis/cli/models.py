"""``featvis models``: which networks can be loaded, and from where."""

from __future__ import annotations

from featvis.cli.options import SearchOrS
from featvis.errors import ModelError


def models(
    search: SearchOrS = "",
) -> int:
    """List the networks that can be loaded. And where their weights come from."""
    from featvis.models.load import list_models

    found = list_models(search)
    if not found:
        raise ModelError(f"no network's name holds {search!r}")
    width = max(len(name) for name, _ in found)
    for name, where in found:
        print(f"{name.ljust(width)}  {where}")
    return 0
