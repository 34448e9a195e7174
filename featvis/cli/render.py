"""``featvis render``: pictures of units, classes, whole layers."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featvis.cli.checks import check_at_least, check_folder, numbers_of
from featvis.cli.fields import choose_recipe
from featvis.cli.network import Network, note
from featvis.cli.options import (
    DryRun,
    LanesOrAuto,
    LayerOfTargets,
    Out,
    PrecisionOrAuto,
    RecipeOfLayer,
    Seed,
    Seeds,
    Set,
    Size,
    Start,
    Steps,
    Threads,
    Units,
)
from featvis.errors import OutputError, RecipeError, TargetError

if TYPE_CHECKING:
    from featvis.plan.make import Plan
    from featvis.run.prepare import Prepared


def render(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            help="Addresses: blocks.3:0:8, classifier:263, classifier:Pembroke, features.28:7@4,6."
        ),
    ] = None,
    layer: LayerOfTargets = None,
    units: Units = "all",
    recipe: RecipeOfLayer = None,
    settings: Set = None,
    size: Size = None,
    input_size: Annotated[
        str | None, typer.Option("--input-size", help="What the network is shown, if not the canvas' size.")
    ] = None,
    steps: Steps = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", help="Of the optimizer.")] = None,
    optimizer: Annotated[
        str | None, typer.Option("--optimizer", help="adam, nadam, sgd or lbfgs (a step is one evaluation).")
    ] = None,
    copies: Annotated[
        int | None, typer.Option("--copies", help="Passes of each step, each with transforms drawn anew.")
    ] = None,
    average: Annotated[
        float | None, typer.Option("--average", help="Show an average over the steps, of this decay: 0.9.")
    ] = None,
    band: Annotated[
        str | None, typer.Option("--band", help="A score, or LOW,HIGH, that pictures are driven to.")
    ] = None,
    best_of: Annotated[
        int | None, typer.Option("--best-of", help="Candidates of each picture; the best score is kept.")
    ] = None,
    seed: Seed = 0,
    seeds: Seeds = 1,
    diverse: Annotated[
        int,
        typer.Option("--diverse", help="So many pictures of each target, kept unlike each other; 0: none."),
    ] = 0,
    lanes: LanesOrAuto = None,
    precision: PrecisionOrAuto = None,
    threads: Threads = None,
    space: Annotated[
        str | None, typer.Option("--space", help="The image space: fourier, pixel, phase, cppn …")
    ] = None,
    start: Start = None,
    out: Out = None,
    snapshots: Annotated[
        str | None, typer.Option("--snapshots", help="Also keep pictures after so many steps: 16,64.")
    ] = None,
    video: Annotated[
        str | None, typer.Option("--video", help="Also write each run as gif, or mp4 (featvis[video]).")
    ] = None,
    transparency: Annotated[
        bool,
        typer.Option("--transparency", help="Also write each picture as opaque as its pixels mattered."),
    ] = False,
    morph: Annotated[
        str | None, typer.Option("--morph", help="Also write the pictures turning into each other: gif, mp4.")
    ] = None,
    fps: Annotated[float, typer.Option("--fps", help="Frames a second of the videos.")] = 12.0,
    *,
    network: Network,
    dry_run: DryRun = False,
) -> int:
    """Render what units look for. What the folder has already is not rendered again."""
    from featvis.results.encoders import check_video
    from featvis.spec.target import parse_request, parse_vectors

    # Everything that needs no network is checked before torch is even imported.
    addresses = [*(targets or ())]
    if layer is not None:
        addresses.append(f"{layer}:{units}")
    elif units != "all":
        raise TargetError("--units needs --layer")
    if not addresses:
        raise TargetError("nothing to render: give addresses such as blocks.3:0:8, or --layer and --units")
    for address in addresses:
        if parse_vectors(address) is None:
            parse_request(address)
    options = {
        "size": size,
        "input_size": input_size,
        "steps": steps,
        "learning_rate": learning_rate,
        "optimizer": optimizer,
        "copies": copies,
        "average": average,
        "band": None if band is None else _band(band),
        "best_of": best_of,
        "lanes": lanes,
        "precision": precision,
        "threads": threads,
        "space": None if space is None else {"name": space},
    }
    chosen = choose_recipe(recipe, options, settings, auto=("lanes", "precision"))
    # A start image is brought to the canvas that was asked for, or sets it.
    canvas = chosen.recipe.size if recipe is not None or "size" in chosen.changes else None
    check_at_least(0, seed=seed)
    check_at_least(1, seeds=seeds)
    kept = () if snapshots is None else numbers_of("--snapshots", snapshots, int)
    if video is None and morph is None and fps != 12.0:
        raise RecipeError("--fps needs --video or --morph")
    for kind in (video, morph):
        if kind is not None:
            check_video(kind, fps)
    if diverse and (diverse < 2 or seeds != 1):
        raise RecipeError(f"--diverse is at least 2, without --seeds; got {diverse} and --seeds {seeds}")
    if start is not None and not start.is_file():
        raise OutputError(f"no image {str(start)!r} to start from")
    folder = out or Path("gallery") / re.sub(r"[^\w.-]+", "_", str(network.model))
    check_folder(folder)

    handle = network.load()
    from featvis.results.picture import load_image
    from featvis.run.extras import Extras
    from featvis.run.prepare import prepare

    prepared = prepare(
        handle,
        addresses,
        out=folder,
        extras=Extras(kept, video, fps, transparency, morph),
        write=not dry_run,
        recipe=chosen.base,
        seed=seed,
        seeds=seeds,
        start=None if start is None else load_image(start, handle.channels, canvas),
        diverse=diverse,
        **chosen.plan_options(),
    )
    for name, choice in prepared.choices.items():
        tried = ", ".join(f"{kind} {took:.3g} ms" for kind, took in choice.measured.items())
        note(f"{name}: {choice.lanes} lanes, {choice.precision} ({tried} a picture and step)")
    if dry_run:
        for line in prepared.plan.notes:
            note(line)
        _dry_run(prepared.plan, folder)
        return 0
    return _render(prepared, folder)


def _band(text: str) -> Any:
    found = numbers_of("--band", text, float)
    return found[0] if len(found) == 1 else found


def _render(prepared: Prepared, folder: Path) -> int:
    from featvis.run.progress import Report, duration
    from featvis.run.render import run

    planned, store = prepared.plan, prepared.store
    assert store is not None
    began = time.perf_counter()
    pictures = []
    try:
        with Report() as report:
            pictures = list(run(prepared, report=report))
    except KeyboardInterrupt:
        finished = sum(store.done(one.key(planned.weights)) is not None for one in planned.wanted)
        note(
            f"interrupted: {finished} of {len(planned.wanted)} pictures are finished in {folder}; "
            "the same command goes on from there"
        )
        return 130
    dead = [picture.target for picture in pictures if picture.status == "dead"]
    took = duration(time.perf_counter() - began)
    print(f"{len(pictures) - len(dead)} pictures in {folder} ({took})")
    if dead:
        print(f"{len(dead)} dead units, no picture: {', '.join(dead[:8])}{' …' if len(dead) > 8 else ''}")
    for path in dict.fromkeys(store.grid_path(picture.layer) for picture in pictures):
        print(path)
    if (morph := prepared.extras.morph) is not None:
        from featvis.results.films import morph as turn
        from featvis.results.films import video

        alive = [picture for picture in pictures if picture.status != "dead"]
        if len(alive) > 1:
            print(video(turn(alive), folder / f"morph.{morph}", prepared.extras.fps))
    return 0


def _dry_run(planned: Plan, folder: Path) -> None:
    from featvis.run.estimate import estimate
    from featvis.run.progress import duration

    costs, memory = estimate(planned.wanted, planned.model, planned.weights)
    for cost in costs:
        height, width = cost.canvas
        print(
            f"{cost.layer}: {cost.pictures} units in {cost.jobs} jobs of {cost.lanes} lanes, "
            f"canvas {height}x{width}, {cost.steps} steps, about {duration(cost.seconds)}"
        )
    total = sum(cost.seconds for cost in costs)
    print(
        f"in all {len(planned.wanted)} pictures, about {total / 60:.1f} minutes on {planned.model.device}, "
        f"memory {memory / 2**30:.1f} GiB; they would go to {folder}"
    )
