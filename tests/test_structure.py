"""How the code is built: imports point down, families stay apart, hubs are named for what they do."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import featvis

PACKAGE = Path(featvis.__file__).parent
FILES = sorted(path for path in PACKAGE.rglob("*.py") if "configs" not in path.parts)

LEVELS = [
    {"errors", "options", "version"},
    {"target", "parts", "files", "stages", "encoders", "views"},
    {"recipe", "catalog"},
    {"draws", "redirect", "smoothpool", "models"},
    {"images", "transforms", "objectives"},
    {"generators", "optimizers", "stepping", "opacity", "lbfgs"},
    {"slopes"},
    {"moving"},
    {"ascent"},
    {"pictures"},
    {"scoring", "films", "wanted"},
    {"jobs"},
    {"flow", "sets", "defaults"},
    {"execute", "planning"},
    {"manifest", "sheets", "progress", "saving"},
    {"store"},
    {"tuning", "beside", "resuming"},
    {"rendering", "examples"},
    {"estimate", "measuring", "pages", "attribution", "redrawn"},
    {"galleries", "kernels"},
    {"trust"},
    {"bench", "comparison"},
    {"cli"},
]
"""From the bottom up; what is on one level does not import its neighbours, but for BESIDE."""
ABOVE_ALL = {"__init__", "__main__"}
"""The hub imports lazily, by name; `python -m featvis` starts the command line."""
BESIDE = {
    ("options", "errors"),
    ("target", "errors"),
    ("models", "redirect"),
}
FAMILIES = {"images", "transforms", "objectives"}


def home(module):
    return module.removeprefix("featvis").lstrip(".").partition(".")[0] or "__init__"


def level(name):
    return next((place for place, names in enumerate(LEVELS) if name in names), None)


def imports(path):
    """Every featvis module that a file imports, wherever it does."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] == "featvis")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            if node.module == "featvis":
                yield from (f"featvis.{alias.name}" for alias in node.names)
            elif (node.module or "").startswith("featvis."):
                yield node.module


def name_of(path):
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_point_down(path):
    own = home(name_of(path).removesuffix(".__init__"))
    if own in ABOVE_ALL:
        return
    assert level(own) is not None, f"{own} has no level yet; say in LEVELS where it stands"
    for module in imports(path):
        other = home(module)
        if other == own:
            continue
        assert level(other) is not None or other == "__init__", f"{module} is imported but stands nowhere"
        if (own, other) in BESIDE or (other == "__init__" and own == "cli"):
            continue
        assert level(other) is not None, f"{name_of(path)} imports the hub"
        assert level(other) < level(own), f"{name_of(path)} imports {module}, which is not below it"


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
    if home(name_of(path)) in ("cli", "progress"):
        return
    calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
    assert not [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]


def test_there_is_one_minus_sign_that_turns_ascent_into_descent():
    backward = [
        (path.name, ast.unparse(node.func.value))
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "backward"
    ]
    assert backward == [("slopes.py", "(-scores.sum())")] or backward == [("slopes.py", "-scores.sum()")]


def test_no_text_refers_to_notes_that_a_user_has_not():
    texts = [*FILES, *PACKAGE.rglob("*.toml"), *PACKAGE.rglob("*.html")]
    assert not [path for path in texts if re.search(r"\b(FIELD|DESIGN|FEATURES)\b", path.read_text("utf-8"))]


def test_every_public_name_is_there():
    for name in featvis.__all__:
        assert getattr(featvis, name) is not None
    assert set(featvis.__all__) <= set(dir(featvis))
    with pytest.raises(AttributeError, match="has no attribute 'utils'"):
        _ = featvis.utils


@pytest.mark.parametrize(
    "module",
    [
        "featvis",
        "featvis.recipe",
        "featvis.target",
        "featvis.parts",
        "featvis.errors",
        "featvis.store",
        "featvis.pictures",
        "featvis.galleries.config",
    ],
)
def test_t45_importing_it_loads_no_torch_and_touches_no_device(module):
    code = f"import sys, {module}; print('torch' in sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "False"
