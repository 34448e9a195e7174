"""``featvis attribute``: where in a photograph a target fires."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featvis.attribution.register import BASELINES, check_options, methods
from featvis.cli.checks import canvas_of, check_folder, check_photo
from featvis.cli.network import Network
from featvis.cli.options import AsJson, OutOfPhoto, Photo, SizeOfPhoto, TargetOrDirection
from featvis.cli.output import print_json, results_folder
from featvis.errors import OutputError, RecipeError, TargetError
from featvis.read import is_whole_number

if TYPE_CHECKING:
    from featvis.attribution.result import Attribution


@dataclass
class _OfMethods:
    """The options of methods.

    Args:
        --layer -l: The layer whose map is read: {layer}.
        --steps: Points on the path, or steps: {steps}.
        --window: The side in pixels of the window that is covered: {window}.
        --stride: Pixels from one window to the next: {stride}.
        --area: The share of the canvas that is kept: {area}.
        --baseline: What stands for nothing, {baselines}: {baseline}.
        --smooth: How many noisy copies are averaged over (SmoothGrad): {smooth}.
        --noise: With --smooth: the noise's standard deviation (0.15).
        --seed: With --smooth: the seed of the noise.
    """

    layer: str | None = None
    steps: int | None = None
    window: int | None = None
    stride: int | None = None
    area: float | None = None
    baseline: str | None = None
    smooth: int | None = None
    noise: float | None = None
    seed: int | None = None


def _takers(name: str) -> str:
    """Say which methods take an option, with their defaults."""
    takers = {key: entry.options[name] for key, entry in methods().items() if name in entry.options}
    return ", ".join(f"{key} ({value})" if value else key for key, value in takers.items())


_OfMethods.__doc__ = str(_OfMethods.__doc__).format(
    **{field.name: _takers(field.name) for field in fields(_OfMethods)}, baselines=", ".join(BASELINES)
)


def attribute(
    photo: Photo,
    target: TargetOrDirection = "",
    method: str = "saliency",
    direction: str | None = None,
    size: SizeOfPhoto = None,
    *,
    own: _OfMethods,
    curves: bool = True,
    sanity: bool = False,
    grid: bool = False,
    out: OutOfPhoto = None,
    as_json: AsJson = False,
    network: Network,
) -> int:
    """Show where in a photograph a target fires. Writes overlays, maps and numbers, by one method or more.

    Example: featvis attribute cat.jpg --target classifier:tabby --method saliency,grad-cam

    Args:
        --method: {names}; several names with commas between them, or all.
        --direction: Instead of a target: FILE.safetensors:ROW, as `featvis components` writes it.
        --curves/--no-curves: Measure how the score changes as pixels are deleted and inserted.
        --sanity: Compare each map with those of networks with randomized layers.
        --grid: Show the methods side by side, beside an edge detector.
    """
    from featvis.spec.target import parse_request, parse_vectors

    known = methods()
    names = list(known) if method == "all" else list(dict.fromkeys(map(str.strip, method.split(","))))
    options = check_options(names, asdict(own))
    if bool(target) == (direction is not None):
        raise TargetError("say with --target which unit, or with --direction which direction, and not both")
    if target:
        if parse_vectors(target) is None:
            parse_request(target)
        network.check([target])
    file, row = _direction(direction)
    canvas = canvas_of(size)
    check_photo(photo)
    folder = out or results_folder() / "attribution" / _name(f"{photo.stem}-{target or direction}")
    check_folder(folder)

    from featvis.attribution.attribute import attribute as attributed

    handle = network.load()
    unit: Any = target
    if file is not None:
        from featvis.attribution.components import load_direction
        from featvis.objectives.direction import direction as make_direction

        unit = make_direction(*load_direction(file, row))
    results = []
    for name in names:
        taken = {option: value for option, value in options.items() if option in known[name].options}
        result = attributed(handle, photo, unit, name, size=canvas, curves=curves, sanity=sanity, **taken)
        result.save(folder)
        results.append(result)
        if not as_json:
            print(_summary(result))
    if grid or len(results) > 1:
        _save_grid(results, folder)
    if as_json:
        told = {result.method: result.to_json() for result in results}
        print_json({"folder": str(folder), "methods": told})
    else:
        print(folder)
    return 0


attribute.__doc__ = str(attribute.__doc__).format(
    names="; ".join(f"{name} ({entry.about})" for name, entry in methods().items())
)


def _save_grid(results: list[Attribution], folder: Path) -> None:
    import torch

    from featvis.attribution.edges import edges
    from featvis.attribution.measure import rank_correlation
    from featvis.attribution.result import json_file, png, side_by_side
    from featvis.files import write_apart
    from featvis.results.store import safe_name

    control = edges(torch.from_numpy(results[0].photo).float() / 255)
    maps = {result.method: torch.from_numpy(result.values).abs() for result in results}
    alike = {name: round(rank_correlation(values, control), 4) for name, values in maps.items()}
    methods = {result.method: result.to_json() for result in results}
    table = {"methods": methods, "rank_correlation_with_edges": alike}
    sheet = png(side_by_side(results, control.numpy()))
    files = {folder / "grid.png": sheet, folder / "grid.json": json_file(table)}
    write_apart(files, safe_name(results[0].target.replace(":", "-")))


def _summary(result: Attribution) -> str:
    numbers = result.to_json()
    row, column = numbers["largest_at"]
    parts = [f"{result.method}: score {result.score:.4g}, largest at row {row}, column {column}"]
    if numbers.get("deletion") is not None and numbers["insertion"] is not None:
        parts.append(f"deletion {numbers['deletion']:.3f}, insertion {numbers['insertion']:.3f}")
    if result.sanity:
        last = result.sanity[-1]
        alike = f"rank correlation {last['rank_correlation']:.2f}, SSIM {last['ssim']:.2f}"
        parts.append(f"with all {last['randomized']} layers random: {alike}")
    return "; ".join(parts)


def _direction(text: str | None) -> tuple[Path | None, int]:
    if text is None:
        return None, 0
    name, colon, row = text.rpartition(":")
    if not colon or not is_whole_number(row):
        name, row = text, "0"
    if not Path(name).is_file():
        raise OutputError(f"no file {name!r}; --direction is FILE.safetensors:ROW")
    return Path(name), int(row)


def _name(text: str) -> str:
    name = re.sub(r"[^\w.-]+", "_", text).strip("._")
    if not name:
        raise RecipeError("say with --out where to write")
    return name
