"""A folder's entries while it is written to: their lines lie in a file, so that memory does not grow.

No torch in here.
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import IO, Any

from featvis.errors import OutputError
from featvis.files import to_bytes
from featvis.read import parse_json
from featvis.results.manifest import as_line

ROOM = 1 << 18
"""Bytes of lines that are held in memory before they are put into the file."""
_CHUNK = 4096
_HELD = -1


class Entries(MutableMapping[str, Mapping[str, Any]]):
    """Entries by what tells them apart, in the order in which their names came first.

    What is read is a copy: an entry that was changed is set again. The file has no name, lies in the folder
    and is gone with the process; a folder of a few hundred pictures has none. Where it cannot be written, on
    a full disk, the lines stay in memory.

    >>> entries = Entries(Path("gallery"))
    >>> entries["blocks.3:5 seed 0"] = {"target": "blocks.3:5", "score": 0.5}
    >>> entries["blocks.3:5 seed 0"], entries.line("blocks.3:5 seed 0")
    ({'target': 'blocks.3:5', 'score': 0.5}, '{"target": "blocks.3:5", "score": 0.5}')
    """

    def __init__(self, folder: Path, entries: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """Begin with some entries; ``folder`` is where the file will lie."""
        self._folder = folder
        self._where: dict[str, int] = {}  # where the line begins in the file, or that it is held
        self._lines: dict[str, bytes] = {}  # those that are held
        self._room, self._size, self._end = ROOM, 0, 0
        self._file: IO[bytes] | None = None
        self.update(entries or {})

    def __getitem__(self, name: str) -> dict[str, Any]:
        entry: dict[str, Any] = parse_json(self.line(name))
        return entry

    def line(self, name: str) -> str:
        """Return an entry as the manifest writes it.

        Raises:
            OutputError: the disk does not give it back.
        """
        line = self._lines.get(name)
        return (self._read(self._where[name]) if line is None else line).decode()

    def __setitem__(self, name: str, entry: Mapping[str, Any]) -> None:
        line = to_bytes(as_line(entry))
        self._lines[name] = line
        self._where[name] = _HELD
        self._size += len(line)
        if self._size > self._room:
            self._put()

    def __delitem__(self, name: str) -> None:
        del self._where[name]
        self._lines.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._where)

    def __len__(self) -> int:
        return len(self._where)

    def __contains__(self, name: object) -> bool:
        return name in self._where

    def _put(self) -> None:
        """Put the lines that are held into the file."""
        content = b"".join(line + b"\n" for line in self._lines.values())
        try:
            if self._file is None:
                self._file = _nameless(self._folder)
                weakref.finalize(self, self._file.close)
            self._file.seek(self._end)
            if self._file.write(content) != len(content):
                raise OSError("the disk is full")
        except OSError:
            self._room = 2 * self._size  # tried again when there are twice as many
            return
        begins = self._end
        self._end += len(content)
        for name, line in self._lines.items():
            self._where[name] = begins
            begins += len(line) + 1
        self._lines.clear()
        self._room, self._size = ROOM, 0

    def _read(self, begins: int) -> bytes:
        assert self._file is not None
        found = bytearray()
        try:
            self._file.seek(begins)
            while chunk := self._file.read(_CHUNK):
                before, end, _ = chunk.partition(b"\n")
                found += before
                if end:
                    return bytes(found)
        except OSError as error:
            raise OutputError(f"cannot read in {self._folder}: {error.strerror or error}") from None
        raise OutputError(f"cannot read in {self._folder}: a file in it was cut short")


def _nameless(folder: Path) -> IO[bytes]:
    return tempfile.TemporaryFile(dir=folder, prefix=".featvis-", buffering=0)
