"""A gallery as one ZIP file, to be sent to somebody. No torch in here."""

from __future__ import annotations

import os
import tempfile
import zipfile
from pathlib import Path

from featvis.errors import OutputError

_PACKED = (".png", ".webp", ".jpg", ".jpeg")
_SUFFIXES = (*_PACKED, ".html", ".css", ".js", ".json", ".toml")


def export_zip(folder: Path, target: Path) -> tuple[Path, int]:
    """Write a gallery's pages, pictures and manifest into a ZIP file; return it and how many files it holds.

    It appears whole or not at all. Hidden files, other kinds and links that lead out of the folder stay out.
    """
    if not folder.is_dir():
        raise OutputError(f"no folder {str(folder)!r}")
    if not (folder / "index.html").is_file():
        raise OutputError(
            f"{folder} has no index.html; write its pages first: featvis gallery pages {folder}"
        )
    if target.is_dir():
        raise OutputError(f"{target} is a folder; name a .zip file")
    root = folder.resolve()
    files = [path for path in sorted(folder.rglob("*")) if _belongs(path, folder, root)]
    temporary = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
        temporary = Path(name)
        with os.fdopen(handle, "wb") as stream:
            with zipfile.ZipFile(stream, "w", strict_timestamps=False) as archive:
                for path in files:
                    packed = path.suffix.lower() in _PACKED
                    kind = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
                    archive.write(path, f"{root.name}/{path.relative_to(folder).as_posix()}", kind)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(target)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    return target, len(files)


def _belongs(path: Path, folder: Path, root: Path) -> bool:
    if path.suffix.lower() not in _SUFFIXES or not path.is_file():
        return False
    if any(part.startswith(".") for part in path.relative_to(folder).parts):
        return False
    return path.resolve().is_relative_to(root)
