"""render: the front door of the Python API and of the command line."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from featvis.engine.lanes import Step
from featvis.errors import Interrupted, OutputError, UserError
from featvis.files import check_inside
from featvis.images.base import ImageSpace
from featvis.models.borrow.loan import with_gradients
from featvis.models.functions import takes_second
from featvis.models.handle import ModelHandle
from featvis.models.load import load_model
from featvis.models.photograph import Photograph
from featvis.plan.make import AnyTarget, Plan
from featvis.plan.wanted import Wanted, functions_of, make_jobs
from featvis.results.mirror import takes_addresses
from featvis.results.picture import Picture
from featvis.results.pictures import Pictures
from featvis.results.saver import Saver
from featvis.results.sheets import grid, make_strips
from featvis.results.store import Store, in_folder, remove_empty
from featvis.run.candidates import compute
from featvis.run.executors.register import DEFAULT, choose_executor
from featvis.run.extras import Extras, snapshots_of, write_png
from featvis.run.job import Watch
from featvis.run.prepare import Prepared, prepare
from featvis.spec.recipe import Recipe, recipe_id, tell_apart
from featvis.transforms.base import Transform


class Reporter(Protocol):
    """What a run calls as it goes on; :class:`featvis.run.progress.Report` shows it."""

    def begin(self, total: int, done: int, steps: int, most: int | None = None) -> None:
        """Called first: how many pictures there are, how many are done, how many steps the rest takes.

        ``most`` of the rest are made, where a gallery's build leaves some for another.
        """

    def step(self, step: Step) -> None:
        """Called with every step."""

    def picture(self, picture: Picture) -> None:
        """Called with every finished picture."""

    def say(self, line: str) -> None:
        """Called with a line that is worth showing."""

    def crew(self, workers: int) -> None:
        """Called with how many workers are at work elsewhere, whenever that changes."""


@with_gradients
@takes_addresses("out", writes=True)
def render(
    model: ModelHandle | str,
    targets: AnyTarget | Sequence[AnyTarget],
    *,
    recipe: Recipe | str | dict[str, Any] | None = None,
    seed: int = 0,
    seeds: int = 1,
    out: str | Path | None = None,
    start: Photograph | None = None,
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
    executor_options: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Pictures:
    """Render pictures of what units look for.

    Args:
        model: from :func:`featvis.load_model`, or a name that it takes.
        targets: addresses (``"blocks.3:0:8"``, ``"classifier:Pembroke"``), objectives, or a list of them;
            what is asked for twice is rendered and returned once.
        recipe: a :class:`featvis.Recipe`, its name, its file or a dict of its fields; by default
            ``portrait`` for classes, ``texture`` for early layers (positions up to 4 pixels apart),
            ``channel`` for the rest; for networks of signals ``signal``.
        seed: of each picture's random numbers, from 0 up.
        seeds: how many pictures of each target, at least 1, from seeds ``seed``, ``seed + 1`` …
        out: a folder to write pictures, grids and manifest to; what is there already is not rendered again.
        start: an image to start from instead of noise: a file or PIL image, which is resized to ``size`` if
            that is given, or a tensor or array ``(C, H, W)`` in [0, 1].
        progress: show how far it is; by default where somebody looks on: on a terminal, in a notebook.
        live: in a notebook, also show the pictures as they grow, about every second.
        space: an image space, instead of the recipe's; its ``size``, (height, width), sets the canvas.
        transforms: instead of the recipe's, each made (``fv.Warp(degrees=5)``) or named (``"warp"``);
            ``[]`` for none.
        penalties: instead of the recipe's, for instance ``[{"name": "l2", "weight": 0.1}]``.
        diverse: how many pictures of each target (at least 2; 0 for no set) are rendered together and made
            unlike each other, by the recipe's penalty ``diversity``. Objectives that compare pictures
            (:func:`featvis.diversity` …) render their ``seeds`` together, too.
        watch: called with every :class:`featvis.Step`; where it returns True (a bool, also NumPy's or of a
            tensor of one value), the pictures under way are finished as they stand, with status ``stopped``,
            and the next ones begin. Whatever else it returns, numbers too, lets them go on.
        snapshots: numbers of steps, from 1 to the recipe's ``steps``, after which each picture is also kept:
            in its ``snapshots``, and beside it in the folder.
        video: ``gif`` or ``mp4`` (with the extra ``featvis[video]``) of each run, beside the picture.
        transparency: also keep, for each pixel, how much the score depended on it over the run
            (``Picture.transparency``), and beside the picture a file that is as opaque as that.
        executor: how the pictures are computed; no picture depends on it. ``devices`` uses all GPUs of the
            network's kind, ``local`` one, ``ray`` the machines of a cluster; ``featvis parts executors``
            lists them with their options.
        executor_options: of it, for instance ``{"workers": 4}``.
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
    chosen = choose_executor(executor, executor_options)
    if watch is not None:
        takes_second(watch, "watch", "step", "")
    for what, asked in (("watch", watch is not None), ("live", live)):
        if asked:
            chosen.check_watched(what)
    handle = load_model(model)
    prepared = prepare(
        handle,
        targets,
        out=None if out is None else Path(out),
        extras=Extras(snapshots_of(snapshots), video, transparency=transparency),
        recipe=recipe,
        seed=seed,
        seeds=seeds,
        start=start,
        space=space,
        transforms=transforms,
        penalties=penalties,
        diverse=diverse,
        executor=chosen,
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
    functions = functions_of(plan.wanted) if store is not None else {}
    for wanted in plan.wanted:
        picture = None
        if store is not None:
            picture = store.done(wanted.key(plan.weights), functions[wanted.name, wanted.seed])
        if (
            store is None
            or picture is None
            or not extras.load(store.folder / store.file_of(picture), picture)
        ):
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
        return ends(watch(step)) if watch is not None else None

    def add(picture: Picture) -> None:
        assert store is not None
        store.add(picture)
        extras.write(store.folder / store.file_of(picture), picture)

    say = report.say if report is not None else None
    try:
        with Saver(add, store.write_manifest) if store is not None else nullcontext() as saver:
            made = compute(
                missing,
                plan.model,
                plan.weights,
                executor=prepared.executor,
                watch=watch_step,
                say=say,
                crew=report.crew if report is not None else None,
            )
            with closing(made) as pictures:
                for picture in pictures:
                    picture.function = functions.get((picture.target, picture.seed), "")
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


def ends(answer: object) -> bool:
    """Whether what ``watch`` returned ends the pictures under way: True, also NumPy's or a tensor's.

    Numbers and whatever else is not one truth value do not: a ``print`` or an ``append`` may stand there.

    Raises:
        UserError: several truth values, as of ``step.scores > 1`` with several lanes.

    >>> ends(True), ends(torch.tensor([2.0]) > 1), ends(1), ends(None)
    (True, True, False, False)
    """
    if isinstance(answer, Tensor | np.ndarray) and answer.dtype in (torch.bool, np.bool_):
        if math.prod(answer.shape) != 1:
            raise UserError(
                f"watch returned {math.prod(answer.shape)} truth values; return one: .all() or .any() of them"
            )
        return bool(answer)
    return isinstance(answer, bool | np.bool_) and bool(answer)


def write_grids(store: Store, pictures: Sequence[Picture]) -> list[Path]:
    """Write the grid of each layer of the pictures given, with what else the folder holds of it.

    Those of several recipes are told apart by a line above each.
    """
    layers: dict[str, list[Picture]] = {}
    for picture in pictures:
        layers.setdefault(picture.layer, []).append(picture)
    for layer in layers:
        check_inside(store.grid_path(layer), store.folder)
    paths = []
    for layer, group in layers.items():
        title = f"{group[0].model}  {layer}"
        others = store.others(layer, group)
        every = list(group)
        if others:
            every = sorted([*group, *others], key=lambda one: (in_folder(one), recipe_id(one.recipe)))
        recipes = {recipe_id(picture.recipe): picture.recipe for picture in every}
        if len(recipes) == 1:
            sheet = grid(every, title=title)
        else:
            told = tell_apart(recipes)
            strips = {
                f"recipe {name}: {told[name]}": [one for one in every if recipe_id(one.recipe) == name]
                for name in recipes
            }
            sheet = make_strips(strips, title=title)
        paths.append(write_png(sheet, store.grid_path(layer)))
    return paths


def _order(plan: Plan) -> list[tuple[str, int]]:
    return [(wanted.name, wanted.seed) for wanted in plan.wanted]
