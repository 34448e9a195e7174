"""The register of parts (image spaces, transforms, objectives), and their options without torch.

A part is a class in a file of its own, entered by a decorator::

    @part("fourier")
    class FourierImage(ImageSpace): ...

Its annotated fields are its options. A recipe must be checked before torch is imported, so
:func:`scan` reads the same fields from the source text; a test holds the two to each other.
"""

from __future__ import annotations

import ast
import importlib
import re
import sys
from collections.abc import Callable, Container, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.dataclasses import dataclass as validated

from featvis.errors import RecipeError, nearest, unknown
from featvis.spec import options
from featvis.spec.discovery import files_of

FAMILIES = ("images", "transforms", "objectives")
_CLASSES: dict[tuple[str, str], type] = {}
_NOT_IN_RECIPES = {"size", "channels"}  # the recipe says these once, for every part
_T = TypeVar("_T", bound=type)


def part(name: str, *, python_only: bool = False) -> Callable[[_T], _T]:
    """Enter a class under ``name`` in the family of its package; its fields become its options.

    The class gets a validating constructor (keywords only); a wrong option raises
    :class:`~featvis.errors.RecipeError` in one line.

    Args:
        name: by which recipes of this program know it; give another class another name.
        python_only: recipes' files and the command line cannot name it.

    Returns:
        The decorator of an :class:`featvis.ImageSpace` or a :class:`featvis.Transform`.

    >>> import featvis as fv
    >>> @fv.part("darker")
    ... class Darker(fv.Transform):
    ...     numbers = 0
    ...     factor: float = 0.5
    ...     def prepare(self, uniform, progress, canvas, shown_size):
    ...         return uniform
    ...     def apply(self, images, values, field, shown_size):
    ...         return images * self.factor
    >>> Darker(factor="much")
    Traceback (most recent call last):
    featvis.errors.RecipeError: Darker: factor: input should be a valid number...
    """

    def enter(cls: _T) -> _T:
        family = cls.__module__.split(".")[1] if cls.__module__.startswith("featvis.") else "user"
        family = family if family in FAMILIES and not python_only else "user"
        config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", allow_inf_nan=False)
        made: Any = validated(config=config, frozen=True, kw_only=True, eq=False)(cls)
        checked = made.__init__

        def __init__(self: Any, **settings: Any) -> None:
            try:
                checked(self, **_gathered(options.plain(settings), made.__dataclass_fields__))
            except ValidationError as error:
                names = [n for n in cls.__annotations__ if not n.startswith("_")]
                raise RecipeError(one_line(error, cls.__name__, names)) from None

        made.__init__ = __init__
        made.part_name = name
        _CLASSES[family, name] = made
        return made  # type: ignore[no-any-return]

    return enter


def find(family: str, name: str) -> type:
    """Return the class entered as ``name``, importing its family.

    Raises:
        RecipeError: there is no such part.
    """
    for file in files_of(f"featvis.{family}"):
        importlib.import_module(f"featvis.{family}.{file.stem}")
    if (family, name) not in _CLASSES and ("user", name) in _CLASSES:
        return _CLASSES["user", name]
    if (family, name) not in _CLASSES:
        raise RecipeError(unknown(_KIND[family], name, names(family)))
    return _CLASSES[family, name]


def brought() -> dict[tuple[str, str], type]:
    """Return the parts that are not featvis' own, for another process; see :func:`take_brought`."""
    own = Path(options.__file__).resolve().parents[1]
    return {key: made for key, made in _CLASSES.items() if not _lies_in(made, own)}


def take_brought(parts: dict[tuple[str, str], type]) -> None:
    """Enter the parts that another process brought."""
    for key, made in parts.items():
        _CLASSES.setdefault(key, made)


def _lies_in(made: type, folder: Path) -> bool:
    file = getattr(sys.modules.get(made.__module__), "__file__", None)
    return file is not None and Path(file).resolve().is_relative_to(folder)


def make(family: str, spec: dict[str, Any], **fixed: Any) -> Any:
    """Build the part that ``spec`` (``{"name": …, option: value …}``) describes."""
    settings = {key: value for key, value in spec.items() if key not in ("name", "weight")}
    return find(family, spec["name"])(**settings, **fixed)


def names(family: str) -> list[str]:
    """Return the names in a family that a recipe can use, without importing it."""
    return sorted(scan(family))


def check(family: str, spec: Any, extra: tuple[str, ...] = ()) -> dict[str, Any]:
    """Check a part's entry in a recipe and fill in its defaults, without torch.

    Args:
        family: ``images``, ``transforms`` or ``objectives``.
        spec: a name, or a table with ``name`` and options.
        extra: options beyond the part's own that are passed through, for instance ``weight``.

    Raises:
        RecipeError: unknown part or option, wrong type, out of range; names the nearest right one.
    """
    if isinstance(spec, str):
        spec = {"name": spec}
    spec = options.plain(spec)
    if not isinstance(spec, dict) or not isinstance(spec.get("name"), str):
        raise RecipeError(f"{_KIND[family]}: expected a table with a name, got {_shown(spec)}")
    name = spec["name"]
    schemas = scan(family)
    if name not in schemas:
        if ("user", name) in _CLASSES:
            return dict(spec)
        raise RecipeError(unknown(_KIND[family], name, schemas, hint_of(family, name, schemas)))
    settings = {key: value for key, value in spec.items() if key != "name" and key not in extra}
    schema = schemas[name]
    settings = _gathered(settings, schema.model_fields)
    try:
        filled = schema.model_validate(settings).model_dump(mode="json")
    except ValidationError as error:
        raise RecipeError(one_line(error, name, list(schema.model_fields))) from None
    if "inner" in filled:
        filled["inner"] = check(family, filled["inner"])
    # An option without a value is not written: a part may gain one, and old recipes keep their keys.
    filled = {key: value for key, value in filled.items() if value is not None}
    return {"name": name, **filled, **{key: spec[key] for key in extra if key in spec}}


def describe(instance: Any) -> dict[str, Any]:
    """Write a part as the entry that a recipe would hold.

    Raises:
        RecipeError: its name was given to another part since, which the entry would stand for.
    """
    named = _CLASSES.get(("user", instance.part_name), type(instance))
    if type(instance).__module__ == named.__module__ and type(instance) is not named:
        raise RecipeError(
            f"two parts are called {instance.part_name!r}, and recipes mean the last: give each a name"
        )
    settings = {
        key: getattr(instance, key)
        for key in instance.__dataclass_fields__
        if not key.startswith("_") and key not in _NOT_IN_RECIPES
    }
    if hasattr(settings.get("inner"), "part_name"):
        settings["inner"] = describe(settings["inner"])
    return {"name": instance.part_name, **settings}


def scan(family: str) -> dict[str, type[BaseModel]]:
    """Read the options of every part of a family from its source, importing nothing of it.

    A schema's docstring is the part's; a field's description is its annotation as it is written.
    """
    return _scan(files_of(f"featvis.{family}"))


@lru_cache
def _scan(files: tuple[Path, ...]) -> dict[str, type[BaseModel]]:
    schemas: dict[str, type[BaseModel]] = {}
    for path in files:
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef):
                for decorator in node.decorator_list:
                    if (
                        isinstance(decorator, ast.Call)
                        and isinstance(decorator.func, ast.Name)
                        and decorator.func.id == "part"
                        and not decorator.keywords  # python_only
                    ):
                        name = ast.literal_eval(decorator.args[0])
                        schemas[name] = _schema(name, node)
    return schemas


def one_line(error: ValidationError, what: str, known: list[str]) -> str:
    """Say the first complaint of a pydantic error in one line, with the nearest right key."""
    first = first_complaint(error)
    where = ".".join(str(place) for place in first["loc"])
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        options_known = "options: " + ", ".join(known) if known else "it has no options"
        return f"{what}: " + unknown("option", where.split(".")[-1], known, options_known)
    got = first.get("input")
    place = f"{what}: {where}" if where else what
    if first["type"] == "value_error":
        return f"{place}: {first['ctx']['error']}"
    return f"{place}: {first['msg']}, got {got!r}" if first["type"] != "missing" else f"{place} is missing"


_KINDS_OF_ERROR = {
    "tuple_type": "input should be a list",
    "list_type": "input should be a list",
    "dict_type": "input should be a table",
    "model_type": "input should be a table",
    "model_attributes_type": "input should be a table",
}
"""What pydantic says by the names of Python's types, in words that whoever writes TOML has, too."""
_ALTERNATIVE = re.compile(r"(str|int|float|bool|constrained-\w+|(dict|tuple|list|literal|function)[-\[].*)")
"""What stands in the place of a complaint for one of several types that a field takes."""


def first_complaint(error: ValidationError) -> dict[str, Any]:
    """Return the first complaint of a pydantic error as ``ValidationError.errors`` does, in a user's words.

    Of a field that takes several types all are told that do not fit, or what is wrong inside the one that
    does.
    """
    found: list[dict[str, Any]] = [dict(one) for one in error.errors(include_url=False)]
    place = next((at for at, part in enumerate(found[0]["loc"]) if _is_alternative(part)), None)
    if place is None:
        return {**found[0], "msg": _in_words(found[0])}
    field = found[0]["loc"][:place]
    of_it = [
        one
        for one in found
        if one["loc"][:place] == field and len(one["loc"]) > place and _is_alternative(one["loc"][place])
    ]
    inside = [one for one in of_it if len(one["loc"]) > place + 1]
    first = inside[0] if inside else of_it[0]
    said = dict.fromkeys(_in_words(one).partition(", ")[0] for one in of_it)
    message = " or ".join(said).replace(" or input should be ", " or ")
    return {
        **first,
        "loc": (*field, *first["loc"][place + 1 :]),
        "msg": _in_words(first) if inside else message,
    }


def _is_alternative(part: object) -> bool:
    return isinstance(part, str) and _ALTERNATIVE.fullmatch(part) is not None


def _in_words(complaint: Mapping[str, Any]) -> str:
    said = str(complaint["msg"])
    words = _KINDS_OF_ERROR.get(complaint["type"], said[0].lower() + said[1:])
    return re.sub(r"^(tuple|list|dictionary) should have (.*?)( after validation)?, not", _has_too, words)


def _has_too(match: re.Match[str]) -> str:
    kind = "table" if match[1] == "dictionary" else "list"
    return f"{kind} should have {match[2]}, not"


def _shown(value: Any) -> str:
    """Write what was given in a few words."""
    if hasattr(value, "part_name"):
        return f"a part that was made: write {{'name': {value.part_name!r}, …}}"
    return getattr(value, "__name__", type(value).__name__) if callable(value) else repr(value)


def hint_of(family: str, name: str, known: Iterable[str]) -> str:
    """Return where the right names stand, for a name that is like none of them."""
    listed = ", ".join(sorted(known))
    return "" if nearest(name, known) else f"{_KIND[family]}s: {listed}"


_KIND = {"images": "image space", "transforms": "transform", "objectives": "objective"}


def _gathered(settings: dict[str, Any], fields: Container[str]) -> dict[str, Any]:
    """Move what a part that passes options on does not know itself into its field ``options``."""
    known = {key: value for key, value in settings.items() if key in fields}
    if "options" not in fields or len(known) == len(settings):
        return settings
    if not isinstance(known.get("options", {}), dict):
        return settings
    rest = {key: value for key, value in settings.items() if key not in fields}
    return {**known, "options": {**known.get("options", {}), **rest}}


def _schema(name: str, node: ast.ClassDef) -> type[BaseModel]:
    space: dict[str, Any] = {**vars(options), "Literal": Literal}
    fields: dict[str, Any] = {}
    for line in node.body:
        if not isinstance(line, ast.AnnAssign) or not isinstance(line.target, ast.Name):
            continue
        field, annotation = line.target.id, ast.unparse(line.annotation)
        if field.startswith("_") or field in _NOT_IN_RECIPES or annotation.startswith("ClassVar"):
            continue
        # Our own source, read as the interpreter would read it; nothing of a user's comes here.
        kind = eval(
            annotation,
            {"__builtins__": {"float": float, "int": int, "bool": bool, "str": str, "tuple": tuple}},
            space,
        )
        default = ... if line.value is None else ast.literal_eval(line.value)
        fields[field] = (kind, Field(default, description=annotation))
    config = ConfigDict(extra="forbid", validate_default=True, allow_inf_nan=False)
    return create_model(name, __config__=config, __doc__=ast.get_docstring(node), **fields)
