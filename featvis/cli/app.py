"""The commands by name. Nothing heavy is imported until a command runs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.main import get_command

from featvis.cli.options import read_about, read_options
from featvis.cli.typed import Command
from featvis.version import __version__

COMMANDS = (
    *("render", "attribute", "blocks", "components", "dream", "accentuate", "invert", "caricature", "style"),
    *("weights", "layers", "models", "recipes", "parts", "compare", "bench", "evaluate", "quiz", "reproduce"),
    *("ablate", "atlas", "circuit", "words", "statistics", "serve"),
)
"""Those that stand by themselves; ``gallery`` has some of its own."""


def _version(wanted: bool) -> None:
    if wanted:
        print(f"featvis {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Feature visualization: what does each unit of a network look for?"""


def make_app(names: Sequence[str] = (*COMMANDS, "gallery"), *, listed: bool = False) -> typer.Typer:
    """Return the command line with these commands.

    Args:
        names: which.
        listed: whether they are only to be listed, so that nobody asks for their options.
    """
    made = typer.Typer(
        add_completion=True,
        no_args_is_help=True,
        rich_markup_mode=None,  # plain help: rich would take longer to import than the help to print
        pretty_exceptions_enable=False,
        help="Feature visualization: what does each unit of a network look for?",
        epilog=(
            "The environment's FEATVIS_MODEL, FEATVIS_DEVICE and FEATVIS_OUT stand for --model, --device and "
            "the folder that results go to (gallery); an option wins."
        ),
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    made.callback()(_options)
    for name in names:
        module = import_module(f"featvis.cli.{name}")
        if name == "gallery":
            made.add_typer(module.app, name=name)
        else:
            made.command(cls=Command)((read_about if listed else read_options)(getattr(module, name)))
    return made


@cache
def command(asked: str = "") -> Any:
    """Return the command line as one command, made once however often it is run in a process.

    Args:
        asked: the command that is meant. The others, each of which takes a while to make, are left out then.
    """
    known = asked in COMMANDS or asked == "gallery"
    if known:
        return get_command(make_app((asked,)))
    return get_command(make_app(listed=asked in ("-h", "--help")))
