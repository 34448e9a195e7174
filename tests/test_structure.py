"""How the code is built: imports point down, families stay apart, hubs are named for what they do."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import featvis

PACKAGE = Path(featvis.__file__).parent
FILES = sorted(path for path in PACKAGE.rglob("*.py") if "configs" not in path.parts)

LEVELS = [
    {"spec"},
    {"models"},
    {"images", "transforms", "objectives"},
    {"engine", "results"},
    {"plan", "photographs", "pages"},
    {"run", "attribution"},
    {"galleries"},
    {"trust"},
    {"explore", "serve"},
    {"cli"},
]
"""The packages from the bottom up; below them all are the files beside them. None imports its neighbours."""
GROUND = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
FAMILIES = {"images", "transforms", "objectives"}


def home(module):
    return module.removeprefix("featvis").lstrip(".").partition(".")[0] or "__init__"


def level(name):
    if name in GROUND:
        return -1
    return next(place for place, names in enumerate(LEVELS) if name in names)


def defined(path):
    """The names that a module makes itself, at its top."""
    found = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif not isinstance(node, ast.Import | ast.ImportFrom):
            found |= {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
    return found


@cache
def imports(path):
    """Every featvis module that a file imports, wherever it does."""
    return tuple(_imports(path))


def _imports(path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] == "featvis")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            if node.module == "featvis" or (node.module or "").startswith("featvis."):
                yield from (named(node.module, alias.name) for alias in node.names)


def named(module, name):
    """The module that ``from module import name`` takes, or takes something from."""
    place = PACKAGE.parent.joinpath(*module.split("."), name)
    inner = place.with_suffix(".py").exists() or (place / "__init__.py").exists()
    return f"{module}.{name}" if inner or module == "featvis" else module


def name_of(path):
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_point_down(path):
    own = home(name_of(path).removesuffix(".__init__"))
    # The hub imports by name, when asked; `python -m featvis` starts the command line.
    if own in {"__init__", "__main__"}:
        return
    for module in imports(path):
        other = home(module)
        assert other != "__init__", f"{name_of(path)} imports the hub"
        if other != own:
            assert level(other) < level(own) or (own in GROUND and other in GROUND), (
                f"{name_of(path)} imports {module}, which is not below it"
            )


def test_there_is_no_circle():
    wanted = {name_of(path).removesuffix(".__init__"): set(imports(path)) for path in FILES}
    while leaves := [name for name, others in wanted.items() if not others & (wanted.keys() - {name})]:
        for name in leaves:
            del wanted[name]
    assert not wanted, "these import each other in a circle"


def test_no_module_hands_on_what_another_defines():
    """`from featvis.X import name` takes a name from the module that makes it."""
    made = {name_of(path).removesuffix(".__init__"): defined(path) for path in FILES}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("featvis."):
                for alias in node.names:
                    assert alias.name in made[node.module] or f"{node.module}.{alias.name}" in made, (
                        f"{name_of(path)} takes {alias.name} from {node.module}, which does not define it"
                    )


def test_the_house_is_small_enough_to_draw():
    boxes = [path for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]
    assert len(boxes) <= 27
    assert sum(map(len, LEVELS)) <= 17
    assert len(LEVELS) + 1 <= 11


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_families_do_not_know_each_other(path):
    own = home(name_of(path))
    if own in FAMILIES:
        assert not {home(module) for module in imports(path)} & (FAMILIES - {own})


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_module_is_called_after_nothing(path):
    assert not {*path.relative_to(PACKAGE).parts, path.stem} & {"utils", "helpers", "common", "misc", "core"}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_only_the_command_line_prints(path):
    if home(name_of(path)) == "cli" or path.stem == "progress":
        return
    calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
    assert not [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]


def test_there_is_one_minus_sign_that_turns_ascent_into_descent():
    backward = [
        (path.name, ast.unparse(node.args[0]))
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "backward"
        and node.args
    ]
    assert backward == [("lanes.py", "-scores[-1].sum()"), ("lanes.py", "images")]


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_that_windows_lacks_is_imported_at_once(path):
    tops = [node for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.Import)]
    assert not {alias.name for node in tops for alias in node.names} & {"fcntl", "resource", "pwd", "termios"}


def test_no_text_refers_to_notes_that_a_user_has_not():
    texts = [*FILES, *PACKAGE.rglob("*.toml"), *PACKAGE.rglob("*.html")]
    assert not [
        path for path in texts if re.search(r"\b(FIELD|DESIGN|FEATURES)\b(?!=)", path.read_text("utf-8"))
    ]


def test_every_public_name_is_there():
    for name in featvis.__all__:
        assert getattr(featvis, name) is not None
    assert set(featvis.__all__) <= set(dir(featvis))
    with pytest.raises(AttributeError, match="utils"):
        _ = featvis.utils


@pytest.mark.parametrize(
    "module",
    [
        "featvis",
        "featvis.spec.recipe",
        "featvis.spec.target",
        "featvis.spec.register",
        "featvis.errors",
        "featvis.results.store",
        "featvis.results.picture",
        "featvis.galleries.config",
    ],
)
def test_t45_importing_it_loads_no_torch_and_touches_no_device(module):
    code = f"import sys, {module}; print('torch' in sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "False"
