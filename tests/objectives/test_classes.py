"""A class against the others: formulas written out, and what climbing them does."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import featvis as fv
from featvis.objectives.base import stack
from tests.networks import PLAIN, activations_of, handle, scores_of, seeded, small


def slow(logits, unit, kind):
    scores = []
    for row in logits.double().tolist():
        others = [value for place, value in enumerate(row) if place != unit]
        together = {
            "best": max(others),
            "logsumexp": math.log(sum(map(math.exp, others))),
            "all": math.log(sum(map(math.exp, row))),
        }
        scores.append(row[unit] - together[kind])
    return torch.tensor(scores)


MADE = {
    "best": lambda unit: fv.margin(unit),
    "logsumexp": lambda unit: fv.margin(unit, others="logsumexp"),
    "all": lambda unit: fv.log_probability(unit),
}


@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize("unit", [0, 3])
def test_it_follows_its_formula(kind, unit, chance):
    model = small()
    images = torch.rand((3, 3, 17, 24), generator=chance)
    expected = slow(activations_of(model, "fc", images), unit, kind)
    torch.testing.assert_close(scores_of(model, MADE[kind](unit), images), expected, atol=1e-5, rtol=1e-4)


class Convolutional(nn.Module):
    """Its classes are a map of one position, with the channels first or last."""

    def __init__(self, last):
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 4, 3), last

    def forward(self, images):
        pooled = self.conv(images).mean((2, 3), keepdim=True)
        return pooled.permute(0, 2, 3, 1) if self.last else pooled


@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize("last", [False, True])
def test_classes_may_be_a_map_of_one_position(kind, last, chance):
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.classes = Convolutional(last)

        def forward(self, images):
            return self.classes(images)

    model = handle(seeded(Network), (17, 24), **({"unit_axis": {"classes": 3}} if last else {}))
    images = torch.rand((3, 3, 17, 24), generator=chance)
    logits = activations_of(model, "classes", images).flatten(1)
    expected = slow(logits, 2, kind)
    torch.testing.assert_close(scores_of(model, MADE[kind](2), images), expected, atol=1e-5, rtol=1e-4)
    (picture,) = fv.render(model, MADE[kind](2), size=(17, 24), steps=2, **PLAIN)
    assert picture.recipe["steps"] == 2


def test_logits_of_a_thousand_do_not_overflow():
    logits = torch.tensor([[1000.0, -1000.0, 999.0, 0.0, 0.0]])
    for objective, expected in ((fv.margin(0), 1.0), (fv.log_probability(0), -math.log1p(math.exp(-1)))):
        bound = objective.bind(small().at((17, 24)))
        assert bound({"fc": logits}, torch.zeros(1, 3, 2, 2)).item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("kind", MADE)
def test_classes_of_one_batch_score_as_each_alone(kind, chance):
    model = small()
    each = [MADE[kind](unit).bind(model.at((17, 24))) for unit in (4, 0, 2)]
    together, logits = stack(each), torch.randn((3, 5), generator=chance)
    images = torch.zeros(3, 3, 17, 24)
    assert type(together) is type(each[0])
    alone = torch.stack([one({"fc": logits}, images)[lane] for lane, one in enumerate(each)])
    torch.testing.assert_close(together({"fc": logits}, images), alone)


def test_a_rendered_margin_puts_its_class_first():
    model = small()
    pictures = fv.render(
        model, [fv.margin(unit) for unit in range(5)], size=(17, 24), steps=40, learning_rate=0.05
    )
    for unit, picture in enumerate(pictures):
        logits = activations_of(model, "fc", picture.image[None])
        assert picture.score == pytest.approx(slow(logits, unit, "best").item(), abs=1e-4)
        assert picture.score > picture.start_score


def test_names_are_classes_and_a_picture_has_one_name():
    model = small(labels=["ant", "bee", "cat", "dog", "elk"])
    network = model.at((17, 24))
    assert fv.margin("cat").bind(network).describe() == fv.margin(2, "fc").bind(network).describe()
    told = {made(unit).bind(network).describe() for made in MADE.values() for unit in (0, 1)}
    assert len(told) == 6


def test_what_is_no_class_is_refused():
    network = small().at((17, 24))
    for objective in (fv.margin(5), fv.margin("0:2"), fv.log_probability(0, "conv2")):
        with pytest.raises(fv.TargetError):
            objective.bind(network)
    with pytest.raises(fv.TargetError, match="'best' or 'logsumexp'"):
        fv.margin(0, others="mean")


def test_it_renders_beside_a_penalty():
    (picture,) = fv.render(small(), fv.log_probability(1) - 0.1 * fv.l2(), size=(17, 24), steps=2, **PLAIN)
    assert math.isfinite(picture.score)
