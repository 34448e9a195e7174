"""Whoever types ``fv.`` is helped: a script passes mypy --strict, and every public name has its type."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import featvis as fv

STUB = Path(fv.__file__).with_name("__init__.pyi")
SCRIPT = """
from pathlib import Path

import torch
import featvis as fv

model = fv.load_model("efficientnet_lite0")
pictures = fv.render(model, ["blocks.3:0:8", fv.logit("Pembroke")], size=128, steps=64)
score: float = pictures[0].score
image: torch.Tensor = pictures[0].image
pictures[0].save(Path("unit.png"))
combined = fv.channel("blocks.3", 5) + 0.5 * fv.margin("Pembroke") - 0.1 * fv.total_variation()
picture, = fv.render(model, combined, space=fv.FourierImage(size=(9, 16)), transforms=[fv.Warp()])
for step in fv.ascend(model, combined, fv.PixelImage(size=64, decorrelate=False), steps=4):
    number: int = step.number
reveal_type(fv.render)
reveal_type(fv.channel)
"""


def test_the_package_says_that_it_is_typed():
    assert STUB.with_name("py.typed").is_file()


def test_the_stub_names_everything_once():
    names = [
        alias.name
        for node in ast.parse(STUB.read_text("utf-8")).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    assert len(names) == len(set(names))
    assert {*names, "__version__"} == set(fv.__all__)


@pytest.mark.slow
def test_a_users_script_passes_mypy_strict(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    # From the repository's folder, so that this featvis is found; with none of its settings.
    settings = ["--strict", "--config-file", "/dev/null", "--cache-dir", str(tmp_path / "cache")]
    run = subprocess.run(
        [sys.executable, "-m", "mypy", *settings, str(script)],
        cwd=STUB.parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    said = run.stdout.splitlines()
    assert not [line for line in said if "script.py" in line and "error" in line], run.stdout
    shown = [line for line in said if "Revealed type" in line]
    assert "def (model: featvis.models.handle.ModelHandle | str, targets:" in shown[0]
    assert "-> featvis.results.pictures.Pictures" in shown[0]
    assert "def (layer: str, unit: int" in shown[1]
