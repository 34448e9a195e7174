"""``featvis models``: which networks can be loaded, and from where."""

from __future__ import annotations

from featvis.cli.options import SearchOrS
from featvis.errors import ModelError


def models(
    search: SearchOrS = "",
) -> int:
    """List the networks that can be loaded. And where their weights come from."""
    from featvis.models.load import list_models
    from featvis.models.sources.register import find_source, sources

    found = list_models(search)
    for entry in sources():
        if search.lower() in entry.example.lower() and not find_source(entry.prefix).names():
            found.append((entry.example, entry.about))
    if not found:
        raise ModelError(f"no network's name holds {search!r}")
    width = max(len(name) for name, _ in found)
    for name, where in found:
        print(f"{name.ljust(width)}  {where}")
    return 0
