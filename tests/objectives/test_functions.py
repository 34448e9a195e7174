"""Objectives of users' own functions: what they may not do, and sets of pictures that they compare."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

import featvis as fv
from tests.networks import small

SETTINGS = {"size": (17, 24), "steps": 6, "transforms": [], "penalties": []}


def maps_of(pictures):
    net = small().module.eval()
    shown = torch.stack([one.image for one in pictures]) * 2 - 1
    with torch.no_grad():
        return net.norm(net.conv2(net.relu1(net.conv1(shown))))


def unlike(activations):
    maps = activations["norm"].flatten(2)
    grams = nn.functional.normalize((maps @ maps.transpose(1, 2)).flatten(1))
    return activations["norm"][:, 1].mean((1, 2)) - 5 * ((grams @ grams.T).sum(1) - 1)


def doubled(activations):
    maps = activations["norm"]
    maps *= 2
    return maps[:, 1].mean((1, 2))


def darkened(activations, images):
    return images.mul_(0.5).mean((1, 2, 3))


def centred(activations):
    maps = activations["norm"]
    return (maps - maps.mean(0))[:, 1].mean((1, 2))


@pytest.mark.parametrize("other", [1, -1])
def test_what_other_terms_read_is_not_written_into(other):
    mine = fv.objective(layers=["norm"])(doubled)
    terms = [mine, fv.channel("norm", 1)][::other]
    with pytest.raises(fv.UserError, match=r"'doubled' writes into activations\['norm'\].*clone"):
        fv.render(small(), terms[0] + terms[1], **SETTINGS)
    with pytest.raises(fv.UserError, match="'darkened' writes into images"):
        fv.render(small(), fv.objective()(darkened), **SETTINGS)


def test_an_entry_of_the_activations_may_be_replaced():
    @fv.objective(layers=["norm"])
    def replaced(activations):
        activations["norm"] = activations["norm"] * 2
        return activations["norm"][:, 1].mean((1, 2))

    channel = fv.channel("norm", 1)
    scores = [fv.render(small(), goal, **SETTINGS)[0] for goal in (replaced + channel, channel + replaced)]
    for picture in scores:
        assert picture.score == pytest.approx(3 * float(maps_of([picture])[:, 1].mean()), rel=1e-4)


@pytest.mark.parametrize("function", [unlike, centred])
@pytest.mark.parametrize("wrapped", [lambda goal: goal, lambda goal: 0.5 * goal + fv.channel("norm", 0)])
def test_a_function_that_compares_pictures_must_say_so(function, wrapped):
    goal = wrapped(fv.objective(layers=["norm"])(function))
    with pytest.raises(fv.UserError, match=rf"'{function.__name__}' compares pictures.*coupled=True"):
        fv.render(small(), goal, seeds=3, **SETTINGS)


def test_coupled_pictures_are_one_set(tmp_path):
    goal = fv.objective(layers=["norm"], coupled=True)(unlike)
    pictures = fv.render(small(), goal, seeds=3, **SETTINGS)
    assert {picture.recipe["lanes"] for picture in pictures} == {3}
    alone = fv.render(small(), fv.channel("norm", 1), seeds=3, **SETTINGS)

    def likeness(several):
        return -unlike({"norm": maps_of(several)}).mean()

    assert likeness(pictures) < likeness(alone)
    file = pictures[2].save(tmp_path / "set.png")
    again = fv.reproduce(file or tmp_path / "set.png", small(), objective=goal)
    assert torch.equal(again.image, pictures[2].image)
    with pytest.raises(fv.RecipeError, match="leave out lanes=1"):
        fv.render(small(), goal, seeds=3, lanes=1, **SETTINGS)
    with pytest.raises(fv.RecipeError, match="seeds=4"):
        fv.render(small(), goal, **SETTINGS)


def test_functions_of_each_picture_alone_pass():
    @fv.objective(layers=["norm"])
    def normed(activations):
        maps = activations["norm"]
        return (
            nn.functional.instance_norm(maps)[:, 1, 3, 4]
            + maps.std((1, 2, 3))
            + maps.flatten(1).sort()[0][:, 5]
        )

    assert len(fv.render(small(), normed, seeds=3, **SETTINGS)) == 3


def test_weights_of_a_function_get_no_gradient():
    probe = nn.Linear(3, 1)

    @fv.objective()
    def probed(activations, images):
        return probe(images.mean((2, 3)))[:, 0]

    fv.render(small(), probed, copies=2, **SETTINGS)
    for _ in fv.ascend(small(), probed, fv.PixelImage(size=(17, 24)), steps=2):
        pass
    assert probe.weight.grad is None


@pytest.mark.parametrize("draw", [lambda: torch.rand(()), lambda: np.random.rand(), random.random])
@pytest.mark.parametrize("coupled", [False, True])
def test_a_function_that_draws_is_refused(draw, coupled):
    goal = fv.objective(["norm"], name="drawn", coupled=coupled)(
        lambda seen: seen["norm"].mean((1, 2, 3)) * draw()
    )
    with pytest.raises(fv.UserError, match="'drawn' draws random numbers"):
        fv.render(small(), goal, seeds=2, **SETTINGS)


def test_a_generator_of_its_own_that_begins_anew_is_no_chance():
    def weighed(seen):
        torch.manual_seed(3)
        return (seen["norm"] * torch.rand(seen["norm"].shape[1:])).mean((1, 2, 3))

    first, again = (fv.render(small(), fv.objective(["norm"])(weighed), **SETTINGS)[0] for _ in range(2))
    assert first == again
