"""``featvis reproduce``: a picture again, from what its PNG carries."""

from __future__ import annotations

from pathlib import Path

from featvis.cli import options, output
from featvis.cli.network import NetworkOfFile
from featvis.cli.options import OutFileOrNothing, Unbounded
from featvis.cli.output import note, plain
from featvis.models.sources.register import check_read_name
from featvis.read import IMAGE_BYTES, read_file


def reproduce(
    file: Path,
    start: list[Path] | None = None,
    out: OutFileOrNothing = None,
    unbounded: Unbounded = False,
    as_json: options.AsJson = False,
    *,
    network: NetworkOfFile,
) -> int:
    """Render a picture again from its own PNG. Says whether the bytes are the same (exit code 1 if not).

    Example: featvis reproduce gallery/blocks4/blocks.4/0003.png

    Args:
        file: A PNG that featvis wrote.
        --start FILE: What the picture was made of: the photograph that it started from or shows, the file of
            a direction; may be repeated: of a style there are two. [none]
    """
    from featvis.results.image_file import check_image_name
    from featvis.results.picture import load_picture
    from featvis.spec.bounds import read_recipe

    if out is not None:
        check_image_name(out)
    old = load_picture(file)
    read_recipe(old.recipe, file, unbounded=unbounded)  # refused before torch is imported
    handle = network.load(network.model or check_read_name(old.model, file))
    from featvis.run.reproduce import reproduce as render_again

    shown = not output.is_quiet()
    new = render_again(file, handle, made_of=start or (), progress=shown, unbounded=unbounded, say=note)
    if new.status == "failed":
        note(f"featvis: {file}: its score is not finite; no picture")
        return 1
    if out is not None:
        new.save(out)
    same_bytes = new.png() == read_file(file, IMAGE_BYTES, "picture")
    if as_json:
        told = {"file": str(file), "target": new.target, "score": new.score, "same_bytes": same_bytes}
        output.print_json(told)
        return 0 if same_bytes else 1
    if same_bytes:
        print(f"{file}: reproduced, the same bytes ({plain(new.target)}, score {new.score:.4g})")
        return 0
    same = (new.levels == old.levels).mean() if new.levels.shape == old.levels.shape else 0.0
    differing = f"{1 - same:.2%} of the values differ (another machine, device or version?)"
    print(f"{file}: reproduced, but {differing}")
    return 1
