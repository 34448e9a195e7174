"""find_examples: one pass over a folder for all units asked for, remembered in the output folder."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from featvis.errors import ModelError, OutputError, RecipeError, TargetError
from featvis.models.handle import ModelHandle
from featvis.models.load import load_model
from featvis.notebook import blank, figure, image_tag, plain, side_by_side
from featvis.objectives.dictionary import Dictionary, load_dictionary
from featvis.photographs.crops import write_crops
from featvis.photographs.photos import Listing, list_files, quiet_decoders, read_photo
from featvis.photographs.record import key_of, read_record, remove_strays, without_crops, write_record
from featvis.photographs.stream import search_folder
from featvis.results.store import check_writable
from featvis.spec.target import Request, expand, parse_vectors

_FORMAT = 1  # Another number where the same photographs would get other values


class Examples(dict[str, Any]):
    """What :func:`find_examples` found, as plain data; notebooks show what each unit sees."""

    def __init__(self, told: Mapping[str, Any], photographs: Path) -> None:
        super().__init__(told)
        self.photographs = photographs

    def __repr__(self) -> str:
        return f"Examples({self._summary()})"

    def _summary(self) -> str:
        units = "1 unit" if len(self["units"]) == 1 else f"{len(self['units'])} units"
        return f"{units} of {self['model']}, {self['images']} photographs of {self['folder']}"

    def _repr_html_(self) -> str:
        parts = [f"<div>{plain(self._summary())}</div>"]
        for key, unit in list(self["units"].items())[:_SHOWN]:
            figures = [self._figure(example) for example in unit["examples"][:_EACH]]
            parts += [f"<div><b>{plain(key)}</b></div>", side_by_side(figures)]
        if len(self["units"]) > _SHOWN:
            parts.append(f"<div>… and {len(self['units']) - _SHOWN} more units</div>")
        return f"<div>{''.join(parts)}</div>"

    def _figure(self, example: Mapping[str, Any]) -> str:
        with quiet_decoders():
            photo = read_photo(self.photographs / example["image"], 3)
        lines = [f"{example['value']:.3g}", example["image"]]
        if photo is None or example["box"] is None:
            return figure(blank("gone", _SIDE, _SIDE), lines, _SIDE)
        top, left, height, width = example["box"]
        seen = photo.crop((left, top, left + width, top + height))
        return figure(image_tag(seen, example["image"], _SIDE), lines, _SIDE)


_SIDE, _EACH, _SHOWN = 96, 9, 12
"""Pixels of a crop's longer side in a notebook, how many of each unit, and of how many units."""


def find_examples(
    model: ModelHandle | str,
    folder: str | Path,
    targets: Mapping[str, Sequence[int]] | Sequence[str] | str,
    *,
    out: str | Path | None = None,
    count: int = 9,
    size: tuple[int, int] | None = None,
    batch: int = 8,
    say: Callable[[str], None] | None = None,
) -> Examples:
    """Find the photographs that units respond to most, and cut out what the units see there.

    A photograph is shown whole, its shorter side resized to the network's (the middle of it, to a
    network that takes one size, and of photographs that are more than four times as long as wide). A
    unit's value is its largest activation over the map or the patch tokens, or the logit; its score is
    the mean, as pictures are scored. Equal values go to the earlier file. Quantiles are exact for up to
    4,096 photographs and estimated from as many beyond. Memory does not grow with the folder.

    Args:
        model: the network, borrowed; or a name that :func:`featvis.load_model` takes.
        folder: photographs of any size, flat or in sub-folders. Files that are none are skipped and counted.
        targets: units by layer, ``{"blocks.3": [0, 1]}``, or addresses, ``"blocks.3:0:2"`` or a list of them;
            of a dictionary (a sparse autoencoder, components) by ``LAYER@FILE``.
        out: where ``examples.json`` and the crops go. What it holds already of the same photographs (by path,
            size and time of change), weights, count and size is used again; only new units are searched.
        count: how many photographs for each unit.
        size: (height, width) to resize for, by default the network's own.
        batch: how many photographs the network sees at once.
        say: is told how far it is, a line at a time.

    Returns:
        ``folder, fingerprint, model, weights, size, count, images, skipped`` and ``units``, by
        ``layer:unit``: ``examples`` (best first: ``image, value, position, box, file``), ``quantiles`` of the
        values as [share, value], ``mean_best``, ``mean_value``, and ``scores``: ``best, image, quantiles``.
        ``box`` is (top, left, height, width) in the upright photograph: the receptive field of the
        position, as far as it was shown. ``examples.json`` also keeps the units of earlier calls. A dict,
        which notebooks show.

    Raises:
        UserError: no such folder, no photograph in it, no such layer or unit, nothing can be written.

    >>> import featvis as fv, tempfile, torch
    >>> from PIL import Image
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3))
    >>> model = fv.load_model(network, mean=(0.5,) * 3, std=(0.5,) * 3, input_size=16)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("RGB", (24, 16), "red").save(f"{folder}/red.png")
    ...     result = fv.find_examples(model, folder, {"0": [1]})
    >>> [(example["image"], example["box"][2:]) for example in result["units"]["0:1"]["examples"]]
    [('red.png', [3, 3])]
    """
    model = load_model(model)
    plan = plan_search(model, folder, targets, out=out, count=count, size=size, batch=batch)
    photographs, before = plan.listing.folder, plan.before
    if plan.out is not None:
        check_writable(plan.out)
    if not plan.new and before is not None:
        result = before
    else:
        with quiet_decoders():
            searched = search_folder(
                model,
                plan.listing,
                plan.new,
                count=count,
                size=plan.size,
                batch=batch,
                say=say,
                dictionaries=plan.dictionaries,
            )
        if plan.out is None:
            for unit in searched.units.values():
                for example in unit["examples"]:
                    example["file"] = None
        result = {
            "folder": photographs.resolve().name,
            "model": model.name,
            **plan.about,
            "images": searched.images,
            "skipped": searched.skipped,
            "crops_written": before is not None and before["crops_written"],
            "units": {**(before["units"] if before is not None else {}), **searched.units},
        }
    if plan.out is not None:
        fresh = {key_of(layer, unit) for layer, chosen in plan.new.items() for unit in chosen}
        _write(result, fresh, plan.out, photographs, model.channels, say)
    public = {name: value for name, value in result.items() if name not in ("crops_written", "format")}
    asked = [key_of(layer, unit) for layer, chosen in plan.wanted.items() for unit in chosen]
    return Examples({**public, "units": {key: result["units"][key] for key in asked}}, photographs)


@dataclass(frozen=True)
class SearchPlan:
    """What a call has to look for, and where."""

    listing: Listing
    out: Path | None
    size: tuple[int, int]
    about: dict[str, Any]  # Everything that values depend on
    before: dict[str, Any] | None  # An earlier result that answers the same question
    wanted: dict[str, list[int]]
    new: dict[str, list[int]]  # Of the wanted units those that the earlier result lacks
    dictionaries: dict[str, tuple[str, Dictionary]]
    """Of the names that are no layers, the layer and the dictionary of it."""


def plan_search(
    model: ModelHandle,
    folder: str | Path,
    targets: Mapping[str, Sequence[int]] | Sequence[str] | str,
    *,
    out: str | Path | None,
    count: int,
    size: tuple[int, int] | None,
    batch: int,
) -> SearchPlan:
    """Check what :func:`find_examples` was asked and see what is known already."""
    if not isinstance(folder, str | Path):
        raise OutputError(f"the folder of photographs comes before the targets, got {type(folder).__name__}")
    if not isinstance(targets, Mapping):
        targets = units_by_name(model, targets, "photographs")
    folder, out = Path(folder), None if out is None else Path(out)
    if count < 1 or batch < 1:
        raise RecipeError(f"count and batch are at least 1, got {count} and {batch}")
    if model.channels not in (1, 3):
        raise ModelError(f"a photograph has 1 or 3 channels, the network takes {model.channels}")
    size = (int(size[0]), int(size[1])) if size is not None else model.input_size
    dictionaries = _dictionaries(model, targets)
    wanted = _checked(model, targets, size, dictionaries)
    listing = list_files(folder, out)
    about: dict[str, Any] = {"fingerprint": listing.fingerprint, "weights": model.fingerprint()}
    about |= {"size": list(size), "interpolation": model.interpolation, "count": count, "format": _FORMAT}
    if dictionaries:
        about["dictionaries"] = {name: one.digest for name, (_, one) in sorted(dictionaries.items())}
    before = read_record(out, about, set(listing.names)) if out is not None else None
    known, new = before["units"] if before is not None else {}, {}
    for layer, chosen in wanted.items():
        if units := [unit for unit in chosen if key_of(layer, unit) not in known]:
            new[layer] = units
    return SearchPlan(listing, out, size, about, before, wanted, new, dictionaries)


def units_by_name(
    model: ModelHandle, targets: Sequence[str] | str, found_for: str = "words"
) -> dict[str, list[int]]:
    """Return the units that addresses name, by layer, or by LAYER@FILE of a dictionary.

    ``found_for`` is what is found for them, for errors.
    """
    network = model.at(model.input_size)
    found: dict[str, dict[int, None]] = {}
    for address in [targets] if isinstance(targets, str) else list(targets):
        if not isinstance(address, str):
            raise TargetError(f"units are named by addresses, LAYER:UNITS, got {type(address).__name__}")
        vectors = parse_vectors(address)
        if vectors is not None:
            if len(vectors.layers) != 1 or vectors.key:
                raise TargetError(f"{address!r}: a dictionary's units are LAYER@FILE:UNITS here")
            name = f"{vectors.layers[0]}@{vectors.file}"
            width = load_dictionary(vectors.file).count
            chosen = expand(Request(name, vectors.rows), width)
            found.setdefault(name, {}).update(dict.fromkeys(one.unit for one in chosen))
            continue
        request = network.request(address)
        if request.position is not None:
            row, column = request.position
            raise TargetError(
                f"{address}: {found_for} are for a unit wherever it fires; leave out @{row},{column}"
            )
        for layer in request.layers:
            info = network.layer(layer)
            chosen = expand(replace(request, layer=layer), info.units, info.labels)
            found.setdefault(layer, {}).update(dict.fromkeys(one.unit for one in chosen))
    if not found:
        raise TargetError(f"no unit to find {found_for} for; name some, for instance 'blocks.4:0:16'")
    return {name: list(rows) for name, rows in found.items()}


def _write(
    result: dict[str, Any],
    fresh: Collection[str],
    out: Path,
    folder: Path,
    channels: int,
    say: Callable[[str], None] | None,
) -> None:
    """Write the record and the crops that lack: of fresh units all.

    The record comes first and says that its crops are not there yet: ended in between, the next call
    cuts them without another pass, and never takes another search's crops for its own.
    """
    lacking = sorted({*fresh, *without_crops(out, result)})
    if lacking:
        write_record(out, {**result, "crops_written": False})
        remove_strays(out, result)
        write_crops(folder, out, [result["units"][key] for key in lacking], channels=channels, say=say)
        result["crops_written"] = True
        write_record(out, result)


def _checked(
    model: ModelHandle,
    targets: Mapping[str, Sequence[int]],
    size: tuple[int, int],
    dictionaries: Mapping[str, tuple[str, Dictionary]],
) -> dict[str, list[int]]:
    network = model.at(size)
    wanted = {}
    for name, units in targets.items():
        known = dictionaries.get(name)
        count = network.layer(name).units if known is None else known[1].count
        request = Request(name, ",".join(str(int(unit)) for unit in units))
        if len(units):
            wanted[name] = [target.unit for target in expand(request, count)]
    if not wanted:
        raise TargetError("no unit to find photographs for; name some, for instance {'blocks.3': [0, 1]}")
    return wanted


def _dictionaries(model: ModelHandle, names: Collection[str]) -> dict[str, tuple[str, Dictionary]]:
    """Read the dictionaries among names of layers, ``LAYER@FILE``; each turned for its layer."""
    found = {}
    for name in names:
        request = parse_vectors(name)
        if request is not None:
            if len(request.layers) != 1 or request.key or request.rows != "all":
                raise TargetError(f"{name!r}: a dictionary is LAYER@FILE here, its units a list beside it")
            width = model.layer(request.layers[0]).units
            found[name] = (request.layers[0], load_dictionary(request.file).turned(width))
    return found
