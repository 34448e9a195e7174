"""``featvis parts``: everything that one file adds, with its options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from featvis.attribution.register import methods
from featvis.cli.options import AsJson
from featvis.cli.output import print_json
from featvis.errors import UserError, unknown
from featvis.models.sources.register import sources
from featvis.run.executors.register import executors

LISTS: dict[str, tuple[str, Callable[[], list[tuple[str, str]]]]] = {
    "sources": ("Sources of networks", lambda: [(entry.example, entry.about) for entry in sources()]),
    "methods": ("Attribution methods", lambda: [(name, entry.about) for name, entry in methods().items()]),
    "executors": ("Executors", lambda: [(name, entry.about) for name, entry in executors().items()]),
}
_OPTIONS: dict[str, Callable[[str], list[tuple[str, str, str]]]] = {
    "executors": lambda name: executors()[name].described,
}
"""Their options, where they have some: each one's name, kind and default."""

"""What is no part of a recipe and has a register of its own: its title, and its entries in words."""


ELSEWHERE = {
    "recipes": "`featvis recipes` lists the recipes",
    **dict.fromkeys(("optimizers", "schedules", "fields"), "`featvis render --set help` lists them"),
    "penalties": "a penalty is an objective that is subtracted: `featvis parts objectives`",
    "spaces": "`featvis parts images` lists the image spaces",
    **dict.fromkeys(("models", "networks"), "`featvis models` lists the networks"),
    "layers": "`featvis layers MODEL` lists a network's layers",
    "galleries": "`featvis gallery build NAME` takes the configs of galleries",
}
"""What people look for here that stands elsewhere, and where."""


def parts(family: str | None = None, markdown: bool = False, as_json: AsJson = False) -> int:
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
        many = next((name for name in (family, f"{family}s") if name in ELSEWHERE), None)
        if many is not None:
            raise UserError(f"{family!r} is no family of parts; {ELSEWHERE[many]}")
        families = f"families: {', '.join((*FAMILIES, *LISTS))}"
        raise UserError(unknown("family", family, (*FAMILIES, *LISTS), families))
    if as_json:
        print_json({name: _as_data(name) for name in ((family,) if family else (*FAMILIES, *LISTS))})
        return 0
    for name in (family,) if family else (*FAMILIES, *LISTS):
        if name in LISTS:
            title, entries = LISTS[name]
            print(title)
            for key, about in entries():
                print(f"  {key}\n      {about}")
                for name_of_option, kind, default in _options_of(name, key):
                    print(f"      {name_of_option}: {kind} = {default}")
            continue
        print(catalog.TITLES[name])
        for entry in [*catalog.parts_of(name), *catalog.constructors(name)]:
            print(f"  {entry.name}\n      {entry.about}")
            for key, kind, default in entry.options:
                print(f"      {key}: {kind}" + (f" = {default}" if default else ""))
    return 0


def _options_of(family: str, name: str) -> list[tuple[str, str, str]]:
    return _OPTIONS[family](name) if family in _OPTIONS else []


def _told(options: list[tuple[str, str, str]]) -> dict[str, Any]:
    told = [dict(zip(("name", "kind", "default"), one, strict=True)) for one in options]
    return {"options": told} if told else {}


def _as_data(family: str) -> list[dict[str, Any]]:
    from featvis.spec import catalog

    if family in LISTS:
        return [
            {"name": name, "about": about, **_told(_options_of(family, name))}
            for name, about in LISTS[family][1]()
        ]
    return [
        {
            "name": entry.name,
            "about": entry.about,
            "options": [dict(zip(("name", "kind", "default"), one, strict=True)) for one in entry.options],
        }
        for entry in [*catalog.parts_of(family), *catalog.constructors(family)]
    ]
