"""``featvis gallery``: whole networks as a site that opens from disk."""

from __future__ import annotations

import shlex
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featvis.cli import options
from featvis.cli.network import Network
from featvis.cli.options import GalleryConfig, GalleryConfigOrNone
from featvis.cli.output import (
    Announced,
    first_of,
    note,
    note_code,
    print_costs,
    print_json,
    progress,
    results_folder,
    warn,
)
from featvis.cli.typed import Command
from featvis.errors import Interrupted, OutputError, RecipeError, UserError, count_of
from featvis.run.executors.register import DEFAULT, choose_executor

if TYPE_CHECKING:
    from featvis.galleries.build import BuildResult
    from featvis.galleries.compare import Difference
    from featvis.galleries.request import BuildRequest
    from featvis.galleries.shares import Share
    from featvis.galleries.status import Shard, Status

SHEETS = 8
"""How many contact sheets a build names."""

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Build, look after and pack galleries. Whole networks as sites that open from disk.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command("build", cls=Command)
@options.read_options
def build(
    config: GalleryConfig,
    out: options.OutOfConfig = None,
    weights: options.WeightsOfConfig = None,
    examples: options.Photographs = None,
    limit: int | None = None,
    prune: bool = False,
    shard: str | None = None,
    allow_unlike: bool = False,
    dry_run: options.DryRun = False,
    device: options.Device = "auto",
    executor: options.ExecutorOfConfig = None,
    workers: int | None = None,
    slurm: list[str] | None = None,
    detach: bool = False,
    as_json: options.AsJson = False,
) -> int:
    """Render what a gallery lacks. Writes its pages too. Stopped at any moment, the same command goes on.

    Example: featvis gallery build small

    Args:
        --limit: The greatest number of pictures to render now.
        --prune: Remove pictures that the config no longer asks for.
        --shard N/M: Render the N-th of M shares, beside others; `featvis gallery merge` makes the pages.
            [all pictures]
        --workers: With --executor slurm: how many jobs render what is missing. [none]
        --slurm NAME=VALUE: With --executor slurm: any option of sbatch; may be repeated, and typed as
            --slurm-partition gpu --slurm-time 4:00:00. --slurm-cluster local runs the jobs here.
            [the cluster's]
        --detach: With --executor slurm: do not wait for the jobs; `featvis gallery status` tells of them.
        --allow-unlike: Go on with a folder whose pictures another kind of machine made, and say so of each.
    """
    began = time.perf_counter()
    from featvis.galleries.config import find_config
    from featvis.galleries.request import make_request
    from featvis.galleries.shares import parse_share

    folder = out or results_folder() / find_config(config).stem
    request = make_request(config, folder, weights=weights, examples=examples, limit=limit)
    Network(request.gallery.model)  # refuses what can be no name
    share = None if shard is None else parse_share(shard)
    if share is not None and prune:
        raise RecipeError("--shard removes nothing; --prune is for whole builds")
    of_jobs = {"workers": workers, "detach": detach or None, **_pairs(slurm or [])}
    given = {name: value for name, value in of_jobs.items() if value is not None}
    chosen = choose_executor(executor or request.gallery.executor or DEFAULT, galleries=True)
    if given and not chosen.entry.galleries:
        raise RecipeError(f"--{next(iter(given)).replace('_', '-')} is an option of --executor slurm")
    note_code(request.source)
    if dry_run:
        return _dry_run(request, device, limit, began, share, prune=prune, as_json=as_json)
    settings = None
    if chosen.entry.galleries:
        from featvis.galleries.arrays import read_settings

        if share is not None:
            raise RecipeError("a shard is rendered here: give --shard or --executor slurm, one of them")
        settings = read_settings({**chosen.options, **given})
    if settings is not None:
        try:
            from featvis.galleries.cluster import submit_gallery
            from featvis.run.progress import duration

            outcome = submit_gallery(
                request,
                settings,
                device=device,
                limit=limit,
                prune=prune,
                allow_unlike=allow_unlike,
                say=note,
            )
        except KeyboardInterrupt:
            note(_interrupted(request.folder, 0))
            return 130
        return _tell(outcome, None, duration(time.perf_counter() - began), as_json=as_json)
    from featvis.results.lock import hold, hold_beside

    if share is None:
        held = hold(request.folder)
    else:
        held = hold_beside(request.folder, share.name, share.excludes)
    try:
        with held as lock:  # refused before torch is imported
            from featvis.galleries.build import run_build, run_shard
            from featvis.run.progress import duration

            run = partial(run_build, prune=prune) if share is None else partial(run_shard, share=share)

            with progress() as shown:
                what = f"{request.gallery.title or request.config.stem}, a gallery of {request.gallery.model}"
                report = None if shown is None else Announced(shown, what, request.folder)
                outcome = run(
                    request,
                    lock,
                    device=device,
                    executor=chosen,
                    limit=limit,
                    allow_unlike=allow_unlike,
                    report=report,
                    say=None if report is None else report.say,
                )
    except KeyboardInterrupt as stop:
        note(_interrupted(request.folder, len(stop.pictures) if isinstance(stop, Interrupted) else 0))
        return 130
    return _tell(outcome, share, duration(time.perf_counter() - began), as_json=as_json)


def _pairs(typed: list[str]) -> dict[str, str]:
    """Read options of sbatch as they are typed; one without a value is a switch."""
    pairs = [text.partition("=") for text in typed]
    return {name.strip(): value.strip() if equals else "true" for name, equals, value in pairs}


def _tell(outcome: BuildResult, share: Share | None, took: str, *, as_json: bool) -> int:
    """Say what a build did; return the exit code."""
    folder = outcome.folder
    page = folder / "index.html"
    if as_json:
        print_json({**asdict(outcome), "folder": str(outcome.folder), "page": str(page)})
    elif share is not None:
        print(f"{_summary(outcome, took)}; this was shard {share}")
        print(f"featvis gallery merge {folder}")
    elif outcome.submitted:
        print(
            f"{count_of(outcome.missing, 'picture')} of {outcome.total} by {outcome.submitted}, to {folder}"
        )
        print(f"featvis gallery status {folder}")
        print("the last to end makes the pages; the same command without --detach waits until then")
    else:
        print(_summary(outcome, took))
        _print_pages(folder)
    if outcome.failed:
        name, reason = next(iter(outcome.failed.items()))
        all_of_them = count_of(outcome.total, "picture")
        failed = f"{len(outcome.failed)} of {all_of_them} failed, {name} the first: {reason}"
        warn(f"{failed}; the same command tries them again")
        return 1
    return 0


@app.command("merge", cls=Command)
@options.read_options
def merge(folder: Path, as_json: options.AsJson = False) -> int:
    """Make the manifest and pages of what shards made. Needs no network; shards at work go on.

    Args:
        folder: A gallery's folder.
    """
    if not folder.is_dir():
        raise OutputError(f"no folder {str(folder)!r}")
    from featvis.galleries.merge import merge_gallery

    merged = merge_gallery(folder)
    if as_json:
        print_json({**asdict(merged), "folder": str(folder), "page": str(folder / "index.html")})
    else:
        parts = [f"{merged.done} of {count_of(merged.total, 'picture')} in {folder}"]
        parts += [f"{merged.missing} missing"] if merged.missing else []
        parts += [f"{len(merged.dead)} dead, no picture: {first_of(merged.dead)}"] if merged.dead else []
        if merged.writing:
            at_work = ", ".join(name.replace("-", " ") for name in merged.writing[:SHEETS])
            parts.append(f"{count_of(len(merged.writing), 'shard')} still at work ({at_work}): merge again")
        print("; ".join(parts))
        _print_pages(folder)
    if merged.failed:
        name, reason = next(iter(merged.failed.items()))
        warn(
            f"{len(merged.failed)} failed, {name} the first: {reason}; their shards' commands try them again"
        )
        return 1
    return 0


@app.command("status", cls=Command)
@options.read_options
def status(folder: Path, config: GalleryConfigOrNone = None, as_json: options.AsJson = False) -> int:
    """Say what a gallery holds and lacks. Says how long the rest will take.

    A config is compared with the one that the gallery was built from: how many pictures it adds.

    Args:
        folder: A gallery's folder.
    """
    from featvis.galleries.config import is_copy, load_gallery
    from featvis.galleries.status import read_status
    from featvis.run.progress import duration

    if config is not None:
        load_gallery(config)
    counts = read_status(folder)
    same = config is None or is_copy(folder, Path(config))
    if as_json:
        told = {"folder": str(folder), **asdict(counts), "same_config": None if config is None else same}
        if config is not None and not same:
            found, why = _compare(config, folder)
            told["difference"] = {"unknown": why} if found is None else asdict(found)
        print_json(told)
        return 0
    kinds = ("done", "missing", "dead", "failed", "stale")
    print(f"{folder}: " + ", ".join(f"{getattr(counts, kind)} {kind}" for kind in kinds))
    if counts.jobs is not None:
        print(f"submitted: {counts.jobs}{_how_far(counts)}")
    elif counts.planned is None:
        print("what its config asks for is not told here: no build has planned it, or the manifest was lost")
    if counts.planned is not None and counts.seconds_left is not None and counts.missing + counts.failed:
        print(f"about {duration(counts.seconds_left)} left{_pace(counts)}")
    for one in counts.shards:
        print(_shard_line(one))
    if not same:
        print(f"{config} is not what the folder was built from{_difference(str(config), folder)}")
    return 0


def _compare(config: str, folder: Path) -> tuple[Difference | None, str]:
    """Compare a config with the one that a folder was built from, or say why that cannot be."""
    from featvis.galleries.compare import compare_config
    from featvis.galleries.request import make_request

    try:
        request = make_request(config, folder)
        Network(request.gallery.model)
        note_code(request.source)
        return compare_config(request), ""
    except UserError as error:
        return None, error.typed


def _difference(config: str, folder: Path) -> str:
    """Say how many pictures another config adds to a gallery, and how many it no longer asks for."""
    found, why = _compare(config, folder)
    if found is None:
        return f"; in how many pictures is not known: {why}"
    parts = [f"for {count_of(found.added, 'more picture')}"] if found.added else []
    parts += [f"no longer for {found.dropped}"] if found.dropped else []
    if found.changed:
        parts.append(f"for {found.changed} of those that are there by another recipe")
    if found.changed is None and not parts:
        return "; how its pictures differ is not known without its weights"
    return f": it asks {', '.join(parts)}" if parts else "; it asks for the same pictures"


@app.command("pages", cls=Command)
@options.read_options
def pages(folder: Path, as_json: options.AsJson = False) -> int:
    """Write a gallery's pages anew. Reads its manifest and pictures; needs no network.

    Args:
        folder: A gallery's folder.
    """
    from featvis.pages.folder import write_pages
    from featvis.results.lock import FolderLock

    if not folder.is_dir():
        raise OutputError(f"no folder {str(folder)!r}")
    with FolderLock(folder):  # not while a build is at work
        written = write_pages(folder)
    if as_json:
        print_json({"files": sorted(map(str, written)), "page": str(folder / "index.html")})
        return 0
    print(f"{count_of(len(written), 'file')} written in {folder}")
    print(folder / "index.html")
    return 0


@app.command("schema", cls=Command)
@options.read_options
def schema() -> int:
    """Print the JSON Schema of a gallery's config."""
    from featvis.galleries.config import make_schema

    print(make_schema())
    return 0


@app.command("export", cls=Command)
@options.read_options
def export(
    folders: Annotated[
        list[Path], typer.Argument(metavar="FOLDER...", help="A gallery's folder; several become one site.")
    ],
    zip_file: Annotated[Path | None, typer.Option("--zip", help="The ZIP file to write.")] = None,
    out: options.OutOfSite = None,
    as_json: options.AsJson = False,
) -> int:
    """Pack a gallery into one ZIP file, or write it as a folder for GitHub Pages or a static Space.

    Several galleries, of two networks or recipes, become one site that compares them.
    """
    from featvis.galleries.export import export_site, export_zip

    if (zip_file is None) == (out is None):
        raise OutputError("give --zip FILE or --out FOLDER, one of them")
    if zip_file is not None:
        if len(folders) > 1:
            raise OutputError(f"--zip packs one gallery, got {len(folders)}; --out makes one site of several")
        path, count = export_zip(folders[0], zip_file)
        if as_json:
            print_json({"file": str(path), "files": count, "bytes": path.stat().st_size})
            return 0
        print(f"{count_of(count, 'file')} in {path} ({path.stat().st_size / 2**20:.1f} MiB)")
    elif out is not None:
        path, count = export_site(folders, out)
        if as_json:
            print_json({"folder": str(out), "files": count, "page": str(path)})
            return 0
        print(f"{count_of(count, 'file')} in {out}")
        print(path)
    return 0


def _print_pages(folder: Path) -> None:
    sheets = sorted(folder.glob("*/grid.png"))
    for sheet in sheets[:SHEETS]:
        print(sheet)
    if len(sheets) > SHEETS:
        print(f"and {count_of(len(sheets) - SHEETS, 'sheet')} more, one for each layer")
    print(folder / "index.html")


def _pace(counts: Status) -> str:
    return "" if counts.per_minute is None else f", {counts.per_minute:.3g} pictures a minute"


def _how_far(counts: Status) -> str:
    """Say of jobs that were submitted whether they are at work, as far as that is known."""
    if counts.jobs_at_work == 0:
        return "; none is at work any more, what is missing is submitted by the same command"
    return "" if counts.jobs_begun else "; none has begun"


def _shard_line(one: Shard) -> str:
    """Say how far one of several writers is."""
    from featvis.run.progress import duration

    name = one.name.replace("-", " ")
    made = f"{one.done} made" + (f", {one.failed} failed" if one.failed else "")
    if one.last is None:
        return f"{name}: begins"
    ago = f"{duration(max(0.0, time.time() - one.last))} ago"
    if one.writing:
        return f"{name}: at work on {count_of(one.wanted, 'picture')}, {made}, the last sign {ago}"
    return f"{name}: ended, {made} of {count_of(one.wanted, 'picture')}, {ago}; not merged yet"


def _dry_run(
    request: BuildRequest,
    device: str,
    limit: int | None,
    began: float,
    share: Share | None,
    *,
    prune: bool,
    as_json: bool,
) -> int:
    from featvis.galleries.forecast import make_forecast
    from featvis.run.progress import duration

    costs = make_forecast(request, device=device, limit=limit, share=share, began=began)
    for line in costs.notes:
        note(line)
    if as_json:
        told = {**asdict(costs), "device": str(costs.device), "folder": str(request.folder)}
        print_json(told)
        return 0
    print_costs(costs.costs)
    wanted = f"{count_of(costs.total, 'picture')}, {costs.missing} of them to be rendered"
    print(
        f"{wanted}, about {duration(costs.seconds)} "
        f"in all on {costs.device}, memory {costs.memory / 2**30:.1f} GiB; they would go to {request.folder}"
    )
    if prune:
        print(f"{count_of(costs.unasked, 'picture')} that the config no longer asks for would be removed")
    if request.photographs is not None:
        print(f"of that about {duration(costs.photographs)} to look through {request.photographs}")
    return 0


def _interrupted(folder: Path, kept: int) -> str:
    """Say what a build has made that was interrupted, and how many pictures are there as they stood."""
    from featvis.galleries.status import read_status

    goes_on = "the same command goes on from there"
    try:
        counts = read_status(folder)
    except OutputError:
        return f"interrupted before its first picture; {goes_on}"
    done, planned = counts.done + counts.dead, counts.planned or 0
    told = f"{done} of {count_of(planned, 'picture')} {'is' if planned == 1 else 'are'} finished in {folder}"
    told += f", {kept} more as {'it' if kept == 1 else 'they'} stood" if kept else ""
    return f"interrupted: {told}; {goes_on} (featvis gallery pages {shlex.quote(str(folder))} shows them now)"


def _summary(outcome: BuildResult, took: str) -> str:
    parts = [f"{count_of(outcome.rendered, 'picture')} rendered in {outcome.folder} ({took})"]
    if outcome.existing:
        verb = "was" if outcome.existing == 1 else "were"
        parts.append(f"{outcome.existing} {verb} there already")
    if outcome.missing:
        verb, it = ("is", "it") if outcome.missing == 1 else ("are", "them")
        parts.append(f"{outcome.missing} {verb} still missing: the same command without --limit renders {it}")
    if outcome.dead:
        parts.append(f"{len(outcome.dead)} dead, no picture: {first_of(outcome.dead)}")
    if outcome.pruned:
        parts.append(f"{outcome.pruned} that the config no longer asks for removed")
    if outcome.stale:
        verb = "is" if outcome.stale == 1 else "are"
        parts.append(
            f"{outcome.stale} {verb} of an earlier config (--prune removes what it no longer asks for)"
        )
    return "; ".join(parts)
