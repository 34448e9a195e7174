"""What the commands that redraw photographs share: their options, the checks before torch, the last lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featvis.cli.checks import check_at_least, check_folder, check_photo
from featvis.cli.fields import choose_recipe
from featvis.cli.network import Network
from featvis.cli.options import AsJson, OutOfCommand, Seed, Set, SizeAtMost, Steps
from featvis.cli.output import is_quiet, note, print_json, results_folder
from featvis.errors import RecipeError, TargetError, count_of
from featvis.read import read_json

if TYPE_CHECKING:
    from torch import Tensor

    from featvis.models.handle import ModelHandle
    from featvis.objectives.base import Objective
    from featvis.run.redraw import Redrawn
    from featvis.spec.recipe import Recipe


@dataclass
class Redrawing:
    """The options of every command that redraws a photograph."""

    settings: Set = None
    size: SizeAtMost = None
    steps: Steps = None
    seed: Seed = 0
    out: OutOfCommand = None
    as_json: AsJson = False


@dataclass
class Asked:
    """A command on a photograph, checked as far as it can be without torch."""

    command: str
    photo: Path
    recipe: Recipe
    given: frozenset[str]  # The fields of the recipe that were given by options
    made_for: tuple[int, int]  # The canvas that the named recipe is made for, (height, width)
    folder: Path
    size: tuple[int, int] | None
    seed: int
    network: Network
    as_json: bool
    about: dict[str, Any] = field(default_factory=dict)
    """What the JSON file beside each picture says of it beyond its entry."""

    def load(self) -> tuple[ModelHandle, Tensor]:
        """Load the network, and the photograph for it."""
        from featvis.photographs.photos import describe_photograph
        from featvis.run.redraw import lay_photograph

        self.about = {"command": self.command, **describe_photograph(self.photo)}
        handle = self.network.load()
        return handle, lay_photograph(handle, self.photo, self.size)

    def draw(
        self,
        handle: ModelHandle,
        photograph: Tensor,
        objectives: Sequence[tuple[str, Objective]],
        start: Tensor | None = None,
    ) -> int:
        """Render a picture for each objective, which has a name, and print where it is."""
        from featvis.results.store import safe_name
        from featvis.run.progress import Report
        from featvis.run.redraw import redraw

        for _, objective in objectives:  # a mistake in the last one is told before the first is rendered
            objective.bind(handle.at(self.recipe.input_size or _size(handle, photograph)))
        finished: list[tuple[str, Redrawn]] = []
        for name, objective in objectives:
            file = safe_name(f"{self.command}-{self.photo.stem}-{name.replace(':', '-')}")
            try:
                result = redraw(
                    handle,
                    objective,
                    self.folder / f"{file}.png",
                    photograph,
                    recipe=self.recipe,
                    seed=self.seed,
                    start=start,
                    about=self.about,
                    report=None if is_quiet() else Report,
                )
            except KeyboardInterrupt:
                count = f"{len(finished)} of {count_of(len(objectives), 'picture')}"
                done = f"{count} {'is' if len(objectives) == 1 else 'are'} finished in {self.folder}"
                note(f"interrupted: {done}; the same command goes on from there")
                return 130
            if not result.anew:
                note(f"{result.path} is that picture already")
            picture, dead = result.picture, "; no gradient reaches the image, so nothing was climbed"
            dead = dead if picture.status == "dead" else ""
            scores = f"score {picture.start_score:.4g} to {picture.score:.4g}"
            if not self.as_json:
                print(f"{name}: {scores}, correlation with the photograph {result.correlation:.3f}{dead}")
                print(result.path)
            finished.append((name, result))
        sheet = self._sheet(photograph, finished) if len(finished) > 1 else None
        if self.as_json:
            entries = [read_json(result.path.with_suffix(".json")) for _, result in finished]
            sheets = {} if sheet is None else {"sheet": str(sheet)}
            print_json({"folder": str(self.folder), "pictures": entries, **sheets})
        elif sheet is not None:
            print(sheet)
        return 0

    def _sheet(self, photograph: Tensor, results: Sequence[tuple[str, Redrawn]]) -> Path:
        from featvis.attribution.result import png
        from featvis.files import write_apart
        from featvis.results.sheets import make_sheet
        from featvis.run.redraw import as_image

        tiles = [as_image(photograph), *(result.picture.pil for _, result in results)]
        captions = [f"{name}  r {result.correlation:.2f}" for name, result in results]
        sheet = make_sheet(tiles, [[caption] for caption in ("photograph", *captions)], len(tiles))
        path = self.folder / f"{self.command}-{self.photo.stem}-side-by-side.png"
        return write_apart({path: png(sheet)})[0]


def check(command: str, photos: Sequence[Path], recipe: str, options: Redrawing, network: Network) -> Asked:
    """Check what these commands have in common before torch is imported; the first photograph is redrawn."""
    from featvis.spec.recipe import Recipe

    chosen = choose_recipe(recipe, {"size": options.size, "steps": options.steps}, options.settings)
    given = frozenset(chosen.changes)
    if "stages" in given and "size" not in given:
        raise RecipeError("--set stages needs --size; without it the canvas is as large as the photograph")
    check_at_least(0, seed=options.seed)
    for photo in photos:
        check_photo(photo)
    folder = options.out or results_folder() / command
    check_folder(folder)
    canvas = chosen.recipe.size if "size" in given else None
    made_for = Recipe.load(recipe).size
    return Asked(
        command,
        photos[0],
        chosen.recipe,
        given,
        made_for,
        folder,
        canvas,
        options.seed,
        network,
        options.as_json,
    )


def layers_of(layers: Sequence[str] | None, option: str = "layer") -> list[str]:
    """Return the layers that were named, each once; a mistake if none was."""
    if not layers:
        raise TargetError(f"say with --{option} which layer; `featvis layers MODEL` lists them")
    return list(dict.fromkeys(layers))


def _size(handle: ModelHandle, photograph: Tensor) -> tuple[int, int]:
    size = (int(photograph.shape[1]), int(photograph.shape[2]))
    return size if size == handle.input_size or not handle.takes_one_size else handle.input_size
