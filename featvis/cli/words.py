"""``featvis words``: what units are called, by an image-text pair; and which units are like something."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featvis.cli.checks import check_at_least, check_folder, check_photo
from featvis.cli.completion import complete_targets
from featvis.cli.network import Network, NetworkOfTargets
from featvis.cli.options import AsJson, OutOfTargets, Seed
from featvis.cli.output import is_quiet, note, note_code, print_json, results_folder
from featvis.errors import ModelError, OutputError, RecipeError, TargetError, unknown

if TYPE_CHECKING:
    from featvis.explore.words import Match, UnitWords
    from featvis.models.handle import ModelHandle

_LINES = 40
"""Units that are listed in the terminal; the page has all."""
_PAIRS = "open_clip:NAME/TAG, or file:FILE.py:FUNCTION for one that a function of yours returns"


Units = Annotated[
    list[str],
    typer.Argument(
        help="The units, as LAYER:UNITS; or a gallery, for those that it has pictures of.",
        autocompletion=complete_targets,
    ),
]


@dataclass
class Vocabulary:
    """What words are chosen from, and what is looked for.

    Args:
        --pair NAME: The image-text pair: open_clip:NAME/TAG, as open_clip:ViT-B-32/openai, or
            file:FILE.py:FUNCTION (runs that code). [none: units are compared by the network's own features]
        --vocabulary FILE: The words to choose from, one on each line. [ImageNet's classes]
        --template TEXT: What a word is put into, at {}.
        --find TEXT: List the units that fit these words best, such as "dog snout"; may be repeated.
        --like UNIT: List the units most like this one, of those that get words; may be repeated.
        --at PLACE: List the units whose patches are most like this place of a photograph, PHOTO:ROW,COLUMN in
            its pixels; may be repeated.
        --count: How many patches of photographs each unit has. [16, of few photographs a quarter]
        --widest: A patch is at most this share of its photograph's shorter side wide.
    """

    pair: str | None = None
    vocabulary: Path | None = None
    template: str = "a photo of {}"
    find: list[str] | None = None
    like: list[str] | None = None
    at: list[str] | None = None
    count: int | None = None
    widest: float = 0.5


def words(
    targets: Units,
    photos: Path,
    *,
    about: Vocabulary,
    seed: Seed = 0,
    out: OutOfTargets = None,
    as_json: AsJson = False,
    network: NetworkOfTargets,
) -> int:
    """Find words for units, from photographs. Says how sure a word is, and how often chance is as sure.

    A gallery's own pages show its units' words, too.

    Example: featvis words blocks.4:0:16 photos/ --pair open_clip:ViT-B-32/openai --find "dog snout"

    Args:
        photos: A folder of photographs; the more it holds, the more a word is worth.
    """
    galleries = [Path(one) for one in targets if Path(one).is_dir()]
    if galleries and len(targets) > 1:
        raise TargetError(f"{galleries[0]} is a gallery, and is given alone: its units get words")
    if not galleries:
        from featvis.spec.target import parse_request, parse_vectors

        for address in targets:
            if "/" in address and ":" not in address:
                raise OutputError(f"no folder {address!r}; TARGETS are units, LAYER:UNITS, or a gallery")
            if parse_vectors(address) is None:
                parse_request(address)
        network = network.usual()
        network.check([one for one in targets if parse_vectors(one) is None])
    if not photos.is_dir():
        raise OutputError(f"no folder of photographs {str(photos)!r}")
    _check(about)
    check_at_least(0, seed=seed)
    places = [_place(text) for text in about.at or ()]
    folder: Path = out or results_folder() / "words" / _folder_name(targets, about.pair)
    check_folder(folder)

    handle = _network(galleries, network)
    pair = None if about.pair is None else _load_pair(about.pair, network.device)
    from featvis.explore.words import describe_units, tell_gallery
    from featvis.photographs.search import units_by_name

    if about.like and not galleries:
        described = {f"{name}:{row}" for name, rows in units_by_name(handle, targets).items() for row in rows}
        if strange := [one for one in about.like if one not in described]:
            raise TargetError(unknown("unit for --like", strange[0], described, "one of TARGETS"))
    found = describe_units(
        handle,
        None if galleries else targets,
        photos,
        pair,
        vocabulary=about.vocabulary,
        template=about.template,
        pictures=galleries[0] if galleries else None,
        count=about.count,
        widest=about.widest,
        out=folder,
        seed=seed,
        say=None if is_quiet() else note,
    )
    looked = {
        **{f"units for {text!r}": found.search(text) for text in about.find or ()},
        **{f"units like {target}": found.like(target) for target in about.like or ()},
        **{
            f"units for {photo} at {row:g},{column:g}": found.at(photo, row, column)
            for photo, row, column in places
        },
    }
    if galleries and pair is not None:
        tell_gallery(found, galleries[0])
    if as_json:
        searches = {name: [_tell(one) for one in matches] for name, matches in looked.items()}
        print_json({**found.to_json(), "searches": searches, "page": str(found.page)})
        return 0
    _print(found, looked)
    return 0


def _check(about: Vocabulary) -> None:
    """Check what can be checked before a network is loaded."""
    if about.pair is not None:
        prefix, _, name = about.pair.partition(":")
        if prefix not in ("open_clip", "file") or not name:
            raise ModelError(f"--pair {about.pair!r} is no pair's name; write {_PAIRS}")
    elif useless := [
        name
        for name, given in (
            ("--find", about.find),
            ("--vocabulary", about.vocabulary),
            ("--template", about.template != Vocabulary.template),
        )
        if given
    ]:
        raise RecipeError(f"{useless[0]} is of words, which need an image-text pair: give --pair")
    if about.template.count("{}") != 1:
        raise RecipeError(f"--template holds one {{}}, where the word goes; got {about.template!r}")
    if about.vocabulary is not None and not about.vocabulary.is_file():
        raise OutputError(f"no file of words {str(about.vocabulary)!r}")
    if not 0 < about.widest <= 1:
        raise RecipeError(f"--widest lies above 0 and up to 1, got {about.widest:g}")
    check_at_least(2, count=about.count)


def _folder_name(targets: Sequence[str], pair: str | None) -> str:
    """Return a name of a folder, another one for other units and another pair."""
    from featvis.results.store import safe_name

    told = [Path(one).name if Path(one).is_dir() else one for one in targets]
    return safe_name("-".join([*told, *([pair] if pair else [])]).replace(":", "-").replace("/", "-"))


def _place(text: str) -> tuple[Path, float, float]:
    """Read PHOTO:ROW,COLUMN."""
    name, _, place = text.rpartition(":")
    try:
        row, column = (float(part) for part in place.split(","))
    except ValueError:
        raise RecipeError(
            f"--at is PHOTO:ROW,COLUMN, a place in the photograph's pixels; got {text!r}"
        ) from None
    check_photo(Path(name))
    return Path(name), row, column


def _network(galleries: Sequence[Path], network: Network) -> ModelHandle:
    if not galleries:
        return network.load()
    from featvis.models.sources.register import check_read_name
    from featvis.trust.panel import load_network_of
    from featvis.trust.subjects import read_folder

    (folder,) = galleries
    manifest = read_folder(folder)
    if network.is_named:
        return network.load(network.model or check_read_name(str(manifest.get("model")), folder))
    handle = load_network_of(folder, manifest, network.device)
    for line in handle.notes:
        note(line)
    return handle


def _load_pair(name: str, device: str) -> ModelHandle:
    prefix, _, rest = name.partition(":")
    if prefix == "open_clip":
        from featvis.models.load import pick_device
        from featvis.models.paired import load_open_clip

        network, _, tag = rest.partition("/")
        pair = load_open_clip(network, tag or None)
        chosen = pick_device(device)
        return pair if pair.device == chosen else pair.copy(device=chosen)
    note_code(name)
    from featvis.models.load import load_model
    from featvis.models.paired import PairedHandle

    handle = load_model(name, device=device)
    if not isinstance(handle, PairedHandle):
        raise ModelError(
            f"--pair {name}: the function returns an image-text pair, as fv.load_paired makes it"
        )
    return handle


def _tell(match: Match) -> dict[str, Any]:
    return {"target": match.target, "strength": float(f"{match.strength:.4g}")}


def _print(found: UnitWords, looked: dict[str, list[Match]]) -> None:
    lines = found.lines()
    for line in lines[: _LINES + 1]:
        print(line)
    if len(lines) > _LINES + 1:
        print(f"… and {len(lines) - _LINES - 1} units more on the page")
    for name, matches in looked.items():
        print(f"{name}:")
        for one in matches:
            unit = found.units[one.target]
            told = f"  {unit.words[0].text}" if unit.words else ""
            print(f"  {one.target:<16} {one.strength:6.2f}{told}")
    if found.skipped:
        note(f"{found.skipped} of the folder's files are no photographs")
    print(found.page)
