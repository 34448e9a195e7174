"""L-BFGS: on a planted quadratic it is where it should be, each lane by itself, one evaluation a call."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

import featvis as fv
from featvis.engine.lbfgs import LBFGS
from featvis.engine.move import drawn_at
from tests.networks import small

SIZE = (17, 24)
OPTIONS = {"size": SIZE, "lanes": 3, "redirect_steps": 0}
NUMBERS = 60


def bowl(condition, seed=0):
    """A quadratic with its top planted: the curvature along its axes spans ``condition``."""
    generator = torch.Generator().manual_seed(seed)
    axes, _ = torch.linalg.qr(torch.randn(NUMBERS, NUMBERS, generator=generator))
    curvature = (axes * torch.logspace(0, math.log10(condition), NUMBERS)) @ axes.T
    top = torch.randn(3, NUMBERS, generator=generator)

    def score(points):
        away = points - top
        return -0.5 * ((away @ curvature) * away).sum(1)

    return score, top


def climb(score, evaluations, rate=0.02, lanes=3, shapes=((NUMBERS,),), changes=lambda step: False):
    parameters = {str(place): torch.zeros(lanes, *shape) for place, shape in enumerate(shapes)}
    for value in parameters.values():
        value.requires_grad_()
    search, told = LBFGS(parameters, rate), []
    for step in range(evaluations):
        scores = score(torch.cat([value.flatten(1) for value in parameters.values()], 1))
        (-scores.sum()).backward()
        told.append(scores.detach())
        search.climb(scores.detach(), changes(step))
    return torch.cat([value.flatten(1) for value in search.base.values()], 1), torch.stack(told)


def adams(score, evaluations):
    """The best of Adam's rates at as many evaluations."""
    found = []
    for rate in (0.01, 0.03, 0.1, 0.3):
        point = torch.zeros(3, NUMBERS, requires_grad=True)
        adam = torch.optim.Adam([point], lr=rate)
        for _ in range(evaluations):
            adam.zero_grad()
            (-score(point).sum()).backward()
            adam.step()
        found.append(score(point.detach()))
    return torch.stack(found).amax(0)


@pytest.mark.parametrize("condition", [10, 1000])
def test_on_a_quadratic_it_beats_adam_at_equal_evaluations(condition):
    score, top = bowl(condition)
    point, told = climb(score, 60)
    start = score(torch.zeros(3, NUMBERS))
    assert (score(point) > 0.05 * adams(score, 60)).all(), "less than a twentieth of what Adam leaves"
    assert (score(point) > 1e-4 * start).all()
    assert told.shape[0] == 60
    if condition == 10:
        torch.testing.assert_close(point, top, atol=1e-3, rtol=0)


@pytest.mark.parametrize("rate", [0.01, 0.1, 10.0])
def test_the_first_try_may_be_far_too_short_or_too_long(rate):
    score, _ = bowl(10)
    assert (score(climb(score, 40, rate=rate)[0]) > -1e-3).all()


def test_no_step_goes_farther_than_ten_rates():
    score, top = bowl(10)
    seen = []

    def tells(points):
        seen.append(points.detach().clone())
        return score(points)

    climb(tells, 30, rate=0.01)
    steps = [float((two - one).square().mean(1).sqrt().max()) for one, two in itertools.pairwise(seen)]
    assert 0.09 < max(steps) <= 0.1001, "while Newton's first would go all the way"
    assert float(top.square().mean().sqrt()) > 0.8


def test_the_point_that_stands_never_falls():
    # Far from a quadratic: a ripple with tops of different heights.
    def ripple(points):
        return (points.sin() - 0.1 * points.square()).sum(1) + (7 * points).cos().sum(1)

    parameters = {"x": (torch.arange(12.0).reshape(3, 4) / 3 - 2).requires_grad_()}
    search, best = LBFGS(parameters, 0.5), []
    for _ in range(50):
        scores = ripple(parameters["x"])
        (-scores.sum()).backward()
        search.climb(scores.detach(), False)
        best.append(ripple(search.base["x"]))
    best = torch.stack(best)
    assert (best.diff(dim=0) >= -1e-6).all()
    slope = torch.autograd.functional.jacobian(lambda x: ripple(x).sum(), search.base["x"])
    assert slope.abs().max() < 0.02, "and comes to rest at a top"


def test_it_goes_on_after_a_place_where_scores_are_not_finite():
    def edge(points):
        inside = (points.square().sum(1) < 4.0).float()
        return torch.where(inside > 0, -((points - 1.9 / NUMBERS**0.5) ** 2).sum(1), math.nan)

    point, told = climb(edge, 30, rate=5.0)
    assert told.isnan().any()
    assert (edge(point) > -1e-4).all()


def test_mates_and_shapes_do_not_matter():
    score, _ = bowl(100)

    def other(points):
        return torch.cat([score(points)[:1], -points[1:].abs().sum(1)])

    together = climb(score, 25)[0]
    assert torch.equal(climb(other, 25)[0][0], together[0])
    apart = climb(score, 25, shapes=((4, 5), (40,)))[0]
    assert torch.equal(apart, together), "several tensors are one long one"


def test_a_lane_that_forgets_begins_anew():
    score, _ = bowl(100)
    parameters = {"x": torch.zeros(3, NUMBERS, requires_grad=True)}
    search = LBFGS(parameters, 0.02)
    points = []
    for step in range(40):
        if step == 20:
            with torch.no_grad():
                parameters["x"][1] = 0.0
            search.forget(1)
        scores = score(parameters["x"])
        (-scores.sum()).backward()
        search.climb(scores.detach(), False)
        points.append(search.base["x"].clone())
    assert torch.equal(points[39][1], points[19][1])
    assert not torch.equal(points[39][0], points[19][0])


def test_of_another_function_the_best_point_is_evaluated_first():
    score, top = bowl(10)
    seen = []

    def moving(points):
        seen.append(points.detach().clone())
        return score(points) if len(seen) <= 10 else score(points - 1.0)

    point, _ = climb(moving, 50, changes=lambda step: step == 9)
    best = max(score(one)[0] for one in seen[:10])
    assert score(seen[10])[0] == best, "no untried point is shown to a new function"
    torch.testing.assert_close(point, top + 1.0, atol=1e-3, rtol=0)


def test_draws_are_held_while_a_search_goes_on():
    plain, search = fv.Recipe(), fv.Recipe(optimizer="lbfgs")
    assert [drawn_at(step, plain) for step in (0, 1, 17)] == [0, 1, 17]
    assert [drawn_at(step, search) for step in (0, 1, 15, 16, 33)] == [0, 0, 0, 16, 32]
    assert [drawn_at(step, search.but(hold=3)) for step in (0, 2, 3, 7)] == [0, 0, 3, 6]
    assert drawn_at(torch.tensor([5, 16]), search).tolist() == [0, 16]


def test_a_held_draw_makes_the_scores_of_a_search_comparable():
    options = {"transforms": [fv.Noise(sd=0.5)], "optimizer": "lbfgs", "steps": 24, "learning_rate": 0.02}
    steps = list(fv.ascend(small(), fv.channel("norm", 1), fv.PixelImage(size=SIZE), hold=12, **options))
    told = torch.stack([step.scores[0] for step in steps])
    best = told.cummax(0).values
    assert best[11] > told[0] + 0.15
    assert told[12] < told[11] - 0.02, "another draw"
    assert told[23] > told[12] + 0.03


def test_pictures_rise_and_do_not_depend_on_their_mates():
    options = {**OPTIONS, "optimizer": "lbfgs", "steps": 30, "transforms": [fv.Noise(sd=0.05)]}
    pictures = fv.render(small(), "norm:0:5", **options)
    assert all(picture.score > picture.start_score + 0.1 for picture in pictures)
    assert all(picture.evaluations == 30 for picture in pictures)
    (alone,) = fv.render(small(), "norm:4", **options)
    assert alone.png() == pictures[4].png()
    stages = fv.render(small(), "norm:0", **{**options, "stages": [[(9, 12), 0.5]]})
    assert stages[0].score > stages[0].start_score


def test_with_patience_each_lane_has_its_own_search():
    options = {
        **OPTIONS,
        "optimizer": "lbfgs",
        "steps": 48,
        "patience": 4,
        "tolerance": 0.2,
        "transforms": [],
    }
    together = fv.render(small(), "norm:0:6", **options)
    assert min(picture.taken for picture in together) < 48
    for unit in (2, 5):
        (alone,) = fv.render(small(), f"norm:{unit}", **options)
        assert alone.png() == together[unit].png()


@pytest.mark.parametrize("change", [{"schedule": "cosine"}, {"gradient_norm": 1.0}, {"gradient_clip": 1.0}])
def test_what_a_line_search_cannot_use_is_refused(change):
    with pytest.raises(fv.RecipeError, match="lbfgs finds its own step lengths"):
        fv.Recipe(optimizer="lbfgs", **change)
