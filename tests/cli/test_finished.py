"""Mistakes and renders with nothing left to do cost no network; whatever has changed costs one."""

import json
import os
import resource
import subprocess
import sys

import pytest

from featvis.cli import main
from tests.without_torch import answers

SHORT = ["--size", "32", "--steps", "2"]


def told(capsys, *typed, code=0):
    assert main([*typed]) == code
    return capsys.readouterr()


@pytest.fixture
def loads(monkeypatch):
    """How often a network was loaded."""
    import featvis.models.load as place

    real, counted = place.load_model, []
    monkeypatch.setattr(
        place, "load_model", lambda *given, **more: counted.append(given) or real(*given, **more)
    )
    return counted


def test_the_same_command_again_loads_nothing_and_says_the_same(tmp_path, capsys, loads):
    typed = ["render", "blocks.1:0:2", *SHORT, "--out", str(tmp_path)]
    first = told(capsys, *typed)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert len(loads) == 1
    again = told(capsys, *typed)
    assert len(loads) == 1
    assert "2 of 2 pictures are there already" in again.err
    assert first.out.splitlines()[1:] == again.out.splitlines()[1:]
    assert again.out.startswith(f"2 pictures in {tmp_path} (")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    pictures = json.loads(told(capsys, *typed, "--json").out)["pictures"]
    assert [one["target"] for one in pictures] == ["blocks.1:0", "blocks.1:1"]
    assert len(loads) == 1


def test_whatever_has_changed_is_looked_at_with_the_network(tmp_path, capsys, loads):
    typed = ["render", "blocks.1:0:2", *SHORT, "--out", str(tmp_path)]
    told(capsys, *typed)
    picture = tmp_path / "blocks.1" / "0001.png"
    whole = picture.read_bytes()
    picture.write_bytes(whole[:-200])  # torn
    assert "1 of 2 pictures are there already" in told(capsys, *typed).err
    assert picture.read_bytes() == whole
    (tmp_path / "blocks.1" / "grid.png").unlink()
    told(capsys, *typed)
    assert (tmp_path / "blocks.1" / "grid.png").is_file()
    assert len(loads) == 3
    told(capsys, *typed, "--seed", "1")
    told(capsys, *typed, "--lanes", "3")
    assert len(loads) == 5


def test_a_render_that_failed_or_was_of_random_weights_is_another(tmp_path, capsys, loads):
    typed = ["render", "blocks.1:0", *SHORT, "--weights", "none", "--out", str(tmp_path)]
    told(capsys, *typed)
    told(capsys, *typed)
    assert len(loads) == 1
    told(capsys, *typed[:-4], "--out", str(tmp_path), code=2)  # another network's folder
    assert len(loads) == 2


MISTAKEN = [
    ["render", "classifier:corgi"],
    ["render", "zebra"],
    ["attribute", "x.png", "-t", "blokcs.1:0"],
    ["dream", "x.png", "-l", "blokcs.1"],
    ["weights", "conv_stemm"],
    ["bench", "--layer", "blokcs.1"],
    ["compare", "fast", "channel", "-t", "classifier:corgi"],
]


def test_a_mistaken_unit_or_layer_imports_no_torch():
    for typed, answer in zip(MISTAKEN, answers(MISTAKEN), strict=True):
        assert "torch" not in answer.heavy, typed
        assert answer.code == 2, (typed, answer.err)
        assert len(answer.err.splitlines()) == 1, typed


def cpu_seconds(*typed):
    """The least processor time of a few runs of a command."""
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-m", "featvis", *typed], capture_output=True, check=False, env=os.environ
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)


@pytest.mark.slow
def test_a_mistaken_class_answers_at_once():
    assert cpu_seconds("render", "classifier:corgi") < 0.5


@pytest.mark.slow
def test_nothing_left_to_do_is_seen_at_once(tmp_path):
    typed = ["render", "blocks.1:0:8", *SHORT, "--out", str(tmp_path)]
    assert main(typed) == 0
    assert cpu_seconds(*typed) < 1
