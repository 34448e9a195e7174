"""Photographs on the canvas that a network was made for, batch by batch."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from featvis.errors import ModelError, UserError, count_of
from featvis.models.handle import ModelHandle
from featvis.models.photograph import (
    Photograph,
    Photographs,
    each,
    is_picture,
    read_photograph,
    read_picture,
)
from featvis.objectives.reference import fitted
from featvis.photographs.framing import frame_middle
from featvis.photographs.photos import list_files, quiet_decoders, read_ahead, read_photo, resampling


class Canvases:
    """The middle of each photograph at the network's own size, in bounded memory; iterated over as batches.

    A folder's photographs are resized as the network's photographs are, images as they are where they have
    the network's size.
    """

    def __init__(
        self,
        model: ModelHandle,
        photographs: Photographs,
        batch: int = 8,
        size: tuple[int, int] | None = None,
    ) -> None:
        """Look what there is; nothing is read yet. A UserError says why there can be none.

        ``size`` is another canvas than the network's own.
        """
        self._model, self._batch = model, batch
        self.size = model.input_size if size is None else size
        self._images: Sequence[Tensor] = ()
        self.folder: Path | None = None
        self.names: tuple[str, ...] = ()
        """The files of a folder, by relative path."""
        self._listed = ""
        self.shown = self.skipped = 0
        """How many photographs have been given, and how many files were none."""
        if isinstance(photographs, str | Path):
            if model.channels not in (1, 3) or model.signal:
                raise ModelError(f"a photograph has 1 or 3 channels, {model.name} takes {model.channels}")
            self.folder = Path(photographs)
            listing = list_files(self.folder)
            self.names, self._listed = listing.names, listing.fingerprint
        else:
            self._images = [self._laid(photo) for photo in each(photographs)]
            if not self._images:
                raise UserError("no photograph was given")

    @property
    def fingerprint(self) -> str:
        """What tells these photographs from others: of a folder its listing's, of images their values'."""
        if self.folder is not None:
            return self._listed
        digest = hashlib.sha256()
        for image in self._images:
            digest.update(image.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def __iter__(self) -> Iterator[Tensor]:
        """Give batches ``(B, C, H, W)`` in [0, 1], on the CPU."""
        self.shown = self.skipped = 0
        each = self._each()
        while batch := list(itertools.islice(each, self._batch)):
            self.shown += len(batch)
            yield torch.stack(batch)
        if not self.shown:
            files = count_of(self.skipped, "file")
            raise UserError(f"{self.folder} holds no photograph that can be read ({files} skipped)")

    def spoken(self, say: Callable[[str], None] | None) -> Iterator[Tensor]:
        """Give the batches and tell ``say`` every hundred photographs how many were shown."""
        told = 0
        for images in self:
            yield images
            if say is not None and self.shown // 100 > told:
                told = self.shown // 100
                say(f"{self.shown:,} photographs")

    def _each(self) -> Iterator[Tensor]:
        if self.folder is None:
            yield from self._images
            return
        folder, how = self.folder, resampling(self._model.interpolation)

        def read(name: str) -> Tensor | None:
            photo = read_photo(folder / name, self._model.channels)
            return None if photo is None else self._framed(photo, how)

        with quiet_decoders():
            for image in read_ahead(read, self.names, 2 * self._batch):
                if image is None:
                    self.skipped += 1
                else:
                    yield image

    def _framed(self, photo: Image.Image, how: Image.Resampling) -> Tensor:
        frame = frame_middle((photo.height, photo.width), self.size)
        return torch.from_numpy(frame.lay(photo, how)).float() / 255

    def _laid(self, photo: Photograph) -> Tensor:
        if is_picture(photo):  # as one of a folder
            picture = read_picture(photo, self._model.channels)
            return self._framed(picture, resampling(self._model.interpolation))
        image = read_photograph(photo, self._model.channels)
        height, width = image.shape[1:]
        canvas = self.size
        if (height, width) == canvas:
            return image
        frame = frame_middle((height, width), canvas)
        top, left = round(frame.top), round(frame.left)
        rows, columns = max(1, round(frame.height)), max(1, round(frame.width))
        middle = image[:, top : top + rows, left : left + columns]
        return fitted(middle[None], canvas)[0].clamp(0, 1)
