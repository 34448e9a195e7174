"""Pictures that stop early: by their own scores alone, and the freed lane takes the next."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import featvis as fv
from featvis.run import lanes
from featvis.run.lanes import has_settled
from tests.networks import handle, small

OPTIONS = {"size": (17, 24), "steps": 60, "lanes": 3, "redirect_steps": 2, "patience": 6, "tolerance": 0.1}
PLAIN = {"transforms": [fv.Noise(sd=0.02)], "learning_rate": 0.2}


def pngs(pictures):
    return {(picture.target, picture.seed): picture.png() for picture in pictures}


@pytest.fixture(scope="module")
def together():
    return fv.render(small(), "norm:0:8", **OPTIONS, **PLAIN)


def test_pictures_stop_early_and_tell_how_soon(together):
    taken = [picture.taken for picture in together]
    assert all(18 <= steps <= 60 for steps in taken)
    assert min(taken) < 60
    assert len(set(taken)) > 1, "each by its own scores"
    assert all(picture.entry()["steps"] == picture.taken for picture in together)
    assert all(picture.score > picture.start_score for picture in together)


def test_mates_order_and_slots_do_not_matter(together):
    expected = pngs(together)
    assert pngs(fv.render(small(), "norm:6,2,4,0,5,1,3,7", **OPTIONS, **PLAIN)) == expected
    for unit in (1, 7):
        alone = pngs(fv.render(small(), f"norm:{unit}", **OPTIONS, **PLAIN))
        assert alone.items() <= expected.items()


def test_transforms_penalties_and_a_gathered_layer(together):
    changes = {**OPTIONS, "penalties": [{"name": "batchnorm", "weight": 0.1}], "learning_rate": 0.1}
    expected = pngs(fv.render(small(), "fc:0:5", **changes))
    assert pngs(fv.render(small(), "fc:4", **changes)).items() <= expected.items()


def test_a_freed_lane_takes_the_next_picture(monkeypatch):
    steps = []
    fv.render(small(), "norm:0:8", watch=steps.append, **OPTIONS, **PLAIN)
    taken = [picture.taken for picture in fv.render(small(), "norm:0:8", **OPTIONS, **PLAIN)]
    # Greedy filling of three lanes in the order asked for.
    ends = [0, 0, 0]
    for one in taken:
        ends[ends.index(min(ends))] += one
    assert len(steps) == max(ends) < sum(sorted(taken)[-3:]) + 60
    assert [step.number for step in steps] == list(range(len(steps)))


def test_a_picture_that_never_settles_is_the_plain_one():
    plain = {**OPTIONS, "patience": 0, "steps": 12}
    patient = {**OPTIONS, "patience": 30, "steps": 12}
    ours = fv.render(small(), "norm:0:4", **patient, **PLAIN)
    theirs = fv.render(small(), "norm:0:4", **plain, **PLAIN)
    for one, other in zip(ours, theirs, strict=True):
        assert one.taken == 12
        assert abs(one.levels.astype(int) - other.levels.astype(int)).max() <= 1
        assert one.score == pytest.approx(other.score, rel=1e-3, abs=1e-4)


def test_a_dead_unit_is_tried_again_and_told():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 3, 3), nn.ReLU())
    nn.init.constant_(module[0].bias.data, 1.0)
    nn.init.zeros_(module[0].weight[1:2].data)
    nn.init.constant_(module[0].bias[1:2].data, -1.0)
    pictures = fv.render(handle(module), "1:0:3", **{**OPTIONS, "redirect_steps": 0, "attempts": 2}, **PLAIN)
    assert [picture.status for picture in pictures] == ["ok", "dead", "ok"]
    assert pictures[1].attempt == 1


def test_memory_that_runs_out_costs_no_finished_picture(monkeypatch):
    climb = lanes._Pictures.climb
    climbed = []

    def runs_out(self):
        climbed.append(self.recipe.lanes)
        if len(climbed) == 3:
            raise MemoryError
        yield from climb(self)

    monkeypatch.setattr(lanes._Pictures, "climb", runs_out)
    pictures = fv.render(small(), "norm:0:8", **OPTIONS, **PLAIN)
    assert [picture.target for picture in pictures] == [f"norm:{unit}" for unit in range(8)]
    widths = {picture.recipe["lanes"] for picture in pictures}
    assert widths == {3, 1}, "what was finished stays, the rest goes on with fewer"


def test_the_rule():
    assert not has_settled([0.0] * 5, 5, 0.1)
    assert has_settled([0.0, 0.5, 0.9] + [1.0] * 9, 4, 0.0)
    assert not has_settled([float(n) for n in range(30)], 5, 0.1)
    assert has_settled([float(n**0.1) for n in range(300)], 5, 0.05)


def test_the_optimizers_state_is_the_lanes_own():
    # A picture in a lane used before is the one in a fresh lane: tested with one lane only.
    one = {**OPTIONS, "lanes": 1}
    pair = pngs(fv.render(small(), "norm:3,5", optimizer="nadam", **one, **PLAIN))
    assert pngs(fv.render(small(), "norm:5", optimizer="nadam", **one, **PLAIN)).items() <= pair.items()
    assert torch.get_num_threads() >= 1


def test_no_patience_with_stages():
    with pytest.raises(fv.RecipeError, match="no patience with stages"):
        fv.Recipe(patience=5, stages=[[(16, 16), 0.5]])
