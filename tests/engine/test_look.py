"""One look: several passes are their mean, gradients have each picture's own length; averages of the way."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import featvis as fv
from featvis import draws
from featvis.engine.look import streams_of_passes
from featvis.engine.move import Average, to_length
from tests.networks import handle, small

SIZE = (17, 24)
NOISY = {"transforms": [fv.Warp(scale=(0.5, 1.1), degrees=20, shift=0.1), fv.Noise(sd=0.3)]}
OPTIONS = {"size": SIZE, "steps": 6, "lanes": 3, "redirect_steps": 2, **NOISY}


def climb(objective=None, space=None, **options):
    given = {"steps": 5, "redirect_steps": 0, "lanes": 2, **options}
    return list(
        fv.ascend(small(), objective or fv.channel("norm", 1), space or fv.PixelImage(size=SIZE), **given)
    )


def parameters_after(step):
    """What one plain gradient step did to the pixels, whatever they are decoded to."""
    return torch.logit(step.images.double())


def test_the_gradient_of_copies_is_the_mean_over_their_draws():
    space = fv.PixelImage(size=SIZE, decorrelate=False)
    start = torch.randn((2, 3, *SIZE), generator=torch.Generator().manual_seed(1)) * 0.1
    plain = {"steps": 1, "optimizer": "sgd", "momentum": 0.0, "learning_rate": 5.0, "space": space, **NOISY}
    told = climb(fv.channel("norm", 1), copies=3, start={"pixels": start.clone()}, **plain)[0]

    def stream_of(lane):
        return lambda purpose: draws.stream(lane, fv.channel("norm", 1).describe(), 0, purpose)

    moved, scores = [], []
    for number in range(3):
        streams = [streams_of_passes(stream_of(lane), 3)[number] for lane in range(2)]
        one = climb(fv.channel("norm", 1), streams=streams, start={"pixels": start.clone()}, **plain)[0]
        moved.append(parameters_after(one) - start)
        scores.append(one.scores)
    mean = torch.stack(moved).mean(0)
    torch.testing.assert_close(parameters_after(told) - start, mean, atol=2e-5, rtol=1e-3)
    torch.testing.assert_close(told.scores, torch.stack(scores).mean(0))
    assert (moved[0] - moved[1]).abs().max() > 0.001, "each has draws of its own"


def test_copies_without_chance_change_nothing():
    one = climb(lanes=2, learning_rate=0.1)[-1]
    three = climb(lanes=2, learning_rate=0.1, copies=3)[-1]
    torch.testing.assert_close(three.images, one.images, atol=1e-5, rtol=0)


def test_copies_are_counted_and_do_not_depend_on_mates():
    together = fv.render(small(), "norm:0:5", copies=2, **OPTIONS)
    assert {picture.evaluations for picture in together} == {12}
    assert together[0].entry()["evaluations"] == 12
    (alone,) = fv.render(small(), "norm:4", copies=2, **OPTIONS)
    assert alone.png() == together[4].png()
    (plain,) = fv.render(small(), "norm:4", **OPTIONS)
    assert plain.evaluations == 6
    assert "evaluations" not in plain.entry(), "what every picture said so far stays as it was"
    assert plain.png() != alone.png()
    patient = {**OPTIONS, "patience": 30, "copies": 2}
    for one, other in zip(fv.render(small(), "norm:0:5", **patient), together, strict=True):
        assert abs(one.levels.astype(int) - other.levels.astype(int)).max() <= 1


def test_the_mean_of_copies_is_steadier():
    # At the start, where the slope is what the transforms make of it.
    def slopes(copies):
        found = []
        for seed in range(8):
            plain = {"optimizer": "sgd", "momentum": 0.0, "learning_rate": 1.0, "lanes": 1, "steps": 1}
            start = {"pixels": torch.zeros(1, 3, *SIZE)}
            space = fv.PixelImage(size=SIZE, decorrelate=False)
            step = climb(space=space, copies=copies, seed=seed, start=start, **plain, **NOISY)[0]
            found.append(parameters_after(step))
        return torch.stack(found)

    spread = [float(slopes(copies).var(0).sum()) for copies in (1, 8)]
    assert 1 / 16 < spread[1] / spread[0] < 1 / 4, "of eight, about an eighth of the variance"


def test_gradients_get_a_length_or_at_most_one_each_picture_alone():
    gradients = [torch.randn(4, 3, 2), torch.randn(4, 5)]
    gradients[0][3], gradients[1][3] = 0.0, 0.0
    gradients[0][0] *= 100
    before = [gradient.clone() for gradient in gradients]

    def lengths(parts):
        return torch.cat([part.flatten(1) for part in parts], 1).norm(dim=1)

    assert torch.allclose(lengths(to_length(gradients, 2.5, None)), torch.tensor([2.5, 2.5, 2.5, 0.0]))
    clipped = to_length(gradients, None, 10.0)
    torch.testing.assert_close(lengths(clipped), lengths(before).clamp(max=10.0))
    assert torch.equal(clipped[0][1], before[0][1]), "a short one stays"
    alone = to_length([gradient[:1] for gradient in gradients], 2.5, None)
    torch.testing.assert_close(alone[0][0], to_length(gradients, 2.5, None)[0][0])
    assert all(torch.equal(one, other) for one, other in zip(gradients, before, strict=True))


@pytest.mark.parametrize("clip", [{"gradient_clip": 1e-9}, {"gradient_norm": 1e-9}], ids=str)
def test_t40_clipping_is_of_the_images_gradient_never_of_the_models(clip):
    model = small()
    for number, parameter in enumerate(model.module.parameters()):
        parameter.grad = torch.full_like(parameter, 1e3 * (number + 1))  # the user's own, and long
    given = {"optimizer": "sgd", "momentum": 0.0, "learning_rate": 1.0, "steps": 2, "redirect_steps": 0}
    space = fv.PixelImage(size=SIZE, decorrelate=False)
    start = torch.zeros(2, 3, *SIZE)

    def moved(**options):
        steps = fv.ascend(
            model, fv.channel("norm", 1), space, lanes=2, start={"pixels": start.clone()}, **given, **options
        )
        return parameters_after(list(steps)[-1]).flatten(1).norm(dim=1)

    assert moved().min() > 1e-4, "unclipped, the image moves"
    assert moved(**clip).max() < 1e-6
    for number, parameter in enumerate(model.module.parameters()):
        assert (parameter.grad == 1e3 * (number + 1)).all()


@pytest.mark.parametrize("patience", [0, 40])
def test_a_step_along_a_normalized_gradient_has_the_rates_length(patience):
    space = fv.PixelImage(decorrelate=False)
    options = {"optimizer": "sgd", "momentum": 0.0, "learning_rate": 0.5, "steps": 1, "space": space}
    options |= {"lanes": 3, "size": SIZE, "redirect_steps": 0, "transforms": [], "patience": patience}
    start = torch.full((3, *SIZE), 0.5)
    for picture in fv.render(small(), "norm:0:3", start=start, gradient_norm=4.0, **options):
        moved = torch.logit(picture.image.double().clamp(1e-6, 1 - 1e-6)) - torch.logit(
            start * 255 // 1 / 255
        )
        assert float(moved.norm()) == pytest.approx(2.0, rel=0.2)
    (still,) = fv.render(small(), "norm:0", start=start, gradient_clip=1e-9, **options)
    assert (still.levels == 127).all() or (still.levels == 128).all()


def test_no_length_and_clip_together():
    with pytest.raises(fv.RecipeError, match="gradient_norm or gradient_clip"):
        fv.Recipe(gradient_norm=1.0, gradient_clip=1.0)


def weights_of(decay, steps):
    """What each step's parameters count in the average after the last."""
    decays = [min(decay, (1 + step) / (10 + step)) for step in range(steps)]
    return torch.tensor([(1 - decays[step]) * math.prod(decays[step + 1 :]) for step in range(steps)])


def test_an_average_is_the_weighted_mean_of_the_way():
    way = torch.randn(50, 2, 3, generator=torch.Generator().manual_seed(2))
    average = Average({"x": way[0]}, 0.8)
    for point in way:
        average.add({"x": point})
    weights = weights_of(0.8, 50)
    expected = (weights[:, None, None] * way).sum(0) / weights.sum()
    torch.testing.assert_close(average.values["x"], expected)
    late = 0.2 * 0.8 ** torch.arange(9, -1, -1.0)
    assert torch.allclose(weights[-10:], late), "late in a run, the decay that was asked for"
    average.forget(1)
    average.add({"x": way[3]})
    torch.testing.assert_close(average.values["x"][1], way[3][1])
    assert not torch.allclose(average.values["x"][0], way[3][0])


@pytest.mark.parametrize("steps", [4, 24, 64])
def test_a_short_run_is_averaged_over_a_ninth_of_its_way(steps):
    average = Average({"x": torch.zeros(1, 1)}, 0.95)
    for step in range(steps):
        average.add({"x": torch.full((1, 1), float(step))})
    behind = steps - 1 - float(average.values["x"])
    assert 0 < behind < steps / 9


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_the_picture_is_decoded_from_the_average_and_the_climb_is_not_changed(optimizer):
    space = fv.PixelImage(size=SIZE, decorrelate=False)
    options = {"space": space, "learning_rate": 0.1, "optimizer": optimizer, **NOISY}
    points = []
    given = {name: value for name, value in options.items() if name != "space"}
    given |= {"steps": 8, "redirect_steps": 0, "lanes": 2}
    for step in fv.ascend(small(), fv.channel("norm", 1), space, **given):
        points.append(parameters_after(step))
    averaged = climb(average=0.7, **{**options, "steps": 8})
    plain = climb(**{**options, "steps": 8})
    assert all(torch.equal(one.scores, other.scores) for one, other in zip(averaged, plain, strict=True))
    weights = weights_of(0.7, 8)
    expected = (weights.view(-1, 1, 1, 1, 1) * torch.stack(points)).sum(0) / weights.sum()
    torch.testing.assert_close(parameters_after(averaged[-1]), expected, atol=2e-3, rtol=1e-3)


def test_an_averaged_picture_is_nearer_to_what_noisy_steps_look_for():
    # The network gives back what it sees; a planted image is looked for through heavy noise.
    module = nn.Conv2d(3, 3, 1, bias=False)
    nn.init.eye_(module.weight.data[:, :, 0, 0])
    planted = torch.rand((3, *SIZE), generator=torch.Generator().manual_seed(3)) * 0.6 + 0.2
    shown = planted * 2 - 1

    @fv.objective(layers=["0"])
    def like_it(activations):
        return -(activations["0"] - shown).square().sum((1, 2, 3))

    def distance(average):
        options = {**OPTIONS, "steps": 150, "optimizer": "sgd", "learning_rate": 0.3, "momentum": 0.0}
        options |= {"transforms": [fv.Noise(sd=0.3)], "space": fv.PixelImage(decorrelate=False)}
        (picture,) = fv.render(handle(nn.Sequential(module)), like_it, average=average, **options)
        return float((picture.image - planted).square().mean())

    assert distance(0.95) < 0.5 * distance(0.0)


def test_averages_with_patience_belong_to_their_lane():
    options = {**OPTIONS, "steps": 48, "patience": 5, "tolerance": 0.3, "average": 0.8, "learning_rate": 0.2}
    together = fv.render(small(), "norm:0:6", **options)
    assert min(picture.taken for picture in together) < 48
    for unit in (3, 5):
        (alone,) = fv.render(small(), f"norm:{unit}", **options)
        assert alone.png() == together[unit].png()
    (plain,) = fv.render(small(), "norm:5", **{**options, "average": 0.0})
    assert plain.taken == together[5].taken
    assert plain.png() != together[5].png()


def test_an_average_ends_below_one():
    with pytest.raises(fv.RecipeError, match="a decay below 1"):
        fv.Recipe(average=1.0)


def test_what_was_made_before_keeps_its_key_and_its_text():
    told = fv.Recipe().to_json()
    later = {
        "copies",
        "hold",
        "average",
        "gradient_norm",
        "gradient_clip",
        "pool_gradients",
        "residual_gradients",
        "band",
        "best_of",
    }
    assert not later & set(told)
    assert fv.Recipe(copies=1, average=0.0, best_of=1, pool_gradients="max").to_json() == told
    assert fv.Recipe(copies=2).to_json() == {**told, "copies": 2}
