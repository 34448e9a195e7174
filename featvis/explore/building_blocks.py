"""building_blocks(): what a network sees at each place of a photograph, and what it says to classes.

Olah et al. 2018, "The Building Blocks of Interpretability": the semantic grid, channel attribution at each
place, and groups of units, across layers down to the classes.
"""

from __future__ import annotations

import itertools
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
from safetensors.torch import save as to_safetensors

from featvis.attribution.attribute import photo_levels
from featvis.attribution.blocks import Blocks, find_blocks, load_icons
from featvis.attribution.components import Components, find_components
from featvis.attribution.measure import rank_correlation
from featvis.attribution.sanity import randomized
from featvis.errors import RecipeError, TargetError
from featvis.explore.cells import directions_of
from featvis.explore.sample import Moments
from featvis.files import check_inside, to_bytes, write_anew, write_whole
from featvis.models.borrow.loan import with_gradients
from featvis.models.handle import ModelHandle
from featvis.models.load import load_model
from featvis.models.photograph import Photograph
from featvis.objectives.direction import direction
from featvis.objectives.vectors import read_vectors
from featvis.pages.blocks import PHOTOGRAPH, make_blocks_pages
from featvis.pages.sprites import encode_webp, make_sprite
from featvis.plan.make import AnyTarget
from featvis.read import is_whole_number
from featvis.results.lock import hold
from featvis.results.picture import Picture
from featvis.run.prepare import prepare
from featvis.run.render import run_plan
from featvis.spec.recipe import Recipe
from featvis.spec.same import SameByValue
from featvis.spec.target import VectorRequest
from featvis.version import __version__

DIRECTIONS, ABOUT = "directions.safetensors", "blocks.json"
MOST = 14
"""A map with more rows or columns than this is averaged over blocks of positions to so many."""
UNITS = 4
"""How many units are told of a place for each class, and for each class against each other."""
RIDGE = 1e-2
"""Of the whitening by the photograph's own positions, which are few."""


@dataclass(frozen=True, repr=False, eq=False)
class LayerBlocks(SameByValue):
    """What one layer sees in a photograph, and what that says to the targets."""

    layer: str
    places: NDArray[np.float64]
    """``(units, rows, columns)``: the activation at each place, a mean where the map has more positions."""
    contributions: NDArray[np.float64]
    """``(targets, units, rows, columns)``: gradient times activation, the sum over a place's positions."""
    scores: tuple[float, ...]
    """Of each target on this photograph."""
    groups: Components
    group_maps: NDArray[np.float64]
    """``(groups, rows, columns)``: how much of each group a place holds."""
    group_contributions: NDArray[np.float64]
    """``(targets, groups)``: a group's part of the activation times the gradient, over the photograph."""
    controls: tuple[float | None, ...]
    """Of each target the rank correlation with the contributions in a network of random weights, by place."""
    pictures: dict[tuple[int, int], Picture]
    """Of each place, (row, column)."""
    group_pictures: tuple[Picture, ...]

    @property
    def magnitudes(self) -> NDArray[np.float64]:
        """The length of the activation at each place, ``(rows, columns)``."""
        return np.asarray(np.linalg.norm(self.places, axis=0), dtype=np.float64)

    def rest(self, target: int) -> float:
        """What the contributions leave of a target's score: its bias, and where it is not linear its bend."""
        return self.scores[target] - float(self.contributions[target].sum())


@dataclass(frozen=True, repr=False, eq=False)
class BuildingBlocks(SameByValue):
    """A photograph taken apart."""

    folder: Path
    targets: tuple[str, ...]
    layers: tuple[LayerBlocks, ...]

    def __repr__(self) -> str:
        names = ", ".join(one.layer for one in self.layers)
        return f"BuildingBlocks({str(self.folder)!r}, {names} for {', '.join(self.targets)})"

    @property
    def page(self) -> Path:
        """The page to open in a browser."""
        return self.folder / "index.html"


@with_gradients
def building_blocks(
    model: ModelHandle | str,
    photo: Photograph,
    targets: AnyTarget | Sequence[AnyTarget],
    layers: str | Sequence[str],
    out: str | Path,
    *,
    groups: int = 6,
    canvas: int | tuple[int, int] | None = None,
    icons: str | Path | None = None,
    control: bool = True,
    seed: int = 0,
    recipe: Recipe | str | None = None,
    size: int = 64,
    progress: bool | None = None,
    **changes: Any,
) -> BuildingBlocks:
    """Take a photograph apart: what each layer sees at each place, and what that says to classes.

    At each place of a layer stands a picture of its activation's direction, as large as the activation is
    long (what sets it apart from the photograph's other places: whitened by their second moment). Units and
    groups of units (by NMF) speak for a target by gradient times activation, which adds up to the score but
    for a bias where the rest of the network is linear. Everything is a static page; what the folder holds is
    not rendered again.

    Args:
        model: from :func:`featvis.load_model`, or a name that it takes.
        photo: as for :func:`featvis.attribute`.
        targets: one or more addresses of one unit each, or objectives; the first against the others.
        layers: those that give a map and run before the targets.
        out: the folder; its ``index.html`` needs no server.
        groups: how many groups each layer's units fall into.
        canvas: how large the photograph is shown, as for :func:`featvis.attribute`.
        icons: a gallery with pictures of the layers' units.
        control: compare with a network of random weights, as :func:`featvis.attribute` does by ``sanity``.
        seed: of the groups and of the pictures.
        recipe: as for :func:`featvis.render`.
        size: of a place's picture in pixels, a square.
        progress: show how far it is; by default where somebody looks on.
        **changes: any other field of the recipe.

    Returns:
        The layers' places, contributions and groups.

    Raises:
        UserError: anything wrong in what was asked, or a folder that holds something else.

    >>> import featvis as fv, tempfile, torch
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 2, 1))
    >>> model = fv.load_model(network, mean=(0.5,) * 3, std=(0.5,) * 3, input_size=16)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     noise = np.random.default_rng(0).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    ...     Image.fromarray(noise).save(f"{folder}/noise.png")
    ...     options = dict(groups=2, canvas=(6, 7), size=8, steps=1, transforms=[])
    ...     found = fv.building_blocks(model, f"{folder}/noise.png", "2:0", "1", f"{folder}/page", **options)
    ...     found.page.exists(), found.layers[0].contributions.shape
    (True, (1, 4, 4, 5))
    """
    handle, folder = load_model(model), Path(out)
    wanted = [targets] if isinstance(targets, str) or not isinstance(targets, Sequence) else list(targets)
    names = [layers] if isinstance(layers, str) else list(dict.fromkeys(layers))
    if not wanted or not names:
        raise TargetError("building blocks are of at least one target and one layer")
    for name, value in (("groups", groups), ("size", size)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise RecipeError(f"{name} is a whole number from 1 up, got {value!r}")
    plan = {"recipe": recipe, "seed": seed, "size": size, **changes}
    held = {name: load_icons(icons, name) for name in names} if icons is not None else {}
    levels = photo_levels(handle, photo, canvas)
    image = torch.from_numpy(levels).float() / 255
    for name in names:
        units = handle.at((image.shape[1], image.shape[2])).layer(name).units
        prepare(handle, direction(name, torch.ones(units)), write=False, **plan)
    from featvis.run.progress import report_for  # rich is needed only here

    with report_for(progress) or nullcontext() as report:
        say: Callable[[str], None] = (lambda line: None) if report is None else report.say
        found = {name: [find_blocks(handle, image, target, name) for target in wanted] for name in names}
        parts = {name: find_components(handle, name, [image], "nmf", groups, seed=seed) for name in names}
        told = _controls(handle, image, wanted, found, say) if control else {}
        places = {name: _pooled(blocks[0].activations, np.mean) for name, blocks in found.items()}
        tensors, spots = _directions(places, parts)
        with hold(folder) as lock:
            check_inside(folder / DIRECTIONS, folder)
            write_anew(folder / DIRECTIONS, to_safetensors(tensors, {"model": handle.name}))
            requests = [
                VectorRequest((key.rpartition(".")[0],), str(folder / DIRECTIONS), key, "all")
                for key in tensors
            ]
            chosen = [target for request in requests for target in read_vectors(request)]
            pictures = iter(list(run_plan(prepare(handle, chosen, out=folder, **plan), report=report)))
            made = {key: [next(pictures) for _ in rows] for key, rows in tensors.items()}
            result = BuildingBlocks(
                folder,
                tuple(one.target for one in next(iter(found.values()))),
                tuple(
                    _layer(name, found[name], parts[name], places[name], told.get(name), made, spots)
                    for name in names
                ),
            )
            lock.check()
            _write_page(result, handle, levels, _name(photo), held, size)
    return result


def _pooled(maps: NDArray[np.floating], how: Callable[..., Any]) -> NDArray[np.float64]:
    """Bring ``(…, rows, columns)`` to at most :data:`MOST` of each, by the sum or mean of what joins.

    >>> _pooled(np.arange(28.0)[None, None], np.sum).tolist()
    [[[1.0, 5.0, 9.0, 13.0, 17.0, 21.0, 25.0, 29.0, 33.0, 37.0, 41.0, 45.0, 49.0, 53.0]]]
    """
    found = np.asarray(maps, dtype=np.float64)
    for axis in (-2, -1):
        count = found.shape[axis]
        if count > MOST:
            edges = np.linspace(0, count, MOST + 1).round().astype(int)
            found = np.stack(
                [
                    how(found.take(range(low, high), axis), axis=axis)
                    for low, high in itertools.pairwise(edges)
                ],
                axis,
            )
    return found


def _directions(
    places: dict[str, NDArray[np.float64]], parts: dict[str, Components]
) -> tuple[dict[str, torch.Tensor], dict[str, list[tuple[int, int]]]]:
    """Return the directions to render, ``LAYER.places`` and ``LAYER.groups``, and where the former are."""
    tensors: dict[str, torch.Tensor] = {}
    spots: dict[str, list[tuple[int, int]]] = {}
    for name, maps in places.items():
        units, _, columns = maps.shape
        vectors = maps.reshape(units, -1).T
        moments = Moments(units)
        moments.add(vectors)
        found = directions_of(vectors, moments.whitening(RIDGE))
        loud = np.flatnonzero(np.isfinite(found).all(1) & found.any(1))
        spots[name] = [divmod(int(place), columns) for place in loud]
        if len(loud):
            tensors[f"{name}.places"] = torch.from_numpy(np.ascontiguousarray(found[loud]))
        directions = parts[name].directions
        heard = directions[directions.any(1)]
        if len(heard):
            tensors[f"{name}.groups"] = heard.contiguous().float()
    if not tensors:
        raise TargetError(
            f"{', '.join(places)}: nothing in this photograph moves them; there is no direction"
        )
    return tensors, spots


def _layer(
    name: str,
    blocks: Sequence[Blocks],
    parts: Components,
    places: NDArray[np.float64],
    told: Sequence[float] | None,
    made: dict[str, list[Picture]],
    spots: dict[str, list[tuple[int, int]]],
) -> LayerBlocks:
    shares = np.stack([_group_shares(one, parts) for one in blocks])
    return LayerBlocks(
        name,
        places,
        np.stack([_pooled(one.contributions, np.sum) for one in blocks]),
        tuple(one.score for one in blocks),
        parts,
        _pooled(parts.maps[0].numpy(), np.mean),
        shares,
        tuple(told) if told is not None else (None,) * len(blocks),
        dict(zip(spots[name], made.get(f"{name}.places", []), strict=True)),
        tuple(made.get(f"{name}.groups", [])),
    )


def _group_shares(blocks: Blocks, parts: Components) -> NDArray[np.float64]:
    """Return what each group contributes: its part of the activation at each position times the gradient."""
    gradients = blocks.gradients.astype(np.float64)
    along = np.einsum("gu,uhw->ghw", parts.directions.double().numpy(), gradients)
    return np.asarray((parts.maps[0].double().numpy() * along).sum((1, 2)), dtype=np.float64)


def _controls(
    model: ModelHandle,
    image: torch.Tensor,
    targets: Sequence[AnyTarget],
    found: dict[str, list[Blocks]],
    say: Callable[[str], None],
) -> dict[str, list[float]]:
    """Compare where each target is spoken for with what a network of random weights says of it."""
    say("the control: a network of random weights")
    reads = tuple(dict.fromkeys(layer for blocks in found.values() for one in blocks for layer in one.reads))
    shown = image[None].to(model.device)
    (changed,) = (stage.model for stage in randomized(model, reads, shown, stages=(1.0,)))
    told = {}
    for name, blocks in found.items():
        told[name] = [
            rank_correlation(
                torch.from_numpy(one.contributions.sum(0)).float(),
                torch.from_numpy(find_blocks(changed, image, target, name).contributions.sum(0)).float(),
            )
            for one, target in zip(blocks, targets, strict=True)
        ]
    return told


def _write_page(
    result: BuildingBlocks,
    model: ModelHandle,
    levels: NDArray[np.uint8],
    photo: str,
    icons: dict[str, dict[int, Image.Image]],
    size: int,
) -> None:
    files: dict[str, bytes] = {PHOTOGRAPH: encode_webp(_image(levels))}
    layers = []
    for number, one in enumerate(result.layers):
        rows, columns = one.places.shape[1:]
        grid = [one.pictures.get((row, column)) for row in range(rows) for column in range(columns)]
        sprite = f"site/places-{number}.webp"
        files[sprite] = make_sprite([_shown(picture) for picture in grid], size)
        groups = f"site/groups-{number}.webp" if one.group_pictures else None
        if groups is not None:
            files[groups] = make_sprite([_shown(picture) for picture in one.group_pictures], max(size, 96))
        told = _tell(one)
        units = sorted({unit for place in told["units"] for unit, *_ in place})
        drawn = [unit for unit in units if unit in icons.get(one.layer, {})]
        icon_file = f"site/units-{number}.webp" if drawn else None
        if icon_file is not None:
            files[icon_file] = make_sprite([icons[one.layer][unit] for unit in drawn], 48)
        layers.append({**told, "sprite": sprite, "group_sprite": groups, "icons": icon_file, "drawn": drawn})
    about = {
        "featvis": __version__,
        "model": model.name,
        "weights": model.fingerprint(),
        "photograph": photo,
        "height": int(levels.shape[1]),
        "width": int(levels.shape[2]),
        "targets": list(result.targets),
        "names": [_called(model, target) for target in result.targets],
        "layers": layers,
    }
    files |= {name: to_bytes(text) for name, text in make_blocks_pages(about).items()}
    files[ABOUT] = to_bytes(json.dumps(about, indent=1, ensure_ascii=False) + "\n")
    for name, content in files.items():
        check_inside(result.folder / name, result.folder)
        write_whole(result.folder / name, content, sync=False)


def _name(photo: Photograph) -> str:
    """Return what a photograph is called: its file's name, if it has one."""
    file = photo if isinstance(photo, str | Path) else getattr(photo, "filename", None)
    return Path(file).name if isinstance(file, str | Path) and file else "photograph"


def _called(model: ModelHandle, target: str) -> str:
    """Return what a target is called: its class's first name, or its address."""
    layer, _, unit = target.rpartition(":")
    if is_whole_number(unit) and layer in {one.name for one in model.layers}:
        labels = model.layer(layer).labels
        if int(unit) < len(labels):
            return labels[int(unit)].split(",")[0]
    return target


def _shown(picture: Picture | None) -> Image.Image | None:
    return picture.pil if picture is not None and picture.is_one else None


def _image(levels: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(levels.transpose(1, 2, 0)) if len(levels) == 3 else levels[0])


def _number(value: float) -> float:
    return float(f"{value:.4g}")


def _tell(one: LayerBlocks) -> dict[str, Any]:
    """Return what ``blocks.json`` says of a layer."""
    count, _, rows, columns = one.contributions.shape
    spoken = one.contributions.reshape(count, -1, rows * columns)
    activations = one.places.reshape(-1, rows * columns)
    pairs = [(a, b) for a in range(count) for b in range(count) if a != b]
    units = []
    for place in range(rows * columns):
        here = spoken[:, :, place]
        ranked = [*here, *(here[a] - here[b] for a, b in pairs), np.abs(activations[:, place])]
        best = {int(unit) for values in ranked for unit in np.argsort(-values, kind="stable")[:UNITS]}
        units.append(
            [
                [
                    unit,
                    _number(activations[unit, place]),
                    *(_number(here[target, unit]) for target in range(count)),
                ]
                for unit in sorted(best)
            ]
        )
    return {
        "layer": one.layer,
        "rows": rows,
        "columns": columns,
        "magnitudes": [_number(value) for value in one.magnitudes.flatten()],
        "spoken": [[_number(value) for value in row] for row in spoken.sum(1)],
        "units": units,
        "scores": [float(f"{score:.6g}") for score in one.scores],
        "sums": [float(f"{values.sum():.6g}") for values in one.contributions],
        "rests": [float(f"{one.rest(target):.6g}") for target in range(count)],
        "controls": [None if value is None else round(value, 3) for value in one.controls],
        "explained": round(one.groups.explained, 4),
        "groups": [
            {
                "map": [_number(value) for value in one.group_maps[place].flatten()],
                "contributions": [_number(value) for value in one.group_contributions[:, place]],
                "units": [
                    [int(unit), _number(float(one.groups.directions[place, unit]))]
                    for unit in one.groups.directions[place].argsort(descending=True)[:UNITS]
                ],
            }
            for place in range(len(one.group_pictures))
        ],
    }
