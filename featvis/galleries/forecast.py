"""What a build will take, before it is begun: real steps of each kind of job, real files, nothing kept."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from featvis.devices import peak_memory
from featvis.galleries.build import load_network, write_sheets
from featvis.galleries.folder import GalleryFolder, find_missing, find_unasked
from featvis.galleries.plan import GalleryItem, GalleryPlan, plan_gallery
from featvis.galleries.request import BuildRequest
from featvis.galleries.shares import Share, share_of
from featvis.models.handle import ModelHandle
from featvis.pages.folder import write_pages
from featvis.photographs.cost import search_seconds
from featvis.plan.wanted import Job, make_jobs
from featvis.results.picture import Picture
from featvis.run.estimate import Cost, estimate, stand_in
from featvis.run.job import picture_of, run_job
from featvis.run.score import trace_steps

_SAMPLE = 6


@dataclass(frozen=True)
class Forecast:
    """What a build will do and cost."""

    total: int
    missing: int
    costs: list[Cost]
    """Of the rendering, by kind of job."""
    seconds: float
    """Of the whole build: network, rendering, files, photographs and pages."""
    photographs: float
    """Seconds of these for the search of a folder of photographs."""
    memory: int
    """Bytes."""
    device: str
    notes: tuple[str, ...] = ()
    """What a build would say of its folder, each one line."""
    unasked: int = 0
    """Pictures in the folder that the config no longer asks for."""


def make_forecast(
    request: BuildRequest,
    *,
    device: str = "auto",
    limit: int | None = None,
    share: Share | None = None,
    began: float | None = None,
) -> Forecast:
    """Predict the wall time of a build, or of one share of it; nothing is written to its folder.

    ``began`` is the value of :func:`time.perf_counter` when the command began, for what it has taken so far a
    build takes too.

    Raises:
        UserError: anything wrong in what was asked.
    """
    began = time.perf_counter() if began is None else began
    model = load_network(request, device, download=False)
    plan = plan_gallery(request.gallery, model, request.folder)
    missing = find_missing(request.folder, plan)
    if share is not None:
        mine = {item.name for item in share_of(list(plan.pictures.values()), share)}
        missing = [item for item in missing if item.name in mine]
    missing = missing[:limit]
    before = time.perf_counter() - began
    costs: list[Cost] = []
    memory = 0
    if missing:
        idle = peak_memory(model.device)
        _warm_up(missing, model, plan.weights)
        costs, memory = estimate([item.wanted for item in missing], model, plan.weights, idle)
    files = _time_files(plan, missing)
    photographs = 0.0
    if request.photographs is not None:
        photographs = search_seconds(
            model, request.photographs, plan.units, out=request.folder, count=request.count
        )
    return Forecast(
        total=len(plan.pictures),
        missing=len(missing),
        costs=costs,
        seconds=before + sum(cost.seconds for cost in costs) + files + photographs,
        photographs=photographs,
        memory=memory,
        device=str(model.device),
        notes=plan.notes,
        unasked=len(find_unasked(request.folder, plan)),
    )


def _warm_up(missing: list[GalleryItem], model: ModelHandle, weights: str) -> None:
    """Run a step of each kind, so that what happens once does not count for each job."""
    seen = set()
    for job in make_jobs([item.wanted for item in missing]):
        if job.kind not in seen:
            seen.add(job.kind)
            first, _ = stand_in(Job(job.wanted[: job.recipe.lanes]), model.device)
            run_job(first.but(steps=1), model, weights)


def _time_files(plan: GalleryPlan, missing: list[GalleryItem]) -> float:
    """Write a few pictures of the plan, their sheet and pages, into a temporary folder; scale that up."""
    sample = missing[:_SAMPLE]
    with tempfile.TemporaryDirectory() as place:
        few = GalleryPlan(plan.model, plan.weights, {item.name: item for item in sample}, [])
        if not sample:
            return 0.0
        folder = GalleryFolder(Path(place), few, {})
        began = time.perf_counter()
        for item in sample:
            folder.add(_noise(item, plan))
        folder.write_manifest()
        pictures = (time.perf_counter() - began) / len(sample)
        began = time.perf_counter()
        write_pages(folder.folder)
        fixed = time.perf_counter() - began  # templates are read and stylesheets written once
        for item in sample:
            folder.add(_noise(item, plan))
        began = time.perf_counter()
        write_sheets(folder, {item.layer for item in sample})
        write_pages(folder.folder)
        pages = (time.perf_counter() - began) / len(sample)
    return pictures * len(missing) + pages * len(missing) + max(0.0, fixed - pages * len(sample))


def _noise(item: GalleryItem, plan: GalleryPlan) -> Picture:
    """Return a picture that takes as long to write as a real one; noise packs worse, so it is smoothed."""
    height, width = item.wanted.recipe.size
    rough = np.random.default_rng(0).normal(128, 60, (plan.model.channels, height + 4, width + 4))
    smooth = sum(rough[:, at : at + height, at : at + width] for at in range(5)) / 5
    levels = np.clip(smooth, 0, 255).astype(np.uint8)
    trace = [0.37 * step for step in trace_steps(item.wanted.recipe.steps)]
    return picture_of(
        item.wanted, levels, (0.0, 1.0), 1.0, trace, seconds=0.0, model=plan.model, weights=plan.weights
    )
