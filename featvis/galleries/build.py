"""build_gallery: what a folder lacks of its config is rendered, then the pages are written."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from featvis.errors import FeatvisError, UserError
from featvis.files import check_inside, write_whole
from featvis.galleries.config import COPY, beside
from featvis.galleries.folder import GalleryFolder
from featvis.galleries.meanwhile import Pages
from featvis.galleries.plan import GalleryItem, GalleryPlan, plan_gallery
from featvis.galleries.request import BuildRequest, make_request
from featvis.models.borrow.loan import with_gradients
from featvis.models.handle import ModelHandle
from featvis.models.load import load_model
from featvis.models.sources.register import would_download
from featvis.pages.folder import write_pages
from featvis.photographs.search import find_examples
from featvis.plan.wanted import Wanted, make_jobs
from featvis.results.lock import FolderLock, hold
from featvis.results.picture import load_picture
from featvis.results.sheets import grid
from featvis.run.candidates import compute
from featvis.run.executors.register import DEFAULT, AnyExecutor, Chosen, choose_executor
from featvis.run.extras import write_png
from featvis.run.render import Reporter

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
        executor: how the pictures are computed, as for :func:`featvis.render`; by default as the config says.
        executor_options: of it.
        limit: how many pictures to render at most.
        prune: remove pictures that the config no longer asks for, instead of marking them as stale.
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
    chosen = choose_executor(executor or request.gallery.executor or DEFAULT, executor_options)
    build = partial(run_build, request, device=device, executor=chosen, limit=limit, prune=prune)
    with hold(request.folder) as lock:
        from featvis.run.progress import report_for  # rich is needed only here

        with report_for(progress) or contextlib.nullcontext() as report:
            return build(lock, report=report, say=None if report is None else report.say)


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
    report: Reporter | None = None,
    say: Callable[[str], None] | None = None,
) -> BuildResult:
    """Do what a request asks, in the folder that ``lock`` holds; see :func:`build_gallery`."""
    say = say or (lambda line: None)
    chosen_executor = choose_executor(executor or request.gallery.executor or DEFAULT)
    model = load_network(request, device)
    for line in model.notes:
        say(line)
    plan = plan_gallery(request.gallery, model, request.folder)
    folder = GalleryFolder(request.folder, plan, _describe_gallery(request, plan))
    for line in (*plan.notes, *folder.notes):
        say(line)
    missing = folder.find_missing(say)
    chosen = missing[:limit]
    total = len(plan.pictures)
    result = BuildResult(folder.folder, total=total, existing=total - len(missing))
    folder.mark_stale()
    write_whole(folder.folder / COPY, request.text)
    folder.write_manifest()
    if report is not None:
        steps = sum(job.recipe.steps for job in make_jobs([item.wanted for item in chosen]))
        report.begin(total, result.existing, steps)
    changed = _render(folder, lock, chosen, result, chosen_executor, report, say)
    if prune:
        result.pruned = len(folder.prune())
    result.stale = folder.mark_stale()
    result.missing = len(missing) - len(chosen)
    folder.write_manifest()
    late: UserError | None = None
    try:
        if request.photographs is not None:
            out = folder.folder
            find_examples(model, request.photographs, plan.units, out=out, count=request.count, say=say)
    except UserError as error:  # the pictures are there; their pages need no photographs
        late = error
    write_sheets(folder, changed)
    write_pages(folder.folder)
    if late is not None:
        raise late
    result.dead = [
        str(entry["target"])
        for name, entry in folder.entries.items()
        if entry.get("status") == "dead" and name in plan.pictures
    ]
    return result


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
                pages.now_and_then()
    except BaseException:
        # On a full disk or in a folder that is gone this fails too; the pictures' files say what is done.
        with contextlib.suppress(FeatvisError):
            lock.check()
            folder.write_manifest()
        raise
    return changed


def write_sheets(folder: GalleryFolder, changed: set[str]) -> None:
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
            sheet = grid(pictures, title=f"{folder.plan.model.name}  {layer}", cell=_SHEET)
            write_png(sheet, path, sync=False)


def _describe_gallery(request: BuildRequest, plan: GalleryPlan) -> dict[str, Any]:
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
