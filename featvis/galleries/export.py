"""A gallery as one ZIP file, to be sent to somebody. No torch in here."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import IO

from featvis.errors import OutputError
from featvis.files import write_whole

_PACKED = (".png", ".webp", ".jpg", ".jpeg")
_SUFFIXES = (*_PACKED, ".html", ".css", ".js", ".json", ".toml")


def export_zip(folder: Path, target: Path) -> tuple[Path, int]:
    """Write a gallery's pages, pictures and manifest into a ZIP file; return it and how many files it holds.

    It appears whole or not at all. Hidden files, other kinds and links that lead out of the folder stay out.
    """
    if not folder.is_dir():
        raise OutputError(f"no folder {str(folder)!r}")
    if not (folder / "index.html").is_file():
        raise OutputError(f"{folder} has no index.html; write it first: featvis gallery pages {folder}")
    if target.is_dir():
        raise OutputError(f"{target} is a folder; name a .zip file")
    root = folder.resolve()
    files = [path for path in sorted(folder.rglob("*")) if _belongs(path, folder, root)]

    def pack(stream: IO[bytes]) -> None:
        with zipfile.ZipFile(stream, "w", strict_timestamps=False) as archive:
            for path in files:
                kind = zipfile.ZIP_STORED if path.suffix.lower() in _PACKED else zipfile.ZIP_DEFLATED
                archive.write(path, f"{root.name}/{path.relative_to(folder).as_posix()}", kind)

    return write_whole(target, pack), len(files)


def _belongs(path: Path, folder: Path, root: Path) -> bool:
    if path.suffix.lower() not in _SUFFIXES or not path.is_file():
        return False
    if any(part.startswith(".") for part in path.relative_to(folder).parts):
        return False
    return path.resolve().is_relative_to(root)
