"""Registers that find their entries by themselves: one new file in a folder adds one.

A file of the package enters something by a decorator whose arguments are literals::

    @source("timm", example="timm:NAME", about="timm (download)")
    class Timm(ModelSource): ...

The arguments, and the keyword parameters of a function as its ``options`` (their annotations as its
``types``, where an entry has these), are read from the file's text, so that help texts and errors know every
entry and nothing (no torch) is imported before it is used.

Files of one's own are found in two ways. On the command line, the environment variable ``FEATVIS_PLUGINS``
names folders (separated as in ``PATH``) that are laid out as featvis is: ``FOLDER/models/sources/zoo.py``
adds a source of models, ``FOLDER/transforms/mine.py`` a transform. They run as featvis' own code
does. In Python, importing a module with such a decorator is enough.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

from featvis.errors import UserError

PLUGINS = "FEATVIS_PLUGINS"
Entry = TypeVar("Entry")
Made = TypeVar("Made", bound=Callable[..., Any])


class Register(Generic[Entry]):
    """What the files of one package enter by one decorator, whose arguments ``schema`` makes an entry of."""

    def __init__(self, package: str, decorator: str, schema: Callable[..., Entry]) -> None:
        self.package, self.decorator, self.schema = package, decorator, schema
        self._made: dict[str, tuple[Entry, Any]] = {}
        self._typed = "types" in inspect.signature(schema).parameters

    def entries(self) -> dict[str, Entry]:
        """Return the entries by name: those of the files, importing none, then those of other modules."""
        found = {
            name: self.schema(name, **self._kept(options)) for name, (_, options) in self._read().items()
        }
        return found | {name: entry for name, (entry, _) in self._made.items() if name not in found}

    def enter(self, name: str, **options: Any) -> Callable[[Made], Made]:
        """Return the decorator that enters a class or function under a name."""

        def decorate(made: Made) -> Made:
            if inspect.isfunction(made) and made.__kwdefaults__:
                options["options"] = made.__kwdefaults__
                if self._typed:
                    options["types"] = {
                        name: one if isinstance(one := made.__annotations__[name], str) else one.__name__
                        for name in made.__kwdefaults__
                        if name in made.__annotations__
                    }
            self._made[name] = (self.schema(name, **options), made)
            return made

        return decorate

    def find(self, name: str) -> Any:
        """Return what is entered under a name, importing its file; KeyError if there is nothing."""
        files = self._read()
        if name in files:
            importlib.import_module(f"{self.package}.{files[name][0]}")
        return self._made[name][1]

    def _kept(self, options: dict[str, Any]) -> dict[str, Any]:
        return options if self._typed else {name: one for name, one in options.items() if name != "types"}

    def _read(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """Return by name the module of the package and the decorator's keywords."""
        return {
            name: (file.stem, options)
            for file in files_of(self.package)
            for name, options in _decorated(file, file.stat().st_mtime_ns, self.decorator)
        }


def files_of(package: str) -> tuple[Path, ...]:
    """Return the files of a package, those in the folders of plug-ins last."""
    path = importlib.import_module(package).__path__
    for folder in os.environ.get(PLUGINS, "").split(os.pathsep):
        place = os.path.join(folder, *package.split(".")[1:])
        if folder and place not in path:
            path.append(place)
    return tuple(file for place in path for file in _files_in(place))


_listed: dict[str, tuple[int, tuple[Path, ...]]] = {}
"""By folder, when it changed last and its files then: a render asks for these dozens of times."""
_SETTLED = 2_000_000_000
"""Nanoseconds after which a change of a folder cannot have the same time as the one before."""


def _files_in(place: str) -> tuple[Path, ...]:
    try:
        changed = os.stat(place).st_mtime_ns
    except OSError:
        return ()
    if place in _listed and _listed[place][0] == changed:
        return _listed[place][1]
    files = tuple(file for file in sorted(Path(place).glob("*.py")) if file.stem != "__init__")
    if time.time_ns() - changed > _SETTLED:
        _listed[place] = changed, files
    return files


@cache
def _decorated(file: Path, changed: int, decorator: str) -> list[tuple[str, dict[str, Any]]]:
    text = file.read_text("utf-8")
    if f"@{decorator}(" not in text:
        return []
    try:
        return [
            (ast.literal_eval(call.args[0]), _options(node, call))
            for node in ast.parse(text).body
            if isinstance(node, ast.ClassDef | ast.FunctionDef)
            for call in node.decorator_list
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == decorator
        ]
    except (SyntaxError, ValueError, IndexError) as error:
        rule = "takes its name and keywords as literals, and so do the keyword parameters of its function"
        cause = f"{type(error).__name__}: {' '.join(str(error).split())[:80]}"
        raise UserError(f"{file}: @{decorator} {rule} ({cause})") from None


def _options(node: ast.ClassDef | ast.FunctionDef, call: ast.Call) -> dict[str, Any]:
    options = {keyword.arg or "": ast.literal_eval(keyword.value) for keyword in call.keywords}
    if isinstance(node, ast.FunctionDef) and node.args.kwonlyargs:
        options["options"] = {
            argument.arg: None if default is None else ast.literal_eval(default)
            for argument, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
        }
        options["types"] = {
            argument.arg: ast.unparse(argument.annotation)
            for argument in node.args.kwonlyargs
            if argument.annotation is not None
        }
    return options
