"""The scores of units are their formulas, written out; a word's certainty and chance are counted by hand."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn.functional import cosine_similarity as cosine

from featvis.explore.meaning import Certainty, clarity, draw_sets, polysemanticity, redundancy, unit_length


@pytest.fixture
def vectors(chance):
    return torch.randn((3, 7, 5), generator=chance) + torch.tensor([1.0, 0, 0, 0, 0])


def test_clarity_is_the_mean_cosine_of_two_patches(vectors):
    for unit, found in zip(vectors, clarity(vectors), strict=True):
        pairs = [cosine(one, other, dim=0) for one, other in itertools.combinations(unit, 2)]
        assert float(found) == pytest.approx(float(torch.stack(pairs).mean()), abs=1e-5)
    assert clarity(vectors * 3.7) == pytest.approx(clarity(vectors), abs=1e-5)


def test_redundancy_is_the_cosine_with_the_unit_that_is_most_alike(vectors):
    means = vectors[0]
    for place, found in enumerate(redundancy(means)):
        others = [cosine(means[place], one, dim=0) for at, one in enumerate(means) if at != place]
        assert float(found) == pytest.approx(float(max(others)), abs=1e-5)


def test_polysemanticity_is_of_the_best_two_groups(vectors):
    for unit in vectors:
        apart = unit_length(unit)
        splits = []
        for size in (1, 2, 3):
            for chosen in itertools.combinations(range(7), size):
                groups = apart[list(chosen)], apart[[one for one in range(7) if one not in chosen]]
                within = sum(float((group - group.mean(0)).square().sum()) for group in groups)
                splits.append((within, size, groups))
        _, size, groups = min(splits, key=lambda one: one[0])
        expected = 1 - cosine(groups[0].mean(0), groups[1].mean(0), dim=0)
        if size == 1:
            expected = (1 - cosine(apart, apart.mean(0)[None])).mean()
        assert polysemanticity(unit) == pytest.approx(float(expected), abs=1e-4)
    # Two things that a unit fires for, at the angle at which they lie; and one thing with one stray patch.
    two = torch.tensor([[1.0, 0, 0]] * 4 + [[0.6, 0.8, 0]] * 3)
    assert polysemanticity(two) == pytest.approx(0.4, abs=1e-5)
    stray = torch.tensor([[1.0, 0, 0]] * 5 + [[0.0, 1, 0]])
    mean = stray.mean(0)
    alike = torch.stack([cosine(one, mean, dim=0) for one in stray])
    assert polysemanticity(stray) == pytest.approx(1 - float(alike.mean()), abs=1e-5)
    assert polysemanticity(torch.eye(3)) is None


def test_sets_are_of_different_photographs_and_as_drawn(chance):
    photographs = torch.eye(4)[:, None].expand(4, 3, 4)  # each photograph a direction of its own
    drawn = draw_sets(photographs, 2, chance, sets=50)
    assert drawn.sets.shape == (50, 4)
    assert ((drawn.sets > 0).sum(1) == 2).all()
    assert drawn.clarity == pytest.approx(0)
    assert drawn.patch == pytest.approx(torch.full((4,), 0.25))
    assert drawn.middle == pytest.approx(drawn.sets.mean(0))
    again = draw_sets(photographs, 9, torch.Generator().manual_seed(1), sets=2)
    assert (again.sets > 0).all()


def test_a_word_is_as_sure_as_the_softmax_and_as_rare_as_counted(chance):
    texts, sets = (unit_length(torch.randn((count, 6), generator=chance)) for count in (5, 40))
    mean = unit_length(texts[3] + 0.3 * texts[1])
    sure = Certainty(texts, sets, scale=9.0)
    certainties, cosines = sure.of(mean)
    assert cosines == pytest.approx(texts @ mean)
    usual = torch.stack([torch.stack([one @ text for one in sets]).mean() for text in texts])
    powers = (9 * (texts @ mean - usual)).exp()
    assert certainties == pytest.approx(powers / powers.sum(), abs=1e-5)
    assert int(certainties.argmax()) == 3
    best = [float((9 * (texts @ one - usual)).softmax(0).max()) for one in sets]
    for level in (0.3, 0.5, 2.0):
        assert sure.chance(level) == pytest.approx((1 + sum(one >= level for one in best)) / 41)
