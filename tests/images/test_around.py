"""Masks and norm balls: what may not change does not, whatever is inside them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import featvis as fv
from featvis.spec import register
from tests.networks import PLAIN, correlation, handle, small
from tests.test_channels import Filter

SIZE = (17, 24)
INNER = [name for name in register.names("images") if not register.find("images", name).coupled]
BALLS = [("l2", 1.5), ("linf", 16 / 255)]


@pytest.fixture
def photo(chance):
    return torch.randint(0, 256, (3, *SIZE), generator=chance).float() / 255


def started(space, photo):
    """A start image for a space that may have alpha."""
    return torch.cat([photo, photo[:1]]) if space.image_channels == 4 else photo


@pytest.mark.parametrize("inner", INNER)
def test_outside_a_mask_every_bit_is_the_start_image_s(inner, photo):
    told = {"name": "mask", "inner": inner, "box": (0.2, 0.5, 0.9, 0.8), "shape": "ellipse"}
    space = register.make("images", told, size=SIZE)
    photo = started(space, photo)
    outside = space.region == 0
    assert 0.6 < outside.float().mean() < 0.95
    kept = []

    def watch(step):
        kept.append(torch.equal(step.images[0][:, outside], photo[:, outside]))

    (picture,) = fv.render(
        small(), "norm:3", space=told, start=photo, steps=6, lanes=2, learning_rate=0.1, watch=watch
    )
    assert kept == [True] * 6
    assert torch.equal(picture.image[:, outside], photo[:, outside])
    moved = (picture.image - photo)[:, ~outside].abs()
    assert moved.mean() > 0.01


@pytest.mark.parametrize("optimizer", ["adam", "nadam", "sgd"])
def test_no_optimizer_moves_what_is_held(optimizer, photo):
    told = {"name": "mask", "inner": {"name": "pixel"}}
    options = {
        "optimizer": optimizer,
        "learning_rate": 500.0 if optimizer == "sgd" else 0.5,
        "patience": 2 if optimizer == "adam" else 0,
    }
    (picture,) = fv.render(small(), "norm:3", space=told, start=photo, steps=20, lanes=1, **options)
    outside = fv.MaskedImage(size=SIZE).region == 0
    assert torch.equal(picture.image[:, outside], photo[:, outside])
    assert not torch.equal(picture.image, photo)


def test_a_mask_s_region_is_where_it_was_said_to_be():
    box = fv.MaskedImage(size=(10, 20), box=(0.1, 0.25, 0.6, 1.0)).region
    expected = torch.zeros(10, 20)
    expected[1:6, 5:] = 1
    assert torch.equal(box, expected)
    ellipse = fv.MaskedImage(size=(40, 60), box=(0, 0, 1, 1), shape="ellipse").region
    assert float(ellipse.mean()) == pytest.approx(np.pi / 4, abs=0.01)
    table = fv.MaskedImage(size=(4, 6), weights=((0, 1), (0.5, 0))).region
    assert torch.equal(table[:2, 3:], torch.ones(2, 3))
    assert torch.equal(table[2:, :3], torch.full((2, 3), 0.5))


def test_a_weight_between_mixes(photo):
    space = fv.MaskedImage(size=SIZE, weights=((0.25,),), inner="pixel")
    parameters = {name: value[None] for name, value in space.fit(photo).items()}
    other = space.within.draw(torch.Generator().manual_seed(1), 50.0)["pixels"][None]
    images = space.decode({**parameters, "inner.pixels": other})
    expected = 0.25 * space.within.decode({"pixels": other}) + 0.75 * photo
    assert torch.allclose(images, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"box": (0.5, 0.5, 0.5, 0.9)}, "no pixel"),
        ({"weights": ((0, 0), (0, 0))}, "no pixel"),
        ({"weights": ((0, 1), (0,))}, "equal length"),
        ({"inner": "foury"}, "did you mean 'fourier'"),
        ({"inner": {"name": "fourier", "exponant": 1}}, "exponent"),
        ({"inner": 3}, "inner"),
    ],
)
def test_a_mask_that_cannot_be_is_refused(options, says):
    with pytest.raises(fv.UserError, match=says):
        fv.MaskedImage(size=SIZE, **options)


@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize(("norm", "radius"), BALLS)
def test_no_step_and_no_picture_leaves_the_ball(inner, norm, radius, photo):
    told = {"name": "norm_ball", "inner": inner, "norm": norm, "radius": radius}
    space = register.make("images", told, size=SIZE)
    photo = started(space, photo)
    order = 2 if norm == "l2" else torch.inf
    reached = []

    def watch(step):
        away = (step.images - photo).flatten(1)
        reached.append(torch.linalg.vector_norm(away, order, dim=1).amax())

    options = {"steps": 12, "lanes": 2, "learning_rate": 0.5, "watch": watch}
    pictures = fv.render(small(), ["norm:3", "norm:4"], space=told, start=photo, **options)
    assert max(reached) <= radius * (1 + 1e-5)
    for picture in pictures:
        away = (picture.image - photo).flatten()
        half = 0.5 / 255 * (len(away) ** 0.5 if norm == "l2" else 1)
        assert float(torch.linalg.vector_norm(away, order)) <= radius + half + 1e-6
        assert picture.image.min() >= 0
        assert picture.image.max() <= 1
        if inner in ("fourier", "pixel"):
            assert picture.score > picture.start_score


def test_a_linear_unit_s_optimum_is_the_ball_s_point_along_its_weights(chance):
    weights = torch.randn((3, 9, 14), generator=chance)
    model = handle(Filter(weights), (9, 14))
    options = {**PLAIN, "start": torch.full((3, 9, 14), 0.5), "steps": 60}
    told = {"name": "norm_ball", "inner": {"name": "pixel", "decorrelate": False}}
    round_, corner = (
        fv.render(
            model, "filter:0", **{**options, "space": {**told, "norm": norm, "radius": radius}, **more}
        )[0]
        for norm, radius, more in (
            ("l2", 2.0, {"learning_rate": 0.01}),
            ("linf", 0.1, {"optimizer": "adam", "learning_rate": 0.05}),
        )
    )
    away = round_.image - 128 / 255
    assert correlation(away, weights) > 0.997
    assert float(away.norm()) == pytest.approx(2.0, abs=0.05)
    away = corner.image - 128 / 255
    strong = weights.abs() > 0.1
    assert torch.equal(away.sign()[strong], weights.sign()[strong])
    assert float(away[strong].abs().min()) > 0.08


def test_each_picture_has_a_ball_of_its_own():
    space = fv.NormBallImage(size=(4, 5), inner="pixel", radius=1.0)
    near, far = (space.draw(torch.Generator().manual_seed(1), spread) for spread in (1.0, 500.0))
    both = {name: torch.stack([near[name], far[name]]) for name in near}
    inner = space.within.decode({"pixels": both["inner.pixels"]})
    images = space.decode(both)
    assert torch.allclose(images[0], inner[0], atol=1e-6), "within the ball nothing changes"
    direction = (inner[1] - 0.5) / (inner[1] - 0.5).norm()
    assert torch.allclose(images[1], 0.5 + direction, atol=1e-5)


def test_constraints_nest_and_a_recipe_says_all_of_it(photo, tmp_path):
    told = {
        "name": "mask",
        "box": [0.0, 0.0, 1.0, 0.5],
        "inner": {"name": "norm_ball", "norm": "linf", "radius": 0.1, "inner": {"name": "pixel"}},
    }
    recipe = fv.Recipe(space=told, size=SIZE)
    assert recipe.space["inner"]["inner"] == {"name": "pixel", "deviation": 0.01, "decorrelate": True}
    assert fv.Recipe(**recipe.to_json()) == recipe
    space = fv.MaskedImage(box=(0, 0, 1, 0.5), inner=fv.NormBallImage(norm="linf", radius=0.1, inner="pixel"))
    model = small()
    (picture,) = fv.render(
        model, "norm:3", space=space, start=photo, steps=30, lanes=1, learning_rate=0.1, out=tmp_path
    )
    assert picture.recipe["space"] == recipe.space
    away = (picture.image - photo).abs()
    assert torch.equal(away[..., 12:], torch.zeros(3, 17, 12))
    assert 0.05 < float(away.max()) <= 0.1 + 0.5 / 255 + 1e-6
    again = fv.reproduce(tmp_path / "norm" / "0003.png", model, start=photo)
    assert again.png() == picture.png()
    with pytest.raises(fv.RecipeError, match="did you mean 'radius'"):
        fv.Recipe(space={"name": "mask", "inner": {"name": "norm_ball", "radiuss": 1}})


def test_a_picture_in_a_mask_grows_with_its_canvas():
    told = {"name": "mask", "inner": "fourier"}
    model, options = small(), {"space": told, "steps": 8, "lanes": 1, "size": (20, 28)}
    (picture,) = fv.render(model, "norm:3", stages=[[(10, 14), 0.5]], **options)
    assert picture.size == (20, 28)
    outside = fv.MaskedImage(size=(20, 28)).region == 0
    assert set(picture.levels[:, outside.numpy()].ravel().tolist()) == {128}


@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("name", ["mask", "norm_ball", "alpha"])
def test_a_wrapper_says_of_itself_what_its_inner_space_says(name, inner):
    if inner == "alpha" and name == "alpha":
        pytest.skip("alpha is not in alpha")
    space = register.make("images", {"name": name, "inner": inner}, size=SIZE)
    plain = register.make("images", {"name": inner}, size=SIZE)
    for flag in ("starts_grey", "true_gradient", "usual_rate", "smallest", "coupled"):
        assert getattr(space, flag) == getattr(plain, flag), flag
    assert space.any_size == (plain.any_size and name == "alpha"), "what is round it has one size"
    assert space.resized((20, 26)).usual_rate == plain.usual_rate


@pytest.mark.parametrize("inner", ["phase", "pyramid", "cppn", "deep"])
@pytest.mark.parametrize("name", ["mask", "norm_ball", "alpha"])
def test_what_a_wrapper_says_is_so(name, inner):
    space = register.make("images", {"name": name, "inner": inner}, size=(33, 20))
    image = space.decode({key: value[None] for key, value in space.draw(torch.Generator()).items()})
    away = float((image - 0.5).abs().mean())
    if space.starts_grey:
        assert away < 0.05
    if space.smallest > 1:
        with pytest.raises(fv.CanvasError, match="at least"):
            register.make("images", {"name": name, "inner": inner}, size=(1, space.smallest - 1))
    rate = {"learning_rate": space.usual_rate, "transforms": []}
    (picture,) = fv.render(small(), "norm:1", space=space.resized(SIZE), steps=10, lanes=1, **rate)
    assert picture.score > picture.start_score


def test_alpha_of_a_space_of_any_size_is_drawn_at_any_and_a_mask_is_not():
    model, objective = small(), fv.channel("norm", 1)
    for name, size in (("alpha", (34, 48)), ("mask", None)):
        space = register.make("images", {"name": name, "inner": "cppn"}, size=SIZE)
        (step,) = fv.ascend(model, objective, space, steps=1)
        if size is not None:
            assert step.images_at(size).shape == (1, 4, *size)
        else:
            with pytest.raises(fv.CanvasError, match="drawn at the size"):
                step.images_at((34, 48))
