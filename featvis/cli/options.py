"""The options that commands share, each declared once; and how a command's own are read off its docstring."""

from __future__ import annotations

import dataclasses
import inspect
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from featvis.cli.completion import (
    complete_configs,
    complete_layers,
    complete_models,
    complete_recipes,
    complete_targets,
)
from featvis.cli.fields import complete, show_fields
from featvis.cli.output import set_loudness
from featvis.models.sources.register import forms
from featvis.run.executors.register import DEFAULT, executors

_SHARED = f"""
photo: A photograph.
network: The network, as for --model of other commands.
recipe: A recipe's name or TOML file.
targets: What to render, as LAYER:UNITS: blocks.3:0:8, classifier:263, classifier:Pembroke,
    features.28:7@4,6.
config: A gallery's config: a TOML file, or the name of one of ours: small, tour …

--model -m: The network: {forms()} (file: runs that code); `featvis models` lists them.
--weights FILE: A weights file (safetensors or checkpoint), FILE:KEY for a part of it, or none: random
    weights.
--mean NUMBERS: The mean that the network expects to be subtracted from an image: 0.485,0.456,0.406.
    [the network's own]
--std NUMBERS: The standard deviation that the image is divided by: 0.229,0.224,0.225. [the network's own]
--unit-axis: The axis of a layer's output along which its units lie (1 or -1), where this is not clear.
--input-size SIZE: The size in pixels at which the network is shown images: 32, or HEIGHTxWIDTH.
    [the network's own]
--labels FILE: The names of the classes: a file with one a line, or JSON. [the network's own]
--channel-order rgb|bgr: The order of the channels that the network takes. [rgb]
--sample-rate HERTZ: The network takes signals, of so many samples a second: 16000. [the network's own]
--frames: The network takes videos or volumes, of so many frames. [the network's own]
--range 1|255: The range of the images that the network takes, of which --mean and --std are. [1]
--executor NAME: How the pictures are computed; no picture depends on it:
    {"; ".join(f"{name}, {entry.about}" for name, entry in executors().items())}. With its options behind a
    colon: NAME:OPTION=VALUE,OPTION=VALUE; `featvis parts executors` lists them.
--device: Where to compute: auto (a GPU if there is one), cpu, cuda, cuda:1 or mps.
--judge -j MODEL: A network that took no part and is asked what it sees; may be repeated. [the embedded ones]
--judge-weights FILE: The weights of a judge, as for --weights; once for each --judge, in their order.
    [the judges' own]
--views 1|8: How often a judge looks at a picture before it names a class: as it is, or also at larger sizes,
    cropped and mirrored, the mean of its answers. [8 for squeezenet1_1, else 1]

--layer -l: A layer's name; `featvis layers MODEL` lists them.
--target -t: A unit: blocks.3:5, blocks.3:5@4,6 or classifier:tabby.
--units -u: The layer's units: 0:64, 3,17 or all.
--examples FOLDER: A folder of photographs to compare the units' pictures with.
--search: List only what contains this text.

--recipe -r: A recipe's name or TOML file; it says how a picture is made.
--set FIELD=VALUE: Set any field of the recipe; may be repeated. `--set help` lists the fields.
--size SIZE: The canvas in pixels: 224, or HEIGHTxWIDTH. [the recipe's]
--steps: Steps of gradient ascent. [the recipe's]
--lanes: How many pictures one step computes together. [the recipe's]
--precision float32|bfloat16: The numbers that the network computes with. [the recipe's]
--threads: CPU threads. Another number changes a picture's last bits, so a folder keeps its first one.
    [as many as this machine has]
--seed: The start of all random numbers: the same seed gives the same result.
--seeds: How many pictures of each target, each from a seed of its own.
--start FILE: The image that the run starts from. [none: from noise]

--out -o FOLDER: Where to write the result. The environment's FEATVIS_OUT names another folder than gallery.
--dry-run: Say what would be done and how long it would take; write nothing.
--unbounded: Allow a recipe that was read from a file whatever it costs and whatever files it names.
--json: Print JSON instead of lines.
--quiet -q: Say nothing but results and errors.
--verbose -v: Also say what the program does, as Python's logging tells it.
"""
_NAMES = r"(?P<names>\w+|--[\w/-]+(?: -\w)*)(?: (?P<metavar>[^:]+))?"
_ENTRY = re.compile(_NAMES + r": (?P<help>.+?)(?: \[(?P<default>[^]]+)\])?")


def _read(text: str) -> dict[str, dict[str, Any]]:
    """Read entries ``--name -n METAVAR: What it is. [the default in words]``; indented lines go on."""
    matches = [_ENTRY.fullmatch(" ".join(entry.split())) for entry in re.split(r"\n+(?=\S)", text.strip())]
    entries = [match.groupdict() for match in matches if match is not None]
    return {str(entry["names"]).replace("/", " ").split()[0]: entry for entry in entries}


def _make(entry: dict[str, Any], **settings: Any) -> Any:
    names = entry["names"].split()
    settings |= {"help": entry["help"], "metavar": entry["metavar"]}
    settings["show_default"] = entry["default"] or True
    return typer.Option(*names, **settings) if "-" in names[0] else typer.Argument(**settings)


_ENTRIES = _read(_SHARED)


def _shared(name: str, default: str = "", *, more: str = "", **changes: Any) -> Any:
    """Return a shared option, with other words for its default, more help or Typer's further settings."""
    own: dict[str, Any] = {key: changes.pop(key) for key in ("names", "metavar") if key in changes}
    entry = {**_ENTRIES[name], **own}
    return _make({**entry, "default": default or entry["default"], "help": entry["help"] + more}, **changes)


TO_FILE = " With a file's name also the lines, and the JSON in that file."
_REPEATED = " May be repeated: a picture for each."

_MODELS: dict[str, Any] = {"autocompletion": complete_models}
_LAYERS: dict[str, Any] = {"autocompletion": complete_layers}
_TARGETS: dict[str, Any] = {"autocompletion": complete_targets}
_RECIPES: dict[str, Any] = {"autocompletion": complete_recipes}
_CONFIGS: dict[str, Any] = {"autocompletion": complete_configs}

# The network
Model = Annotated[str | None, _shared("--model", envvar="FEATVIS_MODEL", **_MODELS)]
ModelOfFile = Annotated[str | None, _shared("--model", "the one that the file names", **_MODELS)]
ModelOfFolder = Annotated[
    str | None, _shared("--model", "the one that the folder's pictures are of", **_MODELS)
]
ModelOfTargets = Annotated[str | None, _shared("--model", "the gallery's, or efficientnet_lite0", **_MODELS)]
ModelArgument = Annotated[str | None, _shared("network", envvar="FEATVIS_MODEL", **_MODELS)]
Weights = Annotated[str | None, _shared("--weights", "the network's own")]
WeightsOrNone = Annotated[str | None, _shared("--weights")]
WeightsOfConfig = Annotated[str | None, _shared("--weights", "the config's")]
Mean = Annotated[str | None, _shared("--mean")]
Std = Annotated[str | None, _shared("--std")]
UnitAxis = Annotated[int | None, _shared("--unit-axis")]
Executor = Annotated[str, _shared("--executor")]
ExecutorOfConfig = Annotated[str | None, _shared("--executor", f"the config's, or {DEFAULT}")]
Device = Annotated[str, _shared("--device", envvar="FEATVIS_DEVICE")]
InputSize = Annotated[str | None, _shared("--input-size")]
Labels = Annotated[Path | None, _shared("--labels")]
ChannelOrder = Annotated[str | None, _shared("--channel-order")]
Range = Annotated[float | None, _shared("--range")]
SampleRate = Annotated[float | None, _shared("--sample-rate")]
Frames = Annotated[int | None, _shared("--frames")]
JudgeWeights = Annotated[list[str] | None, _shared("--judge-weights")]
Judges = Annotated[list[str] | None, _shared("--judge", **_MODELS)]
Views = Annotated[int | None, _shared("--views")]

GalleryConfig = Annotated[str, _shared("config", **_CONFIGS)]
GalleryConfigOrNone = Annotated[str | None, _shared("config", "none", **_CONFIGS)]

# What is looked at
Layer = Annotated[str, _shared("--layer", **_LAYERS)]
LayerOfTargets = Annotated[str | None, _shared("--layer", "none: TARGETS are given", **_LAYERS)]
LastLayer = Annotated[str | None, _shared("--layer", "the network's last", **_LAYERS)]
Layers = Annotated[list[str] | None, _shared("--layer", more=_REPEATED, **_LAYERS)]
Target = Annotated[str, _shared("--target", **_TARGETS)]
Addresses = Annotated[list[str] | None, _shared("targets", "none: --layer is given", **_TARGETS)]
TargetOrDirection = Annotated[str, _shared("--target", "none: --direction is given", **_TARGETS)]
Targets = Annotated[list[str] | None, _shared("--target", more=_REPEATED, **_TARGETS)]
Units = Annotated[str, _shared("--units")]
Photo = Annotated[Path, _shared("photo")]
Photographs = Annotated[Path | None, _shared("--examples")]
Search = Annotated[str, _shared("--search")]
SearchOrS = Annotated[str, _shared("--search", names="--search -s")]

# The recipe
Recipe = Annotated[str, _shared("--recipe", **_RECIPES)]
RecipeArgument = Annotated[str | None, _shared("recipe", "all are listed", **_RECIPES)]
OtherRecipe = Annotated[str | None, _shared("recipe", "none", metavar="other", **_RECIPES)]
_OF_LAYER = "portrait, texture or channel, whichever suits the layer; signal for signals"
RecipeOfLayer = Annotated[str | None, _shared("--recipe", _OF_LAYER, **_RECIPES)]
_SET: dict[str, Any] = {"callback": show_fields, "autocompletion": complete, "is_eager": True}
Set = Annotated[list[str] | None, _shared("--set", **_SET)]
Size = Annotated[str | None, _shared("--size")]
SizeOfNetwork = Annotated[str | None, _shared("--size", "the network's own")]
SizeOfPhoto = Annotated[str | None, _shared("--size", "the whole photograph")]
SizeAtMost = Annotated[str | None, _shared("--size", "the whole photograph, at most 384 pixels long")]
Steps = Annotated[int | None, _shared("--steps")]
StepsOfTwo = Annotated[str | None, _shared("--steps", "the recipes'", metavar="INTEGER or A,B")]
Lanes = Annotated[int | None, _shared("--lanes")]
_FASTEST = "the recipe's; auto measures what is fastest"
_FASTER = "the recipe's; auto measures whether it is faster"
LanesOrAuto = Annotated[str | None, _shared("--lanes", _FASTEST, metavar="INTEGER or auto")]
Precision = Annotated[str | None, _shared("--precision")]
PrecisionOrAuto = Annotated[str | None, _shared("--precision", _FASTER, metavar="float32|bfloat16|auto")]
Threads = Annotated[int | None, _shared("--threads")]
Seed = Annotated[int, _shared("--seed")]
Seeds = Annotated[int, _shared("--seeds")]
Start = Annotated[Path | None, _shared("--start")]

# The run
Out = Annotated[Path | None, _shared("--out", "gallery/MODEL")]
OutOfCommand = Annotated[Path | None, _shared("--out", "gallery/COMMAND")]
OutOfPhoto = Annotated[Path | None, _shared("--out", "gallery/attribution/PHOTO-TARGET")]
OutOfTargets = Annotated[Path | None, _shared("--out", "gallery/words/TARGETS-PAIR")]
OutOfConfig = Annotated[Path | None, _shared("--out", "gallery/NAME of the config")]
OutOrNothing = Annotated[Path | None, _shared("--out", "nothing is kept")]
OutOfSite = Annotated[Path | None, _shared("--out", "a ZIP file instead")]
OutFileOrNothing = Annotated[Path | None, _shared("--out", "nothing is written", metavar="FILE")]
OutFile = Annotated[Path, _shared("--out", metavar="FILE")]
Unbounded = Annotated[bool, _shared("--unbounded")]
DryRun = Annotated[bool, _shared("--dry-run")]
AsJson = Annotated[bool, _shared("--json")]
Quiet = Annotated[bool, _shared("--quiet")]
Verbose = Annotated[bool, _shared("--verbose")]
JsonOrFile = Annotated[str | None, _shared("--json", "lines", metavar="[FILE.json]", more=TO_FILE)]


def read_options(function: Callable[..., int]) -> Callable[..., int]:
    """Return a command for Typer, with the arguments and options that its docstring's ``Args:`` tell of.

    Args:
        function: a parameter whose type is a dataclass stands for its fields, each of them an option.
    """
    hints = get_type_hints(function, include_extras=True)
    groups: dict[str, Any] = {name: kind for name, kind in hints.items() if dataclasses.is_dataclass(kind)}
    about, entries = _split(function)
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(function).parameters.items():
        fields: tuple[Any, ...] = (parameter,)
        kinds, texts = hints, entries
        if name in groups:
            kinds = get_type_hints(groups[name], include_extras=True)
            fields, texts = dataclasses.fields(groups[name]), _split(groups[name])[1]
        for field in fields:
            kind = kinds[field.name]
            if not hasattr(kind, "__metadata__"):
                entry = texts.get(f"--{field.name.replace('_', '-')}") or texts[field.name]
                kind = Annotated[kind, _make(entry)]
            made: dict[str, Any] = {"default": field.default, "annotation": kind}
            parameters.append(inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, **made))

    for name, kind in (("quiet", Quiet), ("verbose", Verbose)):
        made = {"default": False, "annotation": kind}
        parameters.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, **made))

    def run(quiet: bool, verbose: bool, **values: Any) -> int:
        set_loudness(quiet=quiet, verbose=verbose)
        for name, group in groups.items():
            values[name] = group(
                **{field.name: values.pop(field.name) for field in dataclasses.fields(group)}
            )
        return function(**values)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return _named(run, function, about)


def read_about(function: Callable[..., int]) -> Callable[..., int]:
    """Return a command for Typer that is listed and not run: it has its name and what it says of itself."""
    return _named(lambda: 0, function, _about(function)[0])


def _named(made: Callable[..., int], function: Callable[..., int], about: str) -> Callable[..., int]:
    made.__name__ = function.__name__
    made.__doc__ = re.sub(r"\n+(?=Example: )", "\n\n", about)  # each a paragraph of the help
    return made


def _about(documented: Any) -> tuple[str, str]:
    about, _, texts = (inspect.getdoc(documented) or "").partition("\n\nArgs:\n")
    return about, texts


def _split(documented: Any) -> tuple[str, dict[str, dict[str, Any]]]:
    about, texts = _about(documented)
    return about, _read(textwrap.dedent(texts))
