"""Attribution: one map over a photograph, its numbers, and how both are shown and saved."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featvis.attribution.colours import balance, heat
from featvis.files import to_bytes, write_apart
from featvis.notebook import figure, image_tag, plain
from featvis.notebook import side_by_side as in_rows
from featvis.results.sheets import make_sheet
from featvis.results.store import safe_name
from featvis.spec.same import SameByValue

_QUANTILE = 0.995
"""What is shown at full strength: single pixels far above all others would leave the rest in the dark."""


_SIDE = 288
"""Pixels of an image's longer side in a notebook."""


@dataclass(repr=False, eq=False)
class Attribution(SameByValue):
    """Where in a photograph a target fires, by one method; from :func:`featvis.attribute`.

    Two are equal whose fields are, the maps and photographs by their values.

    >>> import numpy as np
    >>> values, photo = np.eye(8, dtype=np.float32), np.zeros((3, 8, 8), np.uint8)
    >>> where = Attribution("saliency", "blocks.3:5", "mine", values, photo, score=1.0)
    >>> where.to_json()["largest_at"], where.overlay.size
    ([0, 0], (8, 8))
    """

    _known_by: ClassVar[tuple[str, ...]] = ("method", "target", "model")

    method: str
    target: str
    model: str
    values: NDArray[np.float32]
    """The map ``(H, W)``, in the method's own units: for and against where it is signed."""
    photo: NDArray[np.uint8]
    """What the network was shown, ``(C, H, W)``."""
    score: float
    label: str = ""
    numbers: dict[str, Any] = field(default_factory=dict)
    """What the method tells beside its map, and the curves' heights if they were measured."""
    sanity: list[dict[str, Any]] = field(default_factory=list)
    """How alike the map is to those of networks with randomized layers, from the top."""
    signed: bool = False
    """Whether the map holds values below zero that mean something."""
    about: dict[str, Any] = field(default_factory=dict)
    """The file of the photograph, where it was read from one, with its SHA-256."""
    full_scale: float | None = None
    """The magnitude that is shown at full strength, where the method says it: 1 for a mask."""

    @property
    def scale(self) -> float:
        """The magnitude that is shown at full strength: the method's own, or the 99.5 % quantile."""
        if self.full_scale is not None:
            return self.full_scale
        magnitude = np.abs(self.values)
        quantile = float(np.quantile(magnitude, _QUANTILE))
        return quantile or float(magnitude.max()) or 1.0

    @property
    def strength(self) -> NDArray[np.float32]:
        """The map over its scale, in [0, 1]; what speaks against the target is 0."""
        return (self.values / self.scale).clip(0, 1).astype(np.float32)

    @property
    def overlay(self) -> Image.Image:
        """The map over the grey photograph, as opaque as it is strong."""
        grey = np.asarray(_image(self.photo).convert("L"), dtype=np.float32)[..., None]
        strength = self.strength[..., None]
        shown = grey * (1 - strength) + heat()[(self.strength * 255).round().astype(int)] * strength
        return Image.fromarray(shown.round().astype(np.uint8))

    @property
    def map(self) -> Image.Image:
        """The map alone: black to yellow, or blue (against) over white to red (for) where it is signed."""
        if not self.signed:
            return Image.fromarray(heat()[(self.strength * 255).round().astype(int)])
        shares = (self.values / self.scale).clip(-1, 1)
        return Image.fromarray(balance()[(shares * 255).round().astype(int) + 255])

    def to_json(self) -> dict[str, Any]:
        """Return the numbers, ready for JSON."""
        row, column = (int(n) for n in np.unravel_index(int(self.values.argmax()), self.values.shape))
        return {
            **{name: getattr(self, name) for name in ("method", "target", "label", "model")},
            "size": list(self.values.shape),
            "score": self.score,
            "sum": float(self.values.sum(dtype=np.float64)),
            "largest": float(self.values.max()),
            "largest_at": [row, column],
            "scale": self.scale,
            **self.about,
            **self.numbers,
            **({"sanity": self.sanity} if self.sanity else {}),
        }

    def save(self, folder: str | Path) -> list[Path]:
        """Write ``METHOD-overlay.png``, ``METHOD-map.png`` and ``METHOD.json``, or raise an OutputError.

        What is there of another photograph or target stays: the names then end with the target and a digest.
        """
        place = Path(folder)
        files = {
            place / f"{self.method}-overlay.png": png(self.overlay),
            place / f"{self.method}-map.png": png(self.map),
            place / f"{self.method}.json": json_file(self.to_json()),
        }
        return write_apart(files, safe_name(self.target.replace(":", "-")))

    def __repr__(self) -> str:
        return f"Attribution({self.method!r}, {self.target!r}, {', '.join(self._facts())})"

    def _facts(self) -> list[str]:
        told = self.to_json()
        row, column = told["largest_at"]
        facts = [f"score {self.score:.4g}", f"largest at row {row}, column {column}"]
        return facts + [f"{name} {told[name]:.3f}" for name in ("deletion", "insertion") if told.get(name)]

    def _repr_html_(self) -> str:
        label = self.label.partition(",")[0]
        name = f"{self.target} {label}" if label and label not in self.target else self.target
        shown = {"photograph": _image(self.photo), self.method: self.overlay, "map": self.map}
        figures = [
            figure(image_tag(image, title, _SIDE), [title], min(_SIDE, image.width))
            for title, image in shown.items()
        ]
        return f"<div><div>{plain(name)}: {plain(', '.join(self._facts()))}</div>{in_rows(figures)}</div>"

    def _repr_png_(self) -> bytes:
        return png(self.overlay)


def side_by_side(
    attributions: Sequence[Attribution], edges: NDArray[np.float32] | None = None
) -> Image.Image:
    """Return one sheet: the photograph, then each method's overlay, then that of an edge detector's map."""
    first = attributions[0]
    shown = [(first.label or first.target, _image(first.photo))]
    shown += [(attribution.method, attribution.overlay) for attribution in attributions]
    if edges is not None:
        control = Attribution("edges", first.target, first.model, edges, first.photo, 0.0)
        shown.append(("edge detector (no network)", control.overlay))
    columns = -(-len(shown) // 2) if len(shown) > 4 else len(shown)
    return make_sheet([image for _, image in shown], [(name,) for name, _ in shown], columns)


def png(image: Image.Image) -> bytes:
    """Return an image's PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def json_file(data: Any) -> bytes:
    """Return plain data as a JSON file."""
    return to_bytes(json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def _image(levels: NDArray[np.uint8]) -> Image.Image:
    if levels.shape[0] == 3:
        return Image.fromarray(np.ascontiguousarray(levels.transpose(1, 2, 0)))
    return Image.fromarray(np.ascontiguousarray(levels[0]))
