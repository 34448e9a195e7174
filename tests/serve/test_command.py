"""`featvis serve` as it is typed: what is refused before a network loads, and Ctrl-C."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from featvis.cli import main


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
