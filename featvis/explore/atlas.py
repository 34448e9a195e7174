"""atlas(): a map of what a layer's activations are, from a folder of photographs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors

from featvis.errors import OutputError, RecipeError, UserError
from featvis.explore.cells import (
    Cells,
    Likeness,
    directions_of,
    find_cells,
    find_likeness,
    mean_vectors,
    nearest_cells,
    typical,
)
from featvis.explore.layout import check_layout, lay_out
from featvis.explore.sample import Moments, Sample, Stream, draw_sample
from featvis.explore.speech import Speech, find_speech
from featvis.files import check_inside, to_bytes, write_whole
from featvis.models.borrow.loan import with_gradients
from featvis.models.handle import ModelHandle
from featvis.models.load import load_model
from featvis.objectives.direction import direction
from featvis.objectives.vectors import read_vectors
from featvis.pages.atlas import make_atlas_pages
from featvis.pages.sprites import make_sprite
from featvis.photographs.photos import list_files, quiet_decoders, read_photo
from featvis.read import parse_json
from featvis.results.lock import hold
from featvis.results.picture import Picture
from featvis.run.prepare import Prepared, prepare
from featvis.run.render import run_plan
from featvis.spec.recipe import Recipe
from featvis.spec.same import SameByValue
from featvis.spec.target import VectorRequest
from featvis.version import __version__

SAMPLE, CELLS, SPEECH, ABOUT = "sample.safetensors", "cells.safetensors", "classes.safetensors", "atlas.json"
BESIDE = "beside"
"""The folder of the second layer's or network's pictures, within the first one's."""
SPOKEN = 8
"""Of how many positions of a cell, drawn at random, it is found out which classes they speak for."""
TOP = 8
"""How many classes of each cell, and how many nearest cells, are told."""
_FORMAT = "1"
_PATCH_SIDE = 64


@dataclass(frozen=True)
class Side:
    """One network's layer on a map."""

    model: ModelHandle
    layer: str
    folder: Path

    @property
    def name(self) -> str:
        """The network and the layer."""
        return f"{self.model.name} {self.layer}"


@dataclass(frozen=True, repr=False, eq=False)
class Sheet(SameByValue):
    """One grid of one layer: its cells, and what each stands for."""

    cells: Cells
    means: NDArray[np.float64]
    directions: NDArray[np.float32]
    likeness: Likeness | None
    speech: Speech | None
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True, repr=False, eq=False)
class Atlas(SameByValue):
    """A map of activations."""

    folder: Path
    sample: Sample
    places: NDArray[np.float64]
    """``(N, 2)``: where each sampled activation lies on the unit square, across and down."""
    layout: str
    whitened: bool
    sheets: tuple[tuple[Sheet, ...], ...]
    """Of each layer the sheet of each grid."""

    def __repr__(self) -> str:
        grids = ", ".join(
            f"{len(sheet.cells)} cells of {sheet.cells.side}x{sheet.cells.side}" for sheet in self.sheets[0]
        )
        return f"Atlas({str(self.folder)!r}, {len(self.places):,} positions, {grids})"

    @property
    def page(self) -> Path:
        """The page to open in a browser."""
        return self.folder / "index.html"

    def find(self, vector: NDArray[np.floating], grid: int = 0, side: int = 0) -> tuple[int, int]:
        """Return (row, column) of the cell whose mean is most like an activation of its layer.

        Alike is the cosine of what they differ from the layer's mean activation.

        Args:
            vector: one number for each unit.
            grid: which of the grids, the coarsest first.
            side: which of the layers.
        """
        sheet, middle = self.sheets[side][grid], self.sample.moments[side].mean
        apart = sheet.means - middle
        apart = apart / np.maximum(np.linalg.norm(apart, axis=1, keepdims=True), 1e-12)
        best = int((apart @ (np.asarray(vector, dtype=np.float64) - middle)).argmax())
        return int(sheet.cells.rows[best]), int(sheet.cells.columns[best])


@with_gradients
def atlas(
    model: ModelHandle | str,
    layer: str,
    photographs: str | Path,
    out: str | Path,
    *,
    beside: str | tuple[ModelHandle | str, str] | None = None,
    count: int = 20_000,
    grids: Sequence[int] = (10, 20),
    least: int = 4,
    layout: str = "tsne",
    whiten: bool = True,
    scales: Sequence[float] = (1.0,),
    patches: int = 4,
    title: str = "",
    seed: int = 0,
    recipe: Recipe | str | None = None,
    size: int = 96,
    batch: int = 8,
    progress: bool | None = None,
    **changes: Any,
) -> Atlas:
    """Draw a map of a layer's activations (Carter et al. 2019, "Activation Atlas") as a page.

    Activations at random positions of the photographs are laid out so that alike ones lie close together, a
    grid is laid over them at each zoom, and the mean of each cell is rendered like a unit. A cell's target is
    ``LAYER@cells.safetensors:gridSIDE:CELL``, which :func:`featvis.render` takes as it takes any other; what
    the folder holds is not rendered again, so the same call goes on after any interruption.

    Which classes a cell speaks for is the gradient of every class's logit with respect to the layer at its
    positions, times the activation: the mean over 8 of them, exact where the rest of the network is
    linear.

    Args:
        model: from :func:`featvis.load_model`, or a name that it takes.
        layer: one that gives a map, or tokens.
        photographs: a folder.
        out: the folder that the map goes to; its ``index.html`` needs no server.
        beside: another layer, or (network, layer), of the same photographs and positions, drawn beside the
            first with the first one's layout.
        count: how many activations are sampled, in memory each 2 bytes for each unit (4 above 60,000).
        grids: how many cells each zoom is wide and high, the coarsest first.
        least: how many activations a cell needs.
        layout: ``tsne`` (of 2,500 landmarks, the others placed among them), ``pca``, or ``umap`` with
            the extra ``featvis[atlas]``.
        whiten: whether cells are rendered as what sets them apart, S·v, with S the inverse of the second
            moment of all activations; otherwise as their mean v.
        scales: the photographs are shown at each of these: 1 has the shorter side of the network's input.
        patches: how many photographs' patches the page shows for each cell.
        title: of the page.
        seed: of the sample, of its layout and of the pictures.
        recipe: as for :func:`featvis.render`.
        size: of a cell's picture in pixels, a square.
        batch: how many photographs the network sees at once.
        progress: show how far it is; by default where somebody looks on.
        **changes: any other field of the recipe.

    Returns:
        The map: the sample, where it lies, and the cells of each grid.

    Raises:
        UserError: anything wrong in what was asked, no photograph that can be read, or a folder that holds
            another map.

    >>> import featvis as fv, tempfile, torch
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
    >>> model = fv.load_model(network, mean=(0.5,) * 3, std=(0.5,) * 3, input_size=16)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     noise = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    ...     Image.fromarray(noise).save(f"{folder}/noise.png")
    ...     options = dict(count=60, grids=[2], size=16, steps=1, layout="pca")
    ...     atlas = fv.atlas(model, "1", folder, f"{folder}/map", **options)
    ...     atlas.page.exists(), len(atlas.places), atlas.sheets[0][0].cells.side
    (True, 60, 2)
    """
    folder = Path(out)
    first = load_model(model)
    sides = [Side(first, layer, folder)]
    if beside is not None:
        other, name = (first, beside) if isinstance(beside, str) else (load_model(beside[0]), beside[1])
        sides.append(Side(other, name, folder / BESIDE))
    _check(count, grids, least, patches, size)
    check_layout(layout)
    if folder.resolve() == Path(photographs).resolve():
        raise OutputError(f"{folder} is the folder of the photographs; name another one for the map")
    from featvis.run.progress import report_for  # rich is needed only here

    with report_for(progress) or nullcontext() as report:
        say = (lambda line: None) if report is None else report.say
        listing = list_files(Path(photographs), folder)
        streams = [Stream(side.model, side.layer, listing, scales, batch) for side in sides]
        plan = {"recipe": recipe, "seed": seed, "size": size, **changes}
        for side in sides:  # a mistake in the recipe is told before the photographs are read
            probe = torch.ones(side.model.layer(side.layer).units)
            prepare(side.model, direction(side.layer, probe), write=False, **plan)
        about = {
            "format": _FORMAT,
            "photographs": listing.fingerprint,
            "weights": [side.model.fingerprint() for side in sides],
            "layers": [side.layer for side in sides],
            "count": count,
            "layout": layout,
            "seed": seed,
            "scales": list(map(float, scales)),
            "whiten": whiten,
            "grids": list(grids),
            "least": least,
        }
        key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
        with hold(folder) as lock:
            _check_folder(folder, key)
            kept = _load_sample(folder / SAMPLE, key, listing.names)
            if kept is None:
                sample = draw_sample(streams, count, seed, say)
                held = f"{sample.nbytes / 2**20:.0f} MiB"
                say(f"{len(sample.owners):,} activations of {sample.photographs:,} photographs, {held}")
                places = lay_out(sample.vectors[0], layout, seed=seed, say=say)
                lock.check()
                write_whole(folder / SAMPLE, _sample_bytes(sample, places, key))
                kept = _load_sample(folder / SAMPLE, key, listing.names)
                assert kept is not None
            sample, places = kept
            every = [_speaking(find_cells(places, side, least), sample) for side in grids]
            if not sum(map(len, every)):
                raise UserError(
                    f"no cell holds {least} of the {len(places):,} activations; sample more, or take a "
                    "smaller grid or least"
                )
            sheets = [
                _find_sheets(side, number, sample, every, whiten=whiten) for number, side in enumerate(sides)
            ]
            for side, made in zip(sides, sheets, strict=True):
                write_whole(side.folder / CELLS, _cells_bytes(side, made))
            speeches = _speeches(streams, sample, every, seed, folder / SPEECH, key, say)
            finished = []
            work = [_prepare(side, made, plan) for side, made in zip(sides, sheets, strict=True)]
            for number, prepared in enumerate(work):
                pictures = iter(list(run_plan(prepared, report=report)))
                finished.append(
                    tuple(
                        Sheet(
                            made.cells,
                            made.means,
                            made.directions,
                            made.likeness,
                            speeches[number][place],
                            tuple(next(pictures) for _ in range(len(made.cells))),
                        )
                        for place, made in enumerate(sheets[number])
                    )
                )
            result = Atlas(folder, sample, places, layout, whiten, tuple(finished))
            lock.check()
            _write_page(result, sides, Path(photographs), patches, title, size)
        return result


def _check(count: int, grids: Sequence[int], least: int, patches: int, size: int) -> None:
    for name, value, low in (("count", count, 2), ("least", least, 1), ("patches", patches, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise RecipeError(f"{name} is a whole number from {low} up, got {value!r}")
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise RecipeError(f"a cell's picture is a square: size is one whole number, got {size!r}")
    if not isinstance(grids, Sequence) or isinstance(grids, str):
        raise RecipeError(f"grids are a list of numbers of cells, for instance [10, 20], got {grids!r}")
    if not grids or list(grids) != sorted(set(grids)) or not 1 <= grids[0] <= grids[-1] <= 200:
        told = ",".join(map(str, grids)) or "none"
        raise RecipeError(f"grids are different numbers of cells from 1 to 200, smallest first; got {told}")


def _check_folder(folder: Path, key: str) -> None:
    """Raise OutputError where the folder holds another map."""
    path = folder / SAMPLE
    if path.exists() and _key_of(path) != key:
        raise OutputError(
            f"{folder} holds another map, of other photographs, weights, layers or options; choose another "
            "folder, or remove it"
        )
    for inner in (folder, folder / BESIDE):
        check_inside(inner / CELLS, folder)


def _key_of(path: Path) -> str | None:
    try:
        with safe_open(str(path), "np") as opened:
            return str((opened.metadata() or {}).get("featvis", "")).partition(" ")[0]
    except (SafetensorError, OSError, ValueError):
        return None


def _sample_bytes(sample: Sample, places: NDArray[np.float64], key: str) -> bytes:
    tensors: dict[str, NDArray[Any]] = {
        "places": places,
        "counts": np.asarray([sample.photographs, sample.skipped]),
        **{name: getattr(sample, name) for name in ("owners", "scales", "middles", "boxes")},
    }
    for number, (vectors, moments) in enumerate(zip(sample.vectors, sample.moments, strict=True)):
        tensors |= {f"vectors{number}": vectors, f"seen{number}": np.asarray([moments.count])}
        tensors |= {f"mean{number}": moments.mean, f"second{number}": moments.second}
    ready = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in tensors.items()}
    return to_safetensors(ready, {"featvis": key})


def _load_sample(path: Path, key: str, names: tuple[str, ...]) -> tuple[Sample, NDArray[np.float64]] | None:
    if not path.exists() or _key_of(path) != key:
        return None
    with safe_open(str(path), "np") as opened:
        held = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    numbers = range(sum(name.startswith("vectors") for name in held))
    sample = Sample(
        names,
        held["owners"],
        held["scales"],
        held["middles"],
        held["boxes"],
        tuple(held[f"vectors{number}"] for number in numbers),
        tuple(
            Moments.of(int(held[f"seen{number}"][0]), held[f"mean{number}"], held[f"second{number}"])
            for number in numbers
        ),
        int(held["counts"][0]),
        int(held["counts"][1]),
    )
    return sample, held["places"]


def _speaking(cells: Cells, sample: Sample) -> Cells:
    """Leave out the cells in which a network is silent: a mean of 0 is no direction."""
    loud = [
        place
        for place, members in enumerate(cells.members)
        if all(bool(vectors[members].any()) for vectors in sample.vectors)
    ]
    members = tuple(cells.members[place] for place in loud)
    return Cells(cells.side, cells.rows[loud], cells.columns[loud], members)


def _find_sheets(
    side: Side, number: int, sample: Sample, every: Sequence[Cells], *, whiten: bool
) -> list[Sheet]:
    moments, vectors = sample.moments[number], sample.vectors[number]
    whitening = moments.whitening() if whiten else None
    sheets = []
    for cells in every:
        means = mean_vectors(vectors, cells)
        directions = directions_of(means, whitening)
        likeness = find_likeness(cells, means - moments.mean)
        sheets.append(Sheet(cells, means, directions, likeness, None))
    return sheets


def _cells_bytes(side: Side, sheets: Sequence[Sheet]) -> bytes:
    """Return the cells' directions as a file of targets: ``gridSIDE``, a row for each cell."""
    tensors = {_name(sheet): torch.from_numpy(sheet.directions) for sheet in sheets if len(sheet.cells)}
    metadata = {"layer": side.layer, "method": "atlas", "model": side.model.name}
    return to_safetensors(tensors, {"featvis": json.dumps(metadata)})


def _name(sheet: Sheet) -> str:
    return f"grid{sheet.cells.side}"


def _speeches(
    streams: Sequence[Stream],
    sample: Sample,
    every: Sequence[Cells],
    seed: int,
    path: Path,
    key: str,
    say: Callable[[str], None],
) -> list[list[Speech | None]]:
    """Return what the cells of each grid of each network say to its classes, found once and kept."""
    groups = []
    for cells in every:
        for place, members in enumerate(cells.members):
            chance = np.random.default_rng((seed, cells.side, place))
            few = min(SPOKEN, len(members))
            groups.append(np.sort(chance.choice(members, few, replace=False)))
    told: list[Speech | None]
    if path.exists() and _key_of(path) == key:
        told = _load_speech(path, streams)
    else:
        told = [find_speech(stream, sample, groups, say) for stream in streams]
        write_whole(path, _speech_bytes(told, key))
        told = _load_speech(path, streams)
    found = []
    for speech in told:
        parts, start = list[Speech | None](), 0
        for cells in every:
            if speech is None:
                parts.append(None)
            else:
                part = speech.values[start : start + len(cells)]
                parts.append(Speech(speech.layer, speech.labels, part, speech.linear))
            start += len(cells)
        found.append(parts)
    return found


def _speech_bytes(told: Sequence[Speech | None], key: str) -> bytes:
    tensors, about = {"none": torch.zeros(1)}, {}
    for number, speech in enumerate(told):
        if speech is not None:
            tensors[f"classes{number}"] = torch.from_numpy(speech.values)
            about[str(number)] = [speech.layer, speech.linear]
    # One text: several would be written in any order.
    return to_safetensors(tensors, {"featvis": f"{key} {json.dumps(about)}"})


def _load_speech(path: Path, streams: Sequence[Stream]) -> list[Speech | None]:
    with safe_open(str(path), "np") as opened:
        about = parse_json((opened.metadata() or {})["featvis"].partition(" ")[2])
        values = {number: opened.get_tensor(f"classes{number}") for number in about}
    found: list[Speech | None] = []
    for number, stream in enumerate(streams):
        if str(number) not in about:
            found.append(None)
            continue
        layer, linear = about[str(number)]
        info = stream.model.layer(layer)
        labels = info.labels or tuple(f"class {place}" for place in range(info.units))
        found.append(Speech(layer, labels, values[str(number)], linear))
    return found


def _prepare(side: Side, sheets: Sequence[Sheet], plan: dict[str, Any]) -> Prepared:
    """Plan the cells of all grids together, so that all lanes are full; the coarsest come first."""
    targets = [
        target
        for sheet in sheets
        if len(sheet.cells)
        for target in read_vectors(
            VectorRequest((side.layer,), str(side.folder / CELLS), _name(sheet), "all")
        )
    ]
    return prepare(side.model, targets, out=side.folder, **plan)


def _write_page(
    result: Atlas, sides: Sequence[Side], folder: Path, patches: int, title: str, size: int
) -> None:
    """Write the page, its sprites, and ``atlas.json``, which holds all figures."""
    sample = result.sample
    examples = [
        [
            typical(sample.vectors[0], members, sample.owners, sample.moments[0].mean, patches)
            for members in sheet.cells.members
        ]
        for sheet in result.sheets[0]
    ]
    files: dict[str, bytes] = {}
    wanted = {int(one) for grid in examples for cell in grid for one in cell}
    crops = _cut(sample, folder, sides[0].model.channels, wanted)
    maps = []
    for number, (side, sheets) in enumerate(zip(sides, result.sheets, strict=True)):
        told = []
        for sheet in sheets:
            file = f"site/{'beside-' if number else ''}cells-{sheet.cells.side}.webp"
            tiles = [picture.pil if picture.is_one else None for picture in sheet.pictures]
            files[file] = make_sprite(tiles, size)
            told.append(_tell(sheet, file, sample.moments[number].mean))
        maps.append(
            {
                "model": side.model.name,
                "weights": side.model.fingerprint(),
                "layer": side.layer,
                "units": side.model.layer(side.layer).units,
                "grids": told,
            }
        )
    grids = []
    for sheet, chosen in zip(result.sheets[0], examples, strict=True):
        file = f"site/patches-{sheet.cells.side}.webp"
        order = [int(one) for cell in chosen for one in cell]
        if order:
            files[file] = make_sprite([crops.get(one) for one in order], _PATCH_SIDE, 75)
        places = iter(range(len(order)))
        grids.append(
            {
                "side": sheet.cells.side,
                "patches": file if order else None,
                "cells": [
                    {
                        "row": int(sheet.cells.rows[place]),
                        "column": int(sheet.cells.columns[place]),
                        "positions": len(members),
                        "photographs": len(np.unique(sample.owners[members])),
                        "patches": [
                            {
                                "tile": next(places),
                                "photograph": sample.names[sample.owners[one]],
                                "box": [int(edge) for edge in sample.boxes[one]],
                            }
                            for one in chosen[place]
                        ],
                    }
                    for place, members in enumerate(sheet.cells.members)
                ],
            }
        )
    about = {
        "featvis": __version__,
        "title": title,
        "positions": len(sample.owners),
        "photographs": sample.photographs,
        "skipped": sample.skipped,
        "bytes": sample.nbytes,
        "layout": result.layout,
        "whitened": result.whitened,
        "maps": maps,
        "grids": grids,
    }
    files |= {name: to_bytes(text) for name, text in make_atlas_pages(about).items()}
    text = json.dumps(about, indent=1, ensure_ascii=False) + "\n"
    files[ABOUT] = to_bytes(text)
    for name, content in files.items():
        check_inside(result.folder / name, result.folder)
        write_whole(result.folder / name, content, sync=False)


def _cut(sample: Sample, folder: Path, channels: int, wanted: set[int]) -> dict[int, Image.Image]:
    """Cut the patches of some positions out of their photographs."""
    by_photo: dict[int, list[int]] = {}
    for one in sorted(wanted):
        by_photo.setdefault(int(sample.owners[one]), []).append(one)
    cut = {}
    with quiet_decoders():
        for owner, members in by_photo.items():
            photo = read_photo(folder / sample.names[owner], channels)
            if photo is None:
                continue
            for one in members:
                top, left, height, width = map(int, sample.boxes[one])
                patch = photo.crop((left, top, left + width, top + height))
                cut[one] = patch.resize((_PATCH_SIDE, _PATCH_SIDE), Image.Resampling.LANCZOS)
    return cut


def _tell(sheet: Sheet, file: str, middle: NDArray[np.float64]) -> dict[str, Any]:
    """Return what ``atlas.json`` says of one layer's grid."""
    near = nearest_cells(sheet.means, middle, TOP)
    told: dict[str, Any] = {"sprite": file}
    if sheet.likeness is not None:
        low, high = sheet.likeness.difference
        told["likeness"] = {
            "neighbours": round(sheet.likeness.neighbours, 4),
            "others": round(sheet.likeness.others, 4),
            "difference": [round(low, 4), round(high, 4)],
            "pairs": sheet.likeness.pairs,
        }
    told["cells"] = [
        {
            "target": picture.target,
            "key": picture.key,
            "status": picture.status,
            "score": float(f"{picture.score:.6g}") if picture.is_one else None,
            "nearest": near[place],
        }
        for place, picture in enumerate(sheet.pictures)
    ]
    speech = sheet.speech
    if speech is not None:
        # What every cell says to a class is no mark of one of them.
        more = speech.values - speech.values.mean(0) if len(speech.values) > 1 else speech.values
        order = np.argsort(-more, axis=1, kind="stable")[:, :TOP]
        used = sorted({int(one) for row in order for one in row})
        column = {unit: place for place, unit in enumerate(used)}
        told["classes"] = {
            "layer": speech.layer,
            "linear": speech.linear,
            "names": [speech.labels[unit] for unit in used],
            "units": used,
            "top": [
                [[column[int(unit)], float(f"{speech.values[place, unit]:.4g}")] for unit in row]
                for place, row in enumerate(order)
            ],
            "strength": [[float(f"{more[place, unit]:.3g}") for unit in used] for place in range(len(more))],
        }
    return told
