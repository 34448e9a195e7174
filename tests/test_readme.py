"""The README: its Python blocks run, in order, as one program; its commands, config and files are real."""

import inspect
import re
import shlex
import textwrap
from pathlib import Path

import pytest
from typer.main import get_command

from featvis.cli.app import app
from featvis.engine.lanes import Lanes
from featvis.galleries.config import load_gallery

README = Path(__file__).parent.parent / "README.md"


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README.read_text("utf-8"), re.DOTALL | re.MULTILINE)


COMMANDS = [
    line.strip()
    for text in blocks("sh")
    for line in text.replace("\\\n", " ").splitlines()
    if line.startswith("featvis ")
]


@pytest.mark.slow
def test_the_readme_runs(tmp_path, monkeypatch):
    assert len(blocks("python")) >= 3
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks("python"):
        exec(compile(block, str(README), "exec"), names)
    assert (tmp_path / "unit.png").is_file()
    assert names["again"].png() == names["pictures"][0].png()


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_that_the_readme_shows_takes_these_options(line):
    _, *words = shlex.split(line, comments=True)
    command = get_command(app)
    while hasattr(command, "commands"):
        assert words[0] in command.commands, f"no command {words[0]}"
        command = command.commands[words.pop(0)]
    known = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
    assert {word for word in words if word.startswith("-")} <= known
    command.make_context("featvis", list(words))  # arguments missing or too many, values of a wrong type


def test_the_gallery_that_the_readme_shows_is_one(tmp_path):
    (text,) = blocks("toml")
    (tmp_path / "shown.toml").write_text(text, "utf-8")
    assert len(load_gallery(tmp_path / "shown.toml").sections) == 1


def test_the_loop_that_the_readme_shows_is_the_code():
    (shown,) = re.findall(r"<!-- the loop -->\n```\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    source = inspect.getsource(Lanes.climb)
    body = source[source.rindex('"""') + 4 :]
    assert shown == textwrap.dedent(body)


def test_every_file_that_the_readme_shows_is_there():
    shown = re.findall(r"\]\(([^)#:]+)\)", README.read_text("utf-8"))
    assert shown
    assert [name for name in shown if not (README.parent / name).exists()] == []
