"""The register of model sources: where networks come from, by the prefix of their names.

A source is a class in a file of this folder; that file is all it takes::

    @source("zoo", example="zoo:NAME", about="our zoo (download)")
    class Zoo(ModelSource):
        def names(self) -> list[str]: ...
        def load(self, name: str, pretrained: bool) -> Loaded: ...

``featvis.spec.discovery`` says where else such files may lie.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from featvis.errors import ModelError, unknown
from featvis.spec.discovery import Register

if TYPE_CHECKING:
    from featvis.models.sources.base import ModelSource


@dataclass(frozen=True)
class Source:
    """What is known of a source before it is imported."""

    prefix: str
    """What stands before the colon of a network's name; empty for the embedded networks."""
    example: str
    """How a name is written, as ``timm:NAME``."""
    about: str
    """Where the weights come from."""
    random: bool = True
    """Whether it also gives the network with random weights."""
    typed: bool = False
    """Whether only a name that a user typed is loaded, for code or files are taken from wherever it says; a
    name that stands in a picture or manifest is not."""


REGISTER = Register("featvis.models.sources", "source", Source)
source = REGISTER.enter
"""Enters a class under a prefix, with the fields of :class:`Source` as keywords, all written as literals."""


def sources() -> list[Source]:
    """Return the sources, the embedded networks first, importing none."""
    return sorted(REGISTER.entries().values(), key=lambda entry: entry.prefix)


def find_source(prefix: str) -> ModelSource:
    """Import a source and return it."""
    made: ModelSource = REGISTER.find(prefix)()
    return made


def gives_random_weights(name: str) -> bool:
    """Whether a network of this name can be loaded with random weights, too."""
    prefix, rest = split_name(name)
    known = next(entry for entry in sources() if entry.prefix == prefix)
    return known.random and (prefix != "" or rest in find_source("").names())


def would_download(name: str) -> bool:
    """Whether loading a network of this name with its own weights downloads them."""
    prefix, rest = split_name(name)
    return gives_random_weights(name) and not find_source(prefix).has_weights(rest)


_CHANGED = re.compile(r"(\S+) with(?:out)? .+")
"""How networks are called in which units were switched off."""


def check_read_name(name: str, where: Path, give: str = "--model {name}") -> str:
    """Return the name of a network that stands in a file which somebody else may have made.

    Args:
        name: what stands there.
        where: the file, or its folder.
        give: what is to be typed to have it loaded all the same.

    Raises:
        ModelError: loading it would run code or read files of that somebody's choice.
    """
    if (changed := _CHANGED.fullmatch(name)) is not None:
        raise ModelError(
            f"{where} is of {name!r}, which no name loads: give the network, "
            f"fv.without(fv.load_model({changed[1]!r}), …)",
            typed=f"{where} is of {name!r}, which was changed in Python: go on there, with that network",
        )
    prefix, _ = split_name(name)
    if any(entry.typed for entry in sources() if entry.prefix == prefix):
        raise ModelError(
            f"{where} names {name!r} as its network; give {give.replace('{name}', name)} to have that loaded"
        )
    return name


def forms() -> str:
    """Return in words how networks are named: ``efficientnet_lite0, file:PATH.py:FUNCTION, …``."""
    *most, last = [entry.example for entry in sources()]
    return f"{', '.join(most)} or {last}"


def split_name(name: str) -> tuple[str, str]:
    """Split a network's name into its source's prefix (empty without a colon) and the rest.

    >>> split_name("timm:convnext_atto"), split_name("efficientnet_lite0")
    (('timm', 'convnext_atto'), ('', 'efficientnet_lite0'))
    """
    prefix, colon, rest = name.partition(":")
    if not colon:
        return "", name
    prefixes = [entry.prefix for entry in sources() if entry.prefix]
    if prefix not in prefixes:
        raise ModelError(unknown("source of networks", prefix, prefixes, f"in {name!r}; write {forms()}"))
    return prefix, rest


def split_weights(source: str | Path) -> tuple[Path, str]:
    """Split ``FILE:KEY`` into the file and the part of it that is meant, empty where the whole file is.

    >>> split_weights("weights.pth")[1], split_weights(f"{__file__}:model_ema")[1]
    ('', 'model_ema')
    """
    text = str(source)
    file, colon, key = text.rpartition(":")
    if colon and not Path(text).is_file() and Path(file).is_file():
        return Path(file), key
    return Path(text), ""
