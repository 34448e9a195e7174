"""What a folder of photographs says of colours and magnitudes, as a file that image spaces read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from featvis.errors import OutputError, RecipeError
from featvis.files import write_whole
from featvis.read import DAMAGED, check_file, parse_json, reason_of
from featvis.spec.pinned import PIN, STATISTICS_BYTES, opened
from featvis.spec.same import SameByValue

FORMAT = "image statistics 1"  # Another number where the same photographs would give other values

Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ImageStatistics(SameByValue):
    """Colour correlation and mean magnitude spectrum of photographs, from :func:`featvis.image_statistics`.

    Two are equal whose fields are, the arrays by their values.

    >>> import featvis as fv
    >>> gray = fv.ImageStatistics(np.eye(1), np.full(1, 0.5), np.ones((1, 4, 3)), (4, 4), images=2, skipped=0)
    >>> gray.channels, gray.color_matrix.round(3).tolist()
    (1, [[1.0]])
    """

    covariance: Numbers
    """``(C, C)``: the mean over images of the covariance of their pixels' channels, values in [0, 1]."""
    mean: Numbers
    """``(C,)``: of all pixels."""
    magnitudes: Numbers
    """``(C, H, W // 2 + 1)``: mean over images of the orthonormal \\|rfft2\\| of decorrelated channels."""
    size: tuple[int, int]
    """(height, width) that every image was brought to."""
    images: int
    skipped: int
    """Files that are no image that can be read."""
    fingerprint: str = ""
    """Of the folder's listing: paths, sizes, times of change."""

    @property
    def channels(self) -> int:
        """How many channels the images have."""
        return len(self.mean)

    @property
    def color_matrix(self) -> Numbers:
        """``(C, C)`` from decorrelated channels to the images': see :func:`root_of`."""
        return root_of(self.covariance)

    def save(self, path: str | Path) -> Path:
        """Write a safetensors file, which recipes name as ``statistics``; it appears whole or not at all."""
        arrays: dict[str, NDArray[Any]] = {"covariance": self.covariance, "mean": self.mean}
        arrays["magnitudes"] = self.magnitudes.astype(np.float32)
        about = {name: getattr(self, name) for name in ("images", "skipped", "size", "fingerprint")}
        # One entry, for safetensors writes several in any order.
        return write_whole(Path(path), save(arrays, {"featvis": json.dumps({"format": FORMAT, **about})}))


def root_of(covariance: Numbers) -> Numbers:
    """Return U·diag(√(λ + 1e-10)) over its largest column norm, for a covariance U·diag(λ)·Uᵀ (Lucid).

    Columns come in order of falling variance; the largest entry of each is positive.
    """
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1].clip(0), vectors[:, ::-1]
    root = vectors * np.sqrt(values + 1e-10)
    largest = root[np.abs(root).argmax(0), np.arange(root.shape[1])]
    root = root * np.where(largest < 0, -1.0, 1.0)
    scaled: Numbers = root / np.linalg.norm(root, axis=0).max()
    return scaled


def load_statistics(path: str | Path) -> ImageStatistics:
    """Read what :meth:`ImageStatistics.save` wrote, as float64 arrays.

    Args:
        path: the safetensors file.

    Raises:
        OutputError: no such file, or not one of these.

    >>> import featvis as fv, tempfile
    >>> told = fv.ImageStatistics(np.eye(1), np.full(1, 0.5), np.ones((1, 4, 3)), (4, 4), images=2, skipped=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fv.load_statistics(told.save(f"{folder}/statistics.safetensors")).images
    2
    """
    check_file(Path(path), STATISTICS_BYTES, "file of image statistics")
    try:
        with safe_open(path, "numpy") as opened:
            about = parse_json((opened.metadata() or {}).get("featvis", "{}"))
            if about.get("format") != FORMAT:
                raise OutputError(f"{path} holds no image statistics of this version of featvis")
            size = int(about["size"][0]), int(about["size"][1])
            arrays = {name: opened.get_tensor(name).astype(np.float64) for name in opened.keys()}  # noqa: SIM118
        counts: dict[str, Any] = {name: int(about[name]) for name in ("images", "skipped")}
        statistics = ImageStatistics(**arrays, size=size, **counts, fingerprint=about["fingerprint"])
        channels, (rows, columns) = statistics.channels, statistics.size
    except OutputError:
        raise
    except (SafetensorError, *DAMAGED) as error:
        raise OutputError(f"{path} holds no image statistics: {reason_of(error)}") from None
    shapes = statistics.covariance.shape, statistics.mean.shape, statistics.magnitudes.shape
    if shapes != ((channels, channels), (channels,), (channels, rows, columns // 2 + 1)):
        raise OutputError(f"{path} is damaged: its statistics have shapes {shapes}")
    if not all(
        np.isfinite(array).all() for array in (statistics.covariance, statistics.mean, statistics.magnitudes)
    ):
        raise OutputError(f"{path} is damaged: its statistics are not finite")
    return statistics


@lru_cache(maxsize=8)
def statistics_of(pinned: str, channels: int) -> ImageStatistics:
    """Return the statistics that a recipe names as ``PATH#sha256:DIGEST``, which was checked with it."""
    with opened(pinned) as place:
        statistics = load_statistics(place)
    if statistics.channels != channels:
        path, own = pinned.rpartition(PIN)[0], statistics.channels
        raise RecipeError(f"{path} is of images of {own} channels, these images have {channels}")
    return statistics
