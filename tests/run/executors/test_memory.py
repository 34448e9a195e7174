"""Memory stays flat over long runs and many units; where it runs out, nothing finished is lost."""

from __future__ import annotations

import gc
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import featvis as fv
from tests.networks import small

REPOSITORY = Path(__file__).resolve().parents[3]


def resident():
    """Bytes of memory that this process holds now."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * resource.getpagesize()


needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc on this system")


@needs_proc
@pytest.mark.slow
def test_t41_2000_steps_hold_no_more_than_200():
    levels = {}
    space = fv.FourierImage(size=(48, 64))
    transforms = [fv.Warp(scale=(0.6, 1.1)), fv.Noise()]
    for step in fv.ascend(
        small(), fv.channel("norm", 1), space, steps=2000, lanes=4, transforms=transforms, redirect_steps=0
    ):
        if step.number in (200, 1999):
            levels[step.number] = resident()
    assert levels[1999] - levels[200] < 4 * 2**20


@needs_proc
@pytest.mark.slow
def test_t41_500_units_hold_no_more_than_50(tmp_path):
    model = small()
    options = {"size": (32, 40), "steps": 4, "lanes": 2, "out": tmp_path}
    levels = []
    for seed in range(64):  # eight units each
        fv.render(model, "norm:all", seed=seed, **options)
        levels.append(resident())
    assert levels[-1] - levels[6] < 12 * 2**20, "512 pictures after 56"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a limit on the address space is Linux'")
def test_lanes_back_off_under_a_real_limit_and_finished_pictures_stay(tmp_path):
    # A limit that the network and eight lanes fit into, but not 256.
    code = (
        "import resource, torch, featvis as fv\n"
        "torch.set_num_threads(1)\n"
        "model = fv.load_model('efficientnet_lite0')\n"
        f"fv.render(model, 'blocks.1:0:2', size=96, steps=2, lanes=2, out={str(tmp_path)!r})\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "limit = used + 600 * 2**20\n"
        "resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
        f"made = fv.render(model, 'blocks.1:0:4', size=224, steps=2, lanes=256, out={str(tmp_path)!r})\n"
        "print('lanes', sorted({one.recipe['lanes'] for one in made}), [one.status for one in made])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lanes = int(done.stdout.split("lanes [")[1].split("]")[0])
    assert 1 <= lanes < 256
    assert "['ok', 'ok', 'ok', 'ok']" in done.stdout
