"""The photographs of a folder, and which parts of them each unit responds to most."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Any

from featvis.attribution.attribute import photo_levels
from featvis.errors import OutputError, TargetError, UserError
from featvis.models.handle import ModelHandle
from featvis.photographs.crops import encode_crop
from featvis.photographs.photos import Listing, list_files, quiet_decoders, read_photo
from featvis.photographs.stream import LayerSearch
from featvis.serve.photographs import Photograph
from featvis.serve.queue import Job, Queue

SHARE, LEAST = 2.0, 0.2
"""Seconds that a search goes on at a time, and the seconds of it if others wait."""
LAYERS, CROPS = 16, 2048
"""How many layers' searches and how many crops are remembered."""


class Folder:
    """Photographs of this machine, searched layer by layer when somebody asks for a unit.

    >>> import featvis as fv, tempfile, torch
    >>> from PIL import Image
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3))
    >>> model = fv.load_model(network, mean=(0.5,) * 3, std=(0.5,) * 3, input_size=16)
    >>> with tempfile.TemporaryDirectory() as name:
    ...     Image.new("RGB", (24, 16), "red").save(f"{name}/red.png")
    ...     told = Folder(Path(name)).show(model, "0", 1, Job(lambda job: None))
    >>> told["read"], told["total"], [patch["name"] for patch in told["patches"]]
    (1, 1, ['red.png'])
    """

    def __init__(self, path: Path) -> None:
        """List the files.

        Raises:
            UserError: there is no such folder, or no file in it.
        """
        self.listing: Listing = list_files(path)
        if not self.listing.names:
            raise UserError(f"the folder of photographs {path} holds no file")
        self._places = {name: place for place, name in enumerate(self.listing.names)}
        self._searches: dict[tuple[str, str], LayerSearch] = {}
        self._crops: dict[tuple[str, Any], str] = {}

    def show(
        self, model: ModelHandle, layer: str, unit: int, job: Job, queue: Queue | None = None
    ) -> dict[str, Any]:
        """Search on for a while, and return what a unit responds to most so far. Called by jobs only.

        Args:
            model: the network.
            layer: whose units are searched for, all at once.
            unit: the one that is shown.
            job: it ends early when that is cancelled.
            queue: it ends early when others wait there.

        Raises:
            UserError: no such layer or unit, or no photograph.
        """
        search = self._search(model, layer)
        if not 0 <= unit < search.units:
            raise TargetError(f"{layer} has {search.units} units, 0 to {search.units - 1}; got {unit}")
        began = time.monotonic()

        def is_enough(read: int) -> bool:
            most = LEAST if queue is not None and queue.count > 1 else SHARE
            return job.is_cancelled or time.monotonic() - began > most

        def look_up() -> None:
            if job.is_cancelled:
                raise OutputError("nobody waits for it any more")

        search.go_on(is_enough)
        look_up()
        examples = search.entry(unit, look_up)["examples"]
        patches = [self._patch(model, example) for example in examples]
        return {
            "layer": layer,
            "unit": unit,
            "read": search.read,
            "images": search.images,
            "total": len(self.listing.names),
            "over": search.is_over,
            "patches": [patch for patch in patches if patch is not None],
        }

    def read(self, model: ModelHandle, number: int) -> Photograph:
        """Read a photograph of the folder by its place in the list.

        Raises:
            OutputError: there is none, or it cannot be read any more.
        """
        if not 0 <= number < len(self.listing.names):
            raise OutputError("the folder has no such photograph")
        with quiet_decoders():
            return Photograph(photo_levels(model, self.listing.folder / self.listing.names[number], None))

    def _search(self, model: ModelHandle, layer: str) -> LayerSearch:
        key = (model.name, layer)
        search = self._searches.pop(key, None) or LayerSearch(model, self.listing, layer)
        self._searches[key] = search  # The one that was asked for last is forgotten last
        while len(self._searches) > LAYERS:
            del self._searches[next(iter(self._searches))]
        return search

    def _patch(self, model: ModelHandle, example: dict[str, Any]) -> dict[str, Any] | None:
        name, box = example["image"], example["box"]
        key = (name, None if box is None else tuple(box))
        if key not in self._crops:
            with quiet_decoders():
                photo = read_photo(self.listing.folder / name, model.channels)
            if photo is None:  # removed meanwhile
                return None
            crop = base64.b64encode(encode_crop(photo, box)).decode()
            self._crops[key] = f"data:image/webp;base64,{crop}"
            while len(self._crops) > CROPS:
                del self._crops[next(iter(self._crops))]
        # A file's name need not be UTF-8.
        shown = name.encode("utf-8", "replace").decode()
        told = {"number": self._places[name], "name": shown, "value": example["value"]}
        return {**told, "position": example["position"], "image": self._crops[key]}
