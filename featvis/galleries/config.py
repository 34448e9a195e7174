"""A gallery's config: what a TOML file may say, checked without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from featvis.errors import OutputError, RecipeError, TargetError, unknown
from featvis.pages.entries import read_list
from featvis.read import expand, read_toml
from featvis.spec.options import AtLeastOne, AtLeastTwo, Count, Positive
from featvis.spec.recipe import Recipe, config_files, place_statistics
from featvis.spec.register import first_complaint
from featvis.spec.target import parse_request, parse_vectors

COPY = "gallery.toml"  # The copy of the config that a folder was built from


def _as_table(value: Any) -> Any:
    return {"base": value} if isinstance(value, str) else value


def _recipe_schema() -> dict[str, Any]:
    fields = Recipe.model_json_schema()["properties"]
    about = "The recipe that the other fields change: a name or a TOML file."
    fields = {"base": {"type": "string", "description": about}, **fields}
    table = {"type": "object", "properties": fields, "additionalProperties": False}
    return {"anyOf": [{"type": "string"}, table]}


RecipeTable = Annotated[dict[str, Any], BeforeValidator(_as_table), WithJsonSchema(_recipe_schema())]
"""A recipe's name or file, or a table: ``base``, and the fields that change it. Without a base, the layer
chooses the recipe that is changed, as ``featvis render`` does."""

Variant = Literal["picture", "negative", "diverse"]


def _as_sides(value: Any) -> Any:
    sides = value if isinstance(value, list | tuple) else [value]
    if value is None or len(sides) not in (1, 2) or any(type(side) is not int or side < 1 for side in sides):
        raise RecipeError(f"input_size is one side or [height, width], in pixels from 1 up, got {value!r}")
    return tuple(sides) if len(sides) == 2 else sides[0]


Sides = Annotated[AtLeastOne | tuple[AtLeastOne, AtLeastOne], BeforeValidator(_as_sides)]
"""One side, or (height, width)."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


class Section(_Table):
    """A heading of the gallery and the units under it."""

    title: str = ""
    text: str = ""
    targets: tuple[str, ...]
    """Addresses as ``featvis render`` takes them; a layer's name may be a pattern: ``*`` stands for
    anything but a dot, ``**`` for anything, ``?`` for one character."""
    recipe: RecipeTable = {}  # Laid over the gallery's: fields that it does not name stay
    seeds: AtLeastOne | None = None  # How many pictures of each unit; by default the gallery's
    variants: tuple[Variant, ...] = ("picture",)
    """What is rendered of each unit: the picture; the negative, which is as unlike the unit as can be; a
    diverse set, pictures of it that are kept unlike each other."""
    diverse: AtLeastTwo = 4  # How many pictures a diverse set has

    @field_validator("targets")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise TargetError("targets: name at least one, for instance 'blocks.3:0:8'")
        for address in value:
            if parse_vectors(address) is None:
                parse_request(address)
        return value

    @field_validator("variants")
    @classmethod
    def _some_variant(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise RecipeError("variants: name at least one of picture, negative, diverse")
        return tuple(dict.fromkeys(value))


class Photographs(_Table):
    """Where to look for photographs that the units respond to."""

    folder: str | None = None
    """A folder of images, relative to the config's; None if only ``--examples`` names one."""
    count: AtLeastOne = 9  # How many for each unit


class Gallery(_Table):
    """What a gallery's config file says; :func:`load_gallery` reads one."""

    model: str = "efficientnet_lite0"
    weights: str | None = None
    """A weights file, relative to the config's folder, or ``none`` for random ones."""
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    input_size: Sides | None = None
    """The network's own: one side or [height, width]; of one that takes signals, their length."""
    unit_axis: int | dict[str, int] | None = None
    labels: str | None = None
    """A file of the classes' names, relative to the config's folder."""
    channel_order: Literal["rgb", "bgr"] | None = None
    range: Literal[1, 255] | None = None
    """Of the images that the network takes, of which ``mean`` and ``std`` are."""
    sample_rate: Positive | None = None
    """The network takes signals, of so many samples a second."""
    frames: AtLeastOne | None = None
    """The network takes videos or volumes, of so many frames."""
    title: str = ""
    text: str = ""  # Under the title; an empty line begins a new paragraph
    seed: Count = 0
    seeds: AtLeastOne = 1
    recipe: RecipeTable = {}
    sections: tuple[Section, ...]
    examples: Photographs | None = None
    executor: str | dict[str, Any] | None = None
    """How the pictures are computed, unless ``--executor`` says so: ``"ray:workers=4"``, or a table with
    ``name`` and its options."""

    @model_validator(mode="after")
    def _recipes(self) -> Gallery:
        if not self.sections:
            raise RecipeError("a gallery has at least one [[sections]]")
        seen: set[str] = set()
        for place, section in enumerate(self.sections, 1):
            try:
                base, changes = self.recipe_of(section)
                said = repr((base, changes))
                if said not in seen:  # thousands of sections have a few recipes
                    (Recipe() if base is None else Recipe.load(base)).but(**changes)
                    seen.add(said)
            except RecipeError as error:
                raise RecipeError(f"section {place}: {error}" if section.recipe else str(error)) from None
        return self

    def recipe_of(self, section: Section) -> tuple[str | None, dict[str, Any]]:
        """Return the recipe that a section begins with, None for the layer's choice, and what changes it."""
        table = {**self.recipe, **section.recipe}
        base = table.pop("base", None)
        if base is not None and not isinstance(base, str):
            raise RecipeError(f"recipe: base is a recipe's name or file, got {base!r}")
        return base, table


def gallery_files() -> dict[str, Path]:
    """Return the named configs and their files: the repository's ``configs/galleries``, or its copy."""
    return config_files("galleries")


def find_config(source: str | Path) -> Path:
    """Return the file of a gallery's config, which is that file or one of our names.

    Raises:
        RecipeError: there is no such file and no such name.

    >>> find_config("small").name
    'small.toml'
    """
    path, named = Path(source), gallery_files()
    if str(source) in named and not path.is_file():
        return named[str(source)]
    if path.is_dir():
        raise RecipeError(f"gallery config {str(source)!r} is a folder; name the .toml file")
    if not path.is_file():
        if path.suffix == ".toml" or len(path.parts) > 1:
            raise RecipeError(
                f"gallery config {str(source)!r} is not there; named configs: {', '.join(named)}"
            )
        raise RecipeError(
            unknown("gallery config", str(source), named, f"configs: {', '.join(named)}, or a .toml file")
        )
    return path


def load_gallery(source: str | Path) -> Gallery:
    """Read a gallery's config; files that it names by relative paths are looked for from its folder."""
    path = find_config(source)
    try:
        table = read_toml(path)
    except OutputError as error:
        raise RecipeError(str(error)) from None
    sections = [section for section in read_list(table.get("sections")) if isinstance(section, dict)]
    for where in (table, *sections):
        _place_base(where.get("recipe"), where, path.parent)
        if isinstance(where.get("targets"), list):
            where["targets"] = [_placed(address, path.parent) for address in where["targets"]]
    try:
        return Gallery.model_validate(table)
    except ValidationError as error:
        raise RecipeError(f"{path}: {_complaint(error)}") from None
    except (RecipeError, TargetError) as error:
        raise type(error)(f"{path}: {error}") from None


def beside(path: Path, name: str) -> Path:
    """Return where a file lies that a config names: relative to the config's own folder."""
    return path.parent / expand(name)


def is_copy(folder: Path, config: Path) -> bool:
    """Whether a config says the same as the one that a folder was built from."""
    try:
        return read_toml(folder / COPY) == read_toml(find_config(config))
    except (OutputError, RecipeError):
        return False


def make_schema() -> str:
    """Return the JSON Schema of a gallery's config."""
    return json.dumps(Gallery.model_json_schema(), indent=2)


def _place_base(recipe: Any, table: dict[str, Any], folder: Path) -> None:
    """Let a recipe's file, and one of statistics, be found from the config's folder."""
    if isinstance(recipe, dict):
        place_statistics(recipe, folder)
    base = recipe.get("base") if isinstance(recipe, dict) else recipe
    if isinstance(base, str) and base.endswith(".toml"):
        placed = str(folder / base)
        table["recipe"] = {**recipe, "base": placed} if isinstance(recipe, dict) else placed


def _placed(address: Any, folder: Path) -> Any:
    """Let a file of directions be found from the config's folder; every other address stays."""
    try:
        rows = parse_vectors(address) if isinstance(address, str) else None
    except TargetError:
        return address  # its section complains
    if rows is None:
        return address
    return rows.within(folder / expand(rows.file))


def _complaint(error: ValidationError) -> str:
    """Say the first complaint in one line, with the nearest right key of the table that it is about."""
    first = first_complaint(error)
    place = list(first["loc"])
    kind: type[BaseModel] = Gallery
    where = ""
    if place[:1] == ["sections"] and len(place) > 1:
        kind, where, place = Section, f"section {int(place[1]) + 1}", place[2:]
    elif place[:1] == ["examples"] and len(place) > 1:
        kind, where, place = Photographs, "examples", place[1:]
    where += ": " if where and place else ""
    name = ".".join(str(part) for part in place)
    if first["type"] == "extra_forbidden":
        return where + unknown("key", name, kind.model_fields, "keys: " + ", ".join(kind.model_fields))
    if first["type"] == "missing":
        hint = "; write [[sections]] with targets = [...]" if name == "sections" else ""
        return f"{where}{name} is missing{hint}"
    value = first.get("input")
    hint = _in_a_list(kind, place, value) if first["type"] == "tuple_type" else ""
    return f"{where}{name}: {first['msg']}{hint}, got {value!r}"


def _in_a_list(kind: type[BaseModel], place: list[Any], value: Any) -> str:
    """Return how a value is written that is right, but for the list that it is to stand in."""
    if len(place) != 1:
        return ""
    try:
        annotation: Any = kind.model_fields[place[0]].annotation
        TypeAdapter(annotation).validate_python([value])
        return f": [{json.dumps(value)}]"
    except (ValidationError, TypeError, RecipeError):
        return ""
