"""Shared images: pictures of several units that lie alike, rendered as one set."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

import featvis as fv
from featvis.cli import main
from featvis.images.color import color_matrix
from featvis.plan.make import make_plan
from featvis.plan.wanted import lane_of, lanes_of, make_jobs
from featvis.results.store import file_name
from tests.networks import small

SIZE = (17, 24)
SHORT = {"size": SIZE, "steps": 3, "space": "shared"}


@pytest.fixture(scope="module")
def model():
    return small()


def drawn(space, lanes):
    each = [space.draw(torch.Generator().manual_seed(seed), 30.0) for seed in range(lanes)]
    return {name: torch.stack([one[name] for one in each]) for name in each[0]}


@pytest.mark.parametrize("lanes", [1, 2, 5])
def test_a11_a_picture_is_its_own_image_and_its_mixture_of_what_is_shared(lanes):
    scales = ((1, 2), (3, 5), (2, 100))
    space = fv.SharedImage(size=SIZE, inner="pixel", scales=scales)
    parameters = drawn(space, lanes)
    raw = torch.logit(space.within.decode({"pixels": parameters["inner.pixels"]}).double())
    sizes = [(8, 12), (3, 5), (1, 1)]
    matrix = torch.logit(fv.PixelImage(size=(1, 3)).decode({"pixels": torch.eye(3)[None, :, None]}).double())[
        0, :, 0
    ]
    for place, ((number, _), size) in enumerate(zip(scales, sizes, strict=True)):
        copies = parameters[f"shared{place}"]
        assert copies.shape == (lanes, number, 3, *size)
        # Over the lanes and the canvas at once, channels last.
        volume = copies.double().mean(0).movedim(1, 0)[None]
        raised = functional.interpolate(volume, (lanes, *SIZE), mode="trilinear", align_corners=False)[0]
        raw = raw + torch.einsum("ij,jbhw->bihw", matrix, raised)
    torch.testing.assert_close(space.decode(parameters).double(), torch.sigmoid(raw), atol=2e-6, rtol=0)


def test_a11_what_is_shared_moves_by_the_sum_of_what_the_pictures_want(chance):
    space = fv.SharedImage(size=SIZE, scales=((1, 4), (2, 3)))
    parameters = {name: value.requires_grad_() for name, value in drawn(space, 3).items()}
    weights = torch.randn((3, 3, *SIZE), generator=chance)
    (space.decode(parameters) * weights).sum().backward()
    matrix = color_matrix(3, True, torch.device("cpu"))
    value = parameters["shared0"].detach().mean(0).requires_grad_()
    raised = functional.interpolate(value, SIZE, mode="bilinear", align_corners=False)[0]
    mixed = torch.einsum("ij,jhw->ihw", matrix, raised)
    alone = []
    for image, weight in zip(space.decode(parameters).detach(), weights, strict=True):
        # The same picture as a function of what is shared alone.
        again = torch.sigmoid(torch.logit(image) + mixed - mixed.detach())
        alone.append(torch.autograd.grad((again * weight).sum(), value, retain_graph=True)[0])
    for copy in parameters["shared0"].grad:
        torch.testing.assert_close(copy, sum(alone), rtol=1e-3, atol=1e-5)
    assert min(float((one - other).norm()) for one, other in itertools.combinations(alone, 2)) > 0
    own = parameters["inner.spectrum"].grad
    assert not torch.equal(own[0], own[1])


def test_copies_stay_alike_whatever_moves_them(model):
    space = fv.SharedImage(size=SIZE, scales=((1, 4),), inner="pixel")
    start = drawn(space, 3)
    start["shared0"] = start["shared0"][:1].repeat(3, 1, 1, 1, 1)
    before = start["shared0"].clone()
    objective = fv.channel("norm", 3)
    for step in fv.ascend(model, objective, space, steps=4, lanes=3, start=start, learning_rate=0.1):
        copies = step._current()["shared0"]
    assert torch.equal(copies[0], copies[1])
    assert torch.equal(copies[0], copies[2])
    assert float((copies - before).abs().amin()) > 0.01


def spread(pictures):
    """The mean distance of two pictures, over their mean distance from what is grey."""
    # Only what is coarse can be shared.
    images = functional.avg_pool2d(torch.stack([one.image for one in pictures]), 4)
    images = images - images.mean((1, 2, 3), keepdim=True)
    apart = [float((one - other).norm()) for one, other in itertools.combinations(images, 2)]
    return sum(apart) / len(apart) / float(images.flatten(1).norm(dim=1).mean())


def test_a11_aligned_pictures_of_several_units_are_closer_than_free_ones(model):
    options = {"size": (24, 32), "steps": 24, "learning_rate": 0.05, "transforms": []}
    targets = ["norm:1", "norm:3", "norm:4", "norm:5"]
    free = fv.render(model, targets, **options)
    aligned = fv.render(model, targets, space="shared", **options)
    assert spread(free) > 1.35, "pictures that have nothing to do with each other are a root of two apart"
    assert spread(aligned) < 0.9 * spread(free)
    for one, other in zip(aligned, free, strict=True):
        assert one.unit == other.unit
        assert one.score > one.start_score + 0.3 * (other.score - other.start_score)


def test_a_set_of_targets_and_seeds_has_a_lane_for_each(model):
    planned = make_plan(model, ["norm:3@1,2", "norm:1,2"], seed=4, seeds=2, **SHORT)
    assert [(one.unit, one.seed) for one in planned.wanted] == [(u, s) for u in (3, 1, 2) for s in (4, 5)]
    (job,) = make_jobs(planned.wanted)
    assert job.recipe.lanes == 6
    lanes = lanes_of(job)
    assert [(one.name, one.seed) for one in lanes] == [(one.name, one.seed) for one in planned.wanted]
    assert planned.wanted[3].name == "seeds 4-5 among norm:3@1,2 | norm:1 | norm:2 of norm:1"
    assert len({one.key("w") for one in planned.wanted}) == 6
    # One of them alone is still computed beside all the others.
    (alone,) = make_jobs(planned.wanted[3:4])
    assert [(one.name, one.seed, one.unit) for one in lanes_of(alone)] == [
        (one.name, one.seed, one.unit) for one in lanes
    ]
    assert lane_of(alone.wanted[0], 0) == 3
    other = make_plan(model, ["norm:3@1,2", "norm:1,4"], seed=4, seeds=2, **SHORT)
    assert other.wanted[0].key("w") != planned.wanted[0].key("w")
    assert len(make_jobs([*planned.wanted, *other.wanted])) == 2


def test_reproduce_resume_and_a_lost_file_give_the_same_bytes(model, tmp_path):
    targets = ["norm:1", "norm:3@2,5", "norm:4"]
    pictures = fv.render(model, targets, seeds=2, out=tmp_path, **SHORT)
    files = {file_name(one): one.png() for one in pictures}
    assert len(files) == 6
    assert "norm/0003@2,5-aligned0-1" in " ".join(files)
    for name, content in files.items():
        assert (tmp_path / name).read_bytes() == content
    middle = list(files)[3]
    again = fv.reproduce(tmp_path / middle, model)
    assert again.png() == files[middle]
    (tmp_path / middle).unlink()
    told = []
    back = fv.render(model, targets, seeds=2, out=tmp_path, watch=told.append, **SHORT)
    assert len(told) == 3, "one job, and not six"
    assert [one.png() for one in back] == list(files.values())
    fv.render(model, targets, seeds=2, out=tmp_path, watch=told.append, **SHORT)
    assert len(told) == 3, "all is done"


def test_a_set_of_one_target_is_of_its_seeds(model, tmp_path):
    pictures = fv.render(model, "norm:1", seeds=3, out=tmp_path, **SHORT)
    assert {one.target for one in pictures} == {"seeds 0-2 of norm:1"}
    assert (tmp_path / "norm" / "0001-aligned0-2-seed1.png").is_file()
    again = fv.reproduce(tmp_path / "norm" / "0001-aligned0-2-seed1.png", model)
    assert again.png() == pictures[1].png()


def test_a_mask_and_alpha_go_round_what_is_shared(model, chance):
    inner = {"name": "shared", "scales": [[1, 3]], "inner": "pixel"}
    photo = torch.randint(0, 256, (3, *SIZE), generator=chance).float() / 255
    told = {"name": "mask", "inner": inner, "box": [0, 0, 1, 0.5]}
    options = SHORT | {"learning_rate": 0.1, "steps": 5, "space": told}
    pictures = fv.render(model, ["norm:1", "norm:2"], start=photo, **options)
    for one in pictures:
        assert torch.equal(one.image[..., 12:], photo[..., 12:])
        assert not torch.equal(one.image[..., :12], photo[..., :12])
    told = {"name": "alpha", "inner": inner}
    pictures = fv.render(model, ["norm:1", "norm:2"], **SHORT | {"space": told})
    assert [one.levels.shape[0] for one in pictures] == [4, 4]


def test_what_is_shared_grows_with_the_canvas(model):
    space = fv.SharedImage(size=(16, 24), scales=((1, 2), (2, 4)), inner="pixel")
    parameters, larger = drawn(space, 2), space.resized((32, 48))
    images, grown = space.decode(parameters), larger.decode(space.grow(parameters, larger))
    expected = functional.interpolate(images, (32, 48), mode="bicubic", align_corners=False)
    # Within the canvas it is the same picture, up to the corners of bilinear surfaces.
    assert float((grown - expected).abs().mean()) < 0.2 * float((images - 0.5).abs().mean())
    fv.render(model, ["norm:1", "norm:2"], stages=[[(9, 12), 0.5]], **SHORT)


@pytest.mark.parametrize(
    ("targets", "options", "says"),
    [
        ("norm:1", {}, "several targets or seeds=4"),
        (["norm:1", "norm:1"], {}, "several targets or seeds=4"),
        (["norm:1", -1 * fv.channel("norm", 2)], {}, "by their addresses"),
        ([-1 * fv.channel("norm", 1), -1 * fv.channel("norm", 2)], {}, "by their addresses"),
        (["norm:1", "norm:2"], {"lanes": 4}, "leave out lanes=4"),
        (["norm:1", "norm:2"], {"patience": 2}, "no patience"),
        (["norm:1", "norm:2"], {"best_of": 2}, "no best_of"),
        (["norm:1", "norm:2"], {"optimizer": "lbfgs"}, "lbfgs searches for each picture alone"),
        (["norm:1", "norm:2"], {"diverse": 2}, "leave out diverse"),
        (["norm:1", "norm:2"], {"space": {"name": "shared", "scales": []}}, "at least one"),
        (["norm:1", "norm:2"], {"space": {"name": "shared", "scales": [[1, 0]]}}, "scales"),
        ("norm:1", {"space": {"name": "shared", "inner": "mask"}}, "mask with inner shared"),
        ("norm:1", {"space": {"name": "shared", "inner": "alpha"}}, "alpha with inner shared"),
        ("norm:1", {"space": {"name": "shared", "inner": "shared"}}, "once is enough"),
        ("norm:1", {"space": {"name": "mask", "inner": "shared"}}, "several targets or seeds=4"),
    ],
)
def test_what_cannot_be_a_set_is_refused_before_any_step(model, targets, options, says):
    with pytest.raises(fv.UserError, match=says) as caught:
        fv.render(model, targets, **{**SHORT, **options})
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_units_of_two_layers_are_aligned_by_one_recipe(tmp_path):
    model = fv.load_model("efficientnet_lite0")
    targets = ["blocks.1:3", "classifier:263"]
    options = {**SHORT, "size": (24, 32), "steps": 24}
    with pytest.raises(fv.RecipeError, match="recipe='channel'"):
        fv.render(model, targets, **options)
    pictures = fv.render(model, targets, recipe="channel", out=tmp_path, **options)
    assert [one.layer for one in pictures] == ["blocks.1", "classifier"]
    assert fv.reproduce(tmp_path / file_name(pictures[1]), model).png() == pictures[1].png()
    assert all(one.score > one.start_score for one in pictures)


@pytest.mark.slow
def test_the_command_line_aligns_a_layer_s_units(tmp_path, capsys):
    command = ["render", "blocks.1:0:2", "--space", "shared", "--size", "32", "--steps", "2"]
    assert main([*command, "--out", str(tmp_path)]) == 0
    assert len(list(tmp_path.glob("blocks.1/*-aligned0-0-*.png"))) == 2
    assert main([*command[:1], "blocks.1:0", *command[2:], "--out", str(tmp_path)]) == 2
    assert "ask for several targets" in capsys.readouterr().err


def test_a_dead_unit_in_a_set_takes_the_set_to_other_starts(model):
    planned = make_plan(model, ["norm:1", "norm:2"], **SHORT)
    (job,) = make_jobs([replace(one, attempt=1) for one in planned.wanted])
    assert [one.attempt for one in lanes_of(job)] == [1, 1]
