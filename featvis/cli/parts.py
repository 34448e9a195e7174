"""``featvis parts``: image spaces, transforms and objectives with their options."""

from __future__ import annotations

from featvis.errors import UserError, unknown


def parts(family: str | None = None, markdown: bool = False) -> int:
    """List every part with its options. Parts are what recipes name, and what Python makes.

    Example: featvis parts transforms

    Args:
        family: images, transforms or objectives. [all]
        --markdown: A page in Markdown, with what each option does.
    """
    from featvis.spec import catalog
    from featvis.spec.register import FAMILIES

    if markdown:
        if family is not None:
            raise UserError("--markdown writes the whole page; leave out the family")
        print(catalog.markdown())
        return 0
    if family is not None and family not in FAMILIES:
        raise UserError(unknown("family", family, FAMILIES))
    for name in (family,) if family else FAMILIES:
        print(catalog.TITLES[name])
        for entry in [*catalog.parts_of(name), *catalog.constructors(name)]:
            print(f"  {entry.name}\n      {entry.about}")
            for key, kind, default in entry.options:
                print(f"      {key}: {kind}" + (f" = {default}" if default else ""))
    return 0
