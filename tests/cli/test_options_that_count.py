"""Options that every command shares, and those that no other test runs, on a tiny network from a file."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import featvis as fv
from featvis.cli import main
from tests.networks import Small, seeded
from tests.trust.planted import COLORS

NETWORK = """
from tests.networks import Small, seeded

TOLD = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "input_size": (17, 24)}

def build():
    return seeded(Small), {**TOLD, "labels": COLORS}
"""
FAST = ["--size", "17x24", "--steps", "2"]


def read(name):
    return json.loads(Path(name).read_text())


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A network, other weights for it, a photograph, two pictures; and what networks were loaded with."""
    labels = (*tuple(COLORS)[:4], "grey")
    (tmp_path / "net.py").write_text(NETWORK.replace("COLORS", repr(labels)))
    other = seeded(Small, seed=11).state_dict()
    save_file({name: value.contiguous() for name, value in other.items()}, tmp_path / "other.safetensors")
    (tmp_path / "photos").mkdir()
    photo = (torch.rand((17, 24, 3), generator=torch.Generator().manual_seed(1)) * 255).byte()
    Image.fromarray(photo.numpy()).save(tmp_path / "photos" / "photo.png")
    network = [
        "--model",
        f"file:{tmp_path / 'net.py'}:build",
        "--weights",
        str(tmp_path / "other.safetensors"),
    ]
    network += ["--mean", "0.4,0.5,0.6", "--std", "0.2,0.25,0.3", "--unit-axis", "1", "--device", "cpu"]
    assert main(["render", "relu2:0:2", "fc:0:2", *FAST, *network, "--out", str(tmp_path / "out")]) == 0
    loaded = []
    load_model = fv.load_model

    def spy(*given, **options):
        loaded.append((load_model(*given, **options), options))
        return loaded[-1][0]

    monkeypatch.setattr("featvis.models.load.load_model", spy)
    monkeypatch.chdir(tmp_path)
    return network, loaded


COMMANDS = {
    "render": ["render", "relu2:0", *FAST, "--out", "new"],
    "attribute": [
        *("attribute", "photos/photo.png", "-t", "relu2:0", "--method", "extremal", "--area", "0.3"),
        *("--steps", "20", "--size", "17x24", "--no-curves", "--out", "new"),
    ],
    "blocks": [
        *("blocks", "photos/photo.png", "-t", "fc:1", "-l", "relu2", "--size", "17x24"),
        *("--icons", "out", "--out", "new"),
    ],
    "components": [
        *("components", "relu2", "photos", "--count", "2", "--size", "17x24", "--seed", "3"),
        *("--out", "new.safetensors"),
    ],
    "layers": ["layers", "--no-fields", "--size", "17x24"],
    "bench": [
        *("bench", "--layer", "relu2", "--recipe", "channel", *FAST, "--precision", "bfloat16"),
        *("--threads", "1", "--lanes", "2", "--rounds", "1", "--json", "bench.json"),
    ],
    "compare": ["compare", "channel", "texture", "-t", "relu2:0:2", "--judge", "NETWORK", *FAST],
    "evaluate": ["evaluate", "out", "--judge", "NETWORK", "--examples", "photos"],
    "reproduce": ["reproduce", "out/relu2/0001.png", "--out", "again.png"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_network_is_the_one_asked_for(world, command):
    network, loaded = world
    source = network[1]
    given = [source if word == "NETWORK" else word for word in COMMANDS[command]]
    network = [source, *network[2:]] if command == "layers" else network
    assert main([*given, *network]) == 0
    handle, options = loaded[0]
    assert handle.name == source
    assert tuple(handle.mean) == (0.4, 0.5, 0.6)
    assert tuple(handle.std) == (0.2, 0.25, 0.3)
    assert options["unit_axis"] == 1
    assert options["device"] == "cpu"
    wanted = seeded(Small, seed=11).state_dict()
    found = handle.module.state_dict()
    assert all(torch.equal(value, found[name]) for name, value in wanted.items())


def test_bench_measures_what_was_asked_for(world, capsys):
    network, _ = world
    assert main([*COMMANDS["bench"], *network]) == 0
    told = read("bench.json")
    assert (told["steps"], told["lanes"], told["precision"], told["size"]) == (2, 2, "bfloat16", [17, 24])
    assert told["device"] == "cpu, 1 threads"
    assert "17x24, 2 lanes, bfloat16" in capsys.readouterr().out


def test_blocks_shows_the_pictures_of_the_gallery(world):
    network, _ = world
    assert main([*COMMANDS["blocks"], *network]) == 0
    given = COMMANDS["blocks"]
    cut = given.index("--icons")
    assert main([*given[:cut], *given[cut + 2 : -1], "plain", *network]) == 0
    with Image.open("new/blocks.png") as shown, Image.open("plain/blocks.png") as plain:
        assert shown.tobytes() != plain.tobytes()


def test_components_begin_with_the_seed(world):
    network, _ = world
    given = [*COMMANDS["components"][:-1], "other.file.safetensors", *network]
    rows = []
    for seed in ("3", "3", "4"):
        given[given.index("--seed") + 1] = seed
        assert main(given) == 0
        rows.append(Path("other.file.safetensors").read_bytes())
    assert rows[0] == rows[1] != rows[2]


def test_the_mask_keeps_the_area_asked_for(world):
    network, _ = world
    given = [*COMMANDS["attribute"], *network]
    given[given.index("--steps") + 1] = "60"
    areas = []
    for area in ("0.2", "0.6"):
        given[given.index("--area") + 1] = area
        assert main(given) == 0
        areas.append(read("new/extremal.json")["area"])
    assert areas == pytest.approx([0.2, 0.6], abs=0.1)


def test_a_picture_that_started_from_an_image_is_reproduced_from_it(world, capsys):
    network, _ = world
    start = ["--start", "photos/photo.png"]
    assert main(["render", "relu2:3", *FAST, *start, *network, "--out", "started"]) == 0
    picture = "started/relu2/0003.png"
    assert main(["reproduce", picture, *network]) == 2
    assert "start" in capsys.readouterr().err
    assert main(["reproduce", picture, *start, *network]) == 0
    assert "the same bytes" in capsys.readouterr().out


def test_a_gallery_with_other_weights_photographs_and_no_more_than_so_many_pictures(world):
    network, _ = world
    text = f'model = "{network[1]}"\nmean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\n'
    text += '[recipe]\nsize = [17, 24]\nsteps = 2\n[[sections]]\ntargets = ["conv2:0:3"]\n'
    Path("small.toml").write_text(text)
    given = ["gallery", "build", "small.toml", "--out", "gallery", "--weights", "other.safetensors"]
    given += ["--examples", "photos", "--device", "cpu"]
    assert main([*given, "--limit", "2"]) == 0
    done = [one for one in read("gallery/manifest.json")["pictures"] if one["file"]]
    assert len(done) == 2
    assert main(given) == 0
    done = [one for one in read("gallery/manifest.json")["pictures"] if one["file"]]
    assert len(done) == 3
    assert read("gallery/examples.json")["units"]["conv2:0"]["examples"]
