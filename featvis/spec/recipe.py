"""Recipe: everything that changes a picture. RunOptions: everything that must not. No torch in here.

Both are pydantic models: they are the schema of config files and the defaults of the command line.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from featvis.errors import OutputError, RecipeError, unknown
from featvis.read import expand, read_toml
from featvis.spec import register
from featvis.spec.options import AtLeastOne, Band, Count, Fraction, Positive, Size, plain
from featvis.spec.pinned import unpinned

PICTURE_VERSION = 4
"""Raised whenever the same recipe would give other bytes; it is part of every picture's key."""


class _Checked(BaseModel):
    """Fields that are checked, whose mistakes are a RecipeError of one line."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)
    _called: ClassVar[str]
    """What its errors call it."""

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**plain(fields))
        except ValidationError as error:
            known = list(type(self).model_fields)
            raise RecipeError(register.one_line(error, self._called, known)) from None


class Recipe(_Checked):
    """Everything that changes a picture, and nothing else.

    ``Recipe(steps=64)`` is the recipe ``channel`` with 64 steps; ``Recipe.load("portrait")`` reads a
    named recipe or a TOML file. Every field is checked.

    Raises:
        RecipeError: an unknown field, a value out of range, or fields that do not go together.

    >>> import featvis as fv
    >>> recipe = fv.Recipe(steps=64, size=96, penalties=[{"name": "l2", "weight": 0.1}])
    >>> recipe.size, recipe.learning_rate, recipe.but(steps=32).steps
    ((96, 96), 0.02, 32)
    """

    _called: ClassVar[str] = "recipe"

    size: Size = (224, 224)
    """The canvas, (height, width) in pixels; one number for a square."""
    input_size: Size | None = None
    """(height, width) in pixels of what the network is shown; by default the canvas' own size."""
    stages: tuple[tuple[Size, Fraction], ...] = ()
    """Smaller canvases to begin with: ``[[64, 0.25], [128, 0.5]]`` is 64 pixels for the first quarter of the
    steps, then 128 up to the half, then ``size``."""
    steps: AtLeastOne = 128
    """How many ascent steps are taken."""
    space: dict[str, Any] = {"name": "fourier"}
    """The image space: the learnable parameters that the images are computed from."""
    transforms: tuple[dict[str, Any], ...] = (
        {"name": "warp", "scale": [0.6, 1.1], "degrees": 10.0, "shift": 0.25},
        {"name": "noise", "sd": [0.3, 0.02]},
    )
    """Random changes of the images before the network sees them, in this order, drawn anew for each step."""
    penalties: tuple[dict[str, Any], ...] = ()
    """Objectives that are subtracted, each times its ``weight``, a number from 0 up."""
    optimizer: Literal["adam", "nadam", "sgd", "lbfgs"] = "adam"
    """How the parameters follow the gradient. A step of lbfgs is one evaluation, so the tries of its line
    search count too. On a GPU steps of adam and nadam are recorded once and replayed as a CUDA graph; those
    of sgd and lbfgs are each computed anew."""
    learning_rate: Positive = 0.02
    """The optimizer's; lbfgs takes it as the length of its first try, root mean square of a parameter."""
    momentum: Fraction = 0.9
    """The first beta of adam and nadam, the momentum of sgd; below 1, and lbfgs has none."""
    second_momentum: Fraction = 0.99
    """The second beta of adam and nadam (of the squared gradients); below 1, and the others have none."""
    schedule: Literal["constant", "cosine", "linear", "warmup", "warmup_cosine"] = "constant"
    """The learning rate over the run: cosine and linear fall to zero, warmup rises over the first tenth,
    warmup_cosine rises over the first tenth and then falls to zero."""
    patience: Count = 0
    """A picture is finished when its score has not risen for this many steps; with 0, only at the last step.
    On a GPU such steps are each computed anew; none is replayed as a CUDA graph."""
    tolerance: Fraction = 0.01
    """For ``patience``: a rise by less than this share of the whole rise so far does not count."""
    redirect_steps: Count = 16
    """For this many first steps, ReLUs whose output is 0 pass the gradient that would make it positive."""
    attempts: AtLeastOne = 3
    """From how many starts a unit without any gradient is tried before it is called dead."""
    copies: AtLeastOne = 1
    """Passes through the network in each step, each with transforms drawn anew; a picture follows the mean of
    their gradients."""
    hold: AtLeastOne | None = None
    """For how many steps the transforms stay as drawn; by default 1, for lbfgs, which needs it, 16."""
    average: Fraction = 0.0
    """The decay, below 1, of an exponential moving average of the parameters that the picture is decoded from
    (0.9: about the last 10 steps, but no more than a ninth of the run); with 0, from the last parameters."""
    gradient_norm: Positive | None = None
    """Each picture's gradient is scaled to this length (L2, over all its parameters)."""
    gradient_clip: Positive | None = None
    """Each picture's gradient is shortened to this length where it is longer."""
    pool_gradients: Literal["max", "average", "l2"] = "max"
    """The gradients of max-pools: their own, or a smoother pool's; the forward pass does not change."""
    residual_gradients: Fraction = 1.0
    """The share of the gradient that residual branches pass: where two ways through a network meet in a sum,
    the longer one. Less of it shows more of what other networks see as well (Wu et al. 2020: 0.5); networks
    without such sums do not notice."""
    band: Band | None = None
    """A score, or (low, high): pictures are driven to this score and no further, measured as the network is
    shown them, with transforms."""
    best_of: AtLeastOne = 1
    """How many candidates, each from a seed of its own; the one whose saved picture scores best is kept."""
    lanes: AtLeastOne = 8
    """How many pictures one step computes together; part of the recipe, for it changes the last bits."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """The number format of the network's passes; bfloat16 is autocast, the image space stays in float32."""
    threads: AtLeastOne | None = None
    """The number of CPU threads, for it changes the last bits; by default this machine's, or that of the
    folder's pictures."""
    start: str | None = None
    """``sha256:…`` of the image that the run starts from; None for small noise."""

    @field_validator("space", mode="before")
    @classmethod
    def _check_space(cls, value: Any) -> dict[str, Any]:
        return register.check("images", value)

    @field_validator("transforms", mode="before")
    @classmethod
    def _check_transforms(cls, value: Any) -> tuple[dict[str, Any], ...]:
        return tuple(register.check("transforms", entry) for entry in _sequence("transforms", value))

    @field_validator("penalties", mode="before")
    @classmethod
    def _check_penalties(cls, value: Any) -> tuple[dict[str, Any], ...]:
        checked = [
            register.check("objectives", entry, extra=("weight",)) for entry in _sequence("penalties", value)
        ]
        for entry in checked:
            weight = entry.setdefault("weight", 1.0)
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < 1e300:
                told = f"weight is a number from 0 up, got {weight!r}{_zero(weight)}"
                raise RecipeError(f"penalty {entry['name']}: {told}")
            entry["weight"] = float(weight)
        return tuple(checked)

    @model_validator(mode="before")
    @classmethod
    def _reject_unknown(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for key in data:
                if key not in cls.model_fields:
                    known = ", ".join(cls.model_fields)
                    raise RecipeError(
                        "recipe: " + unknown("key", str(key), cls.model_fields, f"keys: {known}")
                    )
        return data

    @model_validator(mode="after")
    def _growing(self) -> Recipe:
        last, until = (0, 0), 0.0
        for canvas, share in (*self.stages, (self.size, 1.0)):
            if canvas[0] < last[0] or canvas[1] < last[1] or share < until:
                raise RecipeError(
                    "recipe: stages are smaller canvases first, each with the share of the run at which it "
                    f"ends, up to size {self.size[0]}x{self.size[1]}; got {list(map(list, self.stages))}"
                )
            last, until = canvas, share
        if self.stages and self.patience:
            raise RecipeError("recipe: a picture that may stop early has one canvas; no patience with stages")
        return self

    @model_validator(mode="after")
    def _learning(self) -> Recipe:
        if self.momentum >= 1 or self.second_momentum >= 1:
            raise RecipeError("recipe: momentum and second_momentum are below 1")
        if self.average >= 1:
            raise RecipeError(f"recipe: average is a decay below 1, got {self.average}")
        scaled = self.gradient_norm is not None or self.gradient_clip is not None
        if self.gradient_norm is not None and self.gradient_clip is not None:
            raise RecipeError(
                "recipe: a gradient has its length set or clipped; gradient_norm or gradient_clip"
            )
        if self.optimizer == "lbfgs" and (scaled or self.schedule != "constant"):
            raise RecipeError(
                "recipe: lbfgs finds its own step lengths from true gradients; leave out schedule, "
                "gradient_norm and gradient_clip"
            )
        return self

    @classmethod
    def load(cls, source: str | Path | Mapping[str, Any]) -> Recipe:
        """Read a recipe by name (``portrait``, ``channel``, ``fast`` …), from a TOML file, or its fields.

        A file or table with ``base = "portrait"``, a name or another file, tells only what differs from it.

        Raises:
            RecipeError: no such recipe, not TOML, an unknown key or a value out of range.

        >>> Recipe.load({"base": "portrait", "steps": 64}) == Recipe.load("portrait").but(steps=64)
        True
        """
        return cls._load(source, ())

    @classmethod
    def _load(cls, source: str | Path | Mapping[str, Any], above: tuple[Path, ...]) -> Recipe:
        if isinstance(source, Mapping):
            return cls._from_table({str(name): value for name, value in source.items()}, ())
        if not isinstance(source, str | Path):
            raise RecipeError(
                "a recipe is fv.Recipe(…), a name, a TOML file or a table of its fields, "
                f"got {type(source).__name__}"
            )
        path = Path(source)
        named = recipe_files()
        if str(source) in named:
            path = named[str(source)]
        elif not path.is_file():
            if path.suffix == ".toml" or len(path.parts) > 1:
                raise RecipeError(f"no recipe file {str(source)!r}; named recipes: {', '.join(named)}")
            raise RecipeError(
                unknown("recipe", str(source), named, f"recipes: {', '.join(named)}, or a .toml file")
            )
        try:
            table = read_toml(path)
        except OutputError as error:
            raise RecipeError(str(error)) from None
        table.pop("about", None)
        place_statistics(table, path.parent)
        if (resolved := path.resolve()) in above:
            raise RecipeError(f"{path}: its base is, in the end, the file itself")
        return cls._from_table(table, (*above, resolved))

    @classmethod
    def _from_table(cls, table: dict[str, Any], above: tuple[Path, ...]) -> Recipe:
        """Return the recipe of a file's or a mapping's fields, over those of the ``base`` that it names.

        ``above`` are the files that led here, the innermost last.
        """
        if "base" not in table:
            return cls(**table)
        table = {**table}
        base = table.pop("base")
        if not isinstance(base, str):
            raise RecipeError(f"recipe: base is the name of a recipe or a TOML file, got {base!r}")
        if base not in recipe_files() and above and (beside := above[-1].parent / expand(base)).is_file():
            base = str(beside)
        return cls(**{**cls._load(base, above).to_json(), **table})

    @property
    def shown_size(self) -> Size:
        """(height, width) in pixels of what the network is shown."""
        return self.input_size or self.size

    def but(self, **changes: Any) -> Recipe:
        """Return this recipe with some fields changed, checked anew; None leaves a field alone."""
        changed = {name: value for name, value in changes.items() if value is not None}
        return Recipe(**{**self.to_json(), **changed})

    def to_json(self) -> dict[str, Any]:
        """Return the recipe as plain data: what PNGs and manifests carry.

        Fields that came later are left out while they have their default: what was made before keeps its
        key and its bytes.
        """
        fields = self.model_dump(mode="json")
        return {name: value for name, value in fields.items() if name not in LATER or value != LATER[name]}

    def key(self, target: str, seed: int, weights: str) -> str:
        """Return the key of one picture: 32 hexadecimal digits.

        Args:
            target: the target's address or the objective's description.
            seed: the picture's seed.
            weights: the fingerprint of the network's weights.
        """
        parts = {
            "recipe": unpinned(self.to_json()),
            "target": target,
            "seed": seed,
            "weights": weights,
            # A band forgot what it wraps until then: pictures that have one were others.
            "version": PICTURE_VERSION + (self.band is not None),
        }
        text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]


LATER: dict[str, Any] = {
    name: Recipe.model_fields[name].default
    for name in (
        "copies",
        "hold",
        "average",
        "gradient_norm",
        "gradient_clip",
        "pool_gradients",
        "residual_gradients",
        "band",
        "best_of",
    )
}
"""Fields that came after the first pictures, with their defaults."""


class RunOptions(_Checked):
    """Everything that must not change a picture: where to compute, where to write.

    Raises:
        RecipeError: an unknown option, or a value of the wrong type.

    >>> import featvis as fv
    >>> fv.RunOptions(device="cpu", out="pictures").out.name
    'pictures'
    """

    _called: ClassVar[str] = "run options"

    device: str = "auto"
    """``auto`` (a GPU where there is one), ``cpu``, ``cuda``, ``cuda:1``, ``mps``."""
    out: Path | None = None
    """The folder that the pictures go to; None writes nothing."""


def recipe_id(recipe: dict[str, Any]) -> str:
    """Return eight hexadecimal digits that differ for recipes whose plain data differ."""
    text = json.dumps(recipe, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def tell_apart(recipes: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Say of each of several recipes, given as plain data, in what it differs from the others.

    >>> tell_apart({"a": {"steps": 8, "size": [48, 64]}, "b": {"steps": 16, "size": [48, 64]}})
    {'a': 'steps 8', 'b': 'steps 16'}
    """
    fields = [*Recipe.model_fields, *sorted({name for recipe in recipes.values() for name in recipe})]
    told: dict[str, list[str]] = {key: [] for key in recipes}
    for name in dict.fromkeys(fields):
        values = {key: recipe.get(name) for key, recipe in recipes.items()}
        if len({json.dumps(value, sort_keys=True) for value in values.values()}) == 1:
            continue
        short = {key: _shortly(value) for key, value in values.items()}
        alike = len(set(short.values())) == 1  # the same parts, with other numbers
        for key, value in short.items():
            told[key].append(f"other {name}" if alike else f"{name} {value}")
    return {key: ", ".join(parts) for key, parts in told.items()}


def _shortly(value: Any) -> str:
    """Write a field's value in a few letters: of parts their names alone."""
    if isinstance(value, dict):
        return str(value.get("name", "…"))
    if isinstance(value, list | tuple):
        parts = [_shortly(one) for one in value]
        return ("x" if value and all(isinstance(one, int) for one in value) else " ").join(parts) or "none"
    return f"{value:g}" if isinstance(value, float) else "none" if value is None else str(value)


def place_statistics(table: dict[str, Any], folder: Path) -> None:
    """Let the files of statistics that a recipe's image space and penalties name be found from a folder."""

    def placed(part: Any) -> Any:
        if not isinstance(part, dict):
            return part
        part = {name: placed(value) for name, value in part.items()}  # an image space may hold another
        named = part.get("statistics")
        return {**part, "statistics": str(folder / expand(named))} if isinstance(named, str) else part

    if "space" in table:
        table["space"] = placed(table["space"])
    if isinstance(table.get("penalties"), list):
        table["penalties"] = [placed(penalty) for penalty in table["penalties"]]


def recipe_files() -> dict[str, Path]:
    """Return the named recipes and their files: the repository's ``configs/recipes``, or its copy."""
    return config_files("recipes")


def config_files(kind: str) -> dict[str, Path]:
    """Return the TOML files of a folder of ``configs`` by their names, the repository's or its copy."""
    package = Path(__file__).parent.parent
    for folder in (package / "configs" / kind, package.parent / "configs" / kind):
        if folder.is_dir():
            return {path.stem: path for path in sorted(folder.glob("*.toml"))}
    return {}


def _sequence(what: str, value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return list(value)
    one = isinstance(value, dict | str) or hasattr(value, "part_name")
    hint = f"; one in a list: {what}=[…]" if one else ""
    raise RecipeError(f"recipe: {what} is a list of tables, got {value!r}{hint}")


def _zero(value: Any) -> str:
    """Return a hint for a number that TOML does not read: it begins with a point."""
    text = str(value).strip()
    return f"; write 0{text}" if text.startswith(".") and text[1:].isdecimal() else ""
