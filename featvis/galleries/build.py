"""build_gallery: what a folder lacks of its config is rendered, then the pages are written."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from featvis.devices import machine_of
from featvis.errors import FeatvisError, OutputError, RecipeError, UserError
from featvis.files import check_inside, write_whole
from featvis.galleries.config import COPY, beside
from featvis.galleries.folder import GalleryFolder, PlannedFolder, ShardFolder, unlike
from featvis.galleries.plan import GalleryItem, GalleryPlan, plan_gallery
from featvis.galleries.request import BuildRequest, make_request
from featvis.galleries.shares import Share, share_of
from featvis.models.borrow.loan import with_gradients
from featvis.models.handle import ModelHandle
from featvis.models.load import load_model
from featvis.models.sources.register import would_download
from featvis.pages.folder import write_pages
from featvis.photographs.search import find_examples
from featvis.plan.wanted import Wanted, make_jobs
from featvis.results.journal import JOURNAL, Agreed, Journal, agree, clear_private, read_agreed
from featvis.results.lock import PRIVATE, FolderLock, hold, hold_beside
from featvis.results.manifest import read_sound_manifest
from featvis.results.mirror import takes_addresses
from featvis.results.picture import load_picture
from featvis.results.sheets import grid
from featvis.run.candidates import compute
from featvis.run.executors.register import DEFAULT, AnyExecutor, Chosen, choose_executor
from featvis.run.extras import write_png
from featvis.run.render import Reporter
from featvis.version import __version__

PAGES_EVERY = 300.0
"""Seconds between two writings of the pages during a build, so that a long one can be looked at."""
_SHEET = 112
"""The longest side of a picture on a layer's contact sheet, in pixels."""


@dataclass
class BuildResult:
    """What a build did."""

    folder: Path
    total: int = 0
    """Pictures that the config asks for."""
    rendered: int = 0
    """Pictures that this call made."""
    existing: int = 0
    """Pictures and dead units that the folder had already."""
    missing: int = 0
    """Pictures that ``limit`` left out."""
    dead: list[str] = field(default_factory=list)
    """The targets of dead units."""
    failed: dict[str, str] = field(default_factory=dict)
    """By the target's name, why there is no picture."""
    stale: int = 0
    """Pictures in the folder that the config no longer asks for."""
    pruned: int = 0
    """Pictures of an earlier config that were removed."""
    submitted: str = ""
    """The jobs that render what is missing, where nobody waits for them."""


@takes_addresses("out", writes=True)
@with_gradients
def build_gallery(
    config: str | Path,
    *,
    out: str | Path | None = None,
    weights: str | None = None,
    examples: str | Path | None = None,
    device: str = "auto",
    executor: AnyExecutor | None = None,
    executor_options: Mapping[str, Any] | None = None,
    limit: int | None = None,
    prune: bool = False,
    shard: tuple[int, int] | None = None,
    allow_unlike: bool = False,
    progress: bool | None = None,
) -> BuildResult:
    """Build a gallery from its config: a folder of pictures whose ``index.html`` opens in a browser.

    What the folder has already is not rendered again, so the same call goes on after any interruption.

    Args:
        config: a TOML file, or the name of one of ours (``small``); ``featvis gallery schema`` says what it
            may hold.
        out: the folder, by default ``gallery/<name of the config>``.
        weights: a file of the network's weights, instead of the config's.
        examples: a folder of photographs to find those that the units respond to, instead of the config's.
        device: as for :func:`featvis.load_model`.
        executor: how the pictures are computed, as for :func:`featvis.render`, or ``slurm``: by jobs on a
            cluster; by default as the config says.
        executor_options: of it. Of ``slurm``: ``workers``, the number of jobs; ``cluster="local"`` to run
            them here; ``detach=True`` not to wait for them; every other one is an option of ``sbatch``.
        limit: how many pictures to render at most.
        prune: remove pictures that the config no longer asks for, instead of marking them as stale.
        shard: render a share of the pictures, (3, 64) for the third of 64, while others may render other
            shares into the same folder; :func:`featvis.merge_gallery` then makes its manifest and pages.
        allow_unlike: go on with a folder whose pictures another kind of machine made, and say so of each.
        progress: show how far it is; by default where somebody looks on: on a terminal, in a notebook.

    Returns:
        The folder, and how many pictures were rendered, were there already, are missing, dead or failed.

    Raises:
        UserError: anything wrong in what was asked, before any compute.
        OutputError: the folder cannot be written, or another build is at work in it.
        KeyboardInterrupt: at Ctrl-C; what is finished is in the folder.

    >>> import featvis as fv, pathlib, tempfile
    >>> config = pathlib.Path(tempfile.mkdtemp()) / "tiny.toml"
    >>> _ = config.with_name("net.py").write_text('''
    ... import torch
    ... def make(): return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3)), {"input_size": (16, 16)}
    ... ''')
    >>> _ = config.write_text('''
    ... model = "file:net.py:make"
    ... mean = [0.5, 0.5, 0.5]
    ... std = [0.5, 0.5, 0.5]
    ... recipe = {size = 16, steps = 2}
    ... sections = [{title = "Four channels", targets = ["0:all"]}]
    ... ''')
    >>> result = fv.build_gallery(config, out=config.parent / "gallery")
    >>> result.rendered, (result.folder / "index.html").exists()
    (4, True)
    """
    request = make_request(config, out, weights=weights, examples=examples, limit=limit)
    share = None if shard is None else Share(*shard)
    asked = executor or request.gallery.executor or DEFAULT
    chosen = choose_executor(asked, executor_options, galleries=True)
    if chosen.entry.galleries:
        return _submit(
            request,
            chosen.options,
            share,
            device=device,
            limit=limit,
            prune=prune,
            allow_unlike=allow_unlike,
            progress=progress,
        )
    if share is not None and prune:
        raise RecipeError("a shard removes nothing: prune=True is for whole builds")
    run = partial(run_build, prune=prune) if share is None else partial(run_shard, share=share)
    build = partial(run, request, device=device, executor=chosen, limit=limit, allow_unlike=allow_unlike)
    with hold_for(request, share) as lock:
        from featvis.run.progress import report_for  # rich is needed only here

        with report_for(progress) or contextlib.nullcontext() as report:
            return build(lock, report=report, say=None if report is None else report.say)


def _submit(
    request: BuildRequest,
    options: Mapping[str, Any],
    share: Share | None,
    *,
    progress: bool | None,
    **told: Any,
) -> BuildResult:
    """Let jobs on a cluster build a gallery."""
    from featvis.galleries.arrays import read_settings
    from featvis.galleries.cluster import submit_gallery  # which builds by what is in this file
    from featvis.run.progress import report_for

    if share is not None:
        raise RecipeError("a shard is rendered here: give shard or executor='slurm', one of them")
    settings = read_settings(options)
    with report_for(progress) or contextlib.nullcontext() as report:
        return submit_gallery(request, settings, say=None if report is None else report.say, **told)


def hold_for(request: BuildRequest, share: Share | None) -> AbstractContextManager[FolderLock]:
    """Hold a request's folder, or a share of it."""
    if share is None:
        return hold(request.folder)
    return hold_beside(request.folder, share.name, share.excludes)


def load_network(request: BuildRequest, device: str, *, download: bool = True) -> ModelHandle:
    """Load a gallery's network under the name that the config gives it, wherever the config lies.

    If not ``download``, weights that are not on this machine are random ones.
    """
    gallery, weights = request.gallery, request.weights
    if weights is None and not download and would_download(request.source):
        weights = "none"
    model = load_model(
        request.source,
        weights=weights,
        mean=gallery.mean,
        std=gallery.std,
        input_size=gallery.input_size,
        unit_axis=gallery.unit_axis,
        labels=None if gallery.labels is None else beside(request.config, gallery.labels),
        channel_order=gallery.channel_order,
        range=gallery.range,
        signal=None if gallery.sample_rate is None else True,
        sample_rate=gallery.sample_rate,
        frames=gallery.frames,
        device=device,
    )
    model.name = gallery.model
    return model


def run_build(
    request: BuildRequest,
    lock: FolderLock,
    *,
    device: str = "auto",
    executor: AnyExecutor | None = None,
    limit: int | None = None,
    prune: bool = False,
    allow_unlike: bool = False,
    report: Reporter | None = None,
    say: Callable[[str], None] | None = None,
) -> BuildResult:
    """Do what a request asks, in the folder that ``lock`` holds; see :func:`build_gallery`."""
    say = say or (lambda line: None)
    chosen_executor = choose_executor(executor or request.gallery.executor or DEFAULT)
    model = load_network(request, device)
    for line in model.notes:
        say(line)
    agreed = read_agreed(request.folder)
    plan = plan_gallery(request.gallery, model, request.folder, None if agreed is None else agreed.threads)
    folder = GalleryFolder(request.folder, plan, describe_gallery(request, plan))
    for line in (*plan.notes, *folder.notes):
        say(line)
    missing = folder.find_missing(say)
    chosen = missing[:limit]
    if chosen:
        folder.settle_machine(machine_of(model.device), allow_unlike=allow_unlike)
    total = len(plan.pictures)
    result = BuildResult(folder.folder, total=total, existing=total - len(missing))
    folder.mark_stale()
    write_whole(folder.folder / COPY, request.text)
    folder.write_manifest()
    if report is not None:
        steps = sum(job.recipe.steps for job in make_jobs([item.wanted for item in chosen]))
        report.begin(total, result.existing, steps)
    changed = _render(folder, lock, chosen, result, chosen_executor, report, say) | folder.taken
    result.missing = len(missing) - len(chosen)
    return finish_build(request, folder, changed, result, prune=prune, say=say)


def finish_build(
    request: BuildRequest,
    folder: GalleryFolder,
    changed: set[str],
    result: BuildResult,
    *,
    prune: bool,
    say: Callable[[str], None],
) -> BuildResult:
    """Make the manifest, sheets and pages of what there is, and look for photographs if that is asked.

    Args:
        request: what is asked.
        folder: it and its entries.
        changed: the layers of which pictures were made.
        result: what was done so far; completed and returned.
        prune: remove pictures that the config no longer asks for.
        say: called with a line whenever something is worth one.
    """
    model, plan = folder.plan.model, folder.plan
    if prune:
        result.pruned = len(folder.prune())
    result.stale = folder.mark_stale()
    folder.write_manifest()
    late: UserError | None = None
    try:
        if request.photographs is not None:
            out = folder.folder
            find_examples(model, request.photographs, plan.units, out=out, count=request.count, say=say)
    except UserError as error:  # the pictures are there; their pages need no photographs
        late = error
    write_sheets(folder, changed | folder.taken)
    write_pages(folder.folder)
    clear_private(folder.folder)
    if late is not None:
        raise late
    result.dead = _dead(folder)
    return result


def run_shard(
    request: BuildRequest,
    lock: FolderLock,
    *,
    share: Share,
    device: str = "auto",
    executor: AnyExecutor | None = None,
    limit: int | None = None,
    allow_unlike: bool = False,
    report: Reporter | None = None,
    say: Callable[[str], None] | None = None,
) -> BuildResult:
    """Render a share of what a request asks, beside other shares; ``lock`` holds it."""
    say = say or (lambda line: None)
    chosen_executor = choose_executor(executor or request.gallery.executor or DEFAULT)
    model = load_network(request, device)
    for line in model.notes:
        say(line)
    plan = join_shards(request, model, say, allow_unlike=allow_unlike)
    return render_part(
        request,
        lock,
        plan,
        share.name,
        share_of(list(plan.pictures.values()), share),
        executor=chosen_executor,
        limit=limit,
        allow_unlike=allow_unlike,
        report=report,
        say=say,
    )


def join_shards(
    request: BuildRequest, model: ModelHandle, say: Callable[[str], None], *, allow_unlike: bool
) -> GalleryPlan:
    """Plan a gallery as all who write to its folder do; the first of them says how.

    Raises:
        OutputError: this featvis, torch, config, network or machine is another than theirs.
    """
    folder, machine = request.folder, machine_of(model.device)
    agreed = read_agreed(folder)
    plan = plan_gallery(request.gallery, model, folder, None if agreed is None else agreed.threads)
    if agreed is None:
        kept = (read_sound_manifest(folder) or {}).get("machine", machine)
    else:
        kept = agreed.machine
    while True:
        top = plan.describe(describe_gallery(request, plan)) | {"machine": kept}
        own = Agreed(__version__, torch.__version__, kept, plan.threads, plan.weights, top, plan.keys)
        if kept != machine and not allow_unlike:
            raise unlike(folder, kept, machine)
        agreed = agree(folder, own)
        if (agreed.machine, agreed.threads) == (kept, plan.threads):
            break
        kept = agreed.machine  # another began at the same moment
        plan = plan_gallery(request.gallery, model, folder, agreed.threads)
    if (why := agreed.differs(own)) is not None:
        problem = f"{folder} cannot be written to: {why}; once they have ended, merge what they made"
        raise OutputError(
            f"{problem}: fv.merge_gallery({str(folder)!r})",
            typed=f"{problem}: featvis gallery merge {folder}",
        )
    for line in plan.notes:
        say(line)
    if not (folder / COPY).is_file() or (folder / COPY).read_bytes() != request.text:
        write_whole(folder / COPY, request.text)
    return plan


def render_part(
    request: BuildRequest,
    lock: FolderLock,
    plan: GalleryPlan,
    name: str,
    items: list[GalleryItem],
    *,
    executor: AnyExecutor | None = None,
    limit: int | None = None,
    allow_unlike: bool = False,
    report: Reporter | None = None,
    say: Callable[[str], None] | None = None,
) -> BuildResult:
    """Render what a folder lacks of some items of a plan, and note it in the journal of this name."""
    say = say or (lambda line: None)
    journal = Journal(request.folder / PRIVATE / f"{name}{JOURNAL}")
    with contextlib.closing(journal):
        folder = ShardFolder(request.folder, plan, describe_gallery(request, plan), items, journal)
        folder.settle_machine(machine_of(plan.model.device), allow_unlike=allow_unlike)
        missing = folder.find_missing(say)
        chosen, total = missing[:limit], len(items)
        result = BuildResult(folder.folder, total=total, existing=total - len(missing))
        result.missing = len(missing) - len(chosen)
        journal.begin(total, result.existing)
        if report is not None:
            steps = sum(job.recipe.steps for job in make_jobs([item.wanted for item in chosen]))
            report.begin(total, result.existing, steps)
        chosen_executor = choose_executor(executor or request.gallery.executor or DEFAULT)
        _render(folder, lock, chosen, result, chosen_executor, report, say)
    result.dead = _dead(folder)
    return result


def _dead(folder: GalleryFolder) -> list[str]:
    return [item.target for item in folder.items if folder.entries.get(item.name, {}).get("status") == "dead"]


def _render(
    folder: GalleryFolder,
    lock: FolderLock,
    chosen: list[GalleryItem],
    result: BuildResult,
    executor: Chosen,
    report: Reporter | None,
    say: Callable[[str], None],
) -> set[str]:
    """Render what was chosen into the folder; return the layers that changed."""
    changed: set[str] = set()

    def fail(wanted: Wanted, reason: str) -> None:
        folder.add_failure(wanted, reason)
        result.failed[wanted.name] = reason
        say(f"{wanted.name} failed, the rest goes on: {reason}")

    pages_pause, pages_written = PAGES_EVERY, time.monotonic()
    by_name = {item.name: item.wanted for item in chosen}
    try:
        pictures = compute(
            [item.wanted for item in chosen],
            folder.plan.model,
            folder.plan.weights,
            executor=executor,
            watch=report.step if report is not None else None,
            say=say,
            failed=fail,
            crew=report.crew if report is not None else None,
        )
        for picture in pictures:
            lock.check()
            if picture.status == "failed":
                fail(by_name[f"{picture.target} seed {picture.seed}"], picture.reason)
                continue
            folder.add(picture)
            changed.add(picture.layer)
            result.rendered += picture.status == "ok"
            if report is not None:
                report.picture(picture)
            folder.write_now_and_then()
            if folder.alone and time.monotonic() - pages_written > pages_pause:
                began = time.monotonic()
                folder.write_manifest()
                write_pages(folder.folder)
                pages_written = time.monotonic()
                pages_pause = max(PAGES_EVERY, 30 * (pages_written - began))
    except BaseException:
        # On a full disk or in a folder that is gone this fails too; the pictures' files say what is done.
        with contextlib.suppress(FeatvisError):
            lock.check()
            folder.write_manifest()
        raise
    return changed


def write_sheets(folder: PlannedFolder, changed: set[str]) -> None:
    """Write the contact sheet of each layer that changed or has none."""
    layers: dict[str, list[dict[str, Any]]] = {}
    for entry in folder.entries.values():
        if entry.get("status") == "ok" and entry.get("layer"):
            layers.setdefault(str(entry["layer"]), []).append(entry)
    for layer, entries in layers.items():
        path = folder.grid_path(layer)
        check_inside(path, folder.folder)
        if layer not in changed and path.exists():
            continue
        entries.sort(key=lambda entry: (entry.get("unit") or 0, str(entry["file"])))
        pictures = []
        for entry in entries:
            with contextlib.suppress(FeatvisError):
                pictures.append(load_picture(folder.folder / str(entry["file"])))
        if pictures:
            sheet = grid(pictures, title=f"{folder.top['model']}  {layer}", cell=_SHEET)
            write_png(sheet, path, sync=False)


def describe_gallery(request: BuildRequest, plan: GalleryPlan) -> dict[str, Any]:
    """Return what the manifest says of the gallery."""
    sections = [
        {"title": section.title, "text": section.text, "pictures": names} for section, names in plan.sections
    ]
    gallery = request.gallery
    return {
        "title": gallery.title,
        "text": gallery.text,
        "command": request.command,
        "sections": sections,
    }
