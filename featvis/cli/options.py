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
from featvis.run.executors.register import executors

SEARCH = "List only what contains this text."


def option(names: str, help: str, default: str = "", **settings: Any) -> Any:
    """Return an option of a command.

    Args:
        names: one or more, with spaces between.
        help: what it is.
        default: the words for a default that is not a value.
        **settings: further ones of Typer's.
    """
    return typer.Option(*names.split(), help=help, show_default=default or True, **settings)


# Options whose default is not the same in every command; the default is told below.
_out = partial(option, "--out -o", "Where to write the result.")
_size = partial(option, "--size", "The canvas in pixels: 224, or HEIGHTxWIDTH.", metavar="SIZE")
_model = partial(
    option,
    "--model -m",
    f"The network: {forms()} (file: runs that code); `featvis models` lists them.",
)
_weights = partial(
    option,
    "--weights",
    "A weights file (safetensors or checkpoint), or none: random weights.",
    metavar="FILE",
)
_start = partial(option, "--start", "The image that the run starts from.", metavar="FILE")
_target = partial(option, "--target -t", "A unit: blocks.3:5, blocks.3:5@4,6 or classifier:tabby.")
_layer = partial(option, "--layer -l", "A layer's name; `featvis layers MODEL` lists them.")
_recipe = partial(option, "--recipe -r", "A recipe's name or TOML file; it says how a picture is made.")
_steps = partial(option, "--steps", "Steps of gradient ascent.")
_lanes = partial(option, "--lanes", "How many pictures one step computes together.")
_precision = partial(option, "--precision", "The numbers that the network computes with.")

# The network
Model = Annotated[str | None, _model()]
ModelOfFile = Annotated[str | None, _model(default="the one that the file names")]
ModelOfFolder = Annotated[str | None, _model(default="the one that the folder's pictures are of")]
ModelArgument = Annotated[str | None, typer.Argument(help="The network, as for --model of other commands.")]
Weights = Annotated[str | None, _weights(default="the network's own")]
WeightsOrNone = Annotated[str | None, _weights()]
WeightsOfConfig = Annotated[str | None, _weights(default="the config's")]
Mean = Annotated[
    str | None,
    option(
        "--mean",
        "The mean that the network expects to be subtracted from an image: 0.485,0.456,0.406.",
        default="the network's own",
        metavar="NUMBERS",
    ),
]
Std = Annotated[
    str | None,
    option(
        "--std",
        "The standard deviation that the image is divided by: 0.229,0.224,0.225.",
        default="the network's own",
        metavar="NUMBERS",
    ),
]
UnitAxis = Annotated[
    int | None,
    option(
        "--unit-axis",
        "The axis of a layer's output along which its units lie (1 or -1), where this is not clear.",
    ),
]
Executor = Annotated[
    str,
    option(
        "--executor",
        "How the pictures are computed; no picture depends on it: "
        + "; ".join(f"{name}, {entry.about}" for name, entry in executors().items()),
    ),
]
Device = Annotated[
    str,
    option("--device", "Where to compute: auto (a GPU if there is one), cpu, cuda, cuda:1 or mps."),
]
Judges = Annotated[
    list[str] | None,
    option(
        "--judge -j",
        "A network that took no part and is asked what it sees; may be repeated.",
        default="the embedded ones",
        metavar="MODEL",
    ),
]

# What is looked at
Layer = Annotated[str, _layer()]
LayerOfTargets = Annotated[str | None, _layer(default="none: TARGETS are given")]
LastLayer = Annotated[str | None, _layer(default="the network's last")]
Layers = Annotated[
    list[str] | None,
    option(
        "--layer -l",
        "A layer's name; `featvis layers MODEL` lists them. May be repeated: a picture for each.",
    ),
]
Target = Annotated[str, _target()]
TargetOrDirection = Annotated[str, _target(default="none: --direction is given")]
Targets = Annotated[
    list[str] | None,
    option(
        "--target -t",
        "A unit: blocks.3:5, blocks.3:5@4,6 or classifier:tabby. May be repeated: a picture for each.",
    ),
]
Units = Annotated[str, option("--units -u", "The layer's units: 0:64, 3,17 or all.")]
Photo = Annotated[Path, typer.Argument(help="A photograph.")]
Photographs = Annotated[
    Path | None,
    option("--examples", "A folder of photographs to compare the units' pictures with.", metavar="FOLDER"),
]
Search = Annotated[str, option("--search", SEARCH)]
SearchOrS = Annotated[str, option("--search -s", SEARCH)]

# The recipe
Recipe = Annotated[str, _recipe()]
RecipeOfLayer = Annotated[
    str | None, _recipe(default="portrait, texture or channel, whichever suits the layer")
]
Set = Annotated[
    list[str] | None,
    option(
        "--set",
        "Set any field of the recipe; may be repeated. `--set help` lists the fields.",
        metavar="FIELD=VALUE",
        callback=show_fields,
        autocompletion=complete,
        is_eager=True,
    ),
]
Size = Annotated[str | None, _size(default="the recipe's")]
SizeOfNetwork = Annotated[str | None, _size(default="the network's own")]
SizeOfPhoto = Annotated[str | None, _size(default="the whole photograph")]
SizeAtMost = Annotated[str | None, _size(default="the whole photograph, at most 384 pixels long")]
Steps = Annotated[int | None, _steps(default="the recipe's")]
StepsOfTwo = Annotated[str | None, _steps(metavar="INTEGER or A,B", default="the recipes'")]
Lanes = Annotated[int | None, _lanes(default="the recipe's")]
LanesOrAuto = Annotated[
    str | None, _lanes(metavar="INTEGER or auto", default="the recipe's; auto measures what is fastest")
]
Precision = Annotated[str | None, _precision(metavar="float32|bfloat16", default="the recipe's")]
PrecisionOrAuto = Annotated[
    str | None,
    _precision(metavar="float32|bfloat16|auto", default="the recipe's; auto measures whether it is faster"),
]
Threads = Annotated[
    int | None,
    option(
        "--threads",
        "CPU threads. Another number changes a picture's last bits, so a folder keeps its first one.",
        default="as many as this machine has",
    ),
]
Seed = Annotated[
    int, option("--seed", "The start of all random numbers: the same seed gives the same result.")
]
Seeds = Annotated[int, option("--seeds", "How many pictures of each target, each from a seed of its own.")]
Start = Annotated[Path | None, _start(default="none: from noise")]

# The run
Out = Annotated[Path | None, _out(metavar="FOLDER", default="gallery/MODEL")]
OutOfCommand = Annotated[Path | None, _out(metavar="FOLDER", default="gallery/COMMAND")]
OutOfPhoto = Annotated[Path | None, _out(metavar="FOLDER", default="gallery/attribution/PHOTO-TARGET")]
OutOfConfig = Annotated[Path | None, _out(metavar="FOLDER", default="gallery/NAME of the config")]
OutOrNothing = Annotated[Path | None, _out(metavar="FOLDER", default="nothing is kept")]
OutFileOrNothing = Annotated[Path | None, _out(metavar="FILE", default="nothing is written")]
OutFolder = Annotated[Path, _out(metavar="FOLDER")]
OutFile = Annotated[Path, _out(metavar="FILE")]
DryRun = Annotated[
    bool,
    option("--dry-run", "Say what would be done and how long it would take; write nothing."),
]
AsJson = Annotated[bool, option("--json", "Print JSON.")]
JsonFile = Annotated[Path | None, option("--json", "Write the numbers as JSON.", metavar="FILE")]


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
