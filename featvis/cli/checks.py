"""What commands check of their options before anything heavy is imported; a mistake is a UserError."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from featvis.errors import OutputError, RecipeError

Number = TypeVar("Number", int, float)


def check_at_least(least: float, **options: float | None) -> None:
    """Raise RecipeError if an option is below ``least``; one that was not given is None."""
    for name, value in options.items():
        if value is not None and not value >= least:
            raise RecipeError(f"--{name.replace('_', '-')} is at least {least}, got {value}")


def check_views(views: int | None) -> None:
    """Raise RecipeError unless --views was not given or is 1 or 8."""
    if views not in (None, 1, 8):
        raise RecipeError(f"--views is 1 or 8, got {views}")


def check_folder(path: Path) -> None:
    """Raise OutputError if something else than a folder has this name."""
    if path.exists() and not path.is_dir():
        raise OutputError(f"{path} is a file, not a folder")


def check_photo(path: Path) -> None:
    """Raise OutputError if there is no photograph that can be read."""
    from featvis.photographs.photos import read_photo

    if not path.is_file():
        raise OutputError(f"no photograph {str(path)!r}")
    if read_photo(path, 3) is None:
        raise OutputError(f"{path} is no readable photograph")


def canvas_of(size: str | None) -> tuple[int, int] | None:
    """Return (height, width) of --size, None where it was not given."""
    from featvis.spec.recipe import Recipe

    return None if size is None else Recipe(size=size).size


def numbers_of(option: str, text: str, kind: type[Number]) -> tuple[Number, ...]:
    """Return the numbers of a text with commas between them."""
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError:
        raise RecipeError(f"{option} takes numbers with commas between, got {text!r}") from None
