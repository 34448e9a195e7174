"""The options that commands share, each declared once; and how a command takes a group of them."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from featvis.cli.fields import complete, show_fields
from featvis.models.sources.register import forms

# Options whose default is not the same in every command; the default is told below.
_out = partial(typer.Option, "--out", "-o", help="Where to write.")
_size = partial(typer.Option, "--size", metavar="SIZE", help="The canvas in pixels: 224, or HEIGHTxWIDTH.")
_model = partial(
    typer.Option,
    "--model",
    "-m",
    help=f"The network: {forms()} (file: runs that code); `featvis models` lists them.",
)
_weights = partial(
    typer.Option,
    "--weights",
    metavar="FILE",
    help="A weights file (safetensors or checkpoint), or none: random weights.",
)
_search = partial(typer.Option, help="List only what contains this text.")
_start = partial(typer.Option, "--start", metavar="FILE", help="The image that the run starts from.")
_target = partial(
    typer.Option, "--target", "-t", help="A unit: blocks.3:5, blocks.3:5@4,6 or classifier:tabby."
)
_layer = partial(typer.Option, "--layer", "-l", help="A layer's name; `featvis layers MODEL` lists them.")
_recipe = partial(typer.Option, "--recipe", "-r", help="A recipe's name or TOML file.")
_steps = partial(typer.Option, "--steps", help="Steps of gradient ascent.")
_lanes = partial(typer.Option, "--lanes", help="How many pictures one step computes together.")
_precision = partial(typer.Option, "--precision", help="The numbers that the network computes with.")

# The network
Model = Annotated[str | None, _model()]
ModelOfFile = Annotated[str | None, _model(show_default="the one that the file names")]
ModelOfFolder = Annotated[str | None, _model(show_default="the one that the folder's pictures are of")]
ModelArgument = Annotated[str | None, typer.Argument(help="The network, as for --model of other commands.")]
Weights = Annotated[str | None, _weights(show_default="the network's own")]
WeightsOrNone = Annotated[str | None, _weights()]
WeightsOfConfig = Annotated[str | None, _weights(show_default="the config's")]
Mean = Annotated[
    str | None,
    typer.Option(
        "--mean",
        metavar="NUMBERS",
        help="The mean that the network expects to be subtracted from an image: 0.485,0.456,0.406.",
        show_default="the network's own",
    ),
]
Std = Annotated[
    str | None,
    typer.Option(
        "--std",
        metavar="NUMBERS",
        help="The standard deviation that the image is divided by: 0.229,0.224,0.225.",
        show_default="the network's own",
    ),
]
UnitAxis = Annotated[
    int | None,
    typer.Option(
        "--unit-axis",
        help="The axis of a layer's output along which its units lie (1 or -1), where this is not clear.",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device", help="Where to compute: auto (a GPU if there is one), cpu, cuda, cuda:1 or mps."
    ),
]
Judges = Annotated[
    list[str] | None,
    typer.Option(
        "--judge",
        "-j",
        metavar="MODEL",
        help="A network that took no part and is asked what it sees; may be repeated.",
        show_default="the embedded ones",
    ),
]

# What is looked at
Layer = Annotated[str, _layer()]
LayerOfTargets = Annotated[str | None, _layer(show_default="none: TARGETS are given")]
LastLayer = Annotated[str | None, _layer(show_default="the network's last")]
Layers = Annotated[
    list[str] | None,
    typer.Option(
        "--layer",
        "-l",
        help="A layer's name; `featvis layers MODEL` lists them. May be repeated: a picture for each.",
    ),
]
Target = Annotated[str, _target()]
TargetOrDirection = Annotated[str, _target(show_default="none: --direction is given")]
Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        "-t",
        help="A unit: blocks.3:5, blocks.3:5@4,6 or classifier:tabby. May be repeated: a picture for each.",
    ),
]
Units = Annotated[str, typer.Option("--units", "-u", help="The layer's units: 0:64, 3,17 or all.")]
Photo = Annotated[Path, typer.Argument(help="A photograph.")]
Photographs = Annotated[
    Path | None,
    typer.Option(
        "--examples", metavar="FOLDER", help="A folder of photographs to compare the units' pictures with."
    ),
]
Search = Annotated[str, _search("--search")]
SearchOrS = Annotated[str, _search("--search", "-s")]

# The recipe
Recipe = Annotated[str, _recipe()]
RecipeOfLayer = Annotated[
    str | None, _recipe(show_default="portrait, texture or channel, whichever suits the layer")
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="FIELD=VALUE",
        help="Set any field of the recipe; may be repeated. `--set help` lists the fields.",
        callback=show_fields,
        autocompletion=complete,
        is_eager=True,
    ),
]
Size = Annotated[str | None, _size(show_default="the recipe's")]
SizeOfNetwork = Annotated[str | None, _size(show_default="the network's own")]
SizeOfPhoto = Annotated[str | None, _size(show_default="the whole photograph")]
SizeAtMost = Annotated[str | None, _size(show_default="the whole photograph, at most 384 pixels long")]
Steps = Annotated[int | None, _steps(show_default="the recipe's")]
StepsOfTwo = Annotated[str | None, _steps(metavar="INTEGER or A,B", show_default="the recipes'")]
Lanes = Annotated[int | None, _lanes(show_default="the recipe's")]
LanesOrAuto = Annotated[
    str | None, _lanes(metavar="INTEGER or auto", show_default="the recipe's; auto measures what is fastest")
]
Precision = Annotated[str | None, _precision(metavar="float32|bfloat16", show_default="the recipe's")]
PrecisionOrAuto = Annotated[
    str | None,
    _precision(
        metavar="float32|bfloat16|auto", show_default="the recipe's; auto measures whether it is faster"
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        help="CPU threads. Another number changes a picture's last bits, so a folder keeps its first one.",
        show_default="as many as this machine has",
    ),
]
Seed = Annotated[
    int, typer.Option("--seed", help="Where all random numbers come from: the same seed, the same result.")
]
Seeds = Annotated[
    int, typer.Option("--seeds", help="How many pictures of each target, from seeds SEED, SEED+1 …")
]
Start = Annotated[Path | None, _start(show_default="none: from noise")]

# The run
Out = Annotated[Path | None, _out(metavar="FOLDER", show_default="gallery/MODEL")]
OutOfCommand = Annotated[Path | None, _out(metavar="FOLDER", show_default="gallery/COMMAND")]
OutOfPhoto = Annotated[Path | None, _out(metavar="FOLDER", show_default="gallery/attribution/PHOTO-TARGET")]
OutOfConfig = Annotated[Path | None, _out(metavar="FOLDER", show_default="gallery/NAME of the config")]
OutOrNothing = Annotated[Path | None, _out(metavar="FOLDER", show_default="nothing is kept")]
OutFileOrNothing = Annotated[Path | None, _out(metavar="FILE", show_default="nothing is written")]
OutFolder = Annotated[Path, _out(metavar="FOLDER")]
OutFile = Annotated[Path, _out(metavar="FILE")]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Say what would be done and how long it would take; write nothing."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
JsonFile = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the numbers as JSON.")]


def with_groups(function: Callable[..., int]) -> Callable[..., int]:
    """Return a command for Typer, each of whose groups of options is taken option by option.

    Args:
        function: a parameter whose type is a dataclass stands for its fields, each of them an option.
    """
    hints = get_type_hints(function, include_extras=True)
    groups: dict[str, Any] = {name: kind for name, kind in hints.items() if dataclasses.is_dataclass(kind)}
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if name not in groups:
            parameters.append(parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=hints[name]))
            continue
        kinds = get_type_hints(groups[name], include_extras=True)
        parameters += [
            parameter.replace(name=field.name, default=field.default, annotation=kinds[field.name])
            for field in dataclasses.fields(groups[name])
        ]

    def run(**values: Any) -> int:
        made = {
            name: group(**{field.name: values.pop(field.name) for field in dataclasses.fields(group)})
            for name, group in groups.items()
        }
        return function(**values, **made)

    run.__name__, run.__doc__ = function.__name__, function.__doc__
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run
