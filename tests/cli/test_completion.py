"""The shell completes layers, classes, recipes, networks and configs, without torch."""

import os
import subprocess
import sys

import pytest


def completed(line):
    """What bash would offer for the last word."""
    words = line.split(" ")
    given = {"_FEATVIS_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    program = (
        "import sys; from featvis.cli import main\ntry: main()\nfinally: assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **given},
    )
    assert done.stderr == ""
    return [one for one in done.stdout.split("\n") if one]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("featvis render blocks.6", ["blocks.6", "blocks.6.0"]),
        ("featvis dream x.png --layer conv_s", ["conv_stem"]),
        ("featvis render classifier:pemb", ["classifier:pembroke", "classifier:pembroke Welsh corgi"]),
        ("featvis render classifier : pemb", ["pembroke", "pembroke Welsh corgi"]),
        ("featvis render classifier :", ["tench", "Tinca tinca"]),
        ("featvis layers --model timm : xcep", ["xception41", "xception41p"]),
        ("featvis render x --model torchvision:resnet1", ["torchvision:resnet101", "torchvision:resnet152"]),
        ("featvis layers --model torchvision:nosuch", []),
        ("featvis render x --recipe po", ["portrait", "portraits"]),
        ("featvis recipes fa", ["fast"]),
        ("featvis layers efficientnet_lite1", ["efficientnet_lite1"]),
        ("featvis render x --model tim", ["timm:"]),
        ("featvis gallery build sma", ["small"]),
        ("featvis render --model timm:resnet18 layer", []),
    ],
)
def test_the_shell_completes(line, offered):
    found = completed(line)
    assert found[: len(offered)] == offered
    assert bool(found) == bool(offered)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_each_shell_can_be_shown(shell):
    done = subprocess.run(
        [sys.executable, "-m", "featvis", "--show-completion", shell],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},  # here is no shell, maybe
    )
    assert "_FEATVIS_COMPLETE" in done.stdout
