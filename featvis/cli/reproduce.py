"""``featvis reproduce``: a picture again, from what its PNG carries."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from featvis.cli.network import Device, Mean, Std, UnitAxis, Weights, check_network, load_network
from featvis.errors import OutputError


def reproduce(
    file: Annotated[Path, typer.Argument(help="A PNG that featvis wrote.")],
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="The network; by default the one that the file names.")
    ] = None,
    weights: Weights = None,
    start: Annotated[
        Path | None, typer.Option("--start", help="The image that it started from, if any.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where to write it; by default nothing is written.")
    ] = None,
    mean: Mean = None,
    std: Std = None,
    unit_axis: UnitAxis = None,
    device: Device = "auto",
) -> int:
    """Render a picture again from its own PNG. Says whether the bytes are the same (exit code 1 if not)."""
    from featvis.results.picture import load_image, load_picture

    if not file.is_file():
        raise OutputError(f"no file {str(file)!r}")
    numbers = check_network(model or "x", mean, std)
    old = load_picture(file)
    handle = load_network(model or old.model, weights, numbers, unit_axis, device)
    from featvis.run.render import reproduce as render_again

    image = None if start is None else load_image(start, handle.channels, old.size)
    new = render_again(file, handle, start=image)
    if out is not None:
        new.save(out)
    if new.png() == file.read_bytes():
        print(f"{file}: reproduced, the same bytes ({new.target}, score {new.score:.4g})")
        return 0
    same = (new.levels == old.levels).mean() if new.levels.shape == old.levels.shape else 0.0
    print(
        f"{file}: reproduced, but {1 - same:.2%} of the values differ (another machine, device or version?)"
    )
    return 1
