"""Scores driven into a band: the formula, each lane's own band, no further, in a run as well."""

from __future__ import annotations

import math

import pytest
import torch

import featvis as fv
from featvis.objectives.base import stack
from tests.networks import scores_of, small

OPTIONS = {"size": (17, 24), "steps": 60, "lanes": 3, "redirect_steps": 0, "transforms": []}


def slopes_of(model, objective, images):
    images = images.clone().requires_grad_()
    scores = scores_of(model, objective, images)
    return scores.detach(), torch.autograd.grad(scores.sum(), images)[0]


@pytest.mark.parametrize(("low", "high", "factor"), [(1.0, 2.0, 1.0), (-1.0, 1.0, 0.0), (-2.0, -1.0, -1.0)])
def test_below_a_band_the_slope_is_the_objectives_above_the_reverse_inside_none(low, high, factor):
    model, images = small(), torch.rand(2, 3, 17, 24, generator=torch.Generator().manual_seed(1))
    plain, own = slopes_of(model, fv.channel("norm", 1), images)
    assert (plain.abs() < 0.9).all()
    scores, slopes = slopes_of(model, fv.within(fv.channel("norm", 1), low, high), images)
    torch.testing.assert_close(slopes, factor * own)
    expected = [min(score, low) - max(score - high, 0.0) for score in plain.tolist()]
    torch.testing.assert_close(scores, torch.tensor(expected))


def test_every_lane_has_its_own_band():
    model, images = small(), torch.rand(3, 3, 17, 24, generator=torch.Generator().manual_seed(1))
    bands = [(0.05, 0.1), (-3.0, 3.0), (-9.0, -8.0)]
    alone = [fv.within(fv.channel("norm", unit), *band) for unit, band in zip((1, 2, 5), bands, strict=True)]
    together = stack([one.bind(model.at((17, 24))) for one in alone])
    expected = torch.cat([scores_of(model, one, images[lane : lane + 1]) for lane, one in enumerate(alone)])
    torch.testing.assert_close(scores_of(model, together, images), expected)
    assert type(together) is type(alone[0]), "in one piece, not lane by lane"


@pytest.mark.parametrize("aim", [0.05, 0.3])
def test_a_recipes_band_is_met_from_either_side_and_the_picture_tells_its_plain_score(aim):
    # Unit 0 starts at about 0.18 and comes to 0.42 if it is let.
    options = {**OPTIONS, "learning_rate": 0.1}
    for picture in fv.render(small(), "norm:0", seeds=3, band=aim, **options):
        assert 0.1 < picture.start_score < 0.25
        assert picture.score == pytest.approx(aim, abs=0.02)
    (between,) = fv.render(small(), "norm:0", band=[aim - 0.02, aim + 0.02], **options)
    assert aim - 0.03 < between.score < aim + 0.03
    assert fv.Recipe(band=1.5).to_json()["band"] == 1.5


def test_an_objective_of_ones_own_with_bands_of_their_own():
    free = [picture.score for picture in fv.render(small(), "norm:1,3", **OPTIONS)]
    wishes = [
        fv.within(fv.channel("norm", unit), score / share)
        for unit, score, share in zip((1, 3), free, (2, 4), strict=True)
    ]
    options = {**OPTIONS, "penalties": [{"name": "l2", "weight": 0.0}]}
    pictures = fv.render(small(), wishes, **options)
    for picture, score, share in zip(pictures, free, (2, 4), strict=True):
        assert picture.score == pytest.approx(score / share, abs=0.05)
        assert picture.trace[-1] <= score / share + 1e-4
    (alone,) = fv.render(small(), wishes[1], **options)
    assert alone.png() == pictures[1].png()


def test_with_patience_a_picture_in_its_band_frees_its_lane():
    options = {**OPTIONS, "patience": 4, "tolerance": 0.02, "steps": 100}
    free = fv.render(small(), "norm:0:4", **options)
    aim = min(picture.score for picture in free) / 3
    banded = fv.render(small(), "norm:0:4", band=[aim, aim + 1.0], **options)
    assert sum(picture.taken for picture in banded) < sum(picture.taken for picture in free)


def test_a_neuron_in_a_band_sees_its_window_only():
    wish = fv.within(fv.neuron("conv1", 2, (3, 20)), 0.3)
    assert wish.bind(small().at((17, 24))).place() == ("conv1", (3, 20))
    (picture,) = fv.render(small(), wish, **{**OPTIONS, "steps": 20})
    assert picture.score == pytest.approx(0.3, abs=0.1)


@pytest.mark.parametrize("band", [(2.0, 1.0), (math.nan, 1.0), (0.0, math.inf)])
def test_a_band_is_two_finite_scores_low_first(band):
    with pytest.raises(fv.UserError, match="low first"):
        fv.within(fv.channel("norm", 1), *band)
    with pytest.raises(fv.RecipeError, match=r"low first|a finite number"):
        fv.Recipe(band=band)
