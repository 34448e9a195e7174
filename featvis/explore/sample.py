"""Activations at random positions of photographs, streamed, and what all positions have in common."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featvis import draws
from featvis.errors import ModelError, RecipeError, TargetError, UserError
from featvis.models.borrow.tap import Tap
from featvis.models.handle import ModelHandle
from featvis.models.layers.measure import LayerInfo
from featvis.models.layers.receptive import grid_of
from featvis.photographs.batches import Batch, Batches, Levels
from featvis.photographs.framing import Frame, Size, frame_middle, frame_whole, least_multiple
from featvis.photographs.photos import Listing, quiet_decoders, read_ahead, read_photo, resampling
from featvis.photographs.responses import GRIDDED
from featvis.spec.same import SameByValue

PATCH = 5
"""A position's patch of the photograph is as wide as so many positions, around its middle."""
HALF = 6e4
"""Activations up to here are kept as float16, which has no numbers above 65504; else all as float32."""


@dataclass(frozen=True)
class Shown:
    """One photograph at one scale, as a network is shown it."""

    number: int
    """Its place among the names of the folder."""
    scale: int
    """Its place among the scales."""
    frame: Frame


@dataclass(frozen=True, eq=False)
class Sample(SameByValue):
    """Activations at random positions of photographs."""

    names: tuple[str, ...]
    """The photographs, by relative path."""
    owners: NDArray[np.int32]
    """Of each position the number of its photograph."""
    scales: NDArray[np.int32]
    """Of each position the number of its scale."""
    middles: NDArray[np.float64]
    """``(N, 2)``: row and column of each position's middle, in the photograph's own pixels."""
    boxes: NDArray[np.int32]
    """``(N, 4)``: top, left, height and width of each position's patch, in the photograph's own pixels."""
    vectors: tuple[NDArray[np.floating], ...]
    """Of each network ``(N, units)``, float16 where that holds them."""
    moments: tuple[Moments, ...]
    """Of each network what all positions of all photographs have in common."""
    photographs: int
    skipped: int

    @property
    def nbytes(self) -> int:
        """The memory that the vectors take."""
        return sum(vectors.nbytes for vectors in self.vectors)


class Moments:
    """The mean and the second moment AᵀA/n of activations, streamed in float64."""

    def __init__(self, units: int) -> None:
        self.count = 0
        self._sum = np.zeros(units)
        self._products = np.zeros((units, units))

    @classmethod
    def of(cls, count: int, mean: NDArray[np.float64], second: NDArray[np.float64]) -> Moments:
        """Return those of so many vectors with this mean and second moment."""
        made = cls(len(mean))
        made.count, made._sum, made._products = count, mean * count, second * count
        return made

    def add(self, vectors: NDArray[np.floating]) -> None:
        """Take vectors ``(n, units)``; those that are not finite are left out."""
        finite = np.isfinite(vectors).all(1)
        exact = np.asarray(vectors[finite], dtype=np.float64)
        self.count += len(exact)
        self._sum += exact.sum(0)
        self._products += exact.T @ exact

    @property
    def mean(self) -> NDArray[np.float64]:
        """The mean activation."""
        return self._sum / max(self.count, 1)

    @property
    def second(self) -> NDArray[np.float64]:
        """AᵀA/n, uncentred."""
        return self._products / max(self.count, 1)

    def whitening(self, ridge: float = 1e-3) -> NDArray[np.float64]:
        """Return S, the inverse of AᵀA/n + ridge·tr(AᵀA/n)/units·I (Carter et al. 2019, uncentred).

        >>> moments = Moments(2)
        >>> moments.add(np.array([[2.0, 0.0], [0.0, 1.0]]))
        >>> moments.whitening(ridge=0).round(6).tolist()
        [[0.5, 0.0], [0.0, 2.0]]
        """
        units = len(self._sum)
        spread = float(np.trace(self.second)) / units
        ridged = self.second + max(ridge * spread, 1e-30) * np.eye(units)
        return np.asarray(np.linalg.inv(ridged), dtype=np.float64)


class Stream:
    """The photographs of a folder on the canvases of one network, layer and set of scales."""

    def __init__(
        self, model: ModelHandle, layer: str, listing: Listing, scales: Sequence[float], batch: int = 8
    ) -> None:
        """Check that the layer has positions and that photographs can be shown at these scales."""
        if model.channels not in (1, 3) or model.signal:
            raise ModelError(f"a photograph has 1 or 3 channels, {model.name} takes {model.channels}")
        self.info: LayerInfo = model.layer(layer)
        if self.info.kind not in GRIDDED:
            raise TargetError(
                f"a map of activations is of a layer with positions; {layer!r} gives {self.info.shape}"
            )
        if not scales or not all(math.isfinite(scale) and 0 < scale <= 8 for scale in scales):
            raise RecipeError(f"scales lie above 0 and up to 8, got {', '.join(map(str, scales)) or 'none'}")
        self.model, self.layer, self.scales, self._batch = model, layer, tuple(scales), batch
        self.listing, self.photographs, self.skipped = listing, 0, 0
        self._multiple: int | None = None
        if model.takes_one_size:
            if set(scales) != {1.0}:
                height, width = model.input_size
                raise RecipeError(
                    f"{model.name} takes images of {height}x{width} only, so its photographs are shown at "
                    f"scale 1, not {', '.join(f'{scale:g}' for scale in scales)}"
                )
        else:
            with model.tap([layer]) as tap:
                self._multiple = least_multiple(lambda canvas: self._runs(tap, canvas), min(model.input_size))

    def _runs(self, tap: Tap, canvas: Size) -> bool:
        try:
            with torch.no_grad():
                tap(torch.full((1, self.model.channels, *canvas), 0.5, device=self.model.device))
        except Exception:  # networks refuse a canvas in whatever way they like
            return False
        return True

    def frame(self, photo: Size, scale: float) -> Frame:
        """Return how a photograph of (height, width) is shown at a scale."""
        if self._multiple is None:
            return frame_middle(photo, self.model.input_size)
        short = self._multiple * max(1, round(min(self.model.input_size) * scale / self._multiple))
        return frame_whole(photo, short, self._multiple)

    def canvases(self, names: Sequence[int] | None = None) -> Iterator[tuple[list[Shown], Levels]]:
        """Give all photographs (or those of some numbers) at all scales in batches of one shape."""
        self.photographs = self.skipped = 0
        how, chosen = resampling(self.model.interpolation), range(len(self.listing.names))
        numbers = list(chosen if names is None else names)

        def read(number: str) -> list[tuple[Shown, Levels]] | None:
            photo = read_photo(self.listing.folder / self.listing.names[int(number)], self.model.channels)
            if photo is None:
                return None
            frames = [self.frame((photo.height, photo.width), scale) for scale in self.scales]
            return [
                (Shown(int(number), place, frame), frame.lay(photo, how))
                for place, frame in enumerate(frames)
            ]

        batches, shown = Batches(self._batch), list[Shown]()

        def known(batch: Batch) -> tuple[list[Shown], Levels]:
            return [shown[place] for place in batch.numbers], batch.levels

        with quiet_decoders():
            for got in read_ahead(read, [str(number) for number in numbers], 4):
                if got is None:
                    self.skipped += 1
                    continue
                self.photographs += 1
                for one, levels in got:
                    shown.append(one)
                    for batch in batches.add(len(shown) - 1, levels):
                        yield known(batch)
            for batch in batches.rest():
                yield known(batch)

    def maps(self, activation: Tensor, canvas: Size) -> Tensor:
        """Return an activation as maps ``(B, units, rows, columns)``."""
        rows, columns = grid_of(self.info, tuple(activation.shape), canvas) or (0, 0)
        if not rows:
            raise TargetError(f"{self.layer!r}: the places of its {self.info.kind} are not known at {canvas}")
        moved = activation.movedim(self.info.axis, 1)
        flat = moved.flatten(2)[:, :, self.info.prefix :]
        return flat.reshape(*flat.shape[:2], rows, columns)


def draw_sample(
    streams: Sequence[Stream], count: int, seed: int = 0, say: Callable[[str], None] | None = None
) -> Sample:
    """Draw activations at random positions, the same of each network, each photograph equally many.

    Each photograph is read once for each network and shown at each scale. Its positions depend on the seed
    and its name alone. What is held in memory are the vectors: ``count`` times the units times 2 bytes.

    Args:
        streams: the photographs as each network is shown them; positions are drawn on the first one's map.
        count: how many positions; fewer where the maps have not so many.
        seed: of the draw.
        say: is told how far it is.
    """
    first = streams[0]
    names, scales = first.listing.names, first.scales
    each = math.ceil(count / max(1, len(names) * len(scales)))
    drawn = _First(each, seed, names)
    gathered = _read(first, drawn.choose, say)
    owners, numbers, middles, boxes = drawn.places()
    if not len(owners):
        skipped = f"{first.skipped:,} files were skipped"
        raise UserError(f"{first.listing.folder} holds no photograph that can be read ({skipped})")
    keep = np.ones(len(owners), dtype=bool)
    vectors, moments = [gathered.vectors()], [gathered.moments]
    order = [drawn.order()]
    for stream in streams[1:]:
        again = _Again(owners, numbers, middles)
        gathered = _read(stream, again.choose, say)
        place = np.full(len(owners), -1, dtype=np.int64)
        place[again.order()] = np.arange(len(again.order()))
        keep &= place >= 0
        vectors.append(gathered.vectors())
        moments.append(gathered.moments)
        order.append(place)
    # The listing's order, whatever order the batches came in.
    order[0] = np.arange(len(owners))
    sequence = np.lexsort((np.arange(len(owners)), numbers, owners))
    keep &= np.isfinite(vectors[0]).all(1)
    for place, held in zip(order[1:], vectors[1:], strict=True):
        keep[place >= 0] &= np.isfinite(held[place[place >= 0]]).all(1)
    chosen = sequence[keep[sequence]]
    if len(chosen) > count:
        chance = np.random.default_rng(seed)
        chosen = chosen[np.sort(chance.choice(len(chosen), count, replace=False))]
    return Sample(
        names,
        owners[chosen],
        numbers[chosen],
        middles[chosen],
        boxes[chosen],
        tuple(held[place[chosen]] for place, held in zip(order, vectors, strict=True)),
        tuple(moments),
        first.photographs,
        first.skipped,
    )


Choose = Callable[[Shown, Size], NDArray[np.int64]]
"""Which positions of a photograph's map of (rows, columns) are taken, as row · columns + column."""


class _First:
    """Draws positions on the first network's maps."""

    def __init__(self, each: int, seed: int, names: Sequence[str]) -> None:
        self._each, self._seed, self._names = each, seed, names
        self._owners: list[NDArray[np.int32]] = []
        self._scales: list[NDArray[np.int32]] = []
        self._middles: list[NDArray[np.float64]] = []
        self._boxes: list[NDArray[np.int32]] = []

    def choose(self, shown: Shown, grid: Size) -> NDArray[np.int64]:
        rows, columns = grid
        chance = draws.stream(self._seed, self._names[shown.number], shown.scale, "positions")
        places = torch.randperm(rows * columns, generator=chance)[: self._each].sort().values.numpy()
        frame = shown.frame
        high, wide = frame.height / rows, frame.width / columns
        down = frame.top + (places // columns + 0.5) * high
        across = frame.left + (places % columns + 0.5) * wide
        self._owners.append(np.full(len(places), shown.number, dtype=np.int32))
        self._scales.append(np.full(len(places), shown.scale, dtype=np.int32))
        self._middles.append(np.stack([down, across], 1))
        self._boxes.append(np.stack(_boxes(down, across, (PATCH * high, PATCH * wide), frame.photo), 1))
        return np.asarray(places, dtype=np.int64)

    def places(
        self,
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64], NDArray[np.int32]]:
        if not self._owners:
            empty = np.zeros(0, dtype=np.int32)
            return empty, empty, np.zeros((0, 2)), np.zeros((0, 4), dtype=np.int32)
        return (
            np.concatenate(self._owners),
            np.concatenate(self._scales),
            np.concatenate(self._middles),
            np.concatenate(self._boxes),
        )

    def order(self) -> NDArray[np.int64]:
        return np.arange(sum(map(len, self._owners)))


class _Again:
    """Finds on another network's maps the positions that were drawn."""

    def __init__(
        self, owners: NDArray[np.int32], scales: NDArray[np.int32], middles: NDArray[np.float64]
    ) -> None:
        self._middles = middles
        self._of: dict[tuple[int, int], list[int]] = {}
        for place, key in enumerate(zip(owners.tolist(), scales.tolist(), strict=True)):
            self._of.setdefault(key, []).append(place)
        self._taken: list[NDArray[np.int64]] = []

    def choose(self, shown: Shown, grid: Size) -> NDArray[np.int64]:
        chosen = np.asarray(self._of.get((shown.number, shown.scale), []), dtype=np.int64)
        frame, (rows, columns) = shown.frame, grid
        down = np.floor((self._middles[chosen, 0] - frame.top) / frame.height * rows).astype(np.int64)
        across = np.floor((self._middles[chosen, 1] - frame.left) / frame.width * columns).astype(np.int64)
        seen = (down >= 0) & (down < rows) & (across >= 0) & (across < columns)
        self._taken.append(chosen[seen])
        places: NDArray[np.int64] = (down * columns + across)[seen]
        return places

    def order(self) -> NDArray[np.int64]:
        return np.concatenate(self._taken) if self._taken else np.zeros(0, dtype=np.int64)


class _Gathered:
    """Vectors in the order of the positions that were chosen, as float16 for as long as that holds them."""

    def __init__(self, units: int) -> None:
        self._parts: list[NDArray[np.floating]] = []
        self._half = True
        self._units = units
        self.moments = Moments(units)

    def add(self, vectors: NDArray[np.float32]) -> None:
        finite = vectors[np.isfinite(vectors)]
        if self._half and finite.size and float(np.abs(finite).max()) > HALF:
            self._half = False
            self._parts = [part.astype(np.float32) for part in self._parts]
        self._parts.append(vectors.astype(np.float16) if self._half else vectors)

    def vectors(self) -> NDArray[np.floating]:
        kind = np.float16 if self._half else np.float32
        return np.concatenate(self._parts) if self._parts else np.zeros((0, self._units), dtype=kind)


def _read(stream: Stream, choose: Choose, say: Callable[[str], None] | None) -> _Gathered:
    gathered = _Gathered(stream.info.units)
    device, told = stream.model.device, 0
    with stream.model.tap([stream.layer]) as tap, torch.no_grad():
        for shown, levels in stream.canvases():
            images = torch.from_numpy(levels).float() / 255
            canvas = (levels.shape[2], levels.shape[3])
            maps = stream.maps(tap(images.to(device))[stream.layer], canvas).float().cpu()
            for one, spread in zip(shown, maps, strict=False):  # beyond the last are copies
                flat = spread.flatten(1).T.numpy()
                gathered.moments.add(flat)
                gathered.add(flat[choose(one, (spread.shape[1], spread.shape[2]))])
            if say is not None and stream.photographs // 50 > told:
                told = stream.photographs // 50
                say(f"{stream.photographs:,} of {len(stream.listing.names):,} photographs")
    return gathered


def _boxes(
    down: NDArray[np.float64], across: NDArray[np.float64], side: tuple[float, float], photo: Size
) -> list[NDArray[np.int32]]:
    """Return top, left, height, width of patches around middles, moved inside the photograph."""
    sides = [min(max(1, round(one)), whole) for one, whole in zip(side, photo, strict=True)]
    top = np.clip(np.rint(down - sides[0] / 2), 0, photo[0] - sides[0])
    left = np.clip(np.rint(across - sides[1] / 2), 0, photo[1] - sides[1])
    high, wide = (np.full(len(down), one) for one in sides)
    return [one.astype(np.int32) for one in (top, left, high, wide)]
