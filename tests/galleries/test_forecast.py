"""What a dry run predicts, beside what the build takes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import featvis as fv
from featvis.galleries.forecast import make_forecast
from featvis.galleries.request import make_request
from tests.galleries.planted import RECIPE, section, write_config

CONFIGS = {
    "three sections": """
model = "efficientnet_lite0"
[recipe]
size = 64
[[sections]]
targets = ["blocks.1:0:16"]
recipe = { steps = 24 }
[[sections]]
targets = ["blocks.4:0:24"]
recipe = { steps = 40 }
[[sections]]
targets = ["classifier:0:8"]
variants = ["picture", "negative"]
recipe = { steps = 20 }
""",
    "a larger canvas": """
model = "efficientnet_lite0"
[recipe]
size = 128
steps = 24
[[sections]]
targets = ["blocks.2:0:16", "blocks.3:0:8"]
""",
    "few steps": """
model = "efficientnet_lite0"
[recipe]
size = 48
steps = 6
[[sections]]
targets = ["blocks.1:0:24", "blocks.3:0:32"]
""",
    "with photographs": """
model = "efficientnet_lite0"
[recipe]
size = 96
steps = 48
[[sections]]
targets = ["blocks.2:0:16", "blocks.4:0:16"]
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_a_dry_run_predicts_the_builds_wall_time(tmp_path, name):
    config = tmp_path / "gallery.toml"
    config.write_text(CONFIGS[name])
    photographs = None
    if "photographs" in name:
        photographs = Path(pytest.importorskip("skimage").__file__).parent / "data"
    ratios = []
    for attempt in ("out", "again"):  # whatever else the machine does may spoil one
        out = tmp_path / attempt
        request = make_request(config, out, examples=photographs)
        told = make_forecast(request, began=time.perf_counter())
        began = time.perf_counter()
        outcome = fv.build_gallery(config, out=out, examples=photographs)
        took = time.perf_counter() - began
        print(f"\n{name}: predicted {told.seconds:.1f} s, took {took:.1f} s, ratio {told.seconds / took:.2f}")
        assert told.missing == outcome.rendered
        ratios.append(told.seconds / took)
        if 0.7 <= ratios[-1] <= 1.3:
            return
    raise AssertionError(ratios)


def test_pictures_that_may_stop_early_are_counted_as_if_none_did(tmp_path):
    plain = write_config(tmp_path / "plain", section(["conv2:0:6"]), RECIPE)
    early = write_config(tmp_path / "early", section(["conv2:0:6"]), RECIPE + "patience = 1\n")
    one, other = (make_forecast(make_request(config, tmp_path / "out")) for config in (plain, early))
    assert [(cost.pictures, cost.jobs, cost.lanes) for cost in one.costs] == [(6, 3, 2)]
    assert [(cost.pictures, cost.jobs, cost.lanes) for cost in other.costs] == [(6, 3, 2)]
    assert fv.build_gallery(early, out=tmp_path / "out").rendered == 6


def test_what_is_there_is_not_predicted(tmp_path):
    config = write_config(tmp_path, section(["conv2:0:6"]), RECIPE)
    request = make_request(config, tmp_path / "out")
    first = make_forecast(request)
    fv.build_gallery(config, out=tmp_path / "out", limit=2)
    second = make_forecast(request)
    assert (first.total, first.missing) == (6, 6)
    assert (second.total, second.missing) == (6, 4)
    assert make_forecast(request, limit=1).missing == 1
    fv.build_gallery(config, out=tmp_path / "out")
    done = make_forecast(request)
    assert (done.missing, done.costs) == (0, [])
    assert done.seconds > 0
