"""Addresses among what is typed: a command gets folders here, and what it says names the addresses."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featvis.results.elsewhere import check_folder_of, is_address

if TYPE_CHECKING:
    from typing import TextIO

WRITERS = {("gallery", "merge"), ("gallery", "pages"), ("evaluate",), ("words",)}
"""The commands that write to a folder that is named without an option."""
_TO_WRITE = ("--out", "-o", "--zip")
_TO_READ = ("--examples", "--start")
_FLAGS = {"--json", "--dry-run", "--prune", "--detach", "--allow-unlike", "--unbounded", "-q", "-v"}
_FLAGS |= {"--quiet", "--verbose", "--transparency"}
_OF_STATUS = ("manifest.json", "gallery.toml", ".featvis/")
"""The files that tell how far a gallery is; of its pictures it is enough to know that they are there."""


@contextlib.contextmanager
def folders_here(words: Sequence[str]) -> Iterator[list[str]]:
    """Return the words of a command with paths here for what lies elsewhere, while it runs.

    Args:
        words: as they are read.

    Raises:
        OutputError: a place cannot be read or written.
    """
    found = dict(_find(words)) if any("://" in word for word in words) else {}
    if not found or {"--help", "-h"} & {*words}:
        yield [*words]
        return
    from featvis.results.mirror import mirrored

    words = [*words]
    only = _OF_STATUS if words[:2] == ["gallery", "status"] else ()
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(_Told(sys.stdout)))
        stack.enter_context(contextlib.redirect_stderr(_Told(sys.stderr)))
        paths: dict[str, Path] = {}
        for place, (option, writes) in found.items():
            address = words[place].removeprefix(option)
            if address not in paths:
                every = any(words[other].endswith(address) and how[1] for other, how in found.items())
                paths[address] = stack.enter_context(mirrored(address, writes=every or writes, only=only))
            words[place] = f"{option}{paths[address]}"
        yield words


def _find(words: Sequence[str]) -> Iterator[tuple[int, tuple[str, bool]]]:
    """Return which words are addresses of files, behind which option, and whether they are written to."""
    named = tuple(words[:2]) if words[:1] == ["gallery"] else tuple(words[:1])
    dry = "--dry-run" in words
    for place, word in enumerate(words):
        before = words[place - 1] if place else ""
        option, equals, value = word.partition("=")
        if (equals and option in _TO_WRITE) or before in _TO_WRITE:
            check_folder_of(value if equals and option in _TO_WRITE else word)
        if equals and option in (*_TO_WRITE, *_TO_READ) and is_address(value):
            yield place, (f"{option}=", option in _TO_WRITE and not dry)
        elif is_address(word) and before in (*_TO_WRITE, *_TO_READ):
            yield place, ("", before in _TO_WRITE and not dry)
        elif is_address(word) and (not before.startswith("-") or before in _FLAGS):
            yield place, ("", named in WRITERS)


class _Told:
    """A stream that writes addresses for the folders here."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        from featvis.results.mirror import with_addresses

        return self._stream.write(with_addresses(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
