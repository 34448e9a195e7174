"""Selectivity, agreement, choices, paths and bands, against values computed by hand or otherwise."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from featvis.attribution.measure import ranks, spearman
from featvis.trust.agreement import agreement, diversity
from featvis.trust.choice import Choice, choice, extremes
from featvis.trust.judging import likeness, pool, pooled_layers
from featvis.trust.paths import path_similarity
from featvis.trust.references import noise_images
from featvis.trust.response import PhotographScores, band, band_of_class, beside_photographs, percentile
from featvis.trust.selectivity import below_directions, selectivity, standardize
from tests.networks import activations_of, handle, layouts, small


def test_standardized_responses_are_in_deviations_of_the_reference():
    reference = torch.tensor([[0.0, 10.0, 0.0], [2.0, 10.0, 0.0]])
    # Deviations 1, 0, 0: the root mean square is .577, of which a quarter is the least that counts.
    z = standardize(torch.tensor([[4.0, 11.0, 0.0]]), reference)
    assert z[0].tolist() == pytest.approx([3.0, 1 / (math.sqrt(1 / 3) / 4), 0.0], rel=1e-5)


def test_a_units_rank_is_among_all_units_and_a_tie_counts_against_it():
    z = torch.tensor([[1.0, 3.0, 2.0, 3.0], [-4.0, 0.0, 1.0, 2.0]])
    assert [one.rank for one in selectivity(z, [1, 3])] == [2, 1]
    assert [one.rank for one in selectivity(z, [2, 0], [1, -1])] == [3, 1]
    assert selectivity(z, [2, 0], [1, -1])[1].z == 4.0
    assert selectivity(z, [0, 0])[0].units == 4


def test_a_unit_alone_stands_above_every_random_direction_and_a_mixture_does_not(chance):
    z = torch.zeros(2, 40)
    z[0, 7] = 5.0
    z[1] = torch.randn(40, generator=chance)
    z[1, 7] = 0.0
    lone, mixed = below_directions(z, [7, 7], [1, 1])
    assert lone == 1.0
    assert 0.3 < mixed < 0.7
    assert below_directions(z, [7, 7], [-1, 1])[0] == 0.0


def test_agreement_is_the_mean_over_pairs():
    alike = torch.tensor(
        [
            [1.0, 0.8, 0.2, 0.1, 0.0],
            [0.8, 1.0, 0.3, 0.4, 0.0],
            [0.2, 0.3, 1.0, -0.2, 0.0],
            [0.1, 0.4, -0.2, 1.0, 0.5],
            [0.0, 0.0, 0.0, 0.5, 1.0],
        ]
    )
    found = agreement(alike, ["a", "a", "b", "b", "c"])
    assert set(found) == {"a", "b"}
    assert found["a"].own == pytest.approx(0.8)
    assert found["a"].others == pytest.approx((0.2 + 0.1 + 0 + 0.3 + 0.4 + 0) / 6)
    assert found["a"].agrees is True
    assert found["b"].own == pytest.approx(-0.2)
    assert found["b"].agrees is False
    alone = agreement(alike[:2, :2], ["a", "a"])["a"]
    assert (alone.others, alone.agrees) == (None, None)


def test_diversity_counts_strong_pictures_only():
    alike = torch.tensor([[1.0, 0.6, 0.0], [0.6, 1.0, 0.0], [0.0, 0.0, 1.0]])
    assert diversity(alike, [10.0, 9.0, 8.9]) == pytest.approx(0.4)
    assert diversity(alike, [10.0, 9.5, 9.2]) == pytest.approx((0.4 + 1 + 1) / 3)
    assert diversity(alike, [10.0, 1.0, 1.0]) is None
    assert diversity(alike[:0, :0], []) is None


def test_likeness_is_the_mean_cosine_over_layers_after_the_mean_is_taken_away():
    pooled = {
        "a": torch.tensor([[2.0, 0.0], [0.0, 0.0], [1.0, 3.0]]),
        "b": torch.tensor([[1.0], [1.0], [4.0]]),
    }
    found = likeness(pooled)
    rows = pooled["a"].numpy() - pooled["a"].numpy().mean(0)
    cosine = rows[0] @ rows[2] / np.linalg.norm(rows[0]) / np.linalg.norm(rows[2])
    assert float(found[0, 2]) == pytest.approx((cosine - 1) / 2, abs=1e-6)
    assert found.diagonal().tolist() == pytest.approx([1, 1, 1])


def test_features_are_means_over_the_maps_of_layers_at_even_distances(chance):
    model = small()
    images = torch.rand((3, 3, 17, 24), generator=chance)
    pooled = pool(list(images), model)
    names = [layer.name for layer in pooled_layers(model)]
    assert names[-1] == "relu2"
    assert list(pooled) == names
    for name in names:
        expected = activations_of(model, name, images).mean((2, 3))
        assert torch.allclose(pooled[name], expected, atol=1e-5), name


def test_a_network_of_tokens_and_one_without_maps_have_features_too(chance):
    images = list(torch.rand((2, 3, 17, 10), generator=chance))
    assert all(len(rows) == 2 for rows in pool(images, layouts()).values())
    flat = handle(nn.Sequential(nn.Flatten(), nn.Linear(3 * 17 * 10, 5)), (17, 10))
    assert list(pool(images, flat)) == ["1"]


def test_a_choice_is_right_where_the_pictures_look_like_the_exciting_photographs():
    # Pictures 0 (the unit's) and 1 (another's), photographs 2 and 3 (exciting), 4 and 5 (not).
    alike = torch.eye(6)
    for place, (own, other) in enumerate([(0.9, 0.1), (0.2, 0.3), (0.1, 0.8), (0.3, 0.35)], 2):
        alike[place, 0], alike[place, 1] = own, other
    index = torch.tensor
    found = choice(alike, index([0]), index([1]), index([2, 3]), index([4, 5]))
    # Δ is .8 and -.1 for the exciting, -.7 and -.05 for the others.
    assert found.share == pytest.approx(3 / 4)
    plain = choice(alike, index([0]), index([]), index([2, 3]), index([4, 5]))
    assert plain.share == pytest.approx((2 + 1) / 4)
    same = choice(alike, index([0]), index([0]), index([2, 3]), index([4, 5]))
    assert same.share == 0.5


def test_chance_is_judged_by_how_many_photographs_there_are():
    assert Choice(0.5, 9).is_chance
    assert not Choice(0.51, 9).is_chance
    assert not Choice(0.4, 4).is_chance  # the standard deviation of chance is .217
    assert Choice(0.28, 4).is_chance


def test_the_photographs_that_excite_most_and_least():
    said = torch.tensor([3.0, 1.0, 2.0, 0.0] * 5)
    high, low = extremes(said)
    assert set(high.tolist()) == {0, 4, 8, 12, 16}
    assert set(low.tolist()) == {3, 7, 11, 15, 19}
    assert extremes(said[:15]) is None
    assert len(extremes(torch.arange(100.0))[0]) == 9


def test_spearman_is_scipys(chance):
    stats = pytest.importorskip("scipy.stats")
    one = torch.randint(0, 6, (3, 40), generator=chance).float()
    other = torch.randn((2, 40), generator=chance)
    for row in range(3):
        assert ranks(one[row]).numpy() == pytest.approx(stats.rankdata(one[row].numpy()))
        for column in range(2):
            expected = stats.spearmanr(one[row].numpy(), other[column].numpy()).statistic
            assert float(spearman(one, other)[row, column]) == pytest.approx(expected)


def test_paths_are_scaled_between_another_class_and_the_same(chance):
    base, odd = torch.randn((2, 500), generator=chance)
    noise = torch.randn((9, 500), generator=chance)
    same = base + 0.5 * noise[:4]
    other = odd + 0.5 * noise[4:7]
    like, unlike = base + 0.5 * noise[7], odd + 0.5 * noise[8]
    for picture, expected in ((like, 1.0), (unlike, 0.0)):
        found = path_similarity({"a": picture}, {"a": same}, {"a": other})
        assert found["a"] == pytest.approx(expected, abs=0.12)
    assert path_similarity({"a": like}, {"a": noise[:3]}, {"a": noise[:3]})["a"] is None


def test_percentiles_bands_and_ratios():
    assert percentile(5.0, torch.tensor([1.0, 2.0])) == 1.0
    assert percentile(0.0, torch.tensor([1.0, 2.0])) == 0.0
    assert [band(score, -2, -1) for score in (-3, -1.5, 0, 50)] == ["below", "within", "above", "above"]
    found = {
        "examples": [{"value": 7.0}],
        "quantiles": [[0.5, 4.0], [1.0, 7.0]],
        "scores": {"best": 2.0, "quantiles": [[0.25, 0.1], [0.5, 0.5], [0.9, 1.5], [1.0, 2.0]]},
    }
    told = beside_photographs(1.6, found, at_position=False)
    assert told == PhotographScores(best=2.0, ratio=0.8, percentile=0.9, band="within")
    told = beside_photographs(21.0, found, at_position=True)
    assert told == PhotographScores(best=7.0, ratio=3.0, percentile=1.0, band="super-stimulus")
    assert band_of_class(40.0, "efficientnet_lite1") == "super-stimulus"
    assert band_of_class(40.0, "another") is None
    found["scores"]["best"] = -1.0
    assert beside_photographs(1.6, found, at_position=False).ratio is None


def test_noise_is_always_the_same_and_of_8_bit_levels():
    images = noise_images(4, 3, (20, 31))
    assert torch.equal(images, noise_images(6, 3, (20, 31))[:4])
    assert images.shape == (4, 3, 20, 31)
    assert torch.equal((images * 255).round() / 255, images)
    assert noise_images(2, 1, (9, 8)).shape == (2, 1, 9, 8)
    assert len({image.sum().item() for image in images}) == 4
