"""What a folder lacks of its config is rendered, all of it or a share, then the pages are written."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from featvis.devices import machine_of
from featvis.errors import FeatvisError, Interrupted, OutputError, UserError
from featvis.files import check_inside, write_whole
from featvis.galleries.arrays import clear_array
from featvis.galleries.config import COPY, beside
from featvis.galleries.folder import GalleryFolder, PlannedFolder, ShardFolder, unlike
from featvis.galleries.meanwhile import Pages
from featvis.galleries.plan import GalleryItem, GalleryPlan, plan_gallery
from featvis.galleries.request import BuildRequest
from featvis.galleries.shares import Share, share_of
from featvis.models.handle import ModelHandle
from featvis.models.load import load_model
from featvis.models.sources.register import would_download
from featvis.pages.folder import write_pages
from featvis.photographs.search import find_examples
from featvis.plan.wanted import Wanted, make_jobs
from featvis.results.journal import JOURNAL, Agreed, Journal, agree, clear_private, read_agreed
from featvis.results.lock import PRIVATE, FolderLock
from featvis.results.manifest import read_sound_manifest
from featvis.results.picture import Picture, load_picture
from featvis.results.sheets import grid
from featvis.run.candidates import compute
from featvis.run.executors.register import DEFAULT, AnyExecutor, Chosen, choose_executor
from featvis.run.extras import write_png
from featvis.run.render import Reporter
from featvis.version import __version__

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
    """Do what a request asks, in the folder that ``lock`` holds; see :func:`featvis.build_gallery`."""
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
        report.begin(total, result.existing, steps, limit)
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
    logs: bool = False,
) -> BuildResult:
    """Make the manifest, sheets and pages of what there is, and look for photographs if that is asked.

    Args:
        request: what is asked.
        folder: it and its entries.
        changed: the layers of which pictures were made.
        result: what was done so far; completed and returned.
        prune: remove pictures that the config no longer asks for.
        say: called with a line whenever something is worth one.
        logs: keep those of jobs, which nobody has seen.
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
    if not clear_private(folder.folder):
        clear_array(folder.folder, logs=not logs)
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
        own = what_shards_share(request, plan, kept)
        if kept != machine and not allow_unlike:
            raise unlike(folder, kept, machine)
        agreed = agree(folder, own)
        if (agreed.machine, agreed.threads) == (kept, plan.threads):
            break
        kept = agreed.machine  # another began at the same moment
        plan = plan_gallery(request.gallery, model, folder, agreed.threads)
    check_agreed(folder, agreed, own)
    for line in plan.notes:
        say(line)
    if not (folder / COPY).is_file() or (folder / COPY).read_bytes() != request.text:
        write_whole(folder / COPY, request.text)
    return plan


def what_shards_share(request: BuildRequest, plan: GalleryPlan, machine: str) -> Agreed:
    """Return what all that write to a folder have in common, as this process has it."""
    top = plan.describe(describe_gallery(request, plan)) | {"machine": machine}
    return Agreed(__version__, torch.__version__, machine, plan.threads, plan.weights, top, plan.keys)


def check_agreed(folder: Path, agreed: Agreed, own: Agreed) -> None:
    """Raise an OutputError if this process is unlike the others that write to a folder."""
    if (why := agreed.differs(own)) is not None:
        problem = f"{folder} cannot be written to: {why}; once they have ended, merge what they made"
        raise OutputError(
            f"{problem}: fv.merge_gallery({str(folder)!r})",
            typed=f"{problem}: featvis gallery merge {folder}",
        )


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
            report.begin(total, result.existing, steps, limit)
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

    by_name = {item.name: item.wanted for item in chosen}
    try:
        made = compute(
            [item.wanted for item in chosen],
            folder.plan.model,
            folder.plan.weights,
            executor=executor,
            watch=report.step if report is not None else None,
            say=say,
            failed=fail,
            crew=report.crew if report is not None else None,
        )
        with Pages(folder.folder, folder.write_manifest) as pages, contextlib.closing(made) as pictures:
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
                if folder.alone:
                    pages.now_and_then()
    except BaseException as stop:
        kept: list[Picture] = []
        # On a full disk or in a folder that is gone this fails too; the pictures' files say what is done.
        with contextlib.suppress(FeatvisError):
            lock.check()
            if isinstance(stop, Interrupted):
                kept += [picture for picture in stop.pictures if _keep(folder, picture)]
            folder.write_manifest()
        if isinstance(stop, Interrupted):
            raise Interrupted(kept) from None
        raise
    return changed


def _keep(folder: GalleryFolder, picture: Picture) -> bool:
    """Keep what a job had made when it was interrupted; say whether that is a picture under way."""
    if picture.status == "stopped":
        return folder.keep_under_way(picture)
    if picture.status != "failed":
        folder.add(picture)
    return False


def write_sheets(folder: PlannedFolder, changed: set[str]) -> None:
    """Write the contact sheet of each layer that changed or has none."""
    layers: dict[str, list[tuple[int, str]]] = {}
    for entry in folder.entries.values():
        if entry.get("status") == "ok" and entry.get("layer"):
            layers.setdefault(str(entry["layer"]), []).append((entry.get("unit") or 0, str(entry["file"])))
    for layer, files in layers.items():
        path = folder.grid_path(layer)
        check_inside(path, folder.folder)
        if layer not in changed and path.exists():
            continue
        pictures = []
        for _, file in sorted(files):
            with contextlib.suppress(FeatvisError):
                pictures.append(load_picture(folder.folder / file))
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
