"""Pictures: a list of finished ones that shows itself as a sheet."""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Iterable
from typing import SupportsIndex, overload

from PIL import Image

from featvis.notebook import display, is_notebook, plain, side_by_side
from featvis.results.picture import Picture
from featvis.results.sheets import grid

_SIDE, _FULL = 224, 16
"""The longest side of a picture in HTML, and of how many; of more, each is as much smaller."""
_MOST = 100
"""Pictures that are shown of a list; a slice of it shows others."""
_BYTES = 400_000
"""What the PNG takes at most, for front ends that show no HTML."""


class Pictures(list[Picture]):
    """A list of pictures, as :func:`featvis.render` returns it.

    A notebook shows it as a sheet with names, scores and verdicts; a slice is such a list, too.

    >>> import featvis as fv, torch
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3))
    >>> model = fv.load_model(network, mean=(0.5,) * 3, std=(0.5,) * 3, input_size=16)
    >>> pictures = fv.render(model, "0:0:4", size=16, steps=1, transforms=[])
    >>> isinstance(pictures, list), len(pictures[1:3]), pictures.to_pil().size
    (True, 2, (210, 266))
    """

    @overload
    def __getitem__(self, place: SupportsIndex) -> Picture: ...
    @overload
    def __getitem__(self, place: slice) -> Pictures: ...
    def __getitem__(self, place: SupportsIndex | slice) -> Picture | Pictures:
        return (
            Pictures(super().__getitem__(place)) if isinstance(place, slice) else super().__getitem__(place)
        )

    def to_pil(self) -> Image.Image:
        """Return all of them on one sheet; :func:`featvis.grid` has its options."""
        return grid(self)

    def show(self) -> None:
        """Show the sheet: in the cell of a notebook, else in the machine's viewer of images."""
        display(self) if is_notebook() else self.to_pil().show()

    def __repr__(self) -> str:
        names = [picture.target for picture in self[:3]] + (["…"] if len(self) > 3 else [])
        return f"Pictures({self._summary()}: {', '.join(name[:60] for name in names)})"

    def _summary(self) -> str:
        count = "1 picture" if len(self) == 1 else f"{len(self)} pictures"
        models = list(dict.fromkeys(picture.model for picture in self if picture.model))
        told = [f"{count} of {models[0]}" if len(models) == 1 else count]
        scores = [picture.score for picture in self if picture.is_one]
        if scores:
            low, high = f"{min(scores):.4g}", f"{max(scores):.4g}"
            told.append(f"score {low}" if low == high else f"scores {low} to {high}")
        others = Counter(picture.status for picture in self if picture.status != "ok")
        return ", ".join([*told, *(f"{number} {status}" for status, number in others.items())])

    def _repr_html_(self) -> str:
        return sheet_html(self, f"{self._summary()}")

    def _repr_png_(self) -> bytes | None:
        if not self:
            return None
        shown = self[:_MOST]
        cell = round(_SIDE * min(1.0, math.sqrt(4 / len(shown))))
        while True:
            content = io.BytesIO()
            grid(shown, captions=cell >= 64, cell=cell).save(content, "PNG")
            if content.tell() <= _BYTES or cell <= 16:
                return content.getvalue()
            cell = cell * 3 // 4


def sheet_html(pictures: Iterable[Picture], line: str) -> str:
    """Return pictures with their captions under a line, in HTML of about a megabyte at most."""
    every = list(pictures)
    shown = every[:_MOST]
    side = round(_SIDE * min(1.0, math.sqrt(_FULL / max(1, len(shown)))))
    parts = [f'<div style="margin:0 0 6px">{plain(line)}</div>']
    parts += [side_by_side(picture.as_html(side, brief=True) for picture in shown)]
    if len(every) > len(shown):
        rest = f"pictures[{len(shown)}:{min(len(every), 2 * _MOST)}]"
        parts.append(f'<div style="margin:6px 0 0">… and {len(every) - len(shown)} more: {rest}</div>')
    return f"<div>{''.join(parts)}</div>"
