"""The penalty on how sure a classifier is."""

from __future__ import annotations

import pytest
import torch

import featvis as fv
from featvis.spec import register
from tests.networks import scores_of, small


def confidence(limit, layer="fc", *units):
    return register.make("objectives", {"name": "confidence", "limit": limit}).beside((layer,), units)


def log_odds(model, images, unit):
    logits = torch.stack([scores_of(model, fv.logit(one), images) for one in range(5)], dim=1).double()
    probability = logits.softmax(1)[:, unit]
    return (probability / (1 - probability)).log()


@pytest.mark.parametrize("limit", [-3.0, -1.4, 2])
def test_it_follows_its_formula(limit, chance):
    model, images = small(), torch.rand((4, 3, 17, 24), generator=chance)
    found = scores_of(model, confidence(limit, "fc", 1, 3), images)  # of four lanes, two pictures in turn
    for lane, own in enumerate((1, 3, 1, 3)):
        odds = log_odds(model, images[lane : lane + 1], own).item()
        assert found[lane].item() == pytest.approx(max(0.0, odds - limit), abs=1e-5)
    surest = scores_of(model, confidence(-9.0), images)  # no class is climbed
    odds = torch.stack([log_odds(model, images, unit) for unit in range(5)])
    torch.testing.assert_close(surest.double(), odds.amax(0) + 9, atol=1e-5, rtol=0)


def rendered(*penalties, unit=1, **told):
    told = {"size": (17, 24), "steps": 40, "learning_rate": 0.05, "transforms": [], **told}
    return fv.render(small(), f"fc:{unit}", penalties=list(penalties), **told)[0]


def test_the_class_is_climbed_to_the_limit_and_stays_there():
    model = small()
    free = log_odds(model, rendered().image[None], 1).item()
    start = log_odds(model, rendered(steps=1).image[None], 1).item()
    limit = (start + free) / 2
    held = rendered({"name": "confidence", "limit": limit, "weight": 1.0})
    assert log_odds(model, held.image[None], 1).item() == pytest.approx(limit, abs=0.15 * (free - start))


def test_below_the_limit_it_changes_nothing():
    plain = rendered(steps=6)
    assert (rendered({"name": "confidence", "limit": 100.0}, steps=6).levels == plain.levels).all()


def test_pictures_rendered_together_each_have_their_own():
    told = {"size": (17, 24), "steps": 3, "lanes": 2, "penalties": [{"name": "confidence", "limit": -3.0}]}
    for picture, unit in zip(fv.render(small(), "fc:1,3", **told), (1, 3), strict=True):
        (alone,) = fv.render(small(), f"fc:{unit}", **told)
        assert (alone.levels == picture.levels).all()


def test_asked_for_beside_a_map_it_says_what_it_is_for():
    with pytest.raises(fv.RecipeError, match=r"confidence: conv2 is not one layer of classes"):
        fv.render(small(), "conv2:1", size=(17, 24), steps=1, penalties=[{"name": "confidence"}])
