"""Images to be shown side by side or one after another, in whatever form they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from featvis.models.photograph import Photograph, each, read_photograph
from featvis.results.picture import Picture, to_levels

Frame: TypeAlias = "Picture | Photograph"
"""A picture; or a file, a PIL image, or a tensor or array ``(C, H, W)`` in [0, 1] or of 8-bit levels."""


def each_frame(
    frames: Frame | Iterable[Frame], what: str
) -> Iterator[tuple[Picture | None, NDArray[np.uint8]]]:
    """Give each of one or several images as its 8-bit levels ``(C, H, W)``, beside the picture if it is one.

    Raises:
        CanvasError: none of the forms, or an image of other channels than 1 or 3, or beyond [0, 1].
        OutputError: a file that is no readable image.
    """
    for frame in each([frames] if isinstance(frames, Picture) else frames, what=what):
        if isinstance(frame, Picture):
            yield frame, frame.levels
        else:
            yield None, to_levels(read_photograph(frame, (3, 1), what=what))
