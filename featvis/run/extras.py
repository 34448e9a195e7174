"""Files beside a picture's own: how it stood after some steps, and a video of its way."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featvis.errors import OutputError, RecipeError
from featvis.files import write_apart, write_whole
from featvis.plan.make import Plan, is_count
from featvis.read import open_image
from featvis.results.encoders import check_video
from featvis.results.films import check_morph, make_video
from featvis.results.picture import Picture
from featvis.run.job import space_of
from featvis.run.score import trace_steps
from featvis.spec.options import plain
from featvis.spec.recipe import Recipe

CUT_OUT = "-transparency.png"


def snapshots_of(steps: object) -> tuple[int, ...]:
    """Return the numbers of steps that somebody gave, also as a NumPy array; checked against a run later.

    Raises:
        RecipeError: they are no list.

    >>> snapshots_of(range(2, 9, 3))
    (2, 5, 8)
    """
    if isinstance(steps, str) or not isinstance(steps, Iterable):
        raise RecipeError(f"snapshots are numbers of steps, for instance [1, 32, 128], got {steps!r}")
    return tuple(plain(step) for step in steps)


@dataclass(frozen=True)
class Extras:
    """What is kept of a run besides its picture."""

    snapshots: tuple[int, ...] = ()
    """After so many steps; ``<picture>-step<number>.png``."""
    video: str | None = None
    """``gif`` or ``mp4``, of up to 64 steps evenly spread; ``<picture>.gif``."""
    fps: float = 12.0
    transparency: bool = False
    """How much each pixel mattered over the run, as alpha; ``<picture>-transparency.png``."""
    morph: str | None = None
    """``gif`` or ``mp4`` of the pictures turning into each other; the command that has them all writes it."""

    def added_to(self, plan: Plan) -> Plan:
        """Return the plan in which every picture says what to keep of its run.

        Raises:
            RecipeError: a snapshot that no run comes to, or pictures that have no plain colours.
            OutputError: a video that cannot be written.
        """
        if self.video is not None:
            check_video(self.video, self.fps)
        if self.morph is not None:
            if plan.model.channels not in (1, 3) or plan.model.signal:
                count = plan.model.channels
                raise RecipeError(
                    f"a morph is of pictures of 1 or 3 channels, these are of {count} or signals"
                )
            spaces = [(item.recipe.space, item.recipe.size) for item in plan.wanted]
            check_morph(spaces, channels=plan.model.channels)
        wanted = [
            replace(item, snapshots=self._steps(item.recipe), transparency=self.transparency)
            for item in plan.wanted
        ]
        if self.transparency:
            for recipe in {item.recipe.model_dump_json(): item.recipe for item in plan.wanted}.values():
                space = space_of(recipe, plan.model)
                if space.backdrop is not None or space.image_channels not in (1, 3):
                    raise RecipeError(
                        "transparency is given to pictures of 1 or 3 channels without alpha of their own; "
                        f"these have {space.image_channels}"
                    )
        return replace(plan, wanted=wanted)

    def _steps(self, recipe: Recipe) -> tuple[int, ...]:
        for number in self.snapshots:
            if not is_count(number, 1) or number > recipe.steps:
                raise RecipeError(f"a snapshot is after 1 to {recipe.steps} steps, got {number!r}")
        frames = [number + 1 for number in trace_steps(recipe.steps)] if self.video is not None else []
        return tuple(sorted({*self.snapshots, *frames}))

    def load(self, path: Path, picture: Picture) -> bool:
        """Read what is kept of a finished picture beside its file; return whether all of it is there."""
        if not picture.is_one:
            return True
        if self.video is not None and not _beside(path, f".{self.video}").is_file():
            return False
        if self.transparency:
            try:
                with open_image(_beside(path, CUT_OUT), ("PNG",)) as opened:
                    picture.transparency = np.array(opened.getchannel("A"), dtype=np.uint8)
            except OutputError:
                return False
        snapshots: dict[int, NDArray[np.uint8]] = {}
        for number in self.snapshots:
            if picture.taken is not None and number > picture.taken:
                continue
            try:
                with open_image(_beside(path, f"-step{number}.png"), ("PNG",)) as opened:
                    array = np.array(opened, dtype=np.uint8)
            except OutputError:
                return False
            channels = int(picture.levels.shape[0])
            if array.ndim != (3 if channels == 3 else 2) or (channels != 3 and len(array) % channels):
                return False
            shape = (channels, -1, array.shape[1])
            snapshots[number] = array.transpose(2, 0, 1) if channels == 3 else array.reshape(shape)
        picture.snapshots = snapshots
        return True

    def write(self, path: Path, picture: Picture) -> None:
        """Write what was asked for beside a picture's file; the frames of its video are then let go.

        A video of other frames a second than the one that is there lies beside that.
        """
        if picture.is_one:
            if self.video is not None:
                levels = [picture.snapshots[number] for number in sorted(picture.snapshots)]
                steps = [replace(picture, levels=shown) for shown in (*levels, picture.levels)]
                shown = [step.view if step.has_own_view else step.levels for step in steps]
                film = make_video(shown, self.video, self.fps)
                write_apart({_beside(path, f".{self.video}"): film}, f"{self.fps:g}fps")
            if self.transparency:
                write_png(picture.cut_out, _beside(path, CUT_OUT))
            for number in self.snapshots:
                if number in picture.snapshots:
                    shot = replace(picture, levels=picture.snapshots[number])
                    write_png(shot.pil, _beside(path, f"-step{number}.png"))
        kept = [number for number in sorted(self.snapshots) if number in picture.snapshots]
        picture.snapshots = {number: picture.snapshots[number] for number in kept}


def write_png(image: Image.Image, path: Path, *, sync: bool = True) -> Path:
    """Write an image as :func:`featvis.files.write_whole` writes a file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return write_whole(path, buffer.getvalue(), sync=sync)


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name.removesuffix(".png") + ending)
