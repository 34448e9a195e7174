"""Which rows and columns of a canvas a position of a layer sees: exact, by letting not-a-number spread."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from featvis.examples.framing import Interval, Size
from featvis.examples.responses import grid_of
from featvis.models.layers import LayerInfo

Activations = Callable[[Tensor], Mapping[str, Tensor]]
Seen = tuple[Interval | None, Interval | None]
"""Rows and columns; None where it is all of them."""

_WIDEST_PERIOD = 256


class Fields:
    """The receptive fields of the positions of some layers.

    A pixel that is not a number makes NaN of exactly the positions that depend on it. Where layers repeat
    themselves every so many pixels (the least common multiple of all strides), position r of a layer
    with stride s sees rows r·s + first to r·s + last, and first and last depend only on r modulo the
    period and on the canvas modulo the period (padding "same" shifts by its remainder). ``first`` shows in
    the pixels of one period at the upper left corner, ``last`` in those at the lower right: of every
    kind of position exactly one begins in the former and one ends in the latter. So padding,
    dilation and skip connections between strides need no arithmetic of ours.

    A network that takes one size is scanned pixel by pixel along the diagonal instead.
    """

    def __init__(
        self,
        activations: Activations,
        layers: Mapping[str, LayerInfo],
        wanted: Sequence[str],
        *,
        channels: int,
        multiple: int | None,
    ) -> None:
        """Prepare to measure.

        Args:
            activations: a tap of the wanted layers.
            layers: every layer of the network, as they were measured at one canvas.
            wanted: the layers that are read.
            channels: of the network's images.
            multiple: a canvas may grow by multiples of this; None if the network takes one size.
        """
        self._activations = activations
        self._wanted = {name: layers[name] for name in wanted}
        self._channels = channels
        self._multiple = multiple
        deepest = max(layer.order for layer in self._wanted.values())
        strides = [layer.stride for layer in layers.values() if layer.stride and layer.order <= deepest]
        self._period = [math.lcm(multiple or 1, *(stride[axis] for stride in strides)) for axis in (0, 1)]
        self._known: dict[tuple[int, int], dict[str, _Edges | None]] = {}  # by axis and remainder
        self._scanned: dict[str, list[list[Interval | None]]] | None = None

    def of(self, layer: str, position: Size, canvas: Size) -> Seen:
        """Return the rows and the columns of a canvas that a position sees, not clipped to the canvas.

        Args:
            layer: one of the wanted.
            position: (row, column) on its map.
            canvas: (height, width) that was shown.
        """
        if self._multiple is None:
            if self._scanned is None:
                self._scanned = self._scan(canvas)
            down, across = self._scanned[layer]
            return down[position[0]], across[position[1]]
        if max(self._period) > _WIDEST_PERIOD:
            return None, None
        if any((axis, canvas[axis] % self._period[axis]) not in self._known for axis in (0, 1)):
            self._measure(canvas)
        known = [self._known[axis, canvas[axis] % self._period[axis]][layer] for axis in (0, 1)]
        rows, columns = (
            edges.seen_by(position[axis], canvas[axis]) if edges is not None else None
            for axis, edges in enumerate(known)
        )
        return rows, columns

    def _measure(self, canvas: Size) -> None:
        # Large enough to tell fields up to about the canvas itself, with the same remainders.
        size = [
            side + period * max(0, math.ceil((6 * period - side) / period))
            for side, period in zip(canvas, self._period, strict=True)
        ]
        longest = max(self._period)
        starts = [(p, p) for p in range(longest)]
        ends = [(size[0] - 1 - p, size[1] - 1 - p) for p in range(longest)]
        first, last = self._reached(starts, (size[0], size[1])), self._reached(ends, (size[0], size[1]))
        for axis in (0, 1):
            period, edges = self._period[axis], dict[str, _Edges | None]()
            for name, layer in self._wanted.items():
                # Tokens are patches, whose number tells their stride; a map's stride was measured.
                positions = first[name][axis].shape[1] if name in first else 1
                told = layer.stride[axis] if layer.stride else None
                stride = size[axis] // positions if layer.kind == "tokens" else told
                edges[name] = None
                if name in first and stride and period % stride == 0:
                    edges[name] = _Edges(
                        first[name][axis][:period], last[name][axis][:period], side=size[axis], stride=stride
                    )
            self._known[axis, size[axis] % period] = edges

    def _scan(self, canvas: Size) -> dict[str, list[list[Interval | None]]]:
        corners = self._reached([(0, 0), (canvas[0] - 1, canvas[1] - 1)], canvas)
        local = [name for name, (down, across) in corners.items() if not (down.all() and across.all())]
        diagonal = [(min(p, canvas[0] - 1), min(p, canvas[1] - 1)) for p in range(max(canvas))]
        reached = self._reached(diagonal, canvas) if local else {}
        return {
            name: [
                [_span(pixels[: canvas[axis]]) if name in reached else None for pixels in side.T]
                for axis, side in enumerate(reached.get(name, ends))
            ]
            for name, ends in corners.items()
        }

    def _reached(self, pixels: Sequence[Size], canvas: Size) -> dict[str, tuple[Tensor, Tensor]]:
        """For each layer with a grid: which of its rows, and of its columns, each pixel reaches."""
        found: dict[str, tuple[list[Tensor], list[Tensor]]] = {}
        for start in range(0, len(pixels), 4):
            images = torch.full((min(4, len(pixels) - start), self._channels, *canvas), 0.5)
            for image, (row, column) in zip(images, pixels[start:], strict=False):
                image[:, row, column] = torch.nan
            # cuDNN's fast algorithms spread NaN over whole tiles.
            with torch.no_grad(), torch.backends.cudnn.flags(enabled=False):
                given = self._activations(images)
            for name, layer in self._wanted.items():
                grid = grid_of(layer, tuple(given[name].shape), canvas)
                if grid is None:
                    continue
                spread = given[name].isnan().any(layer.axis).flatten(1)[:, layer.prefix :]
                spread = spread.reshape(len(images), *grid)
                rows, columns = found.setdefault(name, ([], []))
                rows.append(spread.any(2).cpu())
                columns.append(spread.any(1).cpu())
        return {name: (torch.cat(rows), torch.cat(columns)) for name, (rows, columns) in found.items()}


class _Edges:
    """First and last pixel along one axis of each kind of position, relative to its stride.

    Which kind a position is of is its remainder by the number of kinds.
    """

    def __init__(self, starts: Tensor, ends: Tensor, *, side: int, stride: int) -> None:
        """Read them off what the first and the last pixels of an axis reach, ``(period, positions)``."""
        period, positions = starts.shape
        kinds = period // stride
        reached, left = starts.nonzero().tolist(), ends.nonzero().tolist()
        first, last = [side] * kinds, [-side] * kinds
        for pixel, position in reached:
            first[position % kinds] = min(first[position % kinds], pixel - position * stride)
        for pixel, position in left:
            from_start = side - 1 - pixel
            last[position % kinds] = max(last[position % kinds], from_start - position * stride)
        self._stride = stride
        self._edges: list[Interval | None] = [
            # Where the outermost position is reached from the far side, the field is larger than can be seen.
            None
            if kind >= positions
            or first[kind] == side
            or last[kind] == -side
            or bool(starts[:, kind::kinds][:, -1].any())
            or bool(ends[:, kind].any())
            else (first[kind], last[kind])
            for kind in range(kinds)
        ]

    def seen_by(self, position: int, side: int) -> Interval | None:
        """Rows or columns that a position sees; None if there are more of them than the canvas has."""
        edge = self._edges[position % len(self._edges)]
        if edge is None or edge[1] - edge[0] >= side:
            return None
        return position * self._stride + edge[0], position * self._stride + edge[1] + 1


def _span(reaching: Tensor) -> Interval | None:
    """From the first to the last pixel that reaches a position."""
    pixels = reaching.nonzero().flatten().tolist()
    return (pixels[0], pixels[-1] + 1) if pixels else None
