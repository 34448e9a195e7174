"""``featvis gallery``: whole networks as a site that opens from disk."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featvis.cli import options
from featvis.cli.network import Network
from featvis.cli.output import count_of, first_of, note, note_code, print_costs
from featvis.errors import OutputError
from featvis.run.executors.register import DEFAULT, check_executor

if TYPE_CHECKING:
    from featvis.galleries.build import BuildResult
    from featvis.galleries.request import BuildRequest

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Build, look after and pack galleries. Whole networks as sites that open from disk.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Folder = Annotated[Path, typer.Argument(help="A gallery's folder.")]


@app.command("build")
@options.read_options
def build(
    config: Path,
    out: options.OutOfConfig = None,
    weights: options.WeightsOfConfig = None,
    examples: options.Photographs = None,
    limit: int | None = None,
    prune: bool = False,
    dry_run: options.DryRun = False,
    device: options.Device = "auto",
    executor: options.Executor = DEFAULT,
) -> int:
    """Render what a gallery lacks. Writes its pages too. Stopped at any moment, the same command goes on.

    Example: featvis gallery build configs/galleries/small.toml

    Args:
        config: A TOML file; configs/galleries has some.
        --limit: The greatest number of pictures to render now.
        --prune: Remove pictures that the config no longer asks for.
    """
    began = time.perf_counter()
    from featvis.galleries.request import make_request

    request = make_request(config, out, weights=weights, examples=examples, limit=limit)
    Network(request.gallery.model)  # refuses what can be no name
    check_executor(executor)
    note_code(request.source)
    if dry_run:
        return _dry_run(request, device, limit, began)
    from featvis.results.lock import hold

    try:
        with hold(request.folder) as lock:  # refused before torch is imported
            from featvis.galleries.build import run_build
            from featvis.run.progress import Report, duration

            with Report() as report:
                outcome = run_build(
                    request,
                    lock,
                    device=device,
                    executor=executor,
                    limit=limit,
                    prune=prune,
                    report=report,
                    say=report.say,
                )
    except KeyboardInterrupt:
        note(f"interrupted; what is finished is in {request.folder}, the same command goes on from there")
        return 130
    print(_summary(outcome, duration(time.perf_counter() - began)))
    print(request.folder / "index.html")
    if outcome.failed:
        name, reason = next(iter(outcome.failed.items()))
        failed = f"{len(outcome.failed)} of {outcome.total} pictures failed, {name} the first: {reason}"
        note(f"featvis: {failed}; the same command tries them again")
        return 1
    return 0


@app.command("status")
def status(
    folder: Folder,
    config: Annotated[
        Path | None, typer.Argument(help="A config to compare with the one that the gallery was built from.")
    ] = None,
) -> int:
    """Say what a gallery holds and lacks. Says how long the rest will take."""
    from featvis.galleries.config import is_copy, load_gallery
    from featvis.galleries.status import read_status
    from featvis.run.progress import duration

    if config is not None:
        load_gallery(config)
    counts = read_status(folder)
    kinds = ("done", "missing", "dead", "failed", "stale")
    print(f"{folder}: " + ", ".join(f"{getattr(counts, kind)} {kind}" for kind in kinds))
    if counts.planned is None:
        print("what its config asks for is not told here: no build has planned it, or the manifest was lost")
    elif counts.seconds_left is not None and counts.missing + counts.failed:
        print(f"about {duration(counts.seconds_left)} left")
    if config is not None and not is_copy(folder, config):
        print(f"{config} is not what the folder was built from; build it with --dry-run to see what it lacks")
    return 0


@app.command("pages")
def pages(folder: Folder) -> int:
    """Write a gallery's pages anew. Reads its manifest and pictures; needs no network."""
    from featvis.pages.folder import write_pages
    from featvis.results.lock import FolderLock

    if not folder.is_dir():
        raise OutputError(f"no folder {str(folder)!r}")
    with FolderLock(folder):  # not while a build is at work
        written = write_pages(folder)
    print(f"{len(written)} files written in {folder}")
    print(folder / "index.html")
    return 0


@app.command("schema")
def schema() -> int:
    """Print the JSON Schema of a gallery's config."""
    from featvis.galleries.config import make_schema

    print(make_schema())
    return 0


@app.command("export")
def export(
    folders: Annotated[
        list[Path], typer.Argument(metavar="FOLDER...", help="A gallery's folder; several become one site.")
    ],
    zip_file: Annotated[Path | None, typer.Option("--zip", help="The ZIP file to write.")] = None,
    out: options.OutOfSite = None,
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
        print(f"{count} files in {path} ({path.stat().st_size / 2**20:.1f} MiB)")
    elif out is not None:
        path, count = export_site(folders, out)
        print(f"{count} files in {out}")
        print(path)
    return 0


def _dry_run(request: BuildRequest, device: str, limit: int | None, began: float) -> int:
    from featvis.galleries.forecast import make_forecast
    from featvis.run.progress import duration

    costs = make_forecast(request, device=device, limit=limit, began=began)
    for line in costs.notes:
        note(line)
    print_costs(costs.costs)
    print(
        f"{costs.total} pictures, {costs.missing} of them to be rendered, about {duration(costs.seconds)} "
        f"in all on {costs.device}, memory {costs.memory / 2**30:.1f} GiB; they would go to {request.folder}"
    )
    if request.photographs is not None:
        print(f"of that about {duration(costs.photographs)} to look through {request.photographs}")
    return 0


def _summary(outcome: BuildResult, took: str) -> str:
    parts = [f"{count_of(outcome.rendered, 'picture')} rendered in {outcome.folder} ({took})"]
    if outcome.existing:
        parts.append(f"{outcome.existing} were there already")
    if outcome.missing:
        parts.append(f"{outcome.missing} are still missing: the same command without --limit renders them")
    if outcome.dead:
        parts.append(f"{len(outcome.dead)} dead, no picture: {first_of(outcome.dead)}")
    if outcome.pruned:
        parts.append(f"{outcome.pruned} that the config no longer asks for removed")
    if outcome.stale:
        parts.append(f"{outcome.stale} are of an earlier config (--prune removes what it no longer asks for)")
    return "; ".join(parts)
