"""The commands as a user types them, on the embedded network at small canvases."""

import json
import os
import signal
import statistics
import subprocess
import sys
import time

import pytest
from PIL import Image

import featvis as fv
from featvis import load_picture
from featvis.cli import main

SMALL = ["--size", "32x48", "--steps", "3"]


def test_render_writes_pictures_grid_and_manifest(tmp_path, capsys):
    assert main(["render", "blocks.1:0:2", "classifier:Pembroke", *SMALL, "--out", str(tmp_path)]) == 0
    assert "3 pictures" in capsys.readouterr().out
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {
        "blocks.1/0000.png",
        "blocks.1/0001.png",
        "blocks.1/grid.png",
        "classifier/0263.png",
        "classifier/grid.png",
        "manifest.json",
    }
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert {"featvis", "model", "weights", "recipe", "created"} <= set(manifest)
    corgi = next(entry for entry in manifest["pictures"] if entry["layer"] == "classifier")
    assert corgi["file"] == "classifier/0263.png"
    assert corgi["target"] == "classifier:263"
    assert corgi["unit"] == 263
    assert "Pembroke" in corgi["label"]
    assert set(corgi) >= {"seed", "key", "score", "start_score", "steps", "seconds", "status", "verdicts"}
    with Image.open(tmp_path / "classifier/0263.png") as picture:
        assert (picture.height, picture.width) == (32, 48)


def test_render_again_renders_nothing_again(tmp_path, capsys):
    typed = ["render", "--layer", "blocks.1", "--units", "0:3", *SMALL, "--out", str(tmp_path)]
    main(typed)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "blocks.1").glob("0*.png")}
    capsys.readouterr()
    assert main(typed) == 0
    assert "3 of 3 pictures are there already" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "blocks.1").glob("0*.png")} == before


def test_further_seeds_have_names_of_their_own(tmp_path):
    main(["render", "blocks.1:3", *SMALL, "--seeds", "2", "--out", str(tmp_path)])
    assert {path.name for path in (tmp_path / "blocks.1").glob("0*.png")} == {"0003.png", "0003-seed1.png"}


def test_reproduce_gives_the_same_bytes(tmp_path, capsys):
    main(["render", "blocks.1:0:3", *SMALL, "--seed", "5", "--out", str(tmp_path)])
    one = tmp_path / "blocks.1" / "0001-seed5.png"
    capsys.readouterr()
    assert main(["reproduce", str(one), "--out", str(tmp_path / "again.png")]) == 0
    assert "same bytes" in capsys.readouterr().out
    assert (tmp_path / "again.png").read_bytes() == one.read_bytes()


@pytest.mark.parametrize("name", ["file:hostile.py:build", "hf:somebody/network", "file:./hostile.py:build"])
def test_reproduce_runs_no_code_that_a_picture_names(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hostile.py").write_text("open('ran', 'w').close()\ndef build(): ...\n")
    assert main(["render", "blocks.1:0", "--size", "32", "--steps", "1", "--out", "there"]) == 0
    picture = fv.load_picture("there/blocks.1/0000.png")
    picture.model = name
    picture.save("named.png")
    capsys.readouterr()
    assert main(["reproduce", "named.png"]) == 2
    assert f"give --model {name} to have that loaded" in capsys.readouterr().err
    with pytest.raises(fv.ModelError, match="to have that loaded"):
        fv.reproduce("named.png")
    assert not (tmp_path / "ran").exists()


def test_reproduce_says_when_the_weights_are_others(tmp_path, capsys):
    main(["render", "blocks.1:0", *SMALL, "--out", str(tmp_path)])
    one = tmp_path / "blocks.1" / "0000.png"
    assert main(["reproduce", str(one), "--weights", "none"]) == 2
    assert "weights" in capsys.readouterr().err


def test_dry_run_tells_the_cost_and_writes_nothing(tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["render", "blocks.1:0:12", *SMALL, "--lanes", "5", "--dry-run", "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert "12 pictures in 3 jobs of 5 lanes" in told
    assert "32x48" in told
    assert "minutes" in told
    assert "GiB" in told
    assert not out.exists()


def test_options_reach_the_recipe(tmp_path):
    typed = [
        "render",
        "blocks.1:0",
        "--size",
        "24",
        "--steps",
        "2",
        "--learning-rate",
        "0.125",
        "--lanes",
        "3",
    ]
    main([*typed, "--space", "pixel", "--precision", "bfloat16", "--threads", "1", "--out", str(tmp_path)])
    recipe = load_picture(tmp_path / "blocks.1" / "0000.png").recipe
    assert recipe["size"] == [24, 24]
    assert recipe["steps"] == 2
    assert recipe["learning_rate"] == 0.125
    assert recipe["lanes"] == 3
    assert recipe["space"]["name"] == "pixel"
    assert recipe["precision"] == "bfloat16"
    assert recipe["threads"] == 1


def test_the_network_may_be_shown_less_than_the_canvas(tmp_path):
    typed = ["render", "blocks.1:0", "--size", "48x64", "--input-size", "32x40", "--steps", "2"]
    main([*typed, "--out", str(tmp_path)])
    picture = load_picture(tmp_path / "blocks.1" / "0000.png")
    assert picture.size == (48, 64)
    assert picture.recipe["input_size"] == [32, 40]


def test_a_start_image_sets_the_canvas(tmp_path):
    Image.new("RGB", (40, 28), (200, 40, 90)).save(tmp_path / "start.png")
    main(
        [
            "render",
            "blocks.1:0",
            "--steps",
            "1",
            "--start",
            str(tmp_path / "start.png"),
            "--out",
            str(tmp_path),
        ]
    )
    picture = load_picture(tmp_path / "blocks.1" / "0000.png")
    assert picture.size == (28, 40)
    assert picture.recipe["start"].startswith("sha256:")


def test_layers_lists_the_tree(capsys):
    assert main(["layers", "efficientnet_lite0", "--size", "64", "--search", "blocks.1.0"]) == 0
    told = capsys.readouterr().out
    line = next(line for line in told.splitlines() if line.startswith("blocks.1.0 "))
    assert "(B, C, H, W)" in line
    assert "24x16x16" in line
    assert line.split()[-1] == "4x4"
    assert line.split()[-2] == "11x11"  # 3, +2 at stride 2, +2 at stride 2


def test_layers_as_data(capsys):
    main(["layers", "efficientnet_lite0", "--size", "32x64", "--no-fields", "--json"])
    told = json.loads(capsys.readouterr().out)
    stem = next(one for one in told if one["name"] == "conv_stem")
    assert stem["shape"] == [1, 32, 16, 32]
    assert stem["units"] == 32


def test_models_searches_every_source(capsys):
    assert main(["models", "--search", "lite0"]) == 0
    told = capsys.readouterr().out
    assert "efficientnet_lite0 " in told
    assert "timm:tf_efficientnet_lite0" in told


@pytest.mark.slow
def test_ctrl_c_leaves_finished_pictures_and_says_how_to_go_on(tmp_path):
    typed = [
        "render",
        "blocks.1:0:24",
        "--size",
        "64",
        "--steps",
        "40",
        "--lanes",
        "4",
        "--out",
        str(tmp_path),
    ]
    run = subprocess.Popen(
        [sys.executable, "-m", "featvis", *typed],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        # Tests that a script runs in the background would hand down that SIGINT is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 90
    while not list((tmp_path / "blocks.1").glob("0*.png")) and time.monotonic() < deadline:
        time.sleep(0.05)
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=60)
    assert run.returncode == 130
    entries = json.loads((tmp_path / "manifest.json").read_text())["pictures"]
    kinds = [entry["status"] for entry in entries]
    assert 0 < kinds.count("ok") < 24
    assert f"{kinds.count('ok')} of 24 pictures are finished" in said
    assert "the same command goes on from there" in said
    assert "Traceback" not in said
    # The job under way is there as it stood, if it had begun.
    assert kinds.count("stopped") in (0, 4)
    assert ("4 more as they stood" in said) == (kinds.count("stopped") == 4)
    files = {path.relative_to(tmp_path).as_posix() for path in (tmp_path / "blocks.1").glob("0*.png")}
    assert {entry["file"] for entry in entries} == files
    assert not [path for path in tmp_path.rglob("*") if path.suffix == ".part"]


@pytest.mark.slow
def test_help_answers_at_once():
    times = []
    for _ in range(7):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "featvis", "--help"], check=True, capture_output=True)
        times.append(time.perf_counter() - began)
    assert statistics.median(times) < 0.3
