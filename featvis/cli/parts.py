"""``featvis parts``: everything that one file adds, with its options."""

from __future__ import annotations

from collections.abc import Callable

from featvis.attribution.register import methods
from featvis.errors import UserError, unknown
from featvis.models.sources.register import sources
from featvis.run.executors.register import executors

LISTS: dict[str, tuple[str, Callable[[], list[tuple[str, str]]]]] = {
    "sources": ("Sources of networks", lambda: [(entry.example, entry.about) for entry in sources()]),
    "methods": ("Attribution methods", lambda: [(name, entry.about) for name, entry in methods().items()]),
    "executors": ("Executors", lambda: [(name, entry.about) for name, entry in executors().items()]),
}
"""What is no part of a recipe and has a register of its own: its title, and its entries in words."""


def parts(family: str | None = None, markdown: bool = False) -> int:
    """List every part with its options. Parts are what recipes name, and what Python makes.

    Example: featvis parts transforms

    Args:
        family: images, transforms, objectives, sources, methods or executors. [all]
        --markdown: A page in Markdown, with what each option does.
    """
    from featvis.spec import catalog
    from featvis.spec.register import FAMILIES

    if markdown:
        if family is not None:
            raise UserError("--markdown writes the whole page; leave out the family")
        print(catalog.markdown())
        return 0
    if family is not None and family not in (*FAMILIES, *LISTS):
        raise UserError(unknown("family", family, (*FAMILIES, *LISTS)))
    for name in (family,) if family else (*FAMILIES, *LISTS):
        if name in LISTS:
            title, entries = LISTS[name]
            print(title)
            for key, about in entries():
                print(f"  {key}\n      {about}")
            continue
        print(catalog.TITLES[name])
        for entry in [*catalog.parts_of(name), *catalog.constructors(name)]:
            print(f"  {entry.name}\n      {entry.about}")
            for key, kind, default in entry.options:
                print(f"      {key}: {kind}" + (f" = {default}" if default else ""))
    return 0
