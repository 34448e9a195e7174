"""``featvis models``: which networks can be loaded, and from where."""

from __future__ import annotations

from featvis.cli.options import AsJson, SearchOrS
from featvis.cli.output import print_json
from featvis.errors import ModelError


def models(search: SearchOrS = "", as_json: AsJson = False) -> int:
    """List the networks that can be loaded. Says where their weights come from.

    Example: featvis models --search resnet
    """
    from featvis.models.load import list_models
    from featvis.models.sources.register import find_source, sources

    networks = list_models(search)
    for entry in sources():
        if search.lower() in entry.example.lower() and not find_source(entry.prefix).names():
            networks.append((entry.example, entry.about))
    if not networks:
        raise ModelError(f"no network's name holds {search!r}")
    if as_json:
        print_json([{"name": name, "about": where} for name, where in networks])
        return 0
    width = max(len(name) for name, _ in networks)
    for name, where in networks:
        print(f"{name.ljust(width)}  {where}")
    return 0
