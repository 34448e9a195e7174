"""build_gallery: a gallery from its config, rendered here, or a share of it, or by jobs on a cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

from featvis.errors import RecipeError
from featvis.galleries.arrays import read_settings
from featvis.galleries.build import BuildResult, run_build, run_shard
from featvis.galleries.cluster import submit_gallery
from featvis.galleries.request import BuildRequest, make_request
from featvis.galleries.shares import Share
from featvis.models.borrow.loan import with_gradients
from featvis.results.lock import FolderLock, hold, hold_beside
from featvis.results.mirror import takes_addresses
from featvis.run.executors.register import DEFAULT, AnyExecutor, choose_executor
from featvis.run.progress import report_for


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
        Interrupted: at Ctrl-C, a KeyboardInterrupt that holds the pictures under way. They lie in the folder
            as they stood, beside what is finished, and are rendered whole by the next call.

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
    with hold_for(request, share) as lock, report_for(progress) or contextlib.nullcontext() as report:
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
