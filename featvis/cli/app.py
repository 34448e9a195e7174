"""The commands by name. Nothing heavy is imported until a command runs."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.main import get_command

from featvis.cli import gallery
from featvis.cli.options import read_options
from featvis.version import __version__

app = typer.Typer(
    add_completion=True,
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: rich would take longer to import than the help to print
    pretty_exceptions_enable=False,
    help="Feature visualization: what does each unit of a network look for?",
    epilog=(
        "The environment's FEATVIS_MODEL, FEATVIS_DEVICE and FEATVIS_OUT stand for --model, --device and the "
        "folder that results go to (gallery); an option wins."
    ),
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"featvis {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Feature visualization: what does each unit of a network look for?"""


for name in (
    *("render", "attribute", "blocks", "components", "dream", "accentuate", "invert", "caricature", "style"),
    *("weights", "layers", "models", "recipes", "parts", "compare", "bench", "evaluate", "quiz", "reproduce"),
):
    app.command()(read_options(getattr(import_module(f"featvis.cli.{name}"), name)))
app.add_typer(gallery.app, name="gallery")


@cache
def command() -> Any:
    """Return all of it as one command, made once however often it is run in a process."""
    return get_command(app)
