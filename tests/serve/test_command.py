"""`featvis serve` as it is typed: what is refused before a network loads, and Ctrl-C."""

from __future__ import annotations

import json
import shlex
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from featvis.cli import main
from featvis.results.picture import load_picture
from featvis.serve.asked import Asked
from featvis.serve.board import write_code
from featvis.serve.queue import Job


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (["--port", "70000"], "--port is a number from 0 to 65535, got 70000"),
        (["no/such/gallery"], "no network's name"),
        (["."], "holds no pictures"),
    ],
)
def test_mistakes_are_one_line(typed, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["serve", *typed]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line


def test_a_port_that_is_taken_is_said(capsys, embedded_once):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port)]) == 2
    assert f"cannot listen on port {port}" in capsys.readouterr().err


def test_without_the_extra_it_is_named(capsys, monkeypatch):
    monkeypatch.setattr("featvis.cli.serve.find_spec", lambda name: None)
    assert main(["serve"]) == 2
    assert "pip install 'featvis[serve]'" in capsys.readouterr().err


@pytest.mark.slow
def test_ctrl_c_ends_it_with_nothing_left():
    process = subprocess.Popen(
        [sys.executable, "-m", "featvis", "serve", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    lines = [process.stdout.readline() for _ in range(4)]
    told = json.loads(b"".join(lines))
    assert told["model"] == "efficientnet_lite0"
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(told["address"].partition("?")[0], timeout=30)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert errors.decode().splitlines()[-1] == "ended"
    assert b"Traceback" not in errors


SOURCE = """
import torch
from torch import nn
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
def ears(): return nn.Sequential(nn.Conv1d(1, 4, 9), nn.ReLU())
def eyes(): return nn.Sequential(nn.Conv3d(3, 4, 3), nn.ReLU())
"""


@pytest.fixture
def explored(tmp_path, monkeypatch):
    """What would be served, and the address that a browser was asked to open."""
    (tmp_path / "net.py").write_text(SOURCE)
    (tmp_path / "labels.txt").write_text("cat\ndog")
    monkeypatch.chdir(tmp_path)
    seen = {}

    def serve(explorer, port, say):
        seen.update(explorer=explorer, port=port)
        say("http://127.0.0.1:1/")
        explorer.close()

    monkeypatch.setattr("featvis.serve.server.serve", serve)
    monkeypatch.setattr("webbrowser.open", lambda address: seen.update(opened=address))
    return seen


def test_a_network_is_explored_as_it_was_told(explored, capsys):
    typed = ["--weights", "none", "--mean", "0.4,0.5,0.6", "--std", "0.1,0.2,0.3", "--input-size", "24x32"]
    typed += ["--labels", "labels.txt", "--channel-order", "bgr", "--range", "1", "--unit-axis", "1"]
    assert main(["serve", "file:net.py:net", *typed, "--device", "cpu", "--port", "8123", "--show"]) == 0
    handle = explored["explorer"].model(explored["explorer"].first)
    assert (handle.input_size, handle.labels) == ((24, 32), ("cat", "dog"))
    told = explored["explorer"].told[explored["explorer"].first]
    drawn = explored["explorer"].draw(
        Asked(handle.name, "3:dog", changes={"size": 32, "steps": 2}), Job(lambda job: None)
    )
    assert "--weights none --mean 0.4,0.5,0.6" in drawn["command"]
    assert main([*shlex.split(drawn["command"])[1:], "--out", "again"]) == 0
    assert load_picture("again/3/0001.png").score == drawn["score"]
    code = write_code(list(explored["explorer"].drawn.values()), explored["explorer"].told)
    made = {}
    exec(code, made)
    assert [picture.score for picture in made["pictures"]] == [drawn["score"]]
    assert (told["weights"], told["mean"], told["channel_order"]) == ("none", (0.4, 0.5, 0.6), "bgr")
    assert (explored["port"], explored["opened"]) == (8123, "http://127.0.0.1:1/")
    assert capsys.readouterr().out.startswith("http://127.0.0.1:1/\n")


@pytest.mark.parametrize(
    ("name", "typed", "field"),
    [
        ("ears", ["--sample-rate", "8000", "--input-size", "64", "--mean", "0", "--std", "1"], "signal"),
        ("eyes", ["--frames", "6", "--mean", "0,0,0", "--std", "1,1,1"], "frames"),
    ],
)
def test_signals_and_videos_are_told(name, typed, field, explored):
    assert main(["serve", f"file:net.py:{name}", *typed]) == 0
    assert getattr(explored["explorer"].model(explored["explorer"].first), field)


def test_a_gallery_does_not_name_code_to_run(explored, capsys, tmp_path):
    typed = ["--mean", "0,0,0", "--std", "1,1,1", "--input-size", "16"]
    size = ["--size", "16", "--steps", "1", "--out", "made"]
    assert main(["render", "0:0", "--model", "file:net.py:net", *typed, *size]) == 0
    (tmp_path / "net.py").write_text("raise SystemExit('it ran')")
    assert main(["serve", "made"]) == 2
    assert "give file:net.py:net --gallery made to have that loaded" in capsys.readouterr().err
    (tmp_path / "net.py").write_text(SOURCE)
    assert main(["serve", "file:net.py:net", *typed, "--gallery", "made"]) == 0
    assert explored["explorer"].gallery == Path("made")
    assert main(["serve", "file:net.py:net", *typed, "--gallery", "."]) == 2
    assert "holds no pictures" in capsys.readouterr().err
