"""A circuit that one can walk: a unit, what feeds it, what feeds those; with pictures, as one page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup
from torch import Tensor

from featvis.errors import RecipeError, count_of
from featvis.explore.circuits import Circuit, circuit, find_unit
from featvis.files import write_whole
from featvis.models.borrow.loan import with_gradients
from featvis.models.handle import ModelHandle
from featvis.models.photograph import Photographs, settle
from featvis.notebook import data_uri
from featvis.pages.compose import read_asset, template
from featvis.pages.quiz import hash_of
from featvis.results.picture import Picture
from featvis.run.render import render
from featvis.spec.recipe import Recipe
from featvis.spec.same import SameByValue
from featvis.spec.target import Target
from featvis.version import __version__

PAGE = "circuit.html"
_MOST = 400
"""Units of which a walk may render pictures."""


@dataclass(frozen=True, repr=False, eq=False)
class CircuitWalk(SameByValue):
    """Units with what feeds them, the one that was asked for first; from :func:`featvis.walk_circuit`.

    >>> walk = CircuitWalk("mine", {"conv2:7": Circuit("mine", "conv2", 7)}, {}, 4)
    >>> walk, "What feeds conv2:7" in walk.page()
    (CircuitWalk('conv2:7', 0 units), True)
    """

    model: str
    circuits: dict[str, Circuit]
    """By address, of those units whose inputs were looked for."""
    pictures: dict[str, Picture]
    """By address, of all units."""
    count: int
    """How many inputs of each layer are shown."""

    def __repr__(self) -> str:
        return f"CircuitWalk({next(iter(self.circuits))!r}, {len(self.pictures)} units)"

    def page(self) -> str:
        """Return one page of HTML, which holds all its pictures and asks for nothing."""
        style = read_asset("gallery.css") + read_asset("circuit.css")
        names = {address: f"u{place}" for place, address in enumerate(self.pictures)}
        shown = {address: data_uri(picture.pil) for address, picture in self.pictures.items()}
        feeds: dict[str, list[dict[str, str]]] = {}
        for address, one in self.circuits.items():
            for path in one.paths:
                for unit, _ in path.strongest(self.count):
                    feeds.setdefault(f"{path.layer}:{unit}", []).append(
                        {"id": names[address], "name": address}
                    )
        units = [
            {
                "id": name,
                "name": address,
                "label": self.circuits[address].label if address in self.circuits else "",
                "picture": shown[address],
                "feeds": feeds.get(address, ()),
                "paths": self._paths(address, names, shown),
            }
            for address, name in names.items()
        ]
        title = f"What feeds {next(iter(self.circuits))}"
        page: str = template("circuit.html").render(
            title=title,
            units=units,
            model=self.model,
            version=__version__,
            style=Markup(style),
            style_hash=hash_of(style),
        )
        return page

    def save(self, folder: str | Path) -> Path:
        """Write the page as ``circuit.html`` into a folder."""
        return write_whole(Path(folder) / PAGE, self.page().encode())

    def to_json(self) -> dict[str, Any]:
        """Return every circuit, ready for JSON."""
        return {"model": self.model, "units": [one.to_json(self.count) for one in self.circuits.values()]}

    def _paths(self, address: str, names: dict[str, str], shown: dict[str, str]) -> list[dict[str, Any]]:
        if address not in self.circuits:
            return []
        return [
            {
                "layer": path.layer,
                "read": path.read,
                "way": path.way[0].upper() + path.way[1:],
                "scale": f"±{path.scale:.3g}",
                "inputs": [
                    {
                        "id": names.get(f"{path.layer}:{unit}"),
                        "name": f"{path.layer}:{unit}",
                        "picture": shown.get(f"{path.layer}:{unit}"),
                        "kernel": data_uri(path.image(unit)),
                        "sum": f"{total:+.3g}",
                    }
                    for unit, total in path.strongest(self.count)
                ],
            }
            for path in self.circuits[address].paths
        ]


@with_gradients
def walk_circuit(
    model: ModelHandle,
    target: str | Target,
    sources: Sequence[str] | str = (),
    *,
    levels: int = 2,
    depth: int = 2,
    count: int = 4,
    photographs: Photographs | None = None,
    recipe: Recipe | str = "fast",
    size: int | tuple[int, int] | None = None,
    out: str | Path | None = None,
    say: Callable[[str], None] | None = None,
    **changes: Any,
) -> CircuitWalk:
    """Find what feeds a unit, what feeds those, and render a picture of each.

    Args:
        model: from :func:`featvis.load_model`.
        target: the unit, as for :func:`featvis.circuit`.
        sources: the layers that feed the first unit, as for :func:`featvis.circuit`; of the others they are
            found.
        levels: how often the inputs of inputs are looked for: 1 for the unit's own alone.
        depth: how many layers back each time, where they are found.
        count: how many inputs of each layer.
        photographs: what attributions are averaged over, as for :func:`featvis.circuit`; by
            default each unit's own picture.
        recipe: of the pictures.
        size: the canvas of the pictures and circuits, by default the recipe's.
        out: a folder for the pictures, those that are there already are not rendered again; and for the page,
            ``circuit.html``.
        say: is told how far it is, a line at a time.
        changes: further fields of the recipe.

    Returns:
        The circuits and pictures by address; its ``page()`` is HTML that one can walk by clicking.

    Raises:
        UserError: as for :func:`featvis.circuit`, or a walk of too many units.

    >>> import featvis as fv, torch
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 2, 3))
    >>> model = fv.load_model(network, mean=(0.5,) * 3, std=(0.5,) * 3, input_size=16)
    >>> walk = fv.walk_circuit(model, "2:1", count=2, size=16, steps=2, lanes=1)
    >>> walk, list(walk.circuits)[0]
    (CircuitWalk('2:1', 3 units), '2:1')
    """
    for name, value in (("levels", levels), ("count", count)):
        if isinstance(value, bool) or value < 1:
            raise RecipeError(f"{name} is at least 1, got {value}")
    paths = depth if not sources or isinstance(sources, str) else len(sources)
    units = 1 + paths * count * sum((depth * count) ** level for level in range(levels))
    if units > _MOST:
        raise RecipeError(
            f"a walk of up to {units} units; with fewer levels, depth or count, at most {_MOST}"
        )
    canvas = _canvas(model, recipe, size)
    photographs = None if photographs is None else settle(photographs)
    circuits: dict[str, Circuit] = {}
    pictures: dict[str, Picture] = {}
    info, first = find_unit(model, target, canvas)
    wanted = [f"{info.name}:{first}"]
    for level in range(levels + 1):
        fresh = [address for address in wanted if address not in pictures]
        if fresh:
            made = render(model, fresh, recipe=recipe, size=canvas, out=out, progress=False, **changes)
            pictures |= {picture.target: picture for picture in made}
        if level == levels:
            break
        following: dict[str, None] = {}
        for address in wanted:
            if address not in circuits:
                image: Tensor | None = pictures[address].image if photographs is None else None
                circuits[address] = circuit(
                    model,
                    address,
                    sources if level == 0 else (),
                    depth=depth,
                    photographs=photographs,
                    picture=image,
                    size=canvas,
                )
                if say is not None:
                    found = count_of(len(circuits[address].paths), "layer")
                    say(f"{address}: inputs in {found}")
            for path in circuits[address].paths:
                following |= dict.fromkeys(f"{path.layer}:{unit}" for unit, _ in path.strongest(count))
        wanted = list(following)
    walk = CircuitWalk(model.name, circuits, pictures, count)
    if out is not None:
        walk.save(out)
    return walk


def _canvas(model: ModelHandle, recipe: Recipe | str, size: int | tuple[int, int] | None) -> tuple[int, int]:
    if size is not None:
        return (size, size) if isinstance(size, int) else size
    if model.takes_one_size or model.signal:
        return model.input_size
    made_for = (recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)).size
    return model.input_size if min(model.input_size) < min(made_for) else made_for
