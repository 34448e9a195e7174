"""``featvis attribute``: where in a photograph a target fires."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featvis.attribution.register import BASELINES, check_options, methods
from featvis.cli.network import Device, Mean, Model, Std, UnitAxis, Weights, check_network, load_network
from featvis.errors import OutputError, RecipeError, TargetError

if TYPE_CHECKING:
    from featvis.attribution.result import Attribution
    from featvis.models.handle import ModelHandle


_NAMES = "; ".join(f"{name} ({entry.about})" for name, entry in methods().items())


def _help(option: str, text: str) -> str:
    """Say of an option what it is, and which methods take it, with their defaults where they differ."""
    takers = {name: entry.options[option] for name, entry in methods().items() if option in entry.options}
    return f"{text} {', '.join(f'{name} ({value})' if value else name for name, value in takers.items())}."


def attribute(
    photo: Annotated[Path, typer.Argument(help="A photograph.")],
    target: Annotated[
        str, typer.Option("--target", "-t", help="One unit: blocks.3:5, blocks.3:5@4,6, classifier:tabby.")
    ] = "",
    method: Annotated[
        str,
        typer.Option(
            "--method",
            help=f"{_NAMES}; several names with commas between them, or all.",
        ),
    ] = "saliency",
    direction: Annotated[
        str | None,
        typer.Option(
            "--direction",
            help="Instead of a target: FILE.safetensors:ROW, as `featvis components` writes it.",
        ),
    ] = None,
    model: Model = "efficientnet_lite0",
    weights: Weights = None,
    size: Annotated[
        str | None,
        typer.Option("--size", help="The canvas: 224, or HEIGHTxWIDTH; by default the whole photograph."),
    ] = None,
    layer: Annotated[
        str | None, typer.Option("--layer", "-l", help=_help("layer", "The map that is read:"))
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", help=_help("steps", "How many:"))] = None,
    window: Annotated[
        int | None, typer.Option("--window", help=_help("window", "Its side in pixels:"))
    ] = None,
    stride: Annotated[
        int | None, typer.Option("--stride", help=_help("stride", "From one window to the next:"))
    ] = None,
    area: Annotated[
        float | None, typer.Option("--area", help=_help("area", "Share of the canvas that is kept:"))
    ] = None,
    baseline: Annotated[
        str | None, typer.Option("--baseline", help=_help("baseline", f"{', '.join(BASELINES)}:"))
    ] = None,
    smooth: Annotated[
        int | None,
        typer.Option("--smooth", help=_help("smooth", "SmoothGrad, of so many noisy copies:")),
    ] = None,
    noise: Annotated[
        float | None, typer.Option("--noise", help="SmoothGrad: the noise's deviation (0.15).")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="SmoothGrad: of its noise.")] = None,
    curves: Annotated[
        bool, typer.Option("--curves/--no-curves", help="Measure deletion and insertion.")
    ] = True,
    sanity: Annotated[
        bool, typer.Option("--sanity", help="Compare each map with those of networks with randomized layers.")
    ] = False,
    grid: Annotated[
        bool, typer.Option("--grid", help="Show the methods side by side, beside an edge detector.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The folder; by default gallery/attribution/PHOTO-TARGET."),
    ] = None,
    mean: Mean = None,
    std: Std = None,
    unit_axis: UnitAxis = None,
    device: Device = "auto",
) -> int:
    """Show where in a photograph a target fires. Writes overlays, maps and numbers, by one method or more."""
    from featvis.spec.recipe import Recipe
    from featvis.spec.target import parse_request

    given: dict[str, Any] = {
        "layer": layer,
        "steps": steps,
        "window": window,
        "stride": stride,
        "area": area,
        "baseline": baseline,
        "smooth": smooth,
        "noise": noise,
        "seed": seed,
    }
    known = methods()
    chosen = list(known) if method == "all" else list(dict.fromkeys(map(str.strip, method.split(","))))
    given = check_options(chosen, given)
    if bool(target) == (direction is not None):
        raise TargetError("say with --target which unit, or with --direction which direction, and not both")
    if target:
        parse_request(target)
    file, row = _direction(direction)
    canvas = None if size is None else Recipe().but(size=size).size
    numbers = check_network(model, mean, std)
    if not photo.is_file():
        raise OutputError(f"no photograph {str(photo)!r}")
    folder = out or Path("gallery") / "attribution" / _name(f"{photo.stem}-{target or direction}")
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file, not a folder")

    from featvis.attribution.attribute import attribute as attributed

    handle = load_network(model, weights, numbers, unit_axis, device)
    wish: Any = target
    if file is not None:
        from featvis.attribution.components import load_direction
        from featvis.objectives.direction import direction as make_direction

        wish = make_direction(*load_direction(file, row))
    found = []
    for name in chosen:
        own = {option: value for option, value in given.items() if option in known[name].options}
        told = attributed(handle, photo, wish, name, size=canvas, curves=curves, sanity=sanity, **own)
        told.save(folder)
        found.append(told)
        print(_line(told))
    if grid or len(found) > 1:
        _save_grid(handle, found, folder)
    print(folder)
    return 0


def _save_grid(model: ModelHandle, attributions: list[Attribution], folder: Path) -> None:
    import torch

    from featvis.attribution.edges import edges
    from featvis.attribution.measure import rank_correlation
    from featvis.attribution.result import png, side_by_side
    from featvis.files import write_whole

    control = edges(torch.from_numpy(attributions[0].photo).float() / 255)
    write_whole(folder / "grid.png", png(side_by_side(attributions, control.numpy())))
    told = {one.method: one.to_json() for one in attributions}
    alike = {
        one.method: round(rank_correlation(torch.from_numpy(one.values).abs(), control), 4)
        for one in attributions
    }
    text = json.dumps({"methods": told, "rank_correlation_with_edges": alike}, indent=1, ensure_ascii=False)
    write_whole(folder / "grid.json", (text + "\n").encode())


def _line(attribution: Attribution) -> str:
    numbers = attribution.to_json()
    row, column = numbers["largest_at"]
    parts = [f"{attribution.method}: score {attribution.score:.4g}, largest at row {row}, column {column}"]
    if numbers.get("deletion") is not None and numbers["insertion"] is not None:
        parts.append(f"deletion {numbers['deletion']:.3f}, insertion {numbers['insertion']:.3f}")
    if attribution.sanity:
        last = attribution.sanity[-1]
        parts.append(
            f"with all {last['randomized']} layers random: rank correlation {last['rank_correlation']:.2f}, "
            f"SSIM {last['ssim']:.2f}"
        )
    return "; ".join(parts)


def _direction(text: str | None) -> tuple[Path | None, int]:
    if text is None:
        return None, 0
    name, colon, row = text.rpartition(":")
    if not colon or not row.isdigit():
        name, row = text, "0"
    if not Path(name).is_file():
        raise OutputError(f"no file {name!r}; --direction is FILE.safetensors:ROW")
    return Path(name), int(row)


def _name(text: str) -> str:
    name = re.sub(r"[^\w.-]+", "_", text).strip("._")
    if not name:
        raise RecipeError("say with --out where to write")
    return name
