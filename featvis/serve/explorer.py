"""What the explorer knows: its networks, the queue to them, pictures and photographs so far, the board."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from featvis.engine.lanes import Step
from featvis.errors import OutputError, TargetError, unknown
from featvis.models.borrow.loan import with_gradients
from featvis.models.handle import ModelHandle
from featvis.models.load import list_models, load_model
from featvis.notebook import data_uri
from featvis.results.picture import Picture, to_levels
from featvis.results.views import make_view
from featvis.run.prepare import Prepared, prepare
from featvis.run.render import run_plan
from featvis.serve.asked import TONE, Asked, with_tone
from featvis.serve.board import Drawn, recipe_fields, write_command
from featvis.serve.patches import Folder
from featvis.serve.photographs import Photograph
from featvis.serve.queue import Job, Queue

OFTEN = 0.15
"""Seconds between two looks at a picture that grows."""
KEPT, PHOTOGRAPHS, PINNED = 64, 8, 200
"""Pictures, photographs and pinned pictures that are remembered."""
Thing = TypeVar("Thing")


class Explorer:
    """A network, and others that come with the packages, explored by pages.

    >>> import featvis as fv, torch
    >>> module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3))
    >>> model = fv.load_model(module, mean=(0.5,) * 3, std=(0.5,) * 3, input_size=16)
    >>> explorer = Explorer(model)
    >>> [layer["units"] for layer in explorer.layers(model.name)]
    [4]
    >>> explorer.close()
    """

    def __init__(
        self,
        model: ModelHandle,
        *,
        gallery: Path | None = None,
        told: Mapping[str, Any] | None = None,
        folder: Folder | None = None,
    ) -> None:
        """Begin with a network; ``told`` are the options it was loaded with, for exported code.

        A ``folder`` of photographs is searched for what units respond to.
        """
        self.token = secrets.token_urlsafe(24)
        self.queue = Queue()
        self.first = model.name
        self.gallery = gallery
        self.folder = folder
        self.told: dict[str, Mapping[str, Any]] = {model.name: dict(told or {})}
        self._models = {model.name: model}
        self._layers: dict[str, list[dict[str, Any]]] = {}
        self.drawn: dict[str, Drawn] = {}
        self.photographs: dict[str, tuple[str, Photograph]] = {}
        """By id, each with the network that it was read for."""
        self.board: dict[str, Drawn] = {}

    def networks(self) -> list[str]:
        """Return the networks that a page may choose: ours, and those inside packages that are installed."""
        embedded = [name for name, about in list_models() if about.startswith("embedded")]
        return list(dict.fromkeys([self.first, *self._models, *embedded]))

    def model(self, name: str) -> ModelHandle:
        """Return a network, loaded when it is first asked for; called by jobs only."""
        if name not in self._models:
            if name not in self.networks():
                raise OutputError(unknown("network", name, self.networks()))
            self._models[name] = load_model(name)
        return self._models[name]

    def layers(self, name: str) -> list[dict[str, Any]]:
        """Return a network's layers, with the names of its classes at the last; called by jobs only."""
        if name not in self._layers:
            model = self.model(name)
            told = []
            for layer in model.layers:
                if not layer.is_clear:
                    continue
                is_last = layer.name == model.output_layer and len(model.labels) == layer.units
                told.append(
                    {
                        "name": layer.name,
                        "units": layer.units,
                        "module": layer.module,
                        "map": layer.kind in ("map", "map_last"),
                        "labels": [str(label) for label in model.labels] if is_last else [],
                    }
                )
            self._layers[name] = told
        return self._layers[name]

    def warm(self) -> Job:
        """Have the first network measured and run once, so that the first picture does not wait for it."""

        def work(job: Job) -> None:
            layers = self.layers(self.first)
            if layers and not job.is_cancelled:
                target = f"{layers[len(layers) // 2]['name']}:0"
                self.draw(Asked(self.first, target, changes={"steps": 1}), job, keep=False)

        return self.queue.submit(work)

    @with_gradients
    def draw(self, asked: Asked, job: Job, *, keep: bool = True) -> dict[str, Any] | None:
        """Draw a picture, and tell how it grows; None if it was cancelled. Called by jobs only."""
        model = self.model(asked.network)
        prepared = self._prepare(asked)
        if asked.tone:
            # As the recipe was fitted to the network, so that what the network has no use for stays away.
            penalties = with_tone(prepared.plan.wanted[0].recipe.penalties, asked.tone, asked.recipe)
            asked = replace(asked, changes={**asked.changes, "penalties": penalties})
            prepared = self._prepare(asked)
        wanted = prepared.plan.wanted
        if len(wanted) != 1:
            raise TargetError(f"the explorer draws one unit at a time; {asked.target} names {len(wanted)}")
        steps, shown_at = wanted[0].recipe.steps, 0.0

        def watch(step: Step) -> bool:
            nonlocal shown_at
            now = time.perf_counter()
            if job.is_cancelled:
                return True
            # Decoding waits for the device, so it is done now and then only.
            if now - shown_at >= OFTEN or step.number == 0:
                levels = to_levels(step.images)[0][: model.channels]
                image = data_uri(make_view(levels, model.frames))
                score = float(step.scores[0])
                job.tell({"step": step.number + 1, "steps": steps, "score": score, "image": image})
                shown_at = time.perf_counter()
            return False

        (picture,) = run_plan(prepared, watch=watch)
        if job.is_cancelled:
            return None
        return self._keep(asked, picture) if keep else {}

    def _prepare(self, asked: Asked) -> Prepared:
        return prepare(
            self.model(asked.network),
            asked.target,
            write=False,
            recipe=asked.recipe,
            seed=asked.seed,
            **recipe_fields(self.told.get(asked.network, {})),
            **asked.changes,
        )

    def _keep(self, asked: Asked, picture: Picture) -> dict[str, Any]:
        name = remember(self.drawn, Drawn(asked, picture), KEPT)
        return self.describe(name, self.drawn[name])

    def describe(self, name: str, drawn: Drawn) -> dict[str, Any]:
        """Return what a page shows of a picture."""
        picture, asked = drawn.picture, drawn.asked
        return {
            "id": name,
            "network": asked.network,
            "target": picture.target,
            "layer": picture.layer,
            "unit": picture.unit,
            "label": picture.label or "",
            "score": picture.score,
            "start_score": picture.start_score,
            "status": picture.status,
            "reason": picture.reason if picture.status != "ok" else "",
            "seconds": round(picture.seconds, 2),
            "height": picture.view.height,
            "width": picture.view.width,
            "recipe": asked.recipe or "chosen by the layer",
            "steps": picture.recipe["steps"],
            "seed": asked.seed,
            "asked": {
                "recipe": asked.recipe or "",
                "seed": asked.seed,
                **{name: asked.changes.get(name) for name in ("size", "steps", "learning_rate")},
                **{name: asked.tone.get(name) for name in TONE},
            },
            "command": write_command(asked, self.told.get(asked.network, {})),
        }

    def pin(self, name: str) -> None:
        """Pin a picture to the board.

        Raises:
            OutputError: it is not remembered, or the board is full.
        """
        if name not in self.drawn:
            raise OutputError("that picture is not remembered any more; draw it again")
        if len(self.board) >= PINNED and name not in self.board:
            raise OutputError(f"{PINNED} pictures are pinned; export them, or take some off")
        self.board[name] = self.drawn[name]

    def close(self) -> None:
        """End: cancel all jobs, and wait until the network is given back."""
        self.queue.close()


def remember(things: dict[str, Thing], thing: Thing, most: int) -> str:
    """Keep a thing under a name that nobody guesses, forget the oldest beyond ``most``; return the name.

    >>> kept = {}
    >>> names = [remember(kept, number, 2) for number in range(3)]
    >>> list(kept.values()), names[1:] == list(kept)
    ([1, 2], True)
    """
    name = secrets.token_hex(8)
    things[name] = thing
    while len(things) > most:
        del things[next(iter(things))]
    return name
