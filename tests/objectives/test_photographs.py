"""Objectives that compare with a photograph."""

from __future__ import annotations

import pytest
import torch

import featvis as fv
from featvis.objectives.base import stack
from featvis.objectives.reference import fitted
from tests.networks import activations_of, correlation, layouts, scores_of, small

SIZE = (17, 10)


@pytest.fixture
def photograph(chance):
    return torch.rand((3, *SIZE), generator=chance)


def images_of(chance):
    return torch.rand((2, 3, *SIZE), generator=chance)


def test_c11_matching_is_the_normalised_distance(photograph, chance):
    model, images = layouts(), images_of(chance)
    found = scores_of(model, fv.match(["map", "tokens"], photograph), images)
    expected = [0.0, 0.0]
    for layer in ("map", "tokens"):
        reference = activations_of(model, layer, photograph[None]).double()[0]
        for lane, own in enumerate(activations_of(model, layer, images).double()):
            expected[lane] -= float((own - reference).square().sum() / reference.square().sum())
    assert found.tolist() == pytest.approx(expected, rel=1e-4)
    perfect = scores_of(model, fv.match(["map", "tokens"], photograph), photograph[None])
    assert float(perfect.detach()) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("power", [0, 1, 2])
def test_caricature_is_dot_times_cosine_over_the_photographs_own(power, photograph, chance):
    model, images = layouts(), images_of(chance)
    found = scores_of(model, fv.caricature(["map", "signal"], photograph, power), images)
    expected = [0.0, 0.0]
    for layer in ("map", "signal"):
        reference = activations_of(model, layer, photograph[None]).double().flatten()
        for lane, own in enumerate(activations_of(model, layer, images).double().flatten(1)):
            dot = float(own @ reference)
            cosine = max(0.1, dot / float((own.norm() + 1e-4) * (reference.norm() + 1e-4)))
            expected[lane] += dot / float(reference @ reference) * cosine**power
    assert found.tolist() == pytest.approx(expected, rel=1e-3)
    assert float(scores_of(model, fv.caricature("map", photograph), photograph[None])) == pytest.approx(1)


def test_style_compares_what_goes_together_and_not_where(photograph, chance):
    model, images = layouts(), images_of(chance)
    found = scores_of(model, fv.style(["map", "map_last"], photograph), images)
    expected = [0.0, 0.0]
    for layer in ("map", "map_last"):
        spread = [
            one.flatten(2) if layer == "map" else one.flatten(1, 2).mT
            for one in (activations_of(model, layer, images), activations_of(model, layer, photograph[None]))
        ]
        for lane in range(2):
            grams = [
                sum(torch.outer(a, a) for a in one.mT.double()) / 45
                for one in (spread[0][lane], spread[1][0])
            ]
            expected[lane] -= float((grams[0] - grams[1]).abs().mean() / grams[1].abs().mean())
    assert found.tolist() == pytest.approx(expected, rel=1e-3)
    objective = fv.style("map", photograph).bind(model.at(SIZE))
    mirrored = activations_of(model, "map", photograph[None]).flip(3)
    score = objective({"map": mirrored}, photograph[None])
    assert float(score) == pytest.approx(0, abs=1e-5), "a map mirrored has the style"


def test_no_gradient_reaches_the_photograph_and_it_is_not_changed(photograph):
    before = photograph.clone().requires_grad_()
    objective = fv.match("map", before).bind(layouts().at(SIZE))
    score = objective({"map": torch.ones((1, 6, 9, 5), requires_grad=True)}, photograph[None])
    score.sum().backward()
    assert before.grad is None
    assert torch.equal(before, photograph)


MOVED = [fv.Warp(shift=0.3, degrees=20), fv.Noise(sd=0.05)]


def scores_at(photograph, model, objective, transforms):
    """The scores of a run of two lanes that stays where it starts: at the photograph."""
    space = fv.PixelImage(size=SIZE, decorrelate=False)
    start = {name: value[None].repeat(2, *[1] * value.dim()) for name, value in space.fit(photograph).items()}
    steps = fv.ascend(
        model,
        objective,
        space,
        steps=2,
        lanes=2,
        transforms=transforms,
        start=start,
        learning_rate=1e-9,
    )
    return [step.scores.tolist() for step in steps]


@pytest.mark.parametrize("transforms", [[], MOVED])
@pytest.mark.parametrize("make", [fv.match, fv.caricature])
def test_the_photograph_is_moved_as_the_image_is(make, transforms, photograph):
    """A run that starts at the photograph is shown nothing but the photograph, whatever the draws."""
    perfect = 0.0 if make is fv.match else 1.0
    for scores in scores_at(photograph, layouts(), make("map", photograph), transforms):
        assert scores == pytest.approx([perfect] * 2, abs=1e-3)


def test_it_is_moved_for_another_network_of_an_ensemble_too(photograph):
    model, other = layouts(), layouts((13, 11))
    for make, perfect in ((fv.match, 0.0), (fv.caricature, 1.0)):
        for scores in scores_at(photograph, model, fv.ensemble((other, make("map", photograph))), MOVED):
            assert scores == pytest.approx([perfect] * 2, abs=1e-3)


def test_lanes_with_different_objectives_move_their_photographs(photograph):
    network = layouts().at(SIZE)
    each = stack([fv.match("map", photograph).bind(network), fv.caricature("map", photograph).bind(network)])
    for scores in scores_at(photograph, layouts(), each, MOVED):
        assert scores == pytest.approx([0.0, 1.0], abs=1e-3)


def test_c11_inversion_finds_the_photograph_again(photograph):
    """A layer that loses nothing: its inversion is the photograph."""
    model = small(size=SIZE)
    smooth = fitted(photograph[None, :, ::4, ::4], SIZE)[0]
    (picture,) = fv.render(
        model, fv.match("conv1", smooth), size=SIZE, steps=150, lanes=1, transforms=[], learning_rate=0.05
    )
    assert picture.score > -0.02
    assert correlation(picture.image, smooth) > 0.9


def test_a_run_that_may_stop_early_moves_the_photograph_too(photograph):
    model = layouts()
    shared = {"size": SIZE, "steps": 12, "lanes": 2, "redirect_steps": 0}
    objective = fv.caricature("map", photograph, 1)
    plain = fv.render(model, objective, **shared)
    patient = fv.render(model, objective, patience=12, **shared)
    torch.testing.assert_close(patient[0].image, plain[0].image, atol=2 / 255, rtol=0)


def test_different_photographs_in_one_call_do_not_mix(photograph, chance):
    model = layouts()
    other = torch.rand((3, 20, 30), generator=chance)
    both = [fv.caricature("map", one, 1) for one in (photograph, other)]
    shared = {"size": SIZE, "steps": 4, "lanes": 2}
    together = fv.render(model, both, **shared)
    for one, objective in zip(together, both, strict=True):
        (alone,) = fv.render(model, objective, **shared)
        assert torch.equal(one.image, alone.image)


def test_stages_compare_with_the_photograph_on_each_canvas(photograph):
    model = layouts()
    both = [fv.match("map", one) for one in (photograph, photograph.flip(1))]
    shared = {"size": SIZE, "stages": [[(9, 6), 0.5]], "steps": 4, "lanes": 2, "transforms": []}
    for one, objective in zip(fv.render(model, both, **shared), both, strict=True):
        (alone,) = fv.render(model, objective, **shared)
        assert torch.equal(one.image, alone.image)
        assert one.score > one.start_score


def test_it_is_reproduced_from_its_photograph(photograph, tmp_path):
    model = layouts()
    (picture,) = fv.render(model, fv.match("map", photograph), size=SIZE, steps=3, lanes=2, out=tmp_path)
    (path,) = tmp_path.glob("objectives/match*.png")
    again = fv.reproduce(path, model, objective=fv.match("map", photograph))
    assert again.png() == path.read_bytes() == picture.png()
    with pytest.raises(fv.UserError, match="is a picture of match"):
        fv.reproduce(path, model, objective=fv.match("map", photograph.flip(2)))


@pytest.mark.parametrize("make", [fv.match, fv.caricature, fv.style])
def test_what_is_no_photograph_is_refused(make, photograph):
    for wrong in (photograph[0], photograph * 255, photograph - 1, photograph * torch.nan, 3):
        with pytest.raises(fv.CanvasError, match=make.__name__):
            make("map", wrong)
    with pytest.raises(fv.TargetError, match="layer"):
        make([], photograph)
    with pytest.raises(fv.TargetError, match=r"names come first: fv\.\w+\(layers, photograph\)"):
        make(photograph, "map")
    with pytest.raises(fv.TargetError, match="lost"):
        make("lost", photograph).bind(layouts().at(SIZE))
    with pytest.raises(fv.CanvasError, match=r"\(3, H, W\), got shape \(1, "):
        make("map", photograph[:1]).bind(layouts().at(SIZE))


def test_a_caricature_of_negative_power_is_refused(photograph):
    with pytest.raises(fv.TargetError, match="power"):
        fv.caricature("map", photograph, -1)
