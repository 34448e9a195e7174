"""Pictures that were made before, each with what it cost: an interrupted comparison goes on from there."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featvis.files import write_whole


class Shelf:
    """One method's folder: ``CLASS.png`` and beside it ``CLASS.json``, written last."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        """Open ``folder``; a record made with other ``settings`` counts as missing."""
        self.folder = folder
        self.settings: dict[str, Any] = json.loads(json.dumps(settings))

    def picture(self, unit: int) -> Path:
        """Where a class' PNG is."""
        return self.folder / f"{unit:04d}.png"

    def find(self, name: int | str) -> dict[str, Any] | None:
        """Return what is recorded under ``name``, or None."""
        path = self._record(name)
        if not path.is_file():
            return None
        told: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return told if told["settings"] == self.settings else None

    def put(self, unit: int, levels: NDArray[np.uint8], **told: Any) -> None:
        """Write a picture ``(H, W, C)`` and its record."""
        buffer = io.BytesIO()
        Image.fromarray(levels).save(buffer, "PNG")
        write_whole(self.picture(unit), buffer.getvalue())
        self.note(unit, **told)

    def note(self, name: int | str, **told: Any) -> None:
        """Write a record."""
        text = json.dumps({"settings": self.settings, **told}, indent=1) + "\n"
        write_whole(self._record(name), text.encode())

    def _record(self, name: int | str) -> Path:
        return self.folder / (f"{name:04d}.json" if isinstance(name, int) else f"{name}.json")
