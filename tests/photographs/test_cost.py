"""What a search will take is told from a few photographs."""

import types

import numpy as np
import pytest
from PIL import Image

import featvis as fv
from featvis.photographs import cost
from featvis.photographs.cost import search_seconds
from tests.networks import small


@pytest.fixture
def photographs(tmp_path):
    folder = tmp_path / "photographs"
    folder.mkdir()
    chance = np.random.default_rng(0)
    for number in range(50):
        levels = chance.integers(0, 256, (20 + number % 3, 30, 3), dtype=np.uint8)
        Image.fromarray(levels).save(folder / f"{number:02d}.png")
    return folder


class Clock:
    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


@pytest.mark.parametrize(("files", "seconds"), [(50, 5 + 50 * 0.25), (12, 5 + 12 * 0.25)])
def test_it_is_what_a_photograph_costs_and_what_happens_once(
    tmp_path, photographs, monkeypatch, files, seconds
):
    for path in sorted(photographs.iterdir())[files:]:
        path.unlink()
    clock = Clock()

    def slow(model, listing, wanted, **told):
        clock.now += 5 + 0.25 * len(listing.names)
        return types.SimpleNamespace(units={})

    monkeypatch.setattr(cost, "time", clock)
    monkeypatch.setattr(cost, "search_folder", slow)
    told = search_seconds(small(), photographs, {"norm": [0, 3]}, out=tmp_path / "out", count=2)
    assert told == pytest.approx(seconds)
    assert not (tmp_path / "out").exists()


def test_what_is_known_costs_nothing(tmp_path, photographs):
    model, out = small(), tmp_path / "out"
    assert search_seconds(model, photographs, {"norm": [0]}, out=out, count=2) > 0
    fv.find_examples(model, photographs, {"norm": [0]}, out=out, count=2)
    assert search_seconds(model, photographs, {"norm": [0]}, out=out, count=2) == 0
    assert search_seconds(model, photographs, {"norm": [0, 1]}, out=out, count=2) > 0
