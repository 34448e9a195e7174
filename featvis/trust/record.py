"""Verdicts as they lie in a folder: in the manifest, in ``evaluation.json`` and on the pages."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from featvis.files import to_bytes, write_whole
from featvis.pages.folder import LIST, write_pages
from featvis.results.lock import FolderLock
from featvis.results.manifest import MANIFEST, picture_name, write_text
from featvis.trust.subjects import read_folder

EVALUATION = "evaluation.json"


def rounded(data: Any) -> Any:
    """Return plain data with numbers of six digits; what is not finite, which JSON has not, becomes None."""
    if isinstance(data, dict):
        return {str(name): rounded(value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [rounded(value) for value in data]
    if isinstance(data, float):
        return float(f"{data:.6g}") if math.isfinite(data) else None
    return data


def write_verdicts(folder: Path, evaluation: dict[str, Any]) -> None:
    """Enter verdicts in a folder's manifest, write ``evaluation.json``, and its pages anew if it has any.

    A picture that was rendered anew meanwhile keeps its entry as it is.
    """
    with FolderLock(folder):
        manifest = read_folder(folder)
        said = {(picture_name(one), one["key"]): one["verdicts"] for one in evaluation["pictures"]}
        for entry in manifest["pictures"]:
            name = (picture_name(entry), entry.get("key"))
            if name in said:
                entry["verdicts"] = said[name]
        top = {name: value for name, value in manifest.items() if name != "pictures"}
        write_whole(folder / MANIFEST, to_bytes(write_text(top, manifest["pictures"])))
        write_whole(folder / EVALUATION, (json.dumps(evaluation, indent=1) + "\n").encode())
        if (folder / LIST).is_file():
            write_pages(folder)
