"""The penalty on the classes beside a picture's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import featvis as fv
from featvis.spec import register
from tests.networks import handle, scores_of, seeded, small

SIZE = (8, 12)


def rivals(layer="fc", *units):
    return register.make("objectives", {"name": "rivals"}).beside((layer,), units)


def test_each_lane_leaves_out_its_own_class(chance):
    model, images = small(), torch.rand((4, 3, 17, 24), generator=chance)
    found = scores_of(model, rivals("fc", 1, 3), images)  # of four lanes, two pictures in turn
    logits = torch.stack([scores_of(model, fv.logit(unit), images) for unit in range(5)], dim=1).double()
    for lane, own in enumerate((1, 3, 1, 3)):
        others = [logits[lane, unit].exp() for unit in range(5) if unit != own]
        assert found[lane].item() == pytest.approx(torch.stack(others).sum().log().item(), abs=1e-5)
    alone = scores_of(model, rivals(), images)
    torch.testing.assert_close(alone.double(), logits.logsumexp(1))


@pytest.mark.parametrize("weight", [0.25, 0.5])
def test_it_is_a_share_of_the_smooth_margin(weight, chance):
    model, images = small(), torch.rand((1, 3, 17, 24), generator=chance)
    climbed = scores_of(model, fv.logit(2) - weight * rivals("fc", 2), images)
    margin = (1 - weight) * fv.logit(2) + weight * fv.margin(2, others="logsumexp")
    torch.testing.assert_close(climbed, scores_of(model, margin, images))


class Siblings(nn.Module):
    """Class 0 is the left half and the upper right quarter; its sibling the left half and the lower right."""

    def __init__(self, rows=SIZE[0], columns=SIZE[1]):
        super().__init__()
        seen = torch.zeros(3, 3, rows, columns)
        seen[:2, ..., : columns // 2] = 1
        seen[0, :, : rows // 2, columns // 2 :] = 1
        seen[1, :, rows // 2 :, columns // 2 :] = 1
        self.norm = nn.BatchNorm2d(3)  # so that penalties of ours stay
        self.flat, self.fc = nn.Flatten(), nn.Linear(seen[0].numel(), 3)
        self.fc.weight.data, self.fc.bias.data = seen.flatten(1), torch.tensor([0.0, 1000.0, -1000.0])

    def forward(self, images):
        return self.fc(self.flat(self.norm(images)))


@pytest.mark.parametrize("weight", [0.0, 0.4])
def test_what_siblings_share_counts_for_less(weight):
    plain = {"size": SIZE, "steps": 2, "transforms": [], "optimizer": "sgd", "learning_rate": 1e-4}
    space = {"name": "pixel", "decorrelate": False}
    penalties = [{"name": "rivals", "weight": weight}]
    seen = []
    fv.render(
        handle(Siblings(), SIZE),
        "fc:0",
        space=space,
        penalties=penalties,
        watch=lambda step: seen.append(step.images.clone()),
        **plain,
    )
    moved = (seen[1] - seen[0])[0].double()
    shared, own, other = moved[:, :, :6].mean(), moved[:, :4, 6:].mean(), moved[:, 4:, 6:].mean()
    assert shared / own == pytest.approx(1 - weight, abs=0.03)
    assert other / own == pytest.approx(-weight, abs=0.03)


def test_pictures_rendered_together_each_have_their_own_rivals():
    model = small()
    told = {"size": (17, 24), "steps": 3, "lanes": 2, "penalties": [{"name": "rivals", "weight": 2.0}]}
    together = fv.render(model, "fc:1,3", **told)
    for picture, unit in zip(together, (1, 3), strict=True):
        (alone,) = fv.render(model, f"fc:{unit}", **told)
        assert (alone.levels == picture.levels).all()
    (without,) = fv.render(model, "fc:1", **{**told, "penalties": []})
    assert (without.levels != together[0].levels).any()


def test_asked_for_beside_a_map_it_says_what_it_is_for():
    with pytest.raises(fv.RecipeError, match=r"rivals: conv2 is not one layer of classes"):
        fv.render(small(), "conv2:1", size=(17, 24), steps=1, penalties=[{"name": "rivals"}])


def kept(model, target):
    (picture,) = fv.render(model, target, recipe="portrait", size=(17, 24), steps=1)
    return [penalty["name"] for penalty in picture.recipe["penalties"]]


def test_portrait_leaves_it_out_where_no_class_is_climbed():
    model = small()
    assert kept(model, "fc:1") == ["batchnorm", "rivals", "contrast", "colorfulness"]
    for other in ("norm:1", "flat:1", fv.margin(1), -1 * fv.logit(1)):
        assert kept(model, other) == ["batchnorm", "contrast", "colorfulness"]


@pytest.mark.parametrize(("hidden", "names"), [(0, []), (1, []), (2, ["rivals", "contrast", "colorfulness"])])
def test_portrait_without_batchnorm(hidden, names):
    def network():
        pairs = [nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()) for _ in range(hidden)]
        return nn.Sequential(*pairs, nn.Flatten(), nn.Linear(17 * 24 * 3, 4))

    assert kept(handle(seeded(network)), f"{hidden + 1}:2") == names
