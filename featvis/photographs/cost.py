"""What a search for photographs will take, by trying it on a few of them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from featvis.errors import UserError
from featvis.models.handle import ModelHandle
from featvis.photographs.crops import write_crops
from featvis.photographs.photos import quiet_decoders
from featvis.photographs.search import plan_search
from featvis.photographs.stream import search_folder

_FEW, _MORE = 4, 20
_BATCH = 8


def search_seconds(
    model: ModelHandle, folder: Path, targets: Mapping[str, Sequence[int]], *, out: Path, count: int
) -> float:
    """Predict what :func:`featvis.find_examples` will take; nothing is written to ``out``.

    Two passes, over 4 files and over 20, tell what a photograph costs and what happens once.
    """
    search = plan_search(model, folder, targets, out=out, count=count, size=None, batch=_BATCH)
    if not search.new:
        return 0.0
    names = search.listing.names

    def take(number: int) -> float:
        # Spread over the folder, for one class's photographs may all be large.
        few = names if number >= len(names) else [names[i * len(names) // number] for i in range(number)]
        listing, began = replace(search.listing, names=tuple(few)), time.perf_counter()
        with quiet_decoders(), tempfile.TemporaryDirectory() as place:
            searched = search_folder(
                model, listing, search.new, count=count, size=search.size, batch=_BATCH, say=None
            )
            write_crops(listing.folder, Path(place), list(searched.units.values()), channels=model.channels)
        return time.perf_counter() - began

    try:
        take(_FEW)  # what happens once in a process is not counted
        if len(names) <= _MORE:
            return take(len(names))
        some, more = take(_FEW), take(_MORE)
    except UserError:
        return 0.0  # these few are no photographs; the build will tell of all of them
    each = max(0.0, more - some) / (_MORE - _FEW)
    return more + each * (len(names) - _MORE)
