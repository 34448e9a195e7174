from __future__ import annotations

import numpy as np
import pytest
import torch

from featvis.attribution.blur import blur
from featvis.attribution.edges import edges
from featvis.attribution.measure import curve, deletion_insertion, rank_correlation, similarity
from featvis.attribution.scoring import find_target, scored
from tests.attribution.planted import CORNER, SIDE, SIZE, detector, photograph


def test_rank_correlation_is_spearmans(chance):
    from scipy.stats import spearmanr

    one = (torch.randn((7, 9), generator=chance) * 3).round()  # with ties
    other = one + torch.randn((7, 9), generator=chance)
    expected = spearmanr(one.flatten().numpy(), other.flatten().numpy()).statistic
    assert rank_correlation(one, other) == pytest.approx(expected, abs=1e-9)
    assert rank_correlation(one, one**3) == pytest.approx(1)
    assert rank_correlation(one, -other) == pytest.approx(-expected, abs=1e-9)
    assert rank_correlation(one, torch.zeros(7, 9)) == 0


def test_similarity_is_ssim_with_gaussian_weights(chance):
    from skimage.metrics import structural_similarity

    one = blur(torch.rand((1, 1, 40, 51), generator=chance), 2.0)[0, 0].double()
    other = one + 0.05 * torch.randn((40, 51), generator=chance)
    unit = [((m - m.min()) / (m.max() - m.min())).numpy() for m in (one, other)]
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    _, full = structural_similarity(*unit, full=True, **options)
    # Edges are repeated here and mirrored there: the mean over all differs in the third digit.
    assert similarity(one, other) == pytest.approx(float(full.mean()), abs=0.02)
    assert similarity(one, one) == pytest.approx(1)
    assert similarity(one, -one) < 0.2


def test_the_blur_keeps_the_mean_and_has_the_deviation_that_it_says():
    dot = torch.zeros(1, 2, 41, 61)
    dot[:, :, 20, 30] = 1
    given = blur(dot, 3.0, radius=15)
    assert given.sum().item() == pytest.approx(2, rel=1e-5)
    rows = torch.arange(41.0) - 20
    assert (given[0, 0].sum(1) * rows**2).sum().sqrt().item() == pytest.approx(3, rel=0.01)
    assert torch.allclose(blur(torch.full((1, 1, 9, 7), 0.3), 4.0), torch.tensor(0.3))


def test_edges_are_sobels():
    from skimage.filters import sobel

    image = np.random.default_rng(0).random((11, 17)).astype(np.float32)
    found = edges(torch.from_numpy(image)[None].repeat(1, 1, 1))
    # Slopes for each pixel here, twice as much there, where the squares' mean is taken and not their sum.
    assert np.allclose(found.numpy()[1:-1, 1:-1], sobel(image)[1:-1, 1:-1] / np.sqrt(2), rtol=1e-4)


def test_a_curve_puts_in_the_strongest_pixels_first(chance):
    model, image = detector(), photograph(chance)[None]
    objective, _ = find_target(model, "fc:0", SIZE)
    values = torch.rand(SIZE, generator=chance)
    grey = torch.full_like(image, 0.5)
    with scored(model, objective, SIZE) as score:
        found = curve(score, image, values, grey, steps=4)
        for step, part in enumerate((0.0, 0.25, 0.5, 0.75, 1.0)):
            most = set(values.flatten().argsort(descending=True)[: round(part * values.numel())].tolist())
            by_hand = grey.clone().flatten(2)
            for place in most:
                by_hand[0, :, place] = image.flatten(2)[0, :, place]
            assert found[step].item() == pytest.approx(score.values(by_hand.view_as(image)).item(), rel=1e-4)


def test_the_true_place_is_deleted_at_once_and_inserted_at_once(chance):
    model, image = detector(), photograph(chance)[None]
    objective, _ = find_target(model, "fc:0", SIZE)
    truth = torch.zeros(SIZE)
    truth[CORNER[0] : CORNER[0] + SIDE, CORNER[1] : CORNER[1] + SIDE] = 1
    grey = torch.full_like(image, 0.5)
    with scored(model, objective, SIZE) as score:
        right = deletion_insertion(score, image, truth, grey, grey)
        wrong = deletion_insertion(score, image, -truth, grey, grey)
        nothing = deletion_insertion(score, grey, truth, grey, grey)
    assert right[0] < 0.1
    assert right[1] > 0.9
    assert wrong[0] > 0.8
    assert wrong[1] < 0.2
    assert nothing[0] is None  # there is nothing to lose
