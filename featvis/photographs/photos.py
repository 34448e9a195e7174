"""The files of a folder, and reading one of them as a photograph, whatever it turns out to be."""

from __future__ import annotations

import hashlib
import os
import stat
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from PIL import Image

from featvis.errors import OutputError, UserError
from featvis.models.image_file import read_image

Read = TypeVar("Read")


@dataclass(frozen=True)
class Listing:
    """The files of a folder, sorted by relative path."""

    folder: Path
    names: tuple[str, ...]  # Relative paths with forward slashes
    fingerprint: str
    """SHA-256 of every file's relative path, size and time of last change in nanoseconds."""


def list_files(folder: Path, out: Path | None = None) -> Listing:
    """List the files of a folder and its sub-folders; hidden ones and our own output are left out.

    Links to folders are followed, each once. The fingerprint is of paths, sizes and times, not of contents:
    a folder of a million photographs is known again in seconds. A copy with new times counts as another
    folder, which costs a pass and no more.
    """
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise UserError(f"the folder of photographs {str(folder)!r} {what}")
    own = _own_output(folder, out)
    digest, listed, visited = hashlib.sha256(), [], set()

    def refuse(error: OSError) -> None:
        if Path(str(error.filename)) == folder:
            raise UserError(f"cannot read the folder of photographs {folder}: {error.strerror or error}")

    for place, folders, files in os.walk(folder, followlinks=True, onerror=refuse):
        about_folder = os.stat(place)
        if (about_folder.st_dev, about_folder.st_ino) in visited:  # a link back to a folder above it
            folders.clear()
            continue
        visited.add((about_folder.st_dev, about_folder.st_ino))
        folders[:] = sorted(
            name for name in folders if name[0] != "." and Path(place, name).resolve() not in own
        )
        for name in files:
            path = Path(place, name)
            if name[0] == "." or path.resolve() in own:
                continue
            try:
                about = path.stat()
            except OSError:
                continue  # a link that leads nowhere
            if stat.S_ISREG(about.st_mode):
                listed.append((path.relative_to(folder).as_posix(), about.st_size, about.st_mtime_ns))
    for name, size, changed in sorted(listed):
        digest.update(f"{name}\0{size}\0{changed}\n".encode("utf-8", "surrogateescape"))
    return Listing(folder, tuple(name for name, _, _ in sorted(listed)), digest.hexdigest())


def _own_output(folder: Path, out: Path | None) -> set[Path]:
    if out is None:
        return set()
    own = {out.resolve() / "examples", out.resolve() / "examples.json"}
    return own if out.resolve() == folder.resolve() else {*own, out.resolve()}


@contextmanager
def quiet_decoders() -> Iterator[None]:
    """Within it no decoder warns: what cannot be read is counted, what can be read is read."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        yield


def read_photo(path: Path, channels: int, *, say: bool = False) -> Image.Image | None:
    """Read a photograph as :func:`featvis.models.image_file.read_image` does; None if it cannot be read."""
    try:
        return read_image(path, channels, say=say)
    except OutputError:
        return None


def resampling(interpolation: str) -> Image.Resampling:
    """Return Pillow's filter for a network's way of resizing; all but ``nearest`` are antialiased."""
    known = interpolation in ("nearest", "bilinear", "lanczos")
    return Image.Resampling[interpolation.upper() if known else "BICUBIC"]


def read_ahead(read: Callable[[str], Read], names: Sequence[str], ahead: int) -> Iterator[Read]:
    """Give what ``read`` returns for each name, in order, while threads read up to ``ahead`` further ones."""
    waiting: deque[Future[Read]] = deque()
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1), "featvis-read") as threads:
        try:
            for name in names:
                waiting.append(threads.submit(read, name))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def describe_photograph(path: Path) -> dict[str, str]:
    """Return a photograph's path and the SHA-256 of its file."""
    with path.open("rb") as stream:
        return {"photograph": str(path), "sha256": hashlib.file_digest(stream, "sha256").hexdigest()}
