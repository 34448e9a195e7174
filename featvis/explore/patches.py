"""What units see in their best photographs, cut out as squares, and as a network embeds it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import ExifTags, Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor

from featvis.errors import ModelError, OutputError
from featvis.explore.meaning import unit_length
from featvis.files import write_whole
from featvis.models.handle import ModelHandle
from featvis.models.layers.measure import LayerInfo
from featvis.photographs.framing import Frame, Size, frame_middle, frame_whole
from featvis.photographs.photos import quiet_decoders, read_ahead, read_photo, resampling
from featvis.photographs.responses import GRIDDED
from featvis.read import open_image, parse_json

Box = tuple[int, int, int, int]
"""Top, left, height and width in the upright photograph."""
Key = tuple[str, Box]
"""A photograph, and a square of it."""
WIDEST = 0.5
"""A patch is at most this share of its photograph's shorter side wide. What a deep unit can see is often the
whole photograph; what it does look at lies in the middle of that (Luo et al. 2016)."""
_TURNED = range(5, 9)  # Orientations of EXIF in which rows are columns


@dataclass(frozen=True)
class Patch:
    """A square of a photograph that a unit responds to."""

    image: str
    """The photograph, by its path below the folder."""
    box: Box
    value: float | None = None
    """The unit's activation there."""

    @property
    def key(self) -> Key:
        """What it is of which photograph."""
        return self.image, self.box

    def to_json(self) -> dict[str, Any]:
        """Return it, ready for JSON."""
        return {"image": self.image, "box": list(self.box), "value": self.value}


def size_of(path: Path) -> Size | None:
    """Return (height, width) of an upright photograph from its header; None if there is none to be read."""
    try:
        with quiet_decoders(), open_image(path) as opened:
            size = (opened.height, opened.width)
            try:
                turned = opened.getexif().get(ExifTags.Base.Orientation, 1) in _TURNED
            except Exception:  # a damaged note on orientation, which is not heeded either when it is read
                turned = False
    except OutputError:
        return None
    return size[::-1] if turned else size


def gone(path: Path) -> OutputError:
    """Return what is raised where a photograph was there and is not any longer."""
    return OutputError(f"{path} could be read a moment ago and no longer can")


def square(middle: tuple[float, float], side: float, photo: Size) -> Box:
    """Return the square around a place, moved inside the photograph.

    >>> square((2.0, 50.0), 20.0, (60, 100))
    (0, 40, 20, 20)
    """
    whole = min(max(1, round(side)), *photo)
    top, left = (
        min(max(0, round(at - whole / 2)), most - whole) for at, most in zip(middle, photo, strict=True)
    )
    return top, left, whole, whole


class Cutter:
    """Where in its photographs a layer's units see what they respond to."""

    def __init__(self, model: ModelHandle, layer: LayerInfo, widest: float = WIDEST) -> None:
        self._model, self._layer, self._widest = model, layer, widest

    def box(self, example: Mapping[str, Any], photo: Size) -> Box:
        """Return the square of an example of :func:`featvis.find_examples`: what its position sees, at most.

        Where that is wider than a patch may be, the square lies around the position's own middle.
        """
        box, position, short = example["box"], example["position"], min(photo)
        if box is None or position is None:
            return square((photo[0] / 2, photo[1] / 2), short, photo)
        top, left, height, width = box
        most = self._widest * short
        if max(height, width) <= most:
            return square((top + height / 2, left + width / 2), max(height, width), photo)
        return square(self._middle(position, photo), most, photo)

    def _middle(self, position: Sequence[int], photo: Size) -> tuple[float, float]:
        frame = self._frame(photo)
        pitch = self._pitch()
        down, across = ((at + 0.5) * step for at, step in zip(position, pitch, strict=True))
        row = frame.top + min(down / frame.canvas[0], 1) * frame.height
        column = frame.left + min(across / frame.canvas[1], 1) * frame.width
        return row, column

    def _frame(self, photo: Size) -> Frame:
        """Return how a photograph is shown, but for the few pixels by which its longer side is rounded."""
        if self._model.takes_one_size:
            return frame_middle(photo, self._model.input_size)
        return frame_whole(photo, min(self._model.input_size))

    def _pitch(self) -> tuple[float, float]:
        """Return how many pixels lie between positions, down and across."""
        layer, canvas = self._layer, self._model.input_size
        if layer.stride is not None:
            return float(layer.stride[0]), float(layer.stride[1])
        grid = layer.grid
        if grid is None and layer.kind in ("map", "map_last"):
            sides = [side for axis, side in enumerate(layer.shape) if axis not in (0, layer.axis)]
            grid = (sides[0], sides[1])
        return (canvas[0], canvas[1]) if grid is None else (canvas[0] / grid[0], canvas[1] / grid[1])


class Embedder:
    """A layer of a network as a space of images: the mean over its positions, at length 1."""

    def __init__(self, model: ModelHandle, layer: str, batch: int = 16) -> None:
        """Take the layer; ModelError where the network sees no photographs."""
        if model.channels not in (1, 3) or model.signal:
            raise ModelError(f"a photograph has 1 or 3 channels, {model.name} takes {model.channels}")
        self.model, self.layer = model, layer
        self._info, self._batch = model.layer(layer), batch
        self._how = resampling(model.interpolation)

    @property
    def about(self) -> str:
        """What an embedding depends on, beside the image, as text."""
        model = self.model
        shown = [model.input_size, model.mean, model.std, model.interpolation]
        return json.dumps([model.fingerprint(), self.layer, *shown])

    @property
    def width(self) -> int:
        """How many numbers an embedding has."""
        return self._info.units

    def images(self, images: Iterable[Image.Image]) -> Tensor:
        """Return the embeddings ``(N, D)`` of images, each resized to the network's canvas."""
        height, width = self.model.input_size
        each, found = iter(images), list[Tensor]()
        with self.model.tap([self.layer]) as tap, torch.no_grad():
            while some := list(itertools.islice(each, self._batch)):
                shown = [_levels(image.resize((width, height), self._how)) for image in some]
                given = tap(torch.stack(shown).to(self.model.device))[self.layer]
                found.append(self._pooled(given).float().cpu())
        if not found:
            return torch.zeros((0, self._info.units))
        vectors = torch.cat(found)
        if not bool(vectors.isfinite().all()):
            raise ModelError(f"{self.layer} of {self.model.name} gives numbers that are not finite")
        return unit_length(vectors)

    def patches(
        self,
        folder: Path,
        patches: Sequence[Patch],
        *,
        known: dict[Key, Tensor] | None = None,
        look: Mapping[Key, Callable[[Image.Image], None]] | None = None,
        say: Callable[[str], None] | None = None,
    ) -> Tensor:
        """Return the embeddings ``(N, D)`` of patches, each square once; a photograph is read once for all.

        Args:
            folder: the photographs.
            patches: what is cut out of them.
            known: embeddings from before, to which the others are added.
            look: of some patches, what is shown them when they are cut out.
            say: is told how far it is.
        """
        known, look = {} if known is None else known, look or {}
        wanted = sorted({one.key for one in patches})
        fresh = [key for key in wanted if key not in known]
        found = self.images(self._cut(folder, fresh, look, say))
        known |= dict(zip(fresh, found, strict=True))
        lacking = set(fresh)
        for _ in self._cut(folder, [key for key in wanted if key in look and key not in lacking], look, None):
            pass  # cut out to be looked at
        return torch.stack([known[one.key] for one in patches])

    def _cut(
        self,
        folder: Path,
        keys: Sequence[Key],
        look: Mapping[Key, Callable[[Image.Image], None]],
        say: Callable[[str], None] | None,
    ) -> Iterator[Image.Image]:
        boxes: dict[str, list[Box]] = {}
        for image, box in keys:
            boxes.setdefault(image, []).append(box)
        names = list(boxes)

        def read(name: str) -> Image.Image | None:
            return read_photo(folder / name, self.model.channels)

        cut = 0
        with quiet_decoders():
            for name, photo in zip(names, read_ahead(read, names, 2), strict=True):
                if photo is None:
                    raise gone(folder / name)
                for box in boxes[name]:
                    top, left, height, width = box
                    seen = photo.crop((left, top, left + width, top + height))
                    if (name, box) in look:
                        look[name, box](seen)
                    yield seen
                    cut += 1
                    if say is not None and cut % 500 == 0:
                        say(f"{cut:,} of {len(keys):,} patches")

    def _pooled(self, activation: Tensor) -> Tensor:
        moved = activation.movedim(self._info.axis, 1)
        if moved.dim() == 2:
            return moved
        pooled: Tensor = moved.flatten(2)[:, :, self._info.prefix :].mean(2)
        return pooled


def recall(path: Path, about: str, width: int) -> dict[Key, Tensor]:
    """Return the embeddings that :func:`remember` kept of this ``about``; none where they are damaged."""
    try:
        with safe_open(str(path), "pt") as opened:
            told = opened.metadata() or {}
            if told.get("about") != about:
                return {}
            vectors = opened.get_tensor("vectors").float()
        keys: list[Key] = []
        for image, top, left, height, side in parse_json(told["keys"]):
            keys.append((str(image), (int(top), int(left), int(height), int(side))))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError, OutputError):
        return {}
    if tuple(vectors.shape) != (len(keys), width) or not bool(vectors.isfinite().all()):
        return {}
    return dict(zip(keys, vectors, strict=True))


def remember(path: Path, about: str, known: Mapping[Key, Tensor]) -> None:
    """Keep embeddings in a file, with what they depend on."""
    if known:
        keys = json.dumps([[image, *box] for image, box in known])
        told = {"about": about, "keys": keys}
        write_whole(path, to_safetensors({"vectors": torch.stack(list(known.values()))}, told), sync=False)


def feature_layer(model: ModelHandle) -> str:
    """Return the layer whose features a network's classes are read off: the last one before them."""
    network = model.at(model.input_size)
    classes = network.layer(network.logits_layer)
    earlier = [
        one
        for one in network.layers.values()
        if one.order < classes.order and one.kind in ("vector", *GRIDDED) and not one.fault and not one.mixes
    ]
    return max(earlier, key=lambda one: one.order).name if earlier else classes.name


def _levels(image: Image.Image) -> Tensor:
    levels = torch.from_numpy(np.array(image))
    return (levels[None] if levels.dim() == 2 else levels.permute(2, 0, 1)).float() / 255
