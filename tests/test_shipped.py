"""What is shipped works as it is: dependencies declared, every option run by some test."""

import ast
import importlib
import re
import sys
import tomllib
from pathlib import Path

import pytest
from typer.main import get_command

import featvis.cli
from featvis.cli.app import make_app

ROOT = Path(__file__).parent.parent
PACKAGE = Path(featvis.__file__).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
IMPORT_NAMES = {"pillow": "PIL", "imageio": "imageio", "open-clip-torch": "open_clip", "umap-learn": "umap"}
"""Where a distribution and its module have two names."""
HOSTS = {"IPython", "ipywidgets"}
"""What a notebook brings, if we run in one; nobody installs it for featvis."""
TESTS = [path.read_text("utf-8") for path in sorted((ROOT / "tests").rglob("test_*.py"))]


def modules(requirements):
    names = (re.split(r"[\[<>=~!; ]", text, maxsplit=1)[0].lower() for text in requirements)
    dashed = (name.replace("_", "-") for name in names)
    return {IMPORT_NAMES.get(name, name.replace("-", "_")) for name in dashed}


def foreign_imports(path):
    """Every module that a file imports from elsewhere, and whether it does so at once."""
    tree = ast.parse(path.read_text("utf-8"))
    later = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            later |= set(ast.walk(node))
    for node in ast.walk(tree):
        found = []
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found = [node.module]
        for name in found:
            top = name.partition(".")[0]
            if top not in sys.stdlib_module_names and top != "featvis":
                yield top, node not in later


def test_t46_every_import_is_declared():
    # A room of an extra's name is entered after that was found there.
    needed = modules(PROJECT["dependencies"])
    optional = set().union(*(modules(extra) for extra in PROJECT["optional-dependencies"].values()))
    for path in PACKAGE.rglob("*.py"):
        for name, at_once in foreign_imports(path):
            own = modules(PROJECT["optional-dependencies"].get(path.parent.name, ()))
            known = needed | own if at_once else needed | optional | HOSTS
            assert name in known, f"{path.relative_to(ROOT)} imports {name}"


def test_the_console_command_is_the_one_that_the_tests_call():
    module, _, name = PROJECT["scripts"]["featvis"].partition(":")
    assert getattr(importlib.import_module(module), name) is featvis.cli.main


def commands(command, words=()):
    """Every command that does something, with the words that call it."""
    for name, one in getattr(command, "commands", {}).items():
        yield from commands(one, (*words, name))
    if not getattr(command, "commands", None):
        yield words, command


OPTIONS = [
    (" ".join(words), option)
    for words, command in commands(get_command(make_app()))
    for option in command.params
    if option.param_type_name == "option" and "--help" not in option.opts
]


@pytest.mark.parametrize(("command", "option"), OPTIONS, ids=[f"{c} {o.opts[0]}" for c, o in OPTIONS])
def test_t44_every_option_of_the_command_line_is_run_by_a_test(command, option):
    """Told by the text: some test file that names the command in quotes names the option in quotes too."""
    quoted = [f'"{name}"' for name in (*option.opts, *option.secondary_opts)]
    quoted += [f'"{name}=' for name in option.opts]
    running = [text for text in TESTS if all(f'"{word}"' in text for word in command.split())]
    assert any(name in text for text in running for name in quoted), f"no test runs it with {option.opts[0]}"
