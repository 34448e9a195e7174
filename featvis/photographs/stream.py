"""The pass itself: every photograph once, all layers together, in bounded memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featvis.errors import UserError
from featvis.models.borrow.tap import Tap
from featvis.models.handle import ModelHandle
from featvis.models.layers.measure import LayerInfo
from featvis.objectives.dictionary import Dictionary
from featvis.photographs.batches import Batch, Batches, Levels
from featvis.photographs.fields import Fields
from featvis.photographs.framing import Frame, Size, frame_middle, frame_whole, least_multiple
from featvis.photographs.photos import Listing, read_ahead, read_photo, resampling
from featvis.photographs.record import crop_name, key_of
from featvis.photographs.responses import GRIDDED, position_of, read_responses
from featvis.photographs.topk import Best, Sampling, Spread

VALUE_SHARES = (0.5, 0.9, 0.99, 1.0)
SCORE_SHARES = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)

_SECONDS_BETWEEN_WORDS = 5.0


@dataclass(frozen=True)
class SearchResult:
    """What a pass over a folder found, the units' entries by ``layer:unit``."""

    images: int
    skipped: int
    units: dict[str, dict[str, Any]]


def search_folder(
    model: ModelHandle,
    listing: Listing,
    wanted: Mapping[str, Sequence[int]],
    *,
    count: int,
    size: Size,
    batch: int,
    say: Callable[[str], None] | None,
    dictionaries: Mapping[str, tuple[str, Dictionary]] | None = None,
) -> SearchResult:
    """Show every photograph to the network once and keep the ``count`` best of each wanted unit.

    ``dictionaries`` are those among the names of ``wanted`` that are no layers, each with its layer.
    """
    layers = model.at(size).layers
    search = _Pass(model, layers, wanted, dictionaries or {}, size=size, count=count)
    with model.tap(search.layers, size=size) as tap:
        search.run(tap, listing, batch, say)
    if not search.images:
        skipped = f"{search.skipped:,} files were skipped"
        raise UserError(f"{listing.folder} holds no photograph that can be read ({skipped})")
    gridded = [name for name in search.layers if layers[name].kind in GRIDDED]
    if not gridded:
        return SearchResult(search.images, search.skipped, search.entries(listing, None))
    if say is not None:
        say("measuring what the best positions see")
    # Another tap, which ends at the deepest layer that has positions.
    with model.tap(gridded, size=size) as tap:
        fields = Fields(
            lambda images: _activations(tap, model, images),
            layers,
            gridded,
            channels=model.channels,
            multiple=search.multiple,
        )
        return SearchResult(search.images, search.skipped, search.entries(listing, fields))


class _Kept:
    """What is kept of one layer, or of a dictionary of one."""

    def __init__(
        self, name: str, layer: LayerInfo, units: Sequence[int], count: int, dictionary: Dictionary | None
    ) -> None:
        self.name, self.layer, self.units, self._dictionary = name, layer, list(units), dictionary
        self.best, self.values = Best(len(units), count), Spread(len(units))
        # A vector's value is its score.
        is_vector = layer.kind == "vector"
        self.best_score = self.best if is_vector else Best(len(units), 1)
        self.scores = self.values if is_vector else Spread(len(units))

    def add(self, activation: Tensor, canvas: Size, numbers: list[int], rows: list[int | None]) -> None:
        """Take what the layer gave for a batch; canvases beyond ``numbers`` are copies."""
        given, units = activation[: len(numbers)], self.units
        if self._dictionary is not None:
            coded = self._dictionary.encode(given.movedim(self.layer.axis, -1), units)
            given, units = coded.movedim(-1, self.layer.axis), list(range(len(units)))
        responses = read_responses(given, self.layer, units, canvas)
        whose = torch.tensor(numbers)
        self.best.add(responses.values, responses.places, whose)
        self.values.add(responses.values.numpy(), rows)
        if self.scores is not self.values:
            scores = responses.scores
            self.best_score.add(scores.nan_to_num(-torch.inf), torch.full_like(responses.places, -1), whose)
            self.scores.add(scores.numpy(), rows)


class _Pass:
    """One pass over a folder."""

    def __init__(
        self,
        model: ModelHandle,
        layers: Mapping[str, LayerInfo],
        wanted: Mapping[str, Sequence[int]],
        dictionaries: Mapping[str, tuple[str, Dictionary]],
        *,
        size: Size,
        count: int,
    ) -> None:
        self.images = self.skipped = 0
        self.multiple: int | None = None
        """The longer side of a canvas may grow by this; None if the network takes one size."""
        self._model, self._size = model, size
        self._kept = [
            _Kept(name, layers[layer], units, count, dictionary)
            for name, units in wanted.items()
            for layer, dictionary in [dictionaries.get(name, (name, None))]
        ]
        self._sampling = Sampling()
        self._sizes: NDArray[np.int32] = np.zeros((0, 2), dtype=np.int32)

    @property
    def layers(self) -> list[str]:
        """The layers that are read."""
        return list(dict.fromkeys(kept.layer.name for kept in self._kept))

    def run(self, tap: Tap, listing: Listing, batch: int, say: Callable[[str], None] | None) -> None:
        """Read and show all files."""
        if not self._model.takes_one_size:
            self.multiple = least_multiple(lambda canvas: _runs(tap, self._model, canvas), min(self._size))
        self._sizes = np.zeros((len(listing.names), 2), dtype=np.int32)
        how, total = resampling(self._model.interpolation), len(listing.names)

        def read(name: str) -> tuple[Size, Levels] | None:
            photo = read_photo(listing.folder / name, self._model.channels)
            if photo is None:
                return None
            frame = self._frame((photo.height, photo.width))
            return frame.photo, frame.lay(photo, how)

        batches, spoken = Batches(batch), time.monotonic()
        for number, got in enumerate(read_ahead(read, listing.names, 2 * batch)):
            if got is None:
                self.skipped += 1
            else:
                self.images += 1
                self._sizes[number] = got[0]
                for full in batches.add(number, got[1]):
                    self._show(tap, full)
            if say is not None and time.monotonic() - spoken > _SECONDS_BETWEEN_WORDS:
                spoken = time.monotonic()
                say(f"{number + 1:,} of {total:,} photographs{self._left_out()}")
        for last in batches.rest():
            self._show(tap, last)
        if say is not None:
            say(f"{self.images:,} photographs{self._left_out()}")

    def entries(self, listing: Listing, fields: Fields | None) -> dict[str, dict[str, Any]]:
        """Return the result's entries."""
        return {
            key_of(kept.name, unit): self._entry(listing, fields, kept, unit, place)
            for kept in self._kept
            for place, unit in enumerate(kept.units)
        }

    def _left_out(self) -> str:
        return f", {self.skipped:,} files skipped" if self.skipped else ""

    def _frame(self, photo: Size) -> Frame:
        if self.multiple is None:
            return frame_middle(photo, self._size)
        return frame_whole(photo, min(self._size), self.multiple)

    def _show(self, tap: Tap, batch: Batch) -> None:
        activations = _activations(tap, self._model, torch.from_numpy(batch.levels).float() / 255)
        rows = self._sampling.rows(batch.numbers)
        canvas = (batch.levels.shape[2], batch.levels.shape[3])
        for kept in self._kept:
            kept.add(activations[kept.layer.name], canvas, batch.numbers, rows)

    def _entry(
        self, listing: Listing, fields: Fields | None, kept: _Kept, unit: int, place: int
    ) -> dict[str, Any]:
        key, filled = key_of(kept.name, unit), self._sampling.filled
        best, examples = kept.best, list[dict[str, Any]]()
        columns = (tensor[place].tolist() for tensor in (best.values, best.numbers, best.places))
        for rank, (value, number, where) in enumerate(zip(*columns, strict=True)):
            if value == -np.inf:
                break  # fewer photographs than asked for, or no finite value
            position = position_of(where)
            example = {"image": listing.names[number], "value": _number(value)}
            example["position"] = list(position) if position else None
            example["box"] = self._box(fields, kept.layer.name, position, number)
            examples.append({**example, "file": crop_name(key, rank)})
        best_score = float(kept.best_score.values[place, 0])
        has_score = best_score != -np.inf
        return {
            "examples": examples,
            "quantiles": _pairs(VALUE_SHARES, kept.values.quantiles(place, filled, VALUE_SHARES)),
            "mean_best": _number(np.mean([example["value"] for example in examples])) if examples else None,
            "mean_value": _number(kept.values.mean(place)),
            "scores": {
                "best": _number(best_score) if has_score else None,
                "image": listing.names[int(kept.best_score.numbers[place, 0])] if has_score else None,
                "quantiles": _pairs(SCORE_SHARES, kept.scores.quantiles(place, filled, SCORE_SHARES)),
            },
        }

    def _box(self, fields: Fields | None, layer: str, position: Size | None, number: int) -> list[int] | None:
        if position is None or fields is None:
            return None
        frame = self._frame((int(self._sizes[number, 0]), int(self._sizes[number, 1])))
        return list(frame.box(*fields.of(layer, position, frame.canvas)))


def _activations(tap: Tap, model: ModelHandle, images: Tensor) -> dict[str, Tensor]:
    with torch.no_grad():
        return tap(images.to(model.device))


def _runs(tap: Tap, model: ModelHandle, canvas: Size) -> bool:
    try:
        _activations(tap, model, torch.full((1, model.channels, *canvas), 0.5))
    except Exception:  # networks refuse a canvas in whatever way they like
        return False
    return True


def _number(value: Any) -> float | None:
    """To the seven digits that float32 has."""
    return None if value is None else float(f"{float(value):.7g}")


def _pairs(shares: Sequence[float], values: Sequence[float | None]) -> list[list[float | None]]:
    return [[share, _number(value)] for share, value in zip(shares, values, strict=True)]
