"""What a manifest says of one picture, every value of the type that a page expects.

A manifest may be anybody's: text stays text, a number is finite or nothing, a path stays in the folder.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

PICTURE_SUFFIXES = (".png",)
SOUND_SUFFIXES = (".wav",)
CROP_SUFFIXES = (".webp", ".png", ".jpg", ".jpeg")
_VARIANTS = ("picture", "negative", "diverse")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_LARGEST_UNIT = 10**9


@dataclass(frozen=True)
class Entry:
    """One picture, or one that there is none of and why."""

    target: str
    seed: int
    layer: str = ""
    unit: int | None = None
    label: str = ""
    key: str = ""
    score: float | None = None
    start_score: float | None = None
    recipe: str = ""  # The id of its recipe
    steps: int | None = None
    seconds: float | None = None
    status: str = "ok"  # ``ok``, ``dead``, ``failed``, or ``missing``: there should be a file
    reason: str = ""
    verdicts: tuple[str, ...] = ()
    attempt: int = 0
    variant: str = "picture"
    trace: tuple[float, ...] = ()  # Scores over the run
    stale: bool = False  # Made by an earlier recipe of the gallery's config
    file: str | None = None  # Where the PNG lies below the folder; None if there is none to show
    size: tuple[int, int] | None = None  # (height, width) in pixels of what is shown, where known
    view: str | None = None  # What is shown of a picture that no screen shows as it is saved
    film: tuple[int, int, int] | None = None
    """Of a video or volume (frames, height, width); the view is a sheet of its frames, a pixel apart."""
    sound: str | None = None  # A signal as a file that can be heard

    @property
    def image(self) -> str | None:
        """What is shown of it: its view, or the picture itself."""
        return self.view or self.file

    @property
    def where(self) -> str:
        """The position that the target names, such as ``4,6``; empty for the whole map.

        >>> Entry("features.28:7@4,6", 0, "features.28", 7).where
        '4,6'
        """
        return self.target.rpartition(":")[2].partition("@")[2] if self.unit is not None else ""

    @property
    def what(self) -> str:
        """What tells it from the unit's leading picture: ``negative, seed 2``; empty for a plain one.

        >>> Entry("conv1:3@1,2", 4, "conv1", 3).what
        'at 1,2, seed 4'
        """
        variant = {"picture": "", "diverse": "of a diverse set"}.get(self.variant, self.variant)
        where = f"at {self.where}" if self.where else ""
        parts = (variant, where, f"seed {self.seed}" if self.seed else "")
        return ", ".join(part for part in parts if part)

    @property
    def thumbnail(self) -> str | None:
        """Where its small picture lies below the folder.

        >>> Entry("conv1:3", 0, file="conv1/0003.png").thumbnail
        'conv1/thumbs/0003.webp'
        """
        if self.file is None:
            return None
        folder, slash, name = self.file.rpartition("/")
        return f"{folder}{slash}thumbs/{name.rpartition('.')[0]}.webp"


def read_entry(raw: dict[str, Any], recipes: dict[str, Any]) -> Entry:
    """Read one entry of a manifest; what is of the wrong type counts as not there."""
    recipe = read_text(raw.get("recipe"))
    status = raw.get("status")
    stopped = status == "stopped"  # a picture like any other, but for what is to be said of it
    status = "ok" if stopped else status if status in ("ok", "dead", "failed") else "failed"
    reason, file = read_text(raw.get("reason")), None
    if status == "ok":
        file = read_path(raw.get("file"), PICTURE_SUFFIXES)
        if file is None:
            status = "missing"
            if raw.get("file") is not None:
                reason = "what the manifest names as its file is no PNG inside this folder"
    unit, variant, layer = read_whole(raw.get("unit")), raw.get("variant"), read_text(raw.get("layer"))
    known = unit is not None and 0 <= unit < _LARGEST_UNIT and layer
    size = read_size(raw.get("size")) or read_size(read_table(recipes.get(recipe)).get("size"))
    scores = [read_number(item) for item in read_list(raw.get("trace"))]
    return Entry(
        target=read_text(raw.get("target")),
        seed=read_whole(raw.get("seed")) or 0,
        layer=layer if known else "",
        unit=unit if known else None,
        label=read_text(raw.get("label")),
        key=read_text(raw.get("key")),
        score=read_number(raw.get("score")),
        start_score=read_number(raw.get("start_score")),
        recipe=recipe,
        steps=read_whole(raw.get("steps")),
        seconds=read_number(raw.get("seconds")),
        status=status,
        reason=reason,
        verdicts=(*(("stopped",) if stopped else ()), *map(read_text, read_list(raw.get("verdicts")))),
        attempt=read_whole(raw.get("attempt")) or 0,
        variant=variant if variant in _VARIANTS else "picture",
        trace=tuple(item for item in scores if item is not None),
        stale=raw.get("stale") is True,
        file=file,
        size=size,
        view=read_path(raw.get("view"), PICTURE_SUFFIXES) if file else None,
        film=_read_film(raw.get("film")) if file else None,
        sound=read_path(raw.get("sound"), SOUND_SUFFIXES) if file else None,
    )


def _read_film(value: Any) -> tuple[int, int, int] | None:
    numbers = [read_whole(one) or 0 for one in read_list(value)]
    if len(numbers) != 3 or not all(0 < one < 1 << 20 for one in numbers):
        return None
    return numbers[0], numbers[1], numbers[2]


def read_text(value: Any) -> str:
    """Return a text that can be written as UTF-8; what is no text or number is empty.

    >>> read_text("a\\x00b\\ud800"), read_text(3), read_text(None)
    ('a b?', '3', '')
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return _CONTROL.sub(" ", str(value)).encode("utf-8", "replace").decode("utf-8")


def read_number(value: Any) -> float | None:
    """Return a finite number, or None.

    >>> read_number(2), read_number(float("nan")), read_number("2")
    (2.0, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # a whole number beyond every float
        return None


def read_table(value: Any) -> dict[str, Any]:
    """Return a table; what is none is empty."""
    return value if isinstance(value, dict) else {}


def read_list(value: Any) -> list[Any]:
    """Return a list; what is none is empty."""
    return value if isinstance(value, list) else []


def read_whole(value: Any) -> int | None:
    """Return a whole number that a page can show, or None."""
    whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
    return value if whole else None


def read_size(value: Any) -> tuple[int, int] | None:
    """Return (height, width), or None."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None
    height, width = (read_whole(side) for side in value)
    if height is None or width is None or not (0 < height < 10**5 and 0 < width < 10**5):
        return None
    return height, width


def read_path(value: Any, suffixes: tuple[str, ...]) -> str | None:
    """Return a path that stays inside the folder and ends in one of the suffixes, or None.

    >>> read_path("conv1/0003.png", (".png",))
    'conv1/0003.png'
    >>> [read_path(path, (".png",)) for path in ("../x.png", "/x.png", "a//x.png", "C:x.png", "x.html")]
    [None, None, None, None, None]
    """
    if not isinstance(value, str) or not value.lower().endswith(suffixes):
        return None
    # Our own names hold no colon and no backslash; elsewhere they are drives, schemes and separators.
    if read_text(value) != value or ":" in value or "\\" in value or "\n" in value:
        return None
    if any(part in ("", ".", "..") for part in value.split("/")):
        return None
    return value
