"""Blur against scipy, flip against numpy, crops against PIL."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

import featvis as fv
from featvis import draws
from featvis.plan.make import make_plan
from featvis.transforms.blur import Blur
from featvis.transforms.chain import Chain
from featvis.transforms.crop import Crop, largest_box
from featvis.transforms.flip import Flip
from featvis.transforms.multicrop import MultiCrop
from tests.networks import small


def chain(transforms, canvas, shown_size=None, seeds=(0, 1), steps=4):
    streams = [lambda purpose, seed=seed: draws.stream(seed, "a", 0, purpose) for seed in seeds]
    return Chain(
        transforms, streams, steps=steps, channels=3, canvas=canvas, shown_size=shown_size or canvas,
        device=torch.device("cpu"),
    )  # fmt: skip


def prepared(one, chance, canvas=(30, 41), shown_size=(30, 41), steps=2000):
    uniform = torch.rand((1, steps, one.numbers), generator=chance)
    return one.prepare(uniform, torch.linspace(0, 1, steps), canvas, shown_size)[0]


def test_blur_is_scipys_inside(chance):
    images = torch.rand((2, 3, 41, 36), generator=chance)
    sigmas = torch.tensor([[0.8], [2.0]])
    shown = Blur().apply(images, sigmas, None, (41, 36))
    for image, sigma, blurred in zip(images, sigmas, shown, strict=True):
        expected = ndimage.gaussian_filter(image.numpy(), (0, sigma.item(), sigma.item()), truncate=6)
        assert np.allclose(blurred.numpy()[:, 13:-13, 13:-13], expected[:, 13:-13, 13:-13], atol=1e-4)


def test_blur_at_the_border_averages_what_is_inside(chance):
    row = torch.rand(9, generator=chance)
    shown = Blur().apply(row.view(1, 1, 1, 9), torch.tensor([[1.7]]), None, (1, 9))[0, 0, 0]
    for place in range(9):
        weights = [np.exp(-((place - other) ** 2) / (2 * 1.7**2)) for other in range(9)]
        assert shown[place] == pytest.approx(np.average(row.numpy(), weights=weights), abs=1e-5)


def test_blur_of_nothing_leaves_the_image(chance):
    images = torch.rand((1, 3, 8, 5), generator=chance)
    assert torch.equal(Blur(sigma=0).apply(images, torch.zeros(1, 1), None, (8, 5)), images)


def test_blur_is_drawn_from_a_range_that_may_move_over_the_run(chance):
    drawn = prepared(Blur(sigma=[[4, 6], [0, 1]]), chance)[:, 0]
    assert 4 * 0.9 < drawn[:100].min() < drawn[:100].max() < 6
    assert drawn[-100:].max() < 1.3
    steady = prepared(Blur(sigma=[1, 3]), chance)[:, 0]
    assert (float(steady.min()), float(steady.max())) == pytest.approx((1, 3), abs=0.01)
    assert float(steady[:1000].mean()) == pytest.approx(float(steady[1000:].mean()), abs=0.1)


def test_flip_mirrors_columns_and_rows(chance):
    image = torch.rand((3, 5, 6), generator=chance)
    lots = torch.tensor([[0.0, 0], [1, 0], [0, 1], [1, 1]])
    shown = Flip().apply(image.expand(4, -1, -1, -1), lots, None, (5, 6)).numpy()
    array = image.numpy()
    for found, expected in zip(
        shown, (array, array[:, :, ::-1], array[:, ::-1], array[:, ::-1, ::-1]), strict=True
    ):
        assert np.array_equal(found, expected)


def test_flips_are_as_frequent_as_asked(chance):
    drawn = prepared(Flip(horizontal=[0, 1], vertical=0.25), chance, steps=4000)
    assert drawn[:1000, 0].mean() < 0.2 < 0.8 < drawn[3000:, 0].mean()
    assert float(drawn[:, 1].mean()) == pytest.approx(0.25, abs=0.03)


def corners(maps):
    """Least and greatest place of each box along each axis, -1 and 1 being the canvas' borders."""
    across, down = maps[:, 0], maps[:, 4]
    return (maps[:, 2] - across, maps[:, 2] + across), (maps[:, 5] - down, maps[:, 5] + down)


@pytest.mark.parametrize("one", [Crop(side=[0.3, 1]), MultiCrop(side=[0.3, 1], center_sd=0.4)])
@pytest.mark.parametrize("canvas", [(30, 41), (64, 20)])
@pytest.mark.parametrize("shown_size", [(16, 16), (9, 31)])
def test_boxes_lie_inside_and_have_the_sides_and_shape_asked_for(one, canvas, shown_size, chance):
    maps = prepared(one, chance, canvas, shown_size)
    for least, greatest in corners(maps):
        assert least.min() >= -1 - 1e-6
        assert greatest.max() <= 1 + 1e-6
    height, width = maps[:, 4] * canvas[0], maps[:, 0] * canvas[1]
    assert torch.allclose(height / width, torch.tensor(shown_size[0] / shown_size[1]), rtol=1e-4)
    sides = height / largest_box(canvas, shown_size)[0]
    assert (float(sides.min()), float(sides.max())) == pytest.approx((0.3, 1), abs=0.01)


def test_crop_is_what_pil_cuts_out_and_resizes(chance):
    image = torch.rand((3, 20, 31), generator=chance)
    changes = chain([Crop(side=0.5)], (20, 31), shown_size=(18, 18), seeds=(3,))
    shown = changes(image[None], 2)[0]
    (left, right), (top, bottom) = corners(changes._values[0][:, 2])
    box = [float((edge + 1) / 2 * side) for edge, side in
           zip((left, top, right, bottom), (31, 20, 31, 20), strict=True)]  # fmt: skip
    for channel in range(3):
        whole = Image.fromarray(image[channel].numpy())
        expected = np.array(whole.transform((18, 18), Image.Transform.EXTENT, box, Image.Resampling.BILINEAR))
        assert np.allclose(shown[channel, 1:-1, 1:-1].numpy(), expected[1:-1, 1:-1], atol=1e-3)


def test_pixels_are_of_the_canvas_and_must_fit():
    changes = chain([Crop(pixels=8)], (20, 30), shown_size=(16, 16))
    assert torch.allclose(changes._values[0][..., 4] * 20, torch.tensor(8.0))
    with pytest.raises(fv.CanvasError, match="21 pixels does not fit the canvas 20x30; at most 20"):
        chain([Crop(pixels=21)], (20, 30), shown_size=(16, 16))
    with pytest.raises(fv.CanvasError, match="does not fit"):
        fv.render(small(), "norm:1", size=(17, 24), steps=1, lanes=1, transforms=[Crop(pixels=18)])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"size": (17, 24)}, "17x24; at most 17"),
        ({"size": (40, 50), "stages": [[(16, 20), 0.5]]}, "16x20; at most 16"),
        ({"size": (20, 40), "input_size": (10, 40)}, "20x40; at most 10"),
    ],
)
def test_a_crop_that_does_not_fit_is_found_when_a_run_is_planned(options, says):
    with pytest.raises(fv.CanvasError, match=says):
        make_plan(small(), "norm:1", transforms=[Crop(pixels=18)], **options)
    make_plan(small(), "norm:1", transforms=[Crop(pixels=10)], **options)


def test_what_comes_before_a_crop_counts():
    # After the warp there is only what is seen, 12 x 12.
    options = {"size": (40, 50), "input_size": (12, 12)}
    with pytest.raises(fv.CanvasError, match="12x12; at most 12"):
        make_plan(small(), "norm:1", transforms=[fv.Warp(), Crop(pixels=18)], **options)
    make_plan(small(), "norm:1", transforms=[fv.Noise(), Crop(pixels=18)], **options)


def test_centres_of_several_crops_spread_or_gather_over_the_run(chance):
    maps = prepared(MultiCrop(side=0.05, center_sd=[0.02, 0.2]), chance, (40, 40), (8, 8), steps=20000)
    # A shift of the map by 2 is a whole canvas.
    early, late = (part[:, 2].std() / 2 for part in (maps[:500], maps[-500:]))
    assert float(early) == pytest.approx(0.02, rel=0.15)
    assert float(late) == pytest.approx(0.2, rel=0.15)
    recipe = fv.Recipe(transforms=[{"name": "multicrop"}])
    assert recipe.transforms[0]["center_sd"] == 0.15, "as recipes of before have it"


@pytest.mark.parametrize("name", ["crop", "multicrop"])
@pytest.mark.parametrize("side", [0, 1.2, [0.5, 1.5], [[0.5, 1], [0.5, 1.1]]])
def test_a_side_beyond_the_canvas_is_refused(name, side):
    with pytest.raises(
        fv.RecipeError, match=rf"{name}: side.*(greater than 0|less than or equal to 1)"
    ) as caught:
        fv.Recipe(transforms=[{"name": name, "side": side}])
    assert "\n" not in str(caught.value)


def test_multicrop_boxes_shrink_over_the_run_about_the_middle(chance):
    maps = prepared(MultiCrop(side=[[0.4, 0.5], [0.05, 0.1]]), chance, (40, 40), (10, 10), steps=6000)
    assert 0.39 < maps[:100, 4].min() < maps[:100, 4].max() <= 0.5
    assert 0.05 <= maps[-100:, 4].min() < maps[-100:, 4].max() < 0.11
    # The middle 0 of [-1, 1] with sd 2 * .15; a few boxes are held back by the border.
    assert abs(float(maps[3000:, 2].mean())) < 0.02
    assert float(maps[3000:, 2].std()) == pytest.approx(0.3, abs=0.01)


def test_a_picture_has_its_mean_score_over_crops_and_each_crop_a_draw_of_its_own(chance):
    images = torch.rand((2, 3, 20, 20), generator=chance)
    changes = chain([MultiCrop(crops=3), fv.Noise(sd=0.1)], (20, 20))
    shown = changes(images, 1)
    assert shown.shape == (6, 3, 20, 20)
    assert len({tuple(row) for row in changes._values[0][:, 1].tolist()}) == 6
    assert len({tuple(row) for row in changes._values[1][:, 1].tolist()}) == 6

    def objective(activations, images):
        return activations["a"].amax((1, 2, 3)) * images.mean((1, 2, 3))

    scores = changes.score(objective, {"a": shown}, images)
    for lane in range(2):
        each = [float(shown[copy * 2 + lane].max() * images[lane].mean()) for copy in range(3)]
        assert float(scores[lane]) == pytest.approx(sum(each) / 3)


def test_the_trace_tells_the_crops_mean_and_the_score_is_the_whole_saved_pictures():
    model, shown_size = small(), []
    (picture,) = fv.render(
        model,
        "norm:1",
        size=(17, 24),
        steps=2,
        lanes=1,
        space="pixel",
        learning_rate=3.0,
        transforms=[MultiCrop(crops=3, side=0.3), fv.Noise(sd=0.3)],
        watch=lambda step: shown_size.append(float(step.scores)),
    )
    with model.tap(["norm"], size=(17, 24)) as activations, torch.no_grad():
        plain = float(activations(picture.image[None])["norm"][0, 1].mean())
    assert picture.score == pytest.approx(plain, rel=1e-5)
    assert picture.trace == pytest.approx(shown_size, rel=1e-3)
    assert abs(picture.trace[0] - picture.start_score) > 1e-3, "noisy crops are another thing"


def test_with_one_constant_box_many_crops_are_as_good_as_one():
    model = small()
    settings = {"size": (17, 24), "steps": 4, "lanes": 2}
    whole = fv.render(model, "norm:0:2", transforms=[MultiCrop(crops=3, side=1)], **settings)
    one = fv.render(model, "norm:0:2", transforms=[Crop(side=1)], **settings)
    for many, single in zip(whole, one, strict=True):
        assert np.abs(many.levels.astype(int) - single.levels.astype(int)).max() <= 1


def test_multicrop_pictures_do_not_depend_on_mates_nor_on_stopping_early():
    model = small()
    settings = {
        "size": (17, 24),
        "steps": 6,
        "lanes": 2,
        "transforms": [MultiCrop(crops=3), fv.Noise(sd=0.1)],
    }
    together = fv.render(model, "norm:0:3", **settings)
    alone = fv.render(model, "norm:2", **settings)
    assert np.array_equal(together[2].levels, alone[0].levels)
    # Lanes that take the next picture while others climb.
    flowing = fv.render(model, "norm:0:3", **settings, patience=50)
    alone = fv.render(model, "norm:2", **settings, patience=50)
    assert np.array_equal(flowing[2].levels, alone[0].levels)


def test_a_neuron_is_seen_in_every_crop():
    (picture,) = fv.render(
        small(), "norm:1@3,4", size=(17, 24), steps=8, lanes=1, transforms=[MultiCrop(crops=2, side=[0.8, 1])]
    )
    assert picture.score > picture.start_score


def test_the_order_of_the_list_is_the_order_of_application(chance):
    images = torch.rand((2, 3, 12, 13), generator=chance)
    brighter = fv.transform(lambda images, uniform: images + 1, name="brighter")
    double = fv.transform(lambda images, uniform: images * 2, name="double")
    assert torch.allclose(chain([brighter, double], (12, 13))(images, 0), (images + 1) * 2)
    assert torch.allclose(chain([double, brighter], (12, 13))(images, 0), images * 2 + 1)
    noise, crop = fv.Noise(sd=0.5), Crop(side=0.3)
    # Noise before a crop that magnifies is smooth, after it is not.
    first = chain([noise, crop], (12, 13))(0 * images, 0).diff(dim=3).std()
    last = chain([crop, noise], (12, 13))(0 * images, 0).diff(dim=3).std()
    assert first < 0.7 * last
