"""``featvis render``: pictures of units, classes, whole layers."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from featvis.cli import options
from featvis.cli.checks import check_at_least, check_folder, numbers_of
from featvis.cli.fields import Choice, choose_recipe
from featvis.cli.finished import Finished, find_finished, mark_request, remember
from featvis.cli.network import Network
from featvis.cli.output import (
    Announced,
    first_of,
    note,
    print_costs,
    print_json,
    progress,
    results_folder,
    warn,
)
from featvis.errors import Interrupted, OutputError, RecipeError, TargetError, count_of
from featvis.run.executors.register import DEFAULT, choose_executor

CANVAS = 1 << 24
"""Pixels of a start image that sets the canvas; a larger one is given a --size."""

if TYPE_CHECKING:
    from featvis.plan.make import Plan
    from featvis.results.picture import Picture
    from featvis.results.store import Store
    from featvis.run.prepare import Prepared


@dataclass
class RecipeOptions:
    """Options of the recipe's fields, each of the field's name.

    Args:
        --learning-rate: How far a step goes. [the recipe's]
        --optimizer adam|nadam|sgd|lbfgs: The optimizer; of lbfgs a step is one evaluation. [the recipe's]
        --copies: How many transformed copies of a picture give each step's gradient. [the recipe's]
        --average: The picture is an exponential moving average over the steps with this decay, for
            instance 0.9; 0: it is the last step's. [the recipe's]
        --band SCORE or LOW,HIGH: The score that pictures are driven to. [none: as high as they can]
        --best-of: How many candidates are rendered for each picture; the one with the best score is kept.
            [the recipe's]
        --space: The image space: fourier, pixel, phase, cppn …; `featvis parts images` lists them.
            [the recipe's]
    """

    settings: options.Set = None
    size: options.Size = None
    steps: options.Steps = None
    learning_rate: float | None = None
    optimizer: str | None = None
    copies: int | None = None
    average: float | None = None
    band: str | None = None
    best_of: int | None = None
    lanes: options.LanesOrAuto = None
    precision: options.PrecisionOrAuto = None
    threads: options.Threads = None
    space: str | None = None

    def choose(self, recipe: str | None, input_size: str | None = None) -> Choice:
        """Return the recipe, changed by the options; the network is shown its canvas at ``input_size``."""
        changes = {**asdict(self), "input_size": input_size}
        settings = changes.pop("settings")
        if self.band is not None:
            numbers = numbers_of("--band", self.band, float)
            changes["band"] = numbers[0] if len(numbers) == 1 else numbers
        return choose_recipe(recipe, changes, settings, auto=("lanes", "precision"))


def render(
    targets: options.Addresses = None,
    layer: options.LayerOfTargets = None,
    units: options.Units = "all",
    recipe: options.RecipeOfLayer = None,
    *,
    fields: RecipeOptions,
    seed: options.Seed = 0,
    seeds: options.Seeds = 1,
    diverse: int = 0,
    start: options.Start = None,
    out: options.Out = None,
    snapshots: str | None = None,
    video: str | None = None,
    transparency: bool = False,
    morph: str | None = None,
    fps: float = 12.0,
    network: Network,
    executor: options.Executor = DEFAULT,
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
) -> int:
    """Render what units look for. What the folder has already is not rendered again.

    Example: featvis render "blocks.3:0:8" "classifier:Pembroke" --size 128

    Args:
        --diverse: How many pictures of each target, kept unlike each other; 0: one, by itself.
        --snapshots: Also keep the pictures as they were after these steps: 16,64.
        --video: Also write a video of each run: gif, or mp4 (needs featvis[video]).
        --transparency: Also write each picture with what did not matter to the unit made transparent.
        --morph: Also write a video of the pictures turning into each other: gif or mp4.
        --fps: Frames per second of the videos.
    """
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
            # A layer's name of its own may hold any sign; its network reads it.
            parse_request(address, [] if layer is None else [layer])
    network.check(addresses)
    chosen = fields.choose(recipe, network.input_size)
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
    folder = out or results_folder() / re.sub(r"[^\w.-]+", "_", str(network.model))
    check_folder(folder)
    chosen_executor = choose_executor(executor)

    request = None
    if not (dry_run or snapshots or video or transparency or morph):
        beginning = None if start is None else hashlib.sha256(start.read_bytes()).hexdigest()
        request = mark_request(
            network, addresses, chosen, seed=seed, seeds=seeds, diverse=diverse, start=beginning
        )
        finished = None if request is None else find_finished(folder, request)
        if finished is not None:
            return _tell_finished(finished, folder, as_json=as_json)
    handle = network.load(download=not dry_run)
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
        start=None if start is None else load_image(start, handle.channels, canvas, most=CANVAS),
        diverse=diverse,
        executor=chosen_executor,
        **chosen.plan_options(),
    )
    for name, choice in prepared.choices.items():
        tried = ", ".join(f"{kind} {took:.3g} ms" for kind, took in choice.measured.items())
        note(f"{name}: {choice.lanes} lanes, {choice.precision} ({tried} a picture and step)")
    if dry_run:
        for line in prepared.plan.notes:
            note(line)
        _dry_run(prepared.plan, folder, as_json=as_json)
        return 0
    return _render(prepared, folder, request, as_json=as_json)


def _tell_finished(finished: Finished, folder: Path, *, as_json: bool) -> int:
    """Say what a request led to whose pictures are there already, as the run itself says it."""
    for line in finished.notes:
        note(line)
    count = len(finished.entries)
    are = "is" if count == 1 else "are"
    note(f"{count} of {count_of(count, 'picture')} {are} there already")
    dead = [str(entry["target"]) for entry in finished.entries if entry.get("status") == "dead"]
    lines = _summary(count, dead, finished.fallen, folder, "0 s")
    if as_json:
        files = {"grids": list(map(str, finished.grids)), "films": []}
        print_json({"folder": str(folder), "pictures": finished.entries, **files})
    else:
        print("\n".join(map(str, (*lines, *finished.grids))))
    return 0


def _summary(count: int, dead: Sequence[str], fallen: Sequence[str], folder: Path, took: str) -> list[str]:
    lines = [f"{count_of(count - len(dead), 'picture')} in {folder} ({took})"]
    if dead:
        lines.append(f"{count_of(len(dead), 'dead unit')}, no picture: {first_of(dead)}")
    if fallen:
        them = "scores" if len(fallen) == 1 else "score"
        why = "an untrained network may answer so, and one that norms each picture by itself"
        what = f"{count_of(len(fallen), 'picture')} {them} no higher than at the start"
        lines.append(f"{what}: {first_of(fallen)}; {why}")
    return lines


def _render(prepared: Prepared, folder: Path, request: str | None, *, as_json: bool) -> int:
    from featvis.run.progress import duration
    from featvis.run.render import run_plan

    planned, store = prepared.plan, prepared.store
    assert store is not None
    began = time.perf_counter()
    pictures = []
    try:
        with progress() as report:
            announced = None if report is None else Announced(report, _what(planned), folder)
            pictures = list(run_plan(prepared, report=announced))
    except KeyboardInterrupt as stop:
        kept = _keep(store, stop.pictures if isinstance(stop, Interrupted) else ())
        finished = sum(store.done(picture.key(planned.weights)) is not None for picture in planned.wanted)
        wanted = count_of(len(planned.wanted), "picture")
        done = f"{finished} of {wanted} {'is' if len(planned.wanted) == 1 else 'are'} finished in {folder}"
        done += f", {kept} more as {'it' if kept == 1 else 'they'} stood" if kept else ""
        note(f"interrupted: {done}; the same command goes on from there")
        return 130
    dead = [picture.target for picture in pictures if picture.status == "dead"]
    failed = [picture for picture in pictures if picture.status == "failed"]
    took = duration(time.perf_counter() - began)
    fallen = [picture.target for picture in pictures if picture.has_fallen]
    lines = _summary(len(pictures) - len(failed), dead, fallen, folder, took)
    grids = list(dict.fromkeys(store.grid_path(picture.layer) for picture in pictures))
    films: list[Path] = []
    if (morph := prepared.extras.morph) is not None:
        from featvis.files import write_apart
        from featvis.results.films import make_video
        from featvis.results.films import morph as turn

        alive = [picture for picture in pictures if picture.is_one]
        if len(alive) > 1:
            film = make_video(turn(alive), morph, prepared.extras.fps)
            films += write_apart({folder / f"morph.{morph}": film})
    if request is not None:
        remember(store, request, pictures, grids, planned.notes)
    if as_json:
        by_key = {entry.get("key"): entry for entry in store.entries.values()}
        entries = [by_key[picture.key] for picture in pictures]
        files = {"grids": list(map(str, grids)), "films": list(map(str, films))}
        print_json({"folder": str(folder), "pictures": entries, **files})
    else:
        print("\n".join(map(str, (*lines, *grids, *films))))
    if failed:
        first = f"{failed[0].target} the first: {failed[0].reason}"
        warn(f"{len(failed)} of {count_of(len(pictures), 'picture')} failed, {first}")
        return 1
    return 0


def _what(planned: Plan) -> str:
    """Say in a few words what a plan's pictures are of."""
    layers = list(dict.fromkeys(wanted.layer or wanted.name for wanted in planned.wanted))
    names = list(dict.fromkeys(wanted.name for wanted in planned.wanted))
    return f"{first_of(names if len(names) < 4 else layers)} of {planned.model.name}"


def _keep(store: Store, under_way: Sequence[Picture]) -> int:
    """Write pictures as they stood when they were interrupted; return how many.

    They are rendered again by the same command; nothing that is finished makes room for them.
    """
    kept = 0
    for picture in under_way:
        if picture.status == "stopped":
            store.add(picture)
            kept += 1
    if kept:
        store.write_manifest()
    return kept


def _dry_run(planned: Plan, folder: Path, *, as_json: bool) -> None:
    from featvis.run.estimate import estimate

    costs, memory = estimate(planned.wanted, planned.model, planned.weights)
    seconds = sum(cost.seconds for cost in costs)
    if as_json:
        jobs = [asdict(cost) for cost in costs]
        print_json({"folder": str(folder), "jobs": jobs, "seconds": seconds, "memory": memory})
        return
    print_costs(costs)
    minutes = seconds / 60
    time_and_space = f"{minutes:.1f} minutes on {planned.model.device}, memory {memory / 2**30:.1f} GiB"
    wanted = count_of(len(planned.wanted), "picture")
    print(f"in all {wanted}, about {time_and_space}; they would go to {folder}")
