"""Options arrive where they count: how every command's network is named, and what no other test types."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import featvis as fv
from featvis.cli import main
from tests.networks import Small, seeded

SOURCE = """
from tests.networks import Small, seeded
def build():
    return seeded(Small), {"mean": (0.5,) * 3, "std": (0.5,) * 3, "input_size": (24, 32)}
"""
NETWORK = "file:net.py:build"
WEIGHTS = "other.safetensors"
TOLD = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.25), "unit_axis": 1, "device": "cpu"}
TOLD |= {
    "input_size": (24, 32),
    "labels": ("ant", "bee", "cat", "dog", "elk"),
    "channel_order": "bgr",
    "range": 1,
}
TYPED = ["--weights", WEIGHTS, "--mean", "0.4,0.5,0.6", "--std", "0.2,0.3,0.25", "--device", "cpu"]
TYPED += ["--input-size", "24x32", "--labels", "labels.txt", "--channel-order", "bgr", "--range", "1"]
SIZE = ["--size", "24x32"]
SHORT = [*SIZE, "--steps", "2"]
COMMANDS = {
    "render": ["norm:0:2", *SHORT, "--lanes", "2", "--out", "OUT"],
    "attribute": ["photos/photo.png", "-t", "norm:1", "--method", "grad-cam", *SIZE, "--out", "OUT"],
    "blocks": ["photos/photo.png", "-t", "fc:1", "-l", "norm", *SIZE, "--out", "OUT"],
    "ablate": ["norm:1", "photos", "--out", "OUT.json"],
    "words": ["norm:1", "two", "--count", "2", "--out", "OUT"],
    "statistics": ["photos", *SIZE, "--out", "OUT.safetensors"],
    "circuit": ["norm:1", *SHORT, "--levels", "1", "--depth", "1", "--count", "1", "--out", "OUT"],
    "atlas": [
        *("photos", "--layer", "norm", "--beside", "conv1", "--count", "30", "--grids", "2", "--least", "1"),
        *("--layout", "pca", "--whiten", "--scales", "1,1.2", "--patches", "1", "--title", "A map"),
        *("--recipe", "fast", "--cell", "16", "--steps", "1", "--out", "OUT"),
    ],
    "components": ["norm", "photos", "--count", "2", *SIZE, "--out", "OUT.safetensors"],
    "dream": ["photos/photo.png", "-l", "norm", *SHORT, "--out", "OUT"],
    "accentuate": ["photos/photo.png", "-t", "norm:1", *SHORT, "--out", "OUT"],
    "invert": ["photos/photo.png", "-l", "norm", *SHORT, "--out", "OUT"],
    "caricature": ["photos/photo.png", "-l", "norm", *SHORT, "--out", "OUT"],
    "style": [
        *("photos/photo.png", "photos/photo.png", "--content-layer", "norm", "--style-layer", "conv1"),
        *(*SHORT, "--out", "OUT"),
    ],
    "weights": ["conv1", "--out", "OUT.png"],
    "layers": SIZE,
    "bench": ["--layer", "norm", *SIZE, "--lanes", "2", "--rounds", "1", "--json", "OUT.json"],
    "evaluate": [
        *("rendered", "--judge", NETWORK, "--judge-weights", WEIGHTS, "--views", "1"),
        *("--examples", "photos"),
    ],
    "reproduce": ["rendered/norm/0001.png", "--out", "OUT.png"],
    "compare": [
        *("fast", "channel", "--targets", "norm:0:2", *SIZE, "--steps", "1"),
        *("--judge", NETWORK, "--judge-weights", WEIGHTS),
    ],
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A network, weights of other values than its own, a photograph, and what was rendered with them."""
    folder = tmp_path_factory.mktemp("options")
    (folder / "net.py").write_text(SOURCE)
    (folder / "labels.txt").write_text("\n".join(TOLD["labels"]))
    save_file(seeded(Small, seed=8).state_dict(), folder / WEIGHTS)
    levels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    (folder / "photos").mkdir()
    Image.fromarray(levels).save(folder / "photos/photo.png")
    (folder / "two").mkdir()
    for name, shown in {"one": levels, "other": levels[::-1]}.items():
        Image.fromarray(shown).save(folder / "two" / f"{name}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        model = fv.load_model(NETWORK, weights=WEIGHTS, **TOLD)
        fv.render(model, "norm:0:2", out="rendered", size=(24, 32), steps=2, lanes=2)
    return folder


@pytest.fixture(autouse=True)
def _there(place, monkeypatch):
    monkeypatch.chdir(place)


def without(words, typed):
    """The words, without the options of one value that are typed anew."""
    left = iter(words)
    return [word for word in left if not (word[:1] == "-" and word in typed and next(left))]


def run(command, out, *typed):
    """Run a command on the network; its words may be followed by others, which count instead of them."""
    words = [word.replace("OUT", str(out)) for word in without(COMMANDS[command], typed)]
    network = [NETWORK] if command == "layers" else ["--model", NETWORK]
    assert main([command, *words, *network, *typed]) == 0


def read(path):
    return json.loads(Path(path).read_text())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_runs_the_network_that_was_named(command, tmp_path, monkeypatch, capsys):
    real, loaded = fv.load_model, []

    def heard(source, **options):
        loaded.append((real(source, **options), options))
        return loaded[-1][0]

    monkeypatch.setattr("featvis.models.load.load_model", heard)
    told = dict(TOLD)
    run(command, tmp_path / "out", *TYPED, "--unit-axis", "1")
    told["weights"] = WEIGHTS
    (handle,) = (one for one, given in loaded if told.items() <= given.items())
    assert (handle.name, handle.mean, handle.std) == (NETWORK, TOLD["mean"][::-1], TOLD["std"][::-1])
    assert (handle.input_size, handle.labels) == (TOLD["input_size"], TOLD["labels"])
    found = handle.module.state_dict()
    assert all(torch.equal(value, found[name]) for name, value in seeded(Small, seed=8).state_dict().items())
    if command == "reproduce":
        assert "the same bytes" in capsys.readouterr().out


@pytest.mark.parametrize(("option", "value"), [("--sample-rate", 16000.0), ("--frames", 4)])
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_told_of_signals_and_videos(command, option, value, tmp_path, monkeypatch, capsys):
    real, loaded = fv.load_model, []

    def heard(source, **options):
        loaded.append(options)
        if options.get(option.strip("-").replace("-", "_")) == value:
            raise fv.ModelError("heard")
        return real(source, **options)

    monkeypatch.setattr("featvis.models.load.load_model", heard)
    words = [word.replace("OUT", str(tmp_path / "out")) for word in COMMANDS[command]]
    network = [NETWORK] if command == "layers" else ["--model", NETWORK]
    assert main([command, *words, *network, option, f"{value:g}"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == "featvis: heard"


MAPS = {"saliency": ["--smooth", "2"], "occlusion": ["--window", "8", "--stride", "4"], "grad-cam": []}


def maps(folder, *typed):
    pytest.importorskip("captum")
    given = [word for words in MAPS.values() for word in words]
    run("attribute", folder, "--method", ",".join(MAPS), "--no-curves", *without(given, typed), *typed)
    return {method: (folder / f"{method}-map.png").read_bytes() for method in MAPS}


@pytest.fixture(scope="module")
def plain_maps(place, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        return maps(tmp_path_factory.mktemp("maps"))


@pytest.mark.parametrize(
    ("method", "typed"),
    [
        ("saliency", ["--smooth", "3"]),
        ("saliency", ["--noise", "0.5"]),
        ("saliency", ["--seed", "5"]),
        ("occlusion", ["--stride", "7"]),
        ("occlusion", ["--baseline", "white"]),
        ("grad-cam", ["--layer", "conv1"]),
    ],
    ids=lambda value: value[0].strip("-") if isinstance(value, list) else None,
)
def test_options_of_attribution_change_the_maps_of_their_methods_alone(method, typed, plain_maps, tmp_path):
    found = maps(tmp_path, *typed)
    assert {name for name in found if found[name] != plain_maps[name]} == {method}


def test_the_mask_keeps_the_area_asked_for(tmp_path):
    areas = []
    for area in ("0.2", "0.6"):
        folder = tmp_path / area
        run("attribute", folder, "--method", "extremal", "--area", area, "--steps", "60", "--no-curves")
        areas.append(read(folder / "extremal.json")["area"])
    assert areas == pytest.approx([0.2, 0.6], abs=0.1)


def test_blocks_shows_the_pictures_of_the_gallery(tmp_path):
    run("blocks", tmp_path / "icons", *TYPED, "--icons", "rendered")
    run("blocks", tmp_path / "plain", *TYPED)
    shown, plain = (Image.open(tmp_path / name / "blocks.png") for name in ("icons", "plain"))
    with shown, plain:
        assert shown.tobytes() != plain.tobytes()


def test_components_start_from_the_seed(tmp_path):
    found = []
    for place, seed in enumerate(("3", "3", "4")):
        run("components", tmp_path / f"rows{place}", "--method", "nmf", "--seed", seed)
        found.append((tmp_path / f"rows{place}.safetensors").read_bytes())
    assert found[0] == found[1] != found[2]


def test_the_bench_times_what_was_asked_for(tmp_path, capsys):
    run("bench", tmp_path / "recipe", "--recipe", "fast")
    assert read(tmp_path / "recipe.json")["steps"] == fv.Recipe.load("fast").steps != fv.Recipe().steps
    run("bench", tmp_path / "typed", "--steps", "7", "--precision", "bfloat16", "--threads", "3")
    told = read(tmp_path / "typed.json")
    assert (told["steps"], told["lanes"], told["precision"], told["size"]) == (7, 2, "bfloat16", [24, 32])
    assert told["device"] == "cpu, 3 threads"
    assert "24x32, 2 lanes, bfloat16" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["dream", "accentuate", "invert", "caricature", "style"])
def test_another_seed_is_another_picture_of_a_photograph(command, tmp_path):
    """A start from noise differs; where there is none, the seed stands in the file all the same."""
    made = []
    for seed in ("0", "7"):
        run(command, tmp_path / seed, "--seed", seed)
        (path,) = (tmp_path / seed).rglob("*.png")
        made.append(fv.load_picture(path))
    assert [one.seed for one in made] == [0, 7]
    if command in ("invert", "caricature"):
        assert (made[0].levels != made[1].levels).any()


def test_octaves_are_as_far_apart_as_asked(tmp_path):
    made = []
    for scale in ("1.4", "2"):
        run("dream", tmp_path / scale, "--size", "96x128", "--octaves", "2", "--octave-scale", scale)
        (path,) = (tmp_path / scale).rglob("*.png")
        made.append(fv.load_picture(path).recipe["stages"][0][0])
    assert made[1] == [48, 64]
    assert made[0][0] in (68, 69)


def test_weights_stand_in_as_many_columns_as_asked(tmp_path):
    sizes = []
    for columns in ("1", "2"):
        run("weights", tmp_path / columns, "--columns", columns)
        with Image.open(tmp_path / f"{columns}.png") as image:
            sizes.append(image.size)
    assert sizes[1][1] < sizes[0][1]


def test_a_picture_that_started_from_an_image_is_reproduced_from_it(tmp_path, capsys):
    start = ["--start", "photos/photo.png"]
    run("render", tmp_path, *start)
    given = ["reproduce", str(tmp_path / "norm/0001.png"), "--model", NETWORK]
    assert main(given) == 2
    assert "start" in capsys.readouterr().err
    assert main([*given, *start]) == 0
    assert "the same bytes" in capsys.readouterr().out


def test_a_gallery_with_other_weights_photographs_and_no_more_than_so_many_pictures(tmp_path):
    config, folder = tmp_path / "small.toml", tmp_path / "gallery"
    text = f'model = "file:{Path("net.py").resolve()}:build"\nmean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\n'
    text += '[recipe]\nsize = [24, 32]\nsteps = 2\n[[sections]]\ntargets = ["conv2:0:3"]\n'
    config.write_text(text)
    given = ["gallery", "build", str(config), "--out", str(folder), "--weights", WEIGHTS]
    given += ["--examples", "photos", "--device", "cpu"]
    for limit, count in ((["--limit", "2"], 2), ([], 3)):
        assert main([*given, *limit]) == 0
        assert sum(bool(one["file"]) for one in read(folder / "manifest.json")["pictures"]) == count
    assert read(folder / "examples.json")["units"]["conv2:0"]["examples"]


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("attribute a.png --target fc:1 --target fc:2", "--target takes one value, got two: fc:1 and fc:2"),
        ("attribute a.png -t fc:1 -tfc:2", "--target takes one value, got two: fc:1 and fc:2"),
        ("render fc:1 --steps 3 --steps=4", "--steps takes one value, got two: 3 and 4"),
        ("gallery build tour --out a -o b", "--out takes one value, got two: a and b"),
        ("attribute a.png --target classifier:1,classifier:2", "a comma stands between units of one layer"),
        ("render fc:1 --lr 3", "did you mean --learning-rate?"),
        ("render fc:1 --thresholds 3", "did you mean --snapshots?"),
        ("render fc:1 --image-size 3", "did you mean --size?"),
        ("dream a.png --lr 3", "did you mean --set learning_rate=…?"),
        ("gallery build tour --output-dir 3", "did you mean --out?"),
    ],
)
def test_an_option_that_is_typed_twice_or_by_another_name_is_told(typed, told, capsys):
    assert main(typed.split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line


@pytest.mark.parametrize("twice", ["--search lite0 --search lite0", "--json --json", "--search lite0"])
def test_what_is_typed_twice_alike_means_what_it_means_once(twice, capsys):
    assert main(["models", *twice.split()]) == 0
