"""The commands by name. Nothing heavy is imported until a command runs."""

from __future__ import annotations

from typing import Annotated

import typer

from featvis.cli import (
    accentuate,
    attribute,
    bench,
    blocks,
    caricature,
    compare,
    components,
    dream,
    evaluate,
    gallery,
    invert,
    layers,
    models,
    parts,
    render,
    reproduce,
    style,
    weights,
)
from featvis.version import __version__

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: rich would take longer to import than the help to print
    pretty_exceptions_enable=False,
    help="Feature visualization: what does each unit of a network look for?",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"featvis {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Feature visualization: what does each unit of a network look for?"""


app.command("render")(render.render)
app.add_typer(gallery.app, name="gallery")
app.command("attribute")(attribute.attribute)
app.command("blocks")(blocks.blocks)
app.command("components")(components.components)
app.command("dream")(dream.dream)
app.command("accentuate")(accentuate.accentuate)
app.command("invert")(invert.invert)
app.command("caricature")(caricature.caricature)
app.command("style")(style.style)
app.command("weights")(weights.weights)
app.command("layers")(layers.layers)
app.command("models")(models.models)
app.command("parts")(parts.parts)
app.command("compare")(compare.compare)
app.command("bench")(bench.bench)
app.command("evaluate")(evaluate.evaluate)
app.command("reproduce")(reproduce.reproduce)
