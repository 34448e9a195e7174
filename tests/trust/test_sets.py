"""Tone and the distance of sets from photographs, by formulas of their own."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from featvis.trust.distribution import Distribution
from featvis.trust.known import known_looks
from featvis.trust.naturalness import naturalness
from featvis.trust.sets import (
    LOOKS,
    beside_norms,
    distributions_of,
    looks_of,
    norms_of,
    stand,
)
from featvis.trust.tone import TONES, measure_tone
from tests.networks import handle, small


def slowly(image):
    """The six, value by value."""
    rows = image.permute(1, 2, 0).double().numpy()
    grey = rows @ np.array([0.299, 0.587, 0.114])
    blocks = [grey[r : r + 16, c : c + 16].std() for r in range(0, 224, 16) for c in range(0, 224, 16)]
    rg, yb = rows[..., 0] - rows[..., 1], 0.5 * (rows[..., 0] + rows[..., 1]) - rows[..., 2]
    return {
        "clipped": np.mean([v < 0.02 or v > 0.98 for v in rows.ravel()]),
        "rms_contrast": math.sqrt(((grey - grey.mean()) ** 2).mean()),
        "saturation": np.mean([max(p) - min(p) for p in rows.reshape(-1, 3)]),
        "gradient": (np.abs(grey[1:] - grey[:-1]).mean() + np.abs(grey[:, 1:] - grey[:, :-1]).mean()) / 2,
        "local_contrast": np.mean(blocks),
        "colourfulness": math.sqrt(rg.var() + yb.var()) + 0.3 * math.sqrt(rg.mean() ** 2 + yb.mean() ** 2),
    }


def test_the_six_are_those_of_their_definitions(chance):
    image = (1.4 * torch.rand((3, 224, 224), generator=chance) - 0.2).clamp(0, 1)
    image[1] *= 0.6
    found = measure_tone(image)
    for name, value in slowly(image).items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-6), name
    assert tuple(slowly(image)) == TONES


def test_of_a_wide_image_the_middle_square_is_measured(chance):
    wide = torch.rand((3, 224, 300), generator=chance)
    assert measure_tone(wide) == measure_tone(wide[:, :, 38:262])
    half = torch.rand((3, 112, 112), generator=chance)
    assert measure_tone(half).gradient < 0.7 * measure_tone(wide).gradient, "enlarged, it is softer"


def test_grey_images_have_no_colour_and_what_is_no_image_has_no_tone(chance):
    grey = torch.rand((1, 224, 224), generator=chance)
    alone, three = measure_tone(grey), measure_tone(grey.expand(3, -1, -1))
    assert math.isnan(alone.saturation)
    assert math.isnan(alone.colourfulness)
    assert three.saturation == 0
    for name in ("clipped", "rms_contrast", "gradient", "local_contrast"):
        assert getattr(alone, name) == pytest.approx(getattr(three, name), rel=1e-6)
    for shape in ((2, 20, 20), (6, 20, 20), (3, 1, 40)):
        assert measure_tone(torch.rand(shape, generator=chance)) is None
        assert np.isnan(looks_of([torch.rand(shape, generator=chance)])["gradient"]).all()


def by_quantiles(a, b):
    """Wasserstein-1 as the mean difference of quantiles, of equally many values."""
    count = math.lcm(len(a), len(b))
    return np.abs(np.repeat(np.sort(a), count // len(a)) - np.repeat(np.sort(b), count // len(b))).mean()


def test_the_distance_is_the_mean_difference_of_quantiles():
    chance = np.random.default_rng(2)
    for theirs, ours in ((12, 8), (30, 30), (7, 1), (9, 45)):
        a, b = chance.normal(size=theirs), chance.normal(0.4, 2, ours)
        b[: ours // 3] = a[0]  # ties
        distance = Distribution.of_values(a).distance(b)
        assert distance.shape == (1,)
        assert distance[0] == pytest.approx(by_quantiles(a, b), rel=1e-9)
    assert Distribution.of_values(a).distance(a)[0] == pytest.approx(0, abs=1e-12)


def test_a_weight_is_a_value_that_occurs_so_often():
    chance = np.random.default_rng(4)
    photographs, values = Distribution.of_values(chance.normal(size=40)), chance.normal(1, 1, 6)
    weights = chance.integers(0, 4, (230, 6)).astype(float)
    weights[:, 0] += 1
    found = photographs.distance(values, weights)
    for row, distance in zip(weights, found, strict=True):
        repeated = np.repeat(values, row.astype(int))
        assert distance == pytest.approx(photographs.distance(repeated)[0], rel=1e-9)


def test_a_table_of_quantiles_gives_the_distribution_back():
    shares = np.linspace(0, 1, 21)
    told = {f"{share:.2f}": 2 + share**2 for share in reversed(shares)}
    known = Distribution.of_quantiles(told, 2.34, 80)
    assert known.quantile(0.5) == pytest.approx(2.25, abs=1e-3)
    exact = 2 + ((np.arange(4000) + 0.5) / 4000) ** 2
    assert known.distance(exact)[0] < 0.002
    assert (known.mean, known.count) == (2.34, 80)
    assert known.distance(exact + 1)[0] == pytest.approx(1, abs=0.002)
    outer = Distribution.of_quantiles({"0.1": 1.0, "0.9": 3.0}, 2, 9)
    assert (outer.values[0], outer.values[-1]) == (1.0, 3.0)


def test_sets_of_photographs_are_within_the_usual_distance_nineteen_times_of_twenty():
    chance = np.random.default_rng(6)
    photographs = known_looks()["local_contrast"]
    within = [
        photographs.distance(chance.choice(photographs.values, 24))[0] <= photographs.usual(24)
        for _ in range(400)
    ]
    assert 0.91 < np.mean(within) < 0.985
    assert photographs.usual(100) < photographs.usual(24) < photographs.usual(4)


def test_values_that_are_none_are_left_out():
    photographs = Distribution.of_values([math.nan, 1.0, 3.0, math.inf])
    assert (photographs.count, photographs.mean) == (2, 2.0)
    assert Distribution.of_values([math.nan]) is None
    assert stand(np.array([math.nan]), photographs) is None
    assert stand(np.array([math.nan, 2.0]), photographs).mean == 2.0


def test_what_is_said_of_a_set():
    chance = np.random.default_rng(8)
    photographs = Distribution.of_values(chance.normal(size=2000))
    for values, says in (
        (chance.normal(size=200), "like photographs"),
        (chance.normal(1, 1, 200), "higher"),
        (chance.normal(-1, 1, 200), "lower"),
        (chance.normal(0, 0.2, 200), "more alike"),
        (chance.normal(0, 3, 200), "more varied"),
    ):
        assert stand(values, photographs).says == says


def test_what_is_known_has_every_measure_and_the_means_that_it_states():
    assert tuple(known_looks()) == LOOKS
    for name, known in known_looks().items():
        spread = known.values.std()
        assert abs(known.values.mean() - known.mean) < 0.1 * spread, name
        assert known.count == 500


def test_photographs_of_scenes_are_like_photographs_and_noise_is_not(chance):
    data = pytest.importorskip("skimage.data")
    scenes = []
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        levels = torch.from_numpy(getattr(data, name)().copy()).permute(2, 0, 1) / 255
        side = min(levels.shape[1:])
        scenes.append(levels[:, :side, :side])
    noise = [torch.rand((3, 224, 224), generator=chance) for _ in scenes]
    for name in ("rms_contrast", "gradient", "local_contrast"):  # their colours are strong
        assert stand(looks_of(scenes)[name], known_looks()[name]).says == "like photographs", name
    for name, says in (("slope", "higher"), ("gradient", "higher"), ("local_contrast", "higher")):
        assert stand(looks_of(noise)[name], known_looks()[name]).says == says
    own = distributions_of(scenes)
    assert own["gradient"].values.tolist() == sorted(looks_of(scenes)["gradient"])


def test_photographs_norms_are_measured_by_the_same_code(chance):
    judge = small()
    photographs, pictures = torch.rand((2, 7, 3, 17, 24), generator=chance)
    measured = naturalness(list(pictures), judge, batch=3)
    theirs = norms_of(judge, photographs, 3)
    again = naturalness(list(photographs), judge, batch=3)
    assert theirs.batches["spread"].mean == pytest.approx(again.spread, rel=1e-6)
    assert theirs.batches["shift"].values.tolist() == sorted(shift for shift, _ in again.batches)
    assert theirs.alone.values.tolist() == pytest.approx(sorted(again.alone))
    beside = beside_norms(measured, theirs)
    assert beside["spread"]["mean"] == pytest.approx(again.spread, rel=1e-6)
    low, high = beside["alone"]["quartiles"]
    assert (low, high) == pytest.approx(tuple(np.quantile(again.alone, (0.25, 0.75))))


def test_batches_of_another_size_are_not_set_beside_each_other(chance):
    judge = small()
    images = torch.rand((7, 3, 17, 24), generator=chance)
    beside = beside_norms(naturalness(list(images), judge, batch=4), norms_of(judge, images, 3))
    assert list(beside) == ["alone"]
    assert norms_of(judge, None, 8) is None, "nothing is known of it"
    assert norms_of(handle(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3))), images, 3) is None
    assert beside_norms(naturalness(list(images), judge), None) == {}
