"""Where results are looked at: whether anybody watches, and the HTML that notebooks show."""

from __future__ import annotations

import base64
import contextlib
import html
import importlib
import io
import math
import sys
import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from PIL import Image

_PLAIN = 12_000
"""Bytes of a PNG; what takes more is shown as WebP, which nobody tells from it."""
_QUALITY = 88
_SMALL = 64
"""Pixels below which an image is enlarged by a whole number, every pixel a square."""


def _shell() -> Any:
    """Return the IPython shell that this process runs in, None without one; nothing is imported for it."""
    loaded = sys.modules.get("IPython")
    find = getattr(loaded, "get_ipython", None)
    return None if find is None else find()


def is_notebook() -> bool:
    """Whether this process is the kernel of a notebook, which shows HTML.

    >>> is_notebook()
    False
    """
    return getattr(_shell(), "kernel", None) is not None


def quiet_bars() -> None:
    """Import tqdm, which libraries of networks bring along, without its word on widgets that nobody needs.

    >>> quiet_bars()
    """
    if is_notebook() and "tqdm.auto" not in sys.modules:
        with warnings.catch_warnings(), contextlib.suppress(ImportError):
            warnings.simplefilter("ignore")
            importlib.import_module("tqdm.auto")


def is_watched(stream: TextIO | None = None) -> bool:
    """Whether somebody looks on: a notebook, or a terminal at the end of a stream (stderr if none is given).

    >>> import io
    >>> is_watched(io.StringIO())
    False
    """
    stream = stream or sys.stderr
    try:
        return is_notebook() or bool(stream.isatty())
    except (AttributeError, ValueError):  # no stream at all, or a closed one
        return False


def display(thing: Any) -> None:
    """Show a thing in the cell of a notebook that runs now."""
    from IPython.display import display as show

    show(thing)


class Area:
    """A part of a notebook's output that is drawn over and over."""

    def __init__(self) -> None:
        self._handle: Any = None

    def draw(self, content: str) -> None:
        """Show HTML in the place of what was shown before."""
        from IPython.display import HTML, DisplayHandle

        if self._handle is None:
            self._handle = DisplayHandle()
            self._handle.display(HTML(content))
        else:
            self._handle.update(HTML(content))


def plain(text: object, most: int = 200) -> str:
    """Return a text, whoever wrote it, ready for HTML, on one line and cut to ``most`` characters.

    >>> plain("<b>tiger & cat</b>")
    '&lt;b&gt;tiger &amp; cat&lt;/b&gt;'
    """
    line = " ".join(str(text).split())
    return html.escape(line if len(line) <= most else line[: most - 1] + "…")


def data_uri(image: Image.Image) -> str:
    """Return an image in an address: a PNG where that is small, else a WebP."""
    shown = (
        image if image.mode in ("L", "RGB", "RGBA") else image.convert("RGBA" if "A" in image.mode else "RGB")
    )
    kind, content = "png", io.BytesIO()
    shown.save(content, "PNG")
    if content.tell() > _PLAIN:
        kind, content = "webp", io.BytesIO()
        shown.save(content, "WEBP", quality=_QUALITY, method=4)
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"


def image_tag(image: Image.Image, title: str, side: int | None = None) -> str:
    """Return an ``<img>`` that holds an image, shrunk to ``side`` pixels where it is longer.

    >>> from PIL import Image
    >>> tag = image_tag(Image.new("RGB", (200, 100)), "black", side=100)
    >>> 'width="100" height="50"' in tag, "data:image/png;base64," in tag
    (True, True)
    """
    if side is not None and max(image.size) > side:
        share = side / max(image.size)
        size = (max(1, round(image.width * share)), max(1, round(image.height * share)))
        image = image.convert("RGB" if image.mode not in ("L", "RGBA") else image.mode).resize(size)
    times = math.ceil(_SMALL / max(image.size))
    pixelated = ";image-rendering:pixelated" if times > 1 else ""
    # What is transparent was scored over mid-grey.
    style = f"max-width:100%;height:auto;margin:0;background:#808080{pixelated}"
    width, height = image.width * times, image.height * times
    return (
        f'<img src="{data_uri(image)}" width="{width}" height="{height}" alt="{plain(title)}" '
        f'title="{plain(title)}" style="{style}">'
    )


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return an HTML table of texts and numbers; everything in it is escaped.

    >>> table(["name", "units"], [["conv", 4]]).count("<td")
    2
    """
    cell = 'style="text-align:{};padding:2px 10px 2px 0;vertical-align:top"'
    top = "".join(f"<th {cell.format('left')}>{plain(name)}</th>" for name in head)
    lines = []
    for row in rows:
        sides = ["right" if isinstance(value, int | float) else "left" for value in row]
        cells = [
            f"<td {cell.format(side)}>{plain(number(value))}</td>"
            for side, value in zip(sides, row, strict=True)
        ]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    style = "border-collapse:collapse;color:inherit;background:none"
    return f'<table style="{style}"><thead><tr>{top}</tr></thead><tbody>{"".join(lines)}</tbody></table>'


def number(value: object) -> object:
    """Return a float as people read it, anything else as it is, None as nothing.

    >>> number(0.123456), number(3), number(None)
    ('0.123', 3, '')
    """
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else value


def folded(summary: str, content: str) -> str:
    """Return HTML that is shown when its summary is clicked."""
    return f'<details style="margin:4px 0"><summary>{plain(summary)}</summary>{content}</details>'


def side_by_side(parts: Iterable[str]) -> str:
    """Return pieces of HTML in rows, as many in each as there is room for."""
    style = "display:flex;flex-wrap:wrap;gap:10px;align-items:flex-start;color:inherit"
    return f'<div style="{style}">{"".join(parts)}</div>'


def figure(content: str, lines: Sequence[str], width: int) -> str:
    """Return a picture, given as HTML, over lines of text."""
    text = "<br>".join(
        f"<b>{plain(line)}</b>" if not place else plain(line) for place, line in enumerate(lines) if line
    )
    caption = f'<figcaption style="font-size:85%;line-height:1.35;overflow-wrap:anywhere">{text}</figcaption>'
    return f'<figure style="margin:0;width:{max(width, 96)}px">{content}{caption}</figure>'


def blank(word: str, width: int, height: int) -> str:
    """Return a box with a word in it, where there is no picture to show."""
    size = f"width:{max(width, 64)}px;height:{max(height, 64)}px"
    style = f"{size};display:flex;align-items:center;justify-content:center;border:1px dashed currentColor"
    return f'<div style="{style};box-sizing:border-box;opacity:.6">{plain(word)}</div>'
