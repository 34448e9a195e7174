"""No command reaches for the network unless weights were asked for that lie there."""

from __future__ import annotations

import pytest

from featvis.cli.app import make_app
from tests.hostile.guard import Guarded
from tests.hostile.inputs import Input
from tests.hostile.measure import run
from tests.hostile.seeds import make_seeds

SMALL = ["--size", "32", "--steps", "1"]
PHOTO = "{seeds}/photos/a.jpg"
COMMANDS = {
    "render": ["render", "blocks.0.0:0", "classifier:Pembroke", *SMALL, "--lanes", "1", "--out", "{out}"],
    "render, untrained": ["render", "features.0:0", "--model", "torchvision:squeezenet1_1", "--weights", "none",
                          "--size", "48", "--steps", "1", "--lanes", "1", "--out", "{out}"],
    "render, timm": ["render", "stem:0", "--model", "timm:convnext_atto", "--weights", "none", *SMALL, "--lanes", "1",
                     "--out", "{out}", "--dry-run"],
    "attribute": ["attribute", PHOTO, "--target", "classifier:3", "--size", "32", "--no-curves", "--out", "{out}"],
    "blocks": ["blocks", PHOTO, "--target", "classifier:3", "--layer", "blocks.3", "--size", "64", "--out", "{out}"],
    "components": ["components", "blocks.1", PHOTO, "--count", "2", "--size", "32", "--out", "{out}/d.safetensors"],
    "dream": ["dream", PHOTO, "--layer", "blocks.0.0", "--steps", "1", "--octaves", "1", "--out", "{out}"],
    "accentuate": ["accentuate", PHOTO, "--target", "blocks.0.0:0", *SMALL, "--out", "{out}"],
    "invert": ["invert", PHOTO, "--layer", "blocks.0.0", *SMALL, "--out", "{out}"],
    "caricature": ["caricature", PHOTO, "--layer", "blocks.0.0", *SMALL, "--out", "{out}"],
    "style": ["style", PHOTO, "{seeds}/photos/b.png", "--content-layer", "blocks.1", "--style-layer", "blocks.0.0",
              *SMALL, "--out", "{out}"],
    "weights": ["weights", "conv_stem", "--out", "{out}/w.png"],
    "layers": ["layers", "torchvision:resnet18", "--no-fields"],
    "models": ["models", "--search", "lite0"],
    "recipes": ["recipes", "portrait", "portraits"],
    "parts": ["parts", "images"],
    "compare": ["compare", "channel", "texture", "--targets", "blocks.0.0:0:2", *SMALL, "--judge",
                "efficientnet_lite1", "--out", "{out}/c"],
    "bench": ["bench", "--layer", "blocks.0.0", "--size", "32", "--lanes", "1", "--steps", "2", "--rounds", "1"],
    "evaluate": ["evaluate", "{seeds}/out", "--judge", "efficientnet_lite1"],
    "quiz": ["quiz", "{seeds}/out", "--tasks", "rating", "--out", "{out}/q"],
    "reproduce": ["reproduce", "{seeds}/out/blocks.0.0/0000.png"],
    "ablate": ["ablate", "blocks.4:17", "{seeds}/photos", "--count", "2", "--out", "{out}/a.json"],
    "atlas": ["atlas", "{seeds}/photos", "--layer", "blocks.1", "--count", "40", "--grids", "2", "--least", "1",
              "--layout", "pca", "--cell", "32", "--steps", "1", "--out", "{out}"],
    "circuit": ["circuit", "blocks.3:1", "--levels", "1", "--count", "1", *SMALL, "--out", "{out}"],
    "words": ["words", "blocks.1:0:2", "{seeds}/photos", "--count", "2", "--like", "blocks.1:0", "--out", "{out}"],
    "statistics": ["statistics", "{seeds}/photos", "--size", "32", "--out", "{out}/s.safetensors"],
    "gallery merge": ["gallery", "merge", "{seeds}/built"],
    "gallery build": ["gallery", "build", "{seeds}/gallery.toml", "--out", "{out}"],
    "gallery status": ["gallery", "status", "{seeds}/built"],
    "gallery pages": ["gallery", "pages", "{seeds}/built"],
    "gallery schema": ["gallery", "schema"],
    "gallery export": ["gallery", "export", "{seeds}/built", "--zip", "{out}/g.zip"],
}  # fmt: skip


SERVING = {"serve"}
"""Listens, so there is a socket: tests/serve says on which address, and to whom it answers."""


def nothing(seeds, inputs, out): ...


def test_every_command_is_tried():
    named = {command.name or command.callback.__name__ for command in make_app().registered_commands}
    named |= {
        f"gallery {command.name}"
        for command in make_app().registered_groups[0].typer_instance.registered_commands
    }
    assert named == {name.partition(",")[0] for name in COMMANDS} | SERVING


@pytest.mark.slow
def test_no_command_reaches_for_the_network(tmp_path):
    seeds, guarded = make_seeds(tmp_path / "seeds"), Guarded(denied=True)
    for outcome in run([Input("command", *named, nothing) for named in COMMANDS.items()], seeds, guarded):
        reached = [did for did in outcome.answer["did"] if did.startswith(("socket.", "urllib", "http"))]
        assert reached == [], (outcome.input.name, reached)
        assert outcome.answer["crash"] == "", str(outcome)
        assert outcome.answer["code"] == 0, str(outcome)
    guarded.end()
