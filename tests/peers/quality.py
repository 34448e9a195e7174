"""Pictures of classes by every library, made once and kept; and what each costs."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

import featvis as fv
from featvis.errors import OutputError
from featvis.models.handle import ModelHandle
from tests.peers import with_featvis, with_horama, with_lucent
from tests.peers.clock import Clock, turn
from tests.peers.shelf import Shelf

COUNTED = 6
"""Steps of Lucent that are timed beside each of featvis' jobs."""
LARGE = 224
"""The canvas of featvis' portraits, given to Lucent, too."""
Say = Callable[[str], None]


@dataclass(frozen=True)
class Asked:
    """What is rendered."""

    classes: tuple[int, ...]
    seed: int
    curve: tuple[int, ...]
    recipe: str
    lucent_steps: int
    equal_classes: int
    horama_steps: int
    horama_canvas: int
    horama_classes: int
    out: Path
    only_featvis: bool
    """Take the peers' pictures from before, make featvis' anew."""

    @property
    def half(self) -> int:
        """Half of Lucent's steps."""
        return self.lucent_steps // 2


@dataclass
class Method:
    """One way to make pictures, and the pictures."""

    told: str
    evaluations: int
    """Passes of the network for one picture."""
    classes: tuple[int, ...]
    files: list[Path] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    """For each picture, as it was made."""
    beside: list[float] = field(default_factory=list)
    """Seconds of a step of Lucent, timed beside featvis' jobs."""
    steps: int = 0

    @property
    def cost(self) -> float:
        """Seconds for a picture; of Lucent, its steps as timed beside featvis, if they were."""
        if self.beside:
            return self.steps * statistics.median(self.beside)
        return statistics.fmean(self.seconds)


def draw_classes(count: int, classes: int, seed: int) -> tuple[int, ...]:
    """Draw ``classes`` of ``count`` at random."""
    return tuple(int(one) for one in np.random.default_rng(seed).choice(count, classes, replace=False))


def render(model: ModelHandle, asked: Asked, say: Say) -> dict[str, Method]:
    """Make the pictures that are not there yet; what matters most comes first, should it be interrupted."""
    shipped = _lucent(model, asked, say)
    ours, beside = _featvis(model, asked, say)
    for method in shipped.values():
        method.beside = beside
    methods = {**shipped, **_lucent_large(model, asked, say), **_horama(model, asked, say), **ours}
    return {name: method for name, method in methods.items() if method.classes}


def _lucent(model: ModelHandle, asked: Asked, say: Say) -> dict[str, Method]:
    """Lucent as it ships, and the same run at half its steps."""
    full, half, canvas = asked.lucent_steps, asked.half, with_lucent.CANVAS
    shelves = {
        steps: Shelf(asked.out / f"lucent-{steps}", {"canvas": canvas, "steps": steps, "seed": asked.seed})
        for steps in (full, half)
    }
    missing = [unit for unit in asked.classes if any(shelf.find(unit) is None for shelf in shelves.values())]
    for unit in _turns(missing, "Lucent, as it ships", asked, say):
        clock = Clock(model.device)
        began = clock.now()
        pictures = with_lucent.render(
            model, model.output_layer, unit, steps=(half, full), seed=asked.seed + unit, clock=clock
        )
        took = clock.now() - began
        with_lucent.tidy(model)
        shelves[half].put(unit, pictures[0], seconds=clock.stamps[half] - began)
        shelves[full].put(unit, pictures[1], seconds=took)
    words = {full: f"Lucent as it ships, canvas {canvas}, {full} steps"}
    return {
        f"lucent-{steps}": _gather(
            shelf, Method(words.get(steps, f"Lucent, canvas {canvas}, {steps} steps"), steps, asked.classes)
        )
        for steps, shelf in shelves.items()
    }


def _lucent_large(model: ModelHandle, asked: Asked, say: Say) -> dict[str, Method]:
    """Lucent with featvis' canvas and number of evaluations."""
    steps, canvas = asked.half, LARGE
    classes = asked.classes[: asked.equal_classes]
    if not classes:
        return {}
    name = f"lucent-{canvas}-{steps}"
    shelf = Shelf(asked.out / name, {"canvas": canvas, "steps": steps, "seed": asked.seed})
    classes, missing = _there(shelf, classes, asked)
    for unit in _turns(missing, f"Lucent, canvas {canvas}", asked, say):
        clock = Clock(model.device)
        began = clock.now()
        (picture,) = with_lucent.render(
            model, model.output_layer, unit, steps=(steps,), canvas=canvas, seed=asked.seed + unit
        )
        took = clock.now() - began
        with_lucent.tidy(model)
        shelf.put(unit, picture, seconds=took)
    return {name: _gather(shelf, Method(f"Lucent, canvas {canvas}, {steps} steps", steps, classes))}


def _horama(model: ModelHandle, asked: Asked, say: Say) -> dict[str, Method]:
    steps, canvas = asked.horama_steps, asked.horama_canvas
    classes = asked.classes[: asked.horama_classes]
    if not classes:
        return {}
    name = f"horama-maco-{steps}"
    spectrum = asked.out / with_horama.SPECTRUM
    shelf = Shelf(asked.out / name, {"canvas": canvas, "steps": steps, "seed": asked.seed})
    classes, missing = _there(shelf, classes, asked)
    for unit in _turns(missing, "Horama", asked, say):
        clock = Clock(model.device)
        began = clock.now()
        picture = with_horama.render(
            model,
            model.output_layer,
            unit,
            method="maco",
            spectrum=spectrum,
            steps=steps,
            canvas=canvas,
            seed=asked.seed + unit,
        )
        shelf.put(unit, picture, seconds=clock.now() - began)
    shipped = steps == with_horama.STEPS and canvas == with_horama.CANVAS
    words = f"Horama maco, canvas {canvas}, {steps} steps" + (
        "" if shipped else f" (ships {with_horama.CANVAS}, {with_horama.STEPS})"
    )
    return {name: _gather(shelf, Method(words, steps * with_horama.CROPS, classes))}


def _featvis(model: ModelHandle, asked: Asked, say: Say) -> tuple[dict[str, Method], list[float]]:
    """featvis' pictures for each number of steps, and Lucent's steps timed beside them."""
    layer, classes = model.output_layer, asked.classes
    lanes = with_featvis.lanes_for(asked.recipe, len(classes))
    methods: dict[str, Method] = {}
    beside: list[float] = []
    warm = False
    for steps in asked.curve:
        folder = asked.out / f"featvis-{steps}"
        if asked.only_featvis:
            shutil.rmtree(folder, ignore_errors=True)
        # Threads change the seconds, and another recipe may stand under the same name.
        recipe = fv.Recipe.load(asked.recipe).but(lanes=lanes, steps=steps, threads=torch.get_num_threads())
        shelf = Shelf(folder, {"recipe": recipe.to_json(), "seed": asked.seed, "classes": classes})
        method = Method(f"featvis {asked.recipe}, {steps} steps", steps, classes)
        for place in range(0, len(classes), lanes):
            units, job = classes[place : place + lanes], f"job{place // lanes}"
            told = shelf.find(job)
            if told is None:
                shutil.rmtree(folder / job, ignore_errors=True)  # half a job would be resumed, and look fast
                with turn():
                    if not warm:
                        with_featvis.warm_up(model, layer, units[0], recipe=recipe)
                        warm = True
                    times = with_lucent.time_steps(model, layer, units[0], counted=COUNTED)
                    run = with_featvis.run(
                        model, layer, units, out=folder / job, recipe=recipe, seed=asked.seed
                    )
                told = {
                    "seconds": run.seconds,
                    "wall_seconds": run.wall_seconds,
                    "mended": run.mended,
                    "lucent_steps": times,
                }
                shelf.note(job, **told)
                each, theirs = run.seconds / len(units), statistics.median(times) * 1000
                say(f"featvis, {steps} steps: {each:.2f} s a picture; a step of Lucent {theirs:.0f} ms")
            beside += told["lucent_steps"]
            method.files += [folder / job / layer / f"{unit:04d}.png" for unit in units]
            method.seconds += [told["seconds"] / len(units)] * len(units)
        methods[f"featvis-{steps}"] = method
    return methods, beside


def _there(shelf: Shelf, classes: tuple[int, ...], asked: Asked) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The classes to show and those still to be made; beside featvis alone, what there is must do."""
    missing = tuple(unit for unit in classes if shelf.find(unit) is None)
    if not asked.only_featvis:
        return classes, missing
    return tuple(unit for unit in classes if unit not in missing), ()


def _turns(missing: Sequence[int], who: str, asked: Asked, say: Say) -> Iterator[int]:
    """Yield the classes that are missing, each in its own turn on the machine."""
    if missing and asked.only_featvis:
        raise OutputError(
            f"{asked.out} lacks pictures of {who} ({len(missing)} classes); run without --only featvis first"
        )
    for number, unit in enumerate(missing, 1):
        with turn():
            yield unit
        say(f"{who}: {number} of {len(missing)} pictures")


def _gather(shelf: Shelf, method: Method) -> Method:
    records = [shelf.find(unit) for unit in method.classes]
    method.files = [shelf.picture(unit) for unit in method.classes]
    method.seconds = [record["seconds"] for record in records if record is not None]
    method.steps = shelf.settings["steps"]
    return method


def sheet(methods: Iterable[Method], classes: tuple[int, ...], path: Path, side: int = 128) -> Path:
    """Write one picture of all: a row for each method, a column for each class."""
    from PIL import Image

    rows = list(methods)
    whole = Image.new("RGB", (len(classes) * side, len(rows) * side), "white")
    for row, method in enumerate(rows):
        for unit, file in zip(method.classes, method.files, strict=True):
            with Image.open(file) as opened:
                small = opened.convert("RGB").resize((side - 2, side - 2), Image.Resampling.LANCZOS)
            whole.paste(small, (classes.index(unit) * side, row * side))
    whole.save(path)
    return path
