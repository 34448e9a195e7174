"""The pass itself: every photograph once, all layers together, in bounded memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featvis.errors import ModelError, UserError
from featvis.models.borrow.tap import Tap
from featvis.models.handle import ModelHandle
from featvis.models.layers.measure import LayerInfo
from featvis.objectives.dictionary import Dictionary
from featvis.photographs.batches import Batch, Batches, Levels
from featvis.photographs.fields import Fields
from featvis.photographs.framing import Frame, Size, frame_middle, frame_whole, least_multiple
from featvis.photographs.photos import Listing, quiet_decoders, read_ahead, read_photo, resampling
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
        fields = _fields(lambda images: _activations(tap, model, images), model, layers, gridded, search)
        return SearchResult(search.images, search.skipped, search.entries(listing, fields))


class LayerSearch:
    """A search for what each unit of a layer responds to most, that goes on for a while at a time.

    In between the network is nobody's, and what was found so far can be read.

    >>> import featvis as fv, tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from featvis.photographs.photos import list_files
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3))
    >>> model = fv.load_model(network, mean=(0.5,) * 3, std=(0.5,) * 3, input_size=16)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("RGB", (24, 16), "red").save(f"{folder}/red.png")
    ...     search = LayerSearch(model, list_files(Path(folder)), "0")
    ...     search.go_on(lambda read: False)
    ...     search.is_over, [one["box"][2:] for one in search.entry(1)["examples"]]
    (True, [[3, 3]])
    """

    def __init__(self, model: ModelHandle, listing: Listing, layer: str, *, count: int = 9) -> None:
        """Begin; nothing is read yet.

        Raises:
            UserError: no such layer, or the network takes no photographs.
        """
        if model.channels not in (1, 3):
            raise ModelError(f"a photograph has 1 or 3 channels, the network takes {model.channels}")
        self._model, self._listing, self._layer, self.read = model, listing, layer, 0
        self._size = model.input_size
        self._layers = model.at(self._size).layers
        self.units = model.at(self._size).layer(layer).units
        self._pass = _Pass(model, self._layers, {layer: range(self.units)}, {}, size=self._size, count=count)
        self._fields: Fields | None = None
        self._tap: Tap | None = None
        self._look_up: Callable[[], None] = lambda: None
        self.is_over = False

    @property
    def images(self) -> int:
        """How many of the files that were read are photographs."""
        return self._pass.images

    def go_on(self, is_enough: Callable[[int], bool], batch: int = 8) -> None:
        """Read on, until the end or until ``is_enough``, which is asked after each file, says so.

        Raises:
            UserError: no file of the folder is a photograph.
        """
        if self.is_over:
            return
        with quiet_decoders(), self._model.tap([self._layer], size=self._size) as tap:
            if self.read == 0:
                self._pass.begin(tap, self._listing, batch)
            for read in self._pass.read(tap, self._listing, batch, None, self.read):
                self.read = read
                if is_enough(read):
                    break
            if self.read == len(self._listing.names):
                self._pass.end(tap)
                self.is_over = True
        if self.is_over and not self.images:
            raise UserError(f"{self._listing.folder} holds no photograph that can be read")

    def entry(self, unit: int, look_up: Callable[[], None] = lambda: None) -> dict[str, Any]:
        """Return what :func:`featvis.find_examples` says of a unit, of the photographs so far.

        Boxes may be off by a few pixels where the network pads its images to be divisible. ``look_up`` is
        called now and then, and may raise: then nothing is lost but the entry.
        """
        if self._layers[self._layer].kind not in GRIDDED:
            return self._pass.entry(self._listing, None, unit)
        with self._model.tap([self._layer], size=self._size) as tap:
            self._tap, self._look_up = tap, look_up
            if self._fields is None:
                self._fields = _fields(
                    self._look, self._model, self._layers, [self._layer], self._pass, alike=True
                )
            return self._pass.entry(self._listing, self._fields, unit)

    def _look(self, images: Tensor) -> dict[str, Tensor]:
        assert self._tap is not None
        self._look_up()
        return _activations(self._tap, self._model, images)


def _fields(
    look: Callable[[Tensor], dict[str, Tensor]],
    model: ModelHandle,
    layers: Mapping[str, LayerInfo],
    gridded: Sequence[str],
    search: _Pass,
    *,
    alike: bool = False,
) -> Fields:
    return Fields(look, layers, gridded, channels=model.channels, multiple=search.multiple, alike=alike)


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
        self._batches = Batches(1)

    @property
    def layers(self) -> list[str]:
        """The layers that are read."""
        return list(dict.fromkeys(kept.layer.name for kept in self._kept))

    def run(self, tap: Tap, listing: Listing, batch: int, say: Callable[[str], None] | None) -> None:
        """Read and show all files."""
        self.begin(tap, listing, batch)
        for _ in self.read(tap, listing, batch, say):
            pass
        self.end(tap)
        if say is not None:
            say(f"{self.images:,} photographs{self._left_out()}")

    def begin(self, tap: Tap, listing: Listing, batch: int) -> None:
        """Find out which canvases the network takes."""
        if not self._model.takes_one_size:
            self.multiple = least_multiple(lambda canvas: _runs(tap, self._model, canvas), min(self._size))
        self._sizes = np.zeros((len(listing.names), 2), dtype=np.int32)
        self._batches = Batches(batch)

    def read(
        self, tap: Tap, listing: Listing, batch: int, say: Callable[[str], None] | None, first: int = 0
    ) -> Iterator[int]:
        """Read and show files from a number on; give how many of the folder's were read, after each."""
        how, total = resampling(self._model.interpolation), len(listing.names)

        def read(name: str) -> tuple[Size, Levels] | None:
            photo = read_photo(listing.folder / name, self._model.channels)
            if photo is None:
                return None
            frame = self._frame((photo.height, photo.width))
            return frame.photo, frame.lay(photo, how)

        spoken = time.monotonic()
        for number, got in enumerate(read_ahead(read, listing.names[first:], 2 * batch), first):
            if got is None:
                self.skipped += 1
            else:
                self.images += 1
                self._sizes[number] = got[0]
                for full in self._batches.add(number, got[1]):
                    self._show(tap, full)
            if say is not None and time.monotonic() - spoken > _SECONDS_BETWEEN_WORDS:
                spoken = time.monotonic()
                say(f"{number + 1:,} of {total:,} photographs{self._left_out()}")
            yield number + 1

    def end(self, tap: Tap) -> None:
        """Show what still waits for others of its shape."""
        for last in self._batches.rest():
            self._show(tap, last)

    def entry(self, listing: Listing, fields: Fields | None, unit: int) -> dict[str, Any]:
        """Return the entry of a unit of the first layer, of what was shown so far."""
        kept = self._kept[0]
        return self._entry(listing, fields, kept, unit, kept.units.index(unit))

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
