"""What the shell completes: layers, classes, recipes, networks, configs. No network is loaded for it."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator

import typer

from featvis.read import is_whole_number

Choices = list[str | tuple[str, str]]


@contextlib.contextmanager
def whole_words() -> Iterator[None]:
    """Let bash complete words with colons, at which it takes words apart: it is offered what follows them."""
    place = os.environ.get("COMP_CWORD", "")
    if os.environ.get("_FEATVIS_COMPLETE") != "complete_bash" or not is_whole_number(place):
        yield
        return
    line, number, joined = join_words(os.environ.get("COMP_WORDS", ""), int(place))
    os.environ["COMP_WORDS"], os.environ["COMP_CWORD"] = line, str(number)
    offered = io.StringIO()
    try:
        with contextlib.redirect_stdout(offered):
            yield
    finally:
        for one in offered.getvalue().splitlines():
            print(one.removeprefix(joined))


def join_words(line: str, place: int) -> tuple[str, int, str]:
    """Return a line, the place of the word that is completed, and what of that word is no longer asked for.

    >>> join_words("featvis render classifier : Pem", 4)
    ('featvis render classifier:Pem', 2, 'classifier:')
    >>> join_words("featvis render blocks.3", 2)
    ('featvis render blocks.3', 2, '')
    """
    words, joined = line.split(" "), ""
    if place < len(words) and words[place] == ":" and place > 1:
        joined, place = f"{words[place - 1]}:", place - 1
        words[place:] = [joined]
    while 2 < place < len(words) and words[place - 1] == ":":
        before = f"{words[place - 2]}:"
        joined, last, place = before + joined, words[place], place - 2
        words[place:] = [before + last]
    return " ".join(words), place, joined


def complete_layers(ctx: typer.Context, incomplete: str) -> Choices:
    """Return the layers that begin so, of the network that was named; none of one that must be loaded."""
    from featvis.models.known import find_known

    known = find_known(_model(ctx))
    if known is None:
        return []
    return [name for name in known.layers if name.startswith(incomplete)]


def complete_targets(ctx: typer.Context, incomplete: str) -> Choices:
    """Return the layers that begin so or, after a layer's name and a colon, its classes."""
    from featvis.models.known import find_known
    from featvis.spec.target import synonyms

    layer, colon, begun = incomplete.rpartition(":")
    if not colon:
        return complete_layers(ctx, incomplete)
    known = find_known(_model(ctx))
    if known is None or layer not in known.named:
        return []
    names = dict.fromkeys(name for label in known.labels for name in synonyms(label))
    wanted = begun.casefold()
    # As it was begun: the shell takes nothing else, and the case of a name does not matter.
    return [f"{incomplete}{name[len(begun) :]}" for name in names if name.casefold().startswith(wanted)]


def complete_recipes(incomplete: str) -> Choices:
    """Return the recipes that begin so, each with what it is for, in a few words."""
    from featvis.read import read_toml
    from featvis.spec.recipe import recipe_files

    found = {name: file for name, file in recipe_files().items() if name.startswith(incomplete)}
    # On one line of the shell there is room for the first words.
    return [(name, str(read_toml(file).get("about", "")).partition(":")[0]) for name, file in found.items()]


def complete_models(incomplete: str) -> Choices:
    """Return the embedded networks that begin so, and how others begin or, after their source, go on."""
    from featvis.models.known import known_names
    from featvis.models.sources.listed import LISTED, list_names
    from featvis.models.sources.register import sources

    package, colon, begun = incomplete.partition(":")
    if colon and package in LISTED:
        return [f"{package}:{name}" for name in list_names(package) if name.startswith(begun)]
    prefixes = [(f"{entry.prefix}:", entry.about) for entry in sources() if entry.prefix]
    names: Choices = [*known_names(), *prefixes]
    return [one for one in names if (one if isinstance(one, str) else one[0]).startswith(incomplete)]


def complete_configs(incomplete: str) -> Choices:
    """Return the configs of galleries that begin so."""
    from featvis.spec.recipe import config_files

    return [name for name in config_files("galleries") if name.startswith(incomplete)]


def _model(ctx: typer.Context) -> str:
    return str(ctx.params.get("model") or "efficientnet_lite0")
