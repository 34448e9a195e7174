"""The shell completes layers, classes, recipes, networks and configs, without torch."""

import os
import subprocess
import sys

import pytest

from tests.without_torch import answers

OFFERED = {
    "featvis render blocks.6": ["blocks.6", "blocks.6.0"],
    "featvis words classifier:tabb": ["classifier:tabby", "classifier:tabby cat"],
    "featvis dream x.png --layer conv_s": ["conv_stem"],
    "featvis render classifier:pemb": ["classifier:pembroke", "classifier:pembroke Welsh corgi"],
    "featvis render classifier : pemb": ["pembroke", "pembroke Welsh corgi"],
    "featvis render classifier :": ["tench", "Tinca tinca"],
    "featvis layers --model timm : xcep": ["xception41", "xception41p"],
    "featvis render x --model torchvision:resnet1": ["torchvision:resnet101", "torchvision:resnet152"],
    "featvis layers --model torchvision:nosuch": [],
    "featvis render x --recipe po": ["portrait", "portraits"],
    "featvis recipes fa": ["fast"],
    "featvis layers efficientnet_lite1": ["efficientnet_lite1"],
    "featvis render x --model tim": ["timm:"],
    "featvis gallery build sma": ["small"],
    "featvis render --model timm:resnet18 layer": [],
}


@pytest.fixture(scope="module")
def completed():
    """What bash would be offered for the last word of each line."""
    about = [
        {
            "_FEATVIS_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split(" ")) - 1),
        }
        for line in OFFERED
    ]
    return dict(zip(OFFERED, answers([[]] * len(OFFERED), about), strict=True))


@pytest.mark.parametrize("line", OFFERED)
def test_the_shell_completes(completed, line):
    answer, offered = completed[line], OFFERED[line]
    assert answer.err == ""
    assert "torch" not in answer.heavy
    found = [one for one in answer.out.split("\n") if one]
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
