"""Objectives of a whole batch against loops over pairs of pictures."""

from __future__ import annotations

import pytest
import torch

import featvis as fv
from tests.networks import activations_of, layouts, scores_of
from tests.objectives.test_direction import POSITIONS

SIZE = (17, 10)


def images_of(chance, count=4):
    return torch.rand((count, 3, *SIZE), generator=chance)


def shares(spread):
    """Each picture's share by Lucid's double loop; ``spread`` is (B, positions, units)."""
    grams = []
    for picture in spread.double():
        gram = sum(torch.outer(place, place) for place in picture)
        grams.append(gram / gram.square().sum().sqrt())
    count = len(grams)
    return [
        sum(float((grams[b] * grams[a]).sum()) for a in range(count) if a != b) / count for b in range(count)
    ]


@pytest.mark.parametrize("layer", POSITIONS)
def test_t04_c10_diversity_is_the_double_loop(layer, chance):
    model, images = layouts(), images_of(chance)
    found = scores_of(model, fv.diversity(layer), images)
    spread = POSITIONS[layer](activations_of(model, layer, images))
    torch.testing.assert_close(
        found.double(), torch.tensor(shares(spread)), rtol=1e-4, atol=1e-6, check_dtype=False
    )
    strength = spread.square().mean((1, 2)).sqrt()
    relative = scores_of(model, fv.diversity(layer, relative=True), images)
    torch.testing.assert_close(relative, found * strength, rtol=1e-4, atol=1e-6)


def test_c10_equal_pictures_are_wholly_alike_and_one_is_like_none(chance):
    model, images = layouts(), images_of(chance)
    found = scores_of(model, fv.diversity("map"), images[:1].expand(4, -1, -1, -1))
    torch.testing.assert_close(found, torch.full((4,), 0.75))
    assert scores_of(model, fv.diversity("map"), images[:1]).tolist() == [0.0]


def test_c10_a_dark_layer_has_no_gram_and_no_broken_slope():
    objective = fv.diversity("map").bind(layouts().at(SIZE))
    dark = torch.zeros((3, 6, 9, 5), requires_grad=True)
    score = objective({"map": dark}, torch.zeros(3, 3, *SIZE))
    (slope,) = torch.autograd.grad(score.sum(), dark)
    assert score.tolist() == [0.0] * 3
    assert slope.isfinite().all()


def test_c10_without_a_layer_it_reads_the_targets_or_for_a_vector_the_last_with_positions():
    network = layouts().at(SIZE)
    plain = fv.diversity("")
    assert plain.beside(("map",)).bind(network).layers == ("map",)
    assert plain.beside(("vector",)).bind(network).layers == ("signal",)


def distances(model, layers, images, decay):
    """−Σ_d Σ_i mean (A_i − A_{i+d})² / ρ^d, summed over pairs, the mean over layers."""
    total, own = 0.0, [0.0] * len(images)
    for layer in layers:
        found = activations_of(model, layer, images).double()
        for first in range(len(images)):
            for second in range(first + 1, min(first + 5, len(images))):
                apart = float((found[first] - found[second]).square().mean()) / decay ** (second - first)
                total -= apart / len(layers)
                own[first] -= apart / 2 / len(layers)
                own[second] -= apart / 2 / len(layers)
    return total, own


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_c12_alignment_is_the_loop_over_pairs(count, chance):
    model, images = layouts(), images_of(chance, count)
    found = scores_of(model, fv.alignment(["map", "signal"], decay=3), images)
    total, own = distances(model, ["map", "signal"], images, 3)
    assert found.tolist() == pytest.approx(own, rel=1e-4, abs=1e-7)
    assert float(found.sum()) == pytest.approx(total, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_c13_interpolation_goes_from_one_to_the_other(count, chance):
    model, images = layouts(), images_of(chance, count)
    first, second = fv.channel("map", 1), 3 * fv.direction("signal", [1.0, 2.0, 0.0, -1.0])
    found = scores_of(model, fv.interpolation(first, second), images)
    one, other = scores_of(model, first, images), scores_of(model, second, images)
    weights = [lane / (count - 1) if count > 1 else 0.0 for lane in range(count)]
    expected = [(1 - w) * float(a) + w * float(b) for w, a, b in zip(weights, one, other, strict=True)]
    assert found.tolist() == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_what_couples_says_so_and_so_do_sums():
    coupled = [
        fv.diversity("map"),
        fv.alignment("map"),
        fv.interpolation(fv.layer("map"), fv.layer("signal")),
    ]
    for one in coupled:
        assert one.coupled
        assert (fv.layer("map") - 2 * one).coupled
    assert not (fv.layer("map") - 2 * fv.l1()).coupled


@pytest.mark.parametrize(("layers", "decay"), [((), 2.0), ("map", 0.0), ("map", -1.0)])
def test_what_is_no_alignment_is_refused(layers, decay):
    with pytest.raises(fv.TargetError, match="alignment"):
        fv.alignment(layers, decay)


def test_gradients_of_a_sum_of_a_thousand_and_one_are_exact(chance):
    """Against the same sum written by hand in float64."""
    model, image = layouts(), images_of(chance, 1)
    weights = torch.randn(1001, generator=chance, dtype=torch.float64).tolist()
    whole = sum(weight * fv.channel("map", place % 6) for place, weight in enumerate(weights))
    assert len(whole.terms) == 1001
    image.requires_grad_()
    (slope,) = torch.autograd.grad(scores_of(model, whole, image).sum(), image)
    exact = torch.nn.Conv2d(3, 6, 3, stride=2, padding=1).double()
    exact.load_state_dict(model.module.map.state_dict())
    again = image.detach().double().requires_grad_()
    means = exact((again - 0.5) / 0.5).mean((2, 3))[0]
    total = sum(weight * means[place % 6] for place, weight in enumerate(weights))
    (expected,) = torch.autograd.grad(total, again)
    torch.testing.assert_close(slope.double(), expected, rtol=2e-4, atol=2e-6)


def test_nested_algebra_is_exact_and_stays_flat(chance):
    model, image = layouts(), images_of(chance, 2)
    a, b, c = fv.channel("map", 1), fv.layer("map_last"), fv.direction("signal", [1.0, 0.0, 2.0, 0.0])
    nested = -(2 * (a - b / 4) - 3 * (c + (a - c) * 0.5)) + a
    assert all(not hasattr(term, "terms") for _, term in nested.terms)
    one, two, three = (scores_of(model, each, image) for each in (a, b, c))
    torch.testing.assert_close(
        scores_of(model, nested, image), -(2 * (one - two / 4) - 3 * (three + (one - three) * 0.5)) + one
    )
