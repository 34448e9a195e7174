"""Which rows and columns of a canvas a position of a layer sees: exact, by letting not-a-number spread."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from featvis.models.layers.measure import LayerInfo
from featvis.models.layers.receptive import Look, spread
from featvis.photographs.framing import Interval, Size

Activations = Callable[[Tensor], Mapping[str, Tensor]]
Spans = tuple[Interval | None, Interval | None]  # Rows and columns; None where it is all of them

_WIDEST_PERIOD = 256


class Fields:
    """The receptive fields of the positions of some layers.

    Pixels that are not a number make NaN of exactly the positions that depend on them. Where layers repeat
    themselves every so many pixels (the least common multiple of all strides), position r of a layer
    with stride s sees rows r·s + first to r·s + last, and first and last depend only on r modulo the
    period and on the canvas modulo the period (padding "same" shifts by its remainder). A block of NaN
    that grows from the upper left corner over one period newly reaches one position of each kind, with
    its first pixel; a block at the lower right corner does so with its last. So padding, dilation and
    skip connections between strides need no arithmetic of ours.

    A network that takes one size is scanned row by row and column by column instead.
    """

    def __init__(
        self,
        activations: Activations,
        layers: Mapping[str, LayerInfo],
        wanted: Sequence[str],
        *,
        channels: int,
        multiple: int | None,
        alike: bool = False,
    ) -> None:
        """Prepare to measure; a canvas may grow by ``multiple``, None if the network takes one size.

        ``alike`` takes what one canvas tells for those of other remainders, too: much less to measure, and
        wrong by less than a period where padding is "same".
        """
        self._alike = alike
        self._activations = activations
        self._wanted = {name: layers[name] for name in wanted}
        self._channels = channels
        self._multiple = multiple
        deepest = max(layer.order for layer in self._wanted.values())
        strides = [layer.stride for layer in layers.values() if layer.stride and layer.order <= deepest]
        self._period = [math.lcm(multiple or 1, *(stride[axis] for stride in strides)) for axis in (0, 1)]
        self._known: dict[tuple[int, int], dict[str, _Edges | None]] = {}  # by axis and remainder
        self._scanned: dict[str, list[list[Interval | None]]] | None = None

    def of(self, layer: str, position: Size, canvas: Size) -> Spans:
        """Return the rows and the columns of a canvas that a position sees, not clipped to the canvas."""
        if self._multiple is None:
            if self._scanned is None:
                self._scanned = self._scan(canvas)
            down, across = self._scanned[layer]
            return down[position[0]], across[position[1]]
        if max(self._period) > _WIDEST_PERIOD:
            return None, None
        keys = [self._key(axis, canvas[axis]) for axis in (0, 1)]
        if any(
            key not in self._known
            or ((told := self._known[key][layer]) is not None and not told.answers(canvas[key[0]]))
            for key in keys
        ):
            self._measure(canvas)
        kinds = [self._known[key][layer] for key in keys]
        rows, columns = (
            None if edges is None else edges.seen_by(position[axis], canvas[axis])
            for axis, edges in enumerate(kinds)
        )
        return rows, columns

    def _measure(self, canvas: Size) -> None:
        # Large enough to tell fields up to about the canvas itself, with the same remainders.
        size = [
            side + period * max(0, math.ceil((6 * period - side) / period))
            for side, period in zip(canvas, self._period, strict=True)
        ]
        height, width = size
        # From one period of pixels to two: within the first, some are seen by no position of any kind.
        grown = range(max(self._period) + 1)
        down, across = self._period
        upper = [(slice(down + n), slice(across + n)) for n in grown]
        lower = [(slice(height - down - n, None), slice(width - across - n, None)) for n in grown]
        first, last = (self._reached(blocks, (height, width)) for blocks in (upper, lower))
        for axis in (0, 1):
            period, edges = self._period[axis], dict[str, _Edges | None]()
            for name, layer in self._wanted.items():
                # Tokens are patches, whose number tells their stride; a map's stride was measured.
                positions = first[name][axis].shape[1] if name in first else 1
                told = layer.stride[axis] if layer.stride else None
                stride = size[axis] // positions if layer.kind == "tokens" else told
                edges[name] = None
                if name in first and stride and period % stride == 0:
                    starts, ends = (reached[name][axis][: period + 1] for reached in (first, last))
                    edges[name] = _Edges(starts, ends, side=size[axis], stride=stride)
            key = self._key(axis, size[axis])
            if all(one is None or one.side < size[axis] for one in self._known.get(key, {}).values()):
                self._known[key] = edges

    def _key(self, axis: int, side: int) -> tuple[int, int]:
        return axis, 0 if self._alike else side % self._period[axis]

    def _scan(self, canvas: Size) -> dict[str, list[list[Interval | None]]]:
        height, width = canvas
        everything = slice(None)
        corners = self._reached([(slice(1), slice(1)), (slice(-1, None), slice(-1, None))], canvas)
        lines = [[(slice(row, row + 1), everything) for row in range(height)]]
        lines.append([(everything, slice(column, column + 1)) for column in range(width)])
        is_global = {name: bool(down.all() and across.all()) for name, (down, across) in corners.items()}
        local = not all(is_global.values())
        reached = [self._reached(along, canvas) if local else {} for along in lines]
        return {
            name: [
                [_span(pixels) if local and not is_global[name] else None for pixels in side.T]
                for side in (reached[axis][name][axis] if local else corners[name][axis] for axis in (0, 1))
            ]
            for name in corners
        }

    def _reached(
        self, blocks: Sequence[tuple[slice, slice]], canvas: Size
    ) -> dict[str, tuple[Tensor, Tensor]]:
        return spread(self._show, self._wanted, blocks, channels=self._channels, canvas=canvas)

    def _show(self, images: Tensor, look: Look) -> None:
        for name, activation in self._activations(images).items():
            look(name, activation)


class _Edges:
    """First and last pixel along one axis of each kind of position (place modulo kinds), from its stride."""

    def __init__(self, starts: Tensor, ends: Tensor, *, side: int, stride: int) -> None:
        """Read them off what the first, the last period + n pixels reach: ``(period + 1, positions)``."""
        period = len(starts) - 1
        self.side, self._stride, kinds = side, stride, period // stride
        self._edges: list[Interval | None] = []
        self._least: float = math.inf
        for kind in range(kinds):
            begun = _newly(starts[:, kind::kinds], outermost=-1)
            ended = _newly(ends[:, kind::kinds], outermost=0)
            if begun is None or ended is None:
                self._edges.append(None)
                # Where both ends of the axis reach the other, the field is about twice as large at least.
                both = begun is None and ended is None
                self._least = min(self._least, 2 * side - 5 * period if both else side)
            else:
                begins = (begun[1] * kinds + kind) * stride
                finishes = (ended[1] * kinds + kind) * stride
                self._edges.append((period + begun[0] - begins, side - 1 - period - ended[0] - finishes))

    def answers(self, side: int) -> bool:
        """Whether what was seen on this canvas tells the fields on one of another side, too."""
        return side <= max(self.side, self._least)

    def seen_by(self, position: int, side: int) -> Interval | None:
        """Rows or columns that a position sees; None if there are more of them than the canvas has."""
        edge = self._edges[position % len(self._edges)]
        if edge is None or edge[1] - edge[0] >= side:
            return None
        return position * self._stride + edge[0], position * self._stride + edge[1] + 1


def _newly(reached: Tensor, *, outermost: int) -> tuple[int, int] | None:
    """Return by how much a block had grown when it newly reached a position, and which position that is.

    Of several (through the gaps of a dilated field) it is the one that is farthest from the block. None
    where the outermost position is reached, too: then the field is larger than can be seen.
    """
    if reached.shape[1] == 0 or bool(reached[-1, outermost]):
        return None
    newly = (reached[1:] & ~reached[:-1]).nonzero().tolist()
    if not newly:
        return None
    grown, position = (max if outermost else min)(newly, key=lambda pair: pair[1])
    return grown, position


def _span(reaching: Tensor) -> Interval | None:
    """From the first to the last pixel that reaches a position."""
    pixels = reaching.nonzero().flatten().tolist()
    return (pixels[0], pixels[-1] + 1) if pixels else None
