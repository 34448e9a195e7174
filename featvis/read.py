"""Reading what somebody else made: regular files, of a bounded size and known formats. No torch in here.

Every reader ends in what was read or in one OutputError, whatever the file holds.
"""

from __future__ import annotations

import json
import re
import stat
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featvis.errors import OutputError

if TYPE_CHECKING:
    from PIL import Image

IMAGE_BYTES = 512 << 20
"""The largest image file. Pillow's limit of 89 million pixels fits into it uncompressed, with alpha."""
TOML_BYTES = 1 << 20
"""The largest recipe or config: a mask of 400 x 400 weights, or 60,000 addresses."""
DOTS = 64
"""The most dots in one key of TOML; Python's parser takes their number's square, minutes for 100,000."""
JSON_MEMORY = 1 << 30
"""Bytes that a JSON file may take once it is read: a manifest of about 200,000 pictures."""
DEPTH = 64
"""How deep lists and tables may be nested."""
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "QOI", "TIFF", "WEBP")
"""Formats whose decoders only decode: an EPS file, for one, would be run by Ghostscript."""
DAMAGED = (OSError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError)
"""What a file whose content is not what it should be may raise while that is taken apart."""


def expand(name: str) -> Path:
    """Return the path that a text names, ``~`` as a home folder where there is one.

    >>> str(expand("statistics.safetensors")), str(expand("~nobody-of-this-name/x"))
    ('statistics.safetensors', '~nobody-of-this-name/x')
    """
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def is_whole_number(text: str) -> bool:
    """Whether a text is a whole number that may count something: digits alone, no more than 18.

    Python turns no text of over 4,300 digits into a number, and some digits (``²``) into none.

    >>> is_whole_number("28"), is_whole_number("-1"), is_whole_number("²"), is_whole_number("7" * 5000)
    (True, False, False, False)
    """
    return text.isdecimal() and len(text) < 19


def check_file(path: Path, most: int | None = None, what: str = "file") -> int:
    """Return a file's size in bytes.

    Args:
        path: the file.
        most: its largest size in bytes; None for any.
        what: what it is, for the error.

    Raises:
        OutputError: not there, no regular file (a folder, a pipe, a device), or larger.
    """
    try:
        about = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise OutputError(f"no {what} {str(path)!r}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise OutputError(f"{str(path)!r} cannot be read: {reason_of(error)}") from None
    if not stat.S_ISREG(about.st_mode):
        kind = "a folder" if stat.S_ISDIR(about.st_mode) else "a pipe or device"
        raise OutputError(f"{str(path)!r} is {kind}, no {what}")
    if most is not None and about.st_size > most:
        sizes = f"{about.st_size / 2**20:.0f} MiB, at most {most / 2**20:.0f} are read"
        raise OutputError(f"{path} is too large for a {what}: {sizes}")
    return about.st_size


def read_file(path: Path, most: int | None, what: str = "file") -> bytes:
    """Return a regular file's bytes; arguments and errors as for :func:`check_file`."""
    check_file(path, most, what)
    try:
        return path.read_bytes()
    except OSError as error:
        raise OutputError(f"{path} cannot be read: {reason_of(error)}") from None


def read_toml(path: Path) -> dict[str, Any]:
    """Return what a TOML file holds.

    Raises:
        OutputError: it cannot be read, is no TOML, or is larger or more deeply nested than any of ours.
    """
    content = read_file(path, TOML_BYTES, "TOML file")
    try:
        return parse_toml(content.decode("utf-8-sig"))  # Notepad begins a file with a mark
    except ValueError as error:
        raise OutputError(f"{path} does not read as TOML: {error}") from None


def parse_toml(text: str) -> dict[str, Any]:
    """Return what a text in TOML says.

    Raises:
        ValueError: it is no TOML, or its keys or values are nested too deeply.

    >>> parse_toml("steps = 3\\nspace.name = 'pixel'")
    {'steps': 3, 'space': {'name': 'pixel'}}
    >>> parse_toml("a" + ".a" * 100 + " = 1")
    Traceback (most recent call last):
    ValueError: a key has more than 64 dots
    """
    bare = _TEXTS.sub(lambda found: "" if found[0][0] == "#" else "k", text)
    if "k." * (DOTS + 1) in re.sub(r"[ \t]+", "", re.sub(r"[\w-]+", "k", bare)):
        raise ValueError(f"a key has more than {DOTS} dots")
    try:
        table = tomllib.loads(text)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    check_depth(table)
    return table


def read_json(path: Path) -> Any:
    """Return what a JSON file holds.

    Raises:
        OutputError: it cannot be read, or would take too much memory.
        ValueError: it is no JSON.
        FileNotFoundError: it is not there.
    """
    if not path.exists():
        raise FileNotFoundError(path)
    return parse_json(read_file(path, JSON_MEMORY, "JSON file"), str(path))


def parse_json(content: bytes | str, name: str = "JSON", constant: Callable[[str], Any] | None = None) -> Any:
    """Return what a text in JSON says.

    Args:
        content: the text.
        name: what errors call it.
        constant: what to make of NaN and infinities; by default they are numbers.

    Raises:
        OutputError: it would take more than :data:`JSON_MEMORY`.
        ValueError: it is no JSON.

    >>> parse_json('{"steps": 3}')
    {'steps': 3}
    >>> parse_json("[" * 100_000)
    Traceback (most recent call last):
    ValueError: lists or tables are nested too deeply
    """
    text = content.decode("utf-8") if isinstance(content, bytes) else content
    # What Python's objects take, from above: an empty list or table with its place, and each further value.
    taken = len(text) + 88 * text.count("[") + 232 * text.count("{") + 40 * text.count(",")
    if taken > JSON_MEMORY:
        raise OutputError(f"{name} is too large: it would take {taken / 2**30:.1f} GiB of memory")
    try:
        return json.loads(text, parse_constant=constant)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None


def check_depth(value: Any, most: int = DEPTH) -> None:
    """Raise ValueError for plain data that is nested more deeply than ``most``.

    >>> check_depth({"a": [1, [2]]})
    """
    level = [value]
    for _ in range(most + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    raise ValueError(_TOO_DEEP)


@contextmanager
def open_image(path: Path, formats: tuple[str, ...] = FORMATS) -> Iterator[Image.Image]:
    """Open an image file; within the context, too, whatever a decoder raises becomes an OutputError.

    Args:
        path: the file.
        formats: Pillow's names of those that are tried.

    Raises:
        OutputError: no regular file, of none of the formats, damaged, or of more pixels than Pillow's limit.
    """
    from PIL import Image, UnidentifiedImageError

    check_file(path, IMAGE_BYTES, "image")
    kind = formats[0] if len(formats) == 1 else "image"
    try:
        Image.init()
        with Image.open(path, formats=[name for name in formats if name in Image.OPEN]) as opened:
            if opened.width * opened.height > (Image.MAX_IMAGE_PIXELS or float("inf")):
                raise OutputError(f"{path}: {opened.width}x{opened.height} pixels are too many to be read")
            yield opened
    except OutputError:
        raise
    except UnidentifiedImageError:
        known = "" if len(formats) == 1 else f": {_unknown(path, formats)}"
        raise OutputError(f"{path} is no readable {kind}{known}") from None
    except Exception as error:  # on broken files decoders raise whatever they like
        raise OutputError(f"{path} is no readable {kind}: {reason_of(error)}") from None


def _unknown(path: Path, formats: tuple[str, ...]) -> str:
    with path.open("rb") as stream:
        begin = stream.read(4)
    if begin in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "a TIFF of a kind that Pillow does not read; save it with 8 or 16 bits"
    return f"none of {', '.join(formats)}"


def reason_of(error: BaseException) -> str:
    """Return an error's own words on one short line.

    >>> reason_of(KeyError("a\\nb")), reason_of(MemoryError())
    ("'a\\\\nb'", 'MemoryError')
    """
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(str(text).split())[:160] or type(error).__name__


_TEXTS = re.compile(
    r'"""(?:\\.|[^\\])*?"""|\'\'\'.*?\'\'\'|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|#[^\n]*', re.DOTALL
)
"""Texts and comments of TOML."""
_TOO_DEEP = "lists or tables are nested too deeply"
