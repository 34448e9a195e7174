"""What commands say and where: quiet and verbose, JSON, the environment's part, singular and plural."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

import featvis as fv
from featvis.cli import main
from featvis.cli.output import set_loudness

SOURCE = """
from tests.networks import Small, seeded
def build():
    return seeded(Small), {"mean": (0.5,) * 3, "std": (0.5,) * 3, "input_size": (24, 32)}
"""
NETWORK = "file:net.py:build"
SHORT = ["--size", "24x32", "--steps", "2", "--lanes", "1"]
RENDER = ["render", "norm:1", "--model", NETWORK, *SHORT]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    (tmp_path / "net.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    set_loudness(quiet=False, verbose=False)


def test_a_quiet_command_says_its_result_alone(capsys):
    assert main([*RENDER, "--out", "loud"]) == 0
    loud = capsys.readouterr()
    assert "running the code of net.py" in loud.err
    assert main([*RENDER, "--out", "quiet", "-q"]) == 0
    quiet = capsys.readouterr()
    assert quiet.err == ""
    assert quiet.out.splitlines()[1] == "quiet/norm/grid.png"
    assert Path("quiet/norm/0001.png").read_bytes() == Path("loud/norm/0001.png").read_bytes()
    assert main(["-q", "render", "norm:99", "--model", NETWORK, *SHORT]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "out of range" in line


def test_a_verbose_command_tells_what_it_does(capsys):
    assert main([*RENDER, "--out", "told", "--verbose"]) == 0
    told = capsys.readouterr().err
    for what in ("loaded file:net.py:build", "layers of file:net.py:build", "1 lane", "norm/0001.png"):
        assert what in told, told
    assert main([*RENDER, "--out", "again"]) == 0
    assert "loaded file:net.py:build" not in capsys.readouterr().err


def test_quiet_and_verbose_are_one_too_many(capsys):
    assert main([*RENDER, "-q", "-v"]) == 2
    assert "one of them" in capsys.readouterr().err


def test_the_library_is_silent_and_its_log_can_be_read(caplog):
    program = (
        "import featvis as fv, torch; network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3));"
        "model = fv.load_model(network, mean=(0.5,) * 3, std=(0.5,) * 3, input_size=16);"
        "fv.render(model, '0:1', size=16, steps=1)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with caplog.at_level(logging.DEBUG, logger="featvis"):
        fv.load_model(NETWORK)
    assert any(record.getMessage().startswith(f"loaded {NETWORK}") for record in caplog.records)
    assert any(isinstance(handler, logging.NullHandler) for handler in logging.getLogger("featvis").handlers)


def test_render_as_data(capsys):
    assert main([*RENDER, "--out", "data", "--json", "-q"]) == 0
    told = json.loads(capsys.readouterr().out)
    (entry,) = told["pictures"]
    (stored,) = json.loads(Path("data/manifest.json").read_text())["pictures"]
    assert entry == stored
    assert (told["folder"], told["grids"]) == ("data", ["data/norm/grid.png"])
    assert main([*RENDER, "--out", "never", "--json", "--dry-run"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [job["pictures"] for job in told["jobs"]] == [1]
    assert told["seconds"] > 0


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        (["models", "--search", "efficientnet_lite"], "efficientnet_lite0"),
        (["parts", "transforms"], "warp"),
        (["recipes"], "portrait"),
        (["bench", "--layer", "norm", "--model", NETWORK, "--rounds", "1", *SHORT[:2]], "step_ms"),
        (["layers", NETWORK, "--search", "norm"], "norm"),
        (["weights", "conv1", "--model", NETWORK, "--out", "w.png"], "w.png"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_json_is_all_that_is_printed(typed, names, capsys):
    assert main([*typed, "--json"]) == 0
    printed = capsys.readouterr().out
    assert names in json.dumps(json.loads(printed))


def test_the_bench_writes_a_file_that_is_named(capsys):
    typed = ["bench", "--layer", "norm", "--model", NETWORK, "--rounds", "1", *SHORT[:2], "--json", "b.json"]
    assert main(typed) == 0
    assert "efficiency" in capsys.readouterr().out
    assert json.loads(Path("b.json").read_text())["layer"] == "norm"


def test_the_environment_stands_for_options_and_an_option_wins(monkeypatch, capsys):
    monkeypatch.setenv("FEATVIS_MODEL", NETWORK)
    monkeypatch.setenv("FEATVIS_OUT", "elsewhere")
    assert main(["render", "norm:1", *SHORT]) == 0
    assert Path("elsewhere/file_net.py_build/norm/0001.png").is_file()
    assert not Path("gallery").exists()
    assert main(["render", "norm:1", *SHORT, "--out", "given"]) == 0
    assert Path("given/norm/0001.png").is_file()
    capsys.readouterr()
    assert main(["layers", "--search", "norm"]) == 0
    assert capsys.readouterr().out.startswith(NETWORK)
    monkeypatch.setenv("FEATVIS_DEVICE", "cuda:77")
    assert main(["render", "norm:1", *SHORT]) == 2
    assert "cuda:77" in capsys.readouterr().err
    assert main(["render", "norm:1", *SHORT, "--device", "cpu"]) == 0
    monkeypatch.setenv("FEATVIS_MODEL", "nonsense:1")
    assert main(["render", "norm:1", *SHORT, "--model", NETWORK, "--device", "cpu"]) == 0
    assert main(["render", "norm:1", *SHORT]) == 2
    # A picture's network is the one that it was made of, whatever the environment says.
    monkeypatch.setenv("FEATVIS_DEVICE", "cpu")
    assert main(["reproduce", "given/norm/0001.png"]) == 2
    assert f"give --model {NETWORK}" in capsys.readouterr().err


def test_one_is_singular(capsys):
    main([*RENDER, "--out", "one"])
    told = capsys.readouterr()
    assert "1 picture in one" in told.out
    main([*RENDER, "--out", "one"])
    told = capsys.readouterr()
    assert "1 of 1 picture is there already" in told.err


def test_a_stream_that_lacks_a_sign_shows_its_number(tmp_path):
    """As a pipe in an old Windows or in the C locale; JSON stays JSON."""
    import json
    import os
    import subprocess
    import sys

    from PIL import Image

    photograph = os.fsencode(tmp_path) + b"/caf\xe9.png"
    with open(photograph, "wb") as stream:
        Image.new("RGB", (48, 48), "red").save(stream, "PNG")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    options = ["--size", "32", "--steps", "1", "--out", str(tmp_path / "größe")]
    command = [sys.executable, "-m", "featvis", "dream", photograph, "--layer", "blocks.0", *options]
    plain, told = (
        subprocess.run([*command, *more], capture_output=True, env=environment) for more in ([], ["--json"])
    )
    assert (plain.returncode, told.returncode) == (0, 0), plain.stderr + told.stderr
    assert b"gr\\xf6\\xdfe" in plain.stdout
    assert told.stdout.isascii()
    assert json.loads(told.stdout)
    (record,) = (tmp_path / "größe").glob("*.json")
    assert json.loads(record.read_bytes())
