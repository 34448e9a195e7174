"""render and reproduce: the front door of the Python API and of the command line."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from featvis.engine.lanes import Step
from featvis.errors import Interrupted, ModelError, OutputError, UserError
from featvis.files import check_inside
from featvis.images.base import ImageSpace
from featvis.models.borrow.loan import with_gradients
from featvis.models.handle import ModelHandle
from featvis.models.load import load_model
from featvis.models.sources.register import check_read_name
from featvis.objectives.base import Objective
from featvis.objectives.unit import of_target
from featvis.plan.make import AnyTarget, Plan, digest, network_for
from featvis.plan.sets import restore_set, wanted_of
from featvis.plan.wanted import Wanted, make_jobs
from featvis.results.picture import Picture, load_picture
from featvis.results.pictures import Pictures
from featvis.results.saver import Saver
from featvis.results.sheets import grid
from featvis.results.store import Store, remove_empty
from featvis.run.candidates import compute
from featvis.run.executors.register import DEFAULT
from featvis.run.extras import Extras, write_png
from featvis.run.job import Watch
from featvis.run.prepare import Prepared, prepare
from featvis.spec.bounds import cost_of, read_recipe
from featvis.spec.recipe import Recipe
from featvis.spec.target import Target, parse_request, read_among, read_set
from featvis.transforms.base import Transform


class Reporter(Protocol):
    """What a run calls as it goes on; :class:`featvis.run.progress.Report` shows it."""

    def begin(self, total: int, done: int, steps: int) -> None:
        """Called first: how many pictures there are, how many are done, how many steps the rest takes."""

    def step(self, step: Step) -> None:
        """Called with every step."""

    def picture(self, picture: Picture) -> None:
        """Called with every finished picture."""

    def say(self, line: str) -> None:
        """Called with a line that is worth showing."""


@with_gradients
def render(
    model: ModelHandle | str,
    targets: AnyTarget | Sequence[AnyTarget],
    *,
    recipe: Recipe | str | None = None,
    seed: int = 0,
    seeds: int = 1,
    out: str | Path | None = None,
    start: Tensor | None = None,
    progress: bool | None = None,
    live: bool = False,
    space: ImageSpace | str | dict[str, Any] | None = None,
    transforms: Sequence[Transform | str | dict[str, Any]] | None = None,
    penalties: Sequence[dict[str, Any]] | None = None,
    diverse: int = 0,
    watch: Watch | None = None,
    snapshots: Sequence[int] = (),
    video: str | None = None,
    transparency: bool = False,
    executor: str = DEFAULT,
    **changes: Any,
) -> Pictures:
    """Render pictures of what units look for.

    Args:
        model: from :func:`featvis.load_model`, or a name that it takes.
        targets: addresses (``"blocks.3:0:8"``, ``"classifier:Pembroke"``), objectives, or a list of them.
        recipe: a :class:`featvis.Recipe`, its name or its file; by default ``portrait`` for classes,
            ``texture`` for early layers (positions up to 4 pixels apart), ``channel`` for the rest; for
            networks of signals ``signal``.
        seed: of each picture's random numbers, from 0 up.
        seeds: how many pictures of each target, at least 1, from seeds ``seed``, ``seed + 1`` …
        out: a folder to write pictures, grids and manifest to; what is there already is not rendered again.
        start: an image ``(C, H, W)`` in [0, 1] to start from instead of noise.
        progress: show how far it is; by default where somebody looks on: on a terminal, in a notebook.
        live: in a notebook, also show the pictures as they grow, about every second.
        space: an image space, instead of the recipe's; its ``size``, (height, width), sets the canvas.
        transforms: instead of the recipe's, each made (``fv.Warp(degrees=5)``) or named (``"warp"``);
            ``[]`` for none.
        penalties: instead of the recipe's, for instance ``[{"name": "l2", "weight": 0.1}]``.
        diverse: how many pictures of each target (at least 2; 0 for no set) are rendered together and made
            unlike each other, by the recipe's penalty ``diversity``. Objectives that compare pictures
            (:func:`featvis.diversity` …) render their ``seeds`` together, too.
        watch: called with every :class:`featvis.Step`; where it returns True, the pictures under way are
            finished as they stand, with status ``stopped``, and the next ones begin.
        snapshots: numbers of steps, from 1 to the recipe's ``steps``, after which each picture is also kept:
            in its ``snapshots``, and beside it in the folder.
        video: ``gif`` or ``mp4`` (with the extra ``featvis[video]``) of each run, beside the picture.
        transparency: also keep, for each pixel, how much the score depended on it over the run
            (``Picture.transparency``), and beside the picture a file that is as opaque as that.
        executor: how the pictures are computed; no picture depends on it. ``devices`` uses all GPUs of the
            network's kind, ``local`` one; ``featvis parts executors`` lists them.
        **changes: any other field of the recipe: ``size``, ``steps``, ``lanes``, ``best_of``, ``copies`` …;
            ``lanes="auto"`` and ``precision="auto"`` choose by a short measurement, and a folder keeps
            its first choice, and the number of CPU ``threads``, if none is given, for ever.

    Returns:
        The pictures, in the order of the targets: a list, which notebooks show as a sheet.

    Raises:
        UserError: anything wrong in what was asked, before any compute.
        Interrupted: at Ctrl-C, a KeyboardInterrupt that holds the pictures so far.

    >>> import featvis as fv, torch
    >>> module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3))
    >>> model = fv.load_model(module, mean=(0.5,) * 3, std=(0.5,) * 3, input_size=16)
    >>> pictures = fv.render(model, "0:1,2", size=(16, 24), steps=2, transforms=[])
    >>> [(picture.target, tuple(picture.image.shape)) for picture in pictures]
    [('0:1', (3, 16, 24)), ('0:2', (3, 16, 24))]
    """
    if video is not None and out is None:
        raise OutputError("a video is written beside the pictures; say where with out")
    handle = load_model(model)
    prepared = prepare(
        handle,
        targets,
        out=None if out is None else Path(out),
        extras=Extras(tuple(snapshots), video, transparency=transparency),
        recipe=recipe,
        seed=seed,
        seeds=seeds,
        start=start,
        space=space,
        transforms=transforms,
        penalties=penalties,
        diverse=diverse,
        executor=executor,
        **changes,
    )
    from featvis.run.progress import report_for  # rich is needed only here

    with report_for(progress, handle if live else None) or nullcontext() as report:
        return Pictures(run_plan(prepared, watch=watch, report=report))


def run_plan(
    prepared: Prepared, *, watch: Watch | None = None, report: Reporter | None = None
) -> Iterator[Picture]:
    """Render what a plan lacks and yield all its pictures in the order asked for.

    Pictures are written to the store as soon as they are finished, so that an interruption loses
    nothing but the job under way; manifest and grids are written on every way out.

    Raises:
        Interrupted: at Ctrl-C, with the pictures so far.
    """
    plan, store, extras = prepared.plan, prepared.store, prepared.extras
    finished: dict[tuple[str, int], Picture] = {}
    missing: list[Wanted] = []
    for wanted in plan.wanted:
        picture = store.done(wanted.key(plan.weights)) if store is not None else None
        if store is None or picture is None or not extras.load(store.folder, picture):
            missing.append(wanted)
        else:
            finished[wanted.name, wanted.seed] = picture
    if report is not None:
        for line in (*plan.notes, *(store.notes if store is not None else ())):
            report.say(line)
        report.begin(len(plan.wanted), len(finished), sum(job.recipe.steps for job in make_jobs(missing)))

    def watch_step(step: Step) -> object:
        if report is not None:
            report.step(step)
        return watch(step) if watch is not None else None

    def add(picture: Picture) -> None:
        assert store is not None
        store.add(picture)
        extras.write(store.folder, picture)

    say = report.say if report is not None else None
    try:
        with Saver(add, store.write_manifest) if store is not None else nullcontext() as saver:
            pictures = compute(
                missing, plan.model, plan.weights, executor=prepared.executor, watch=watch_step, say=say
            )
            for picture in pictures:
                if saver is not None:
                    saver.put(picture)
                if report is not None:
                    report.picture(picture)
                finished[picture.target, picture.seed] = picture
    except KeyboardInterrupt as stop:
        under_way = stop.pictures if isinstance(stop, Interrupted) else []
        ready = [finished[key] for key in _order(plan) if key in finished]
        interrupted = Interrupted([*ready, *under_way])
        interrupted.pictures = Pictures(interrupted.pictures)
        raise interrupted from None
    finally:
        if store is not None:
            store.adopt()  # a file that was being entered when we were interrupted
        if store is not None and store.entries:
            store.write_manifest()
            write_grids(store, [finished[key] for key in _order(plan) if key in finished])
        elif store is not None:
            remove_empty(store.made)  # what was refused at the first step leaves nothing behind
    for key in _order(plan):
        yield finished[key]


def write_grids(store: Store, pictures: Sequence[Picture]) -> list[Path]:
    """Write each layer's grid of the pictures given."""
    layers: dict[str, list[Picture]] = {}
    for picture in pictures:
        layers.setdefault(picture.layer, []).append(picture)
    for layer in layers:
        check_inside(store.grid_path(layer), store.folder)
    return [
        write_png(grid(group, title=f"{group[0].model}  {layer}"), store.grid_path(layer))
        for layer, group in layers.items()
    ]


@with_gradients
def reproduce(
    path: str | Path,
    model: ModelHandle | str | None = None,
    *,
    objective: Objective | None = None,
    start: Tensor | None = None,
    unbounded: bool = False,
    say: Callable[[str], None] | None = None,
) -> Picture:
    """Render a picture again from what its PNG carries: on the same machine, the same bytes.

    Args:
        path: a PNG that featvis wrote.
        model: the network; by default the one that the file names.
        objective: for a picture of a custom objective, the objective.
        start: for a picture that started from an image, that image ``(C, H, W)`` in [0, 1].
        unbounded: whether its recipe may cost more, or name a file elsewhere, than is taken from a picture
            that somebody else may have made.
        say: is told what its recipe will cost, before it is paid.

    Returns:
        The picture, with the ``key`` that its file carries.

    Raises:
        OutputError: the file carries no recipe.
        ModelError: the network's weights are not the ones it was made with, or the file names a network
            (``file:``, ``hf:``) that is loaded only where its user says so by ``model``.
        RecipeError: the recipe is none of ours, or asks for too much (see ``unbounded``).
        UserError: the objective or the start image is needed, or is another one, or one of several
            candidates was stopped.

    >>> import featvis as fv, tempfile, torch
    >>> module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3))
    >>> model = fv.load_model(module, mean=(0.5,) * 3, std=(0.5,) * 3, input_size=16)
    >>> (picture,) = fv.render(model, "0:1", size=16, steps=2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     again = fv.reproduce(picture.save(f"{folder}/unit.png"), model)
    >>> again.png() == picture.png()
    True
    """
    old = load_picture(path)
    recipe = read_recipe(old.recipe, Path(path), unbounded=unbounded)
    mates, name = read_set(old.target)
    among = read_among(old.target)
    if old.attempt >= recipe.attempts or (mates and mates[1] * max(1, len(among)) != recipe.lanes):
        raise OutputError(f"{path}: what it tells of its recipe is damaged (attempts or lanes)")
    handle = load_model(check_read_name(old.model, Path(path)) if model is None else model)
    weights = handle.fingerprint()
    if weights != old.weights:
        raise ModelError(
            f"{path} was made with {old.model!r}, weights {old.weights[:12]}…; these are {weights[:12]}…"
        )
    network = network_for(handle, recipe)
    if old.unit is not None:
        position = parse_request("x:" + old.target.rpartition(":")[2]).position
        bound = of_target(Target(old.layer, old.unit, position)).bind(network)
        bound = -bound if old.variant == "negative" else bound
    elif objective is None:
        raise UserError(f"{path} is a picture of {old.target}; give that objective to reproduce it")
    else:
        bound = objective.bind(network)
        if bound.describe() != name:
            raise UserError(f"{path} is a picture of {name}, not of {bound.describe()}")
    if recipe.start is not None and start is None:
        raise UserError(f"{path} started from an image ({recipe.start}); give that image")
    if start is not None and recipe.start != digest(start):
        raise UserError(f"{path} did not start from this image")
    wanted = replace(
        restore_set(wanted_of(bound, old.target, recipe, old.seed, start, mates), among, network),
        attempt=old.attempt,
        layer=old.layer,
        unit=old.unit,
        label=old.label,
        variant=old.variant,
    )
    taken = old.taken if old.status == "stopped" else None
    if taken is not None and old.candidates:
        raise UserError(f"{path} was stopped while its candidates were made; render it again")

    if say is not None:
        say(f"{path} asks for {cost_of(recipe)}")
    began = time.monotonic()

    def watch(step: Step) -> bool:
        if say is not None and step.number == _TIMED and recipe.steps > _TIMED:
            left = (time.monotonic() - began) / _TIMED * (recipe.steps - _TIMED)
            if left > _LONG:
                say(f"about {left / 60:.1f} minutes left; Ctrl-C ends it")
        return step.number + 1 == taken

    picture = next(compute([wanted], handle, weights, executor="local", watch=watch))
    picture.asked_key = old.asked_key
    return picture


_TIMED = 4
"""Steps after which a run's time is known well enough to be told."""
_LONG = 20.0
"""Seconds of a run that is worth a word."""


def _order(plan: Plan) -> list[tuple[str, int]]:
    return [(wanted.name, wanted.seed) for wanted in plan.wanted]
