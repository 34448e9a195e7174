"""The warp against kornia's, and against what its options promise."""

from __future__ import annotations

import math
import warnings

import pytest
import torch

import featvis as fv
from tests.networks import correlation

STEPS = 10_000


def uniform(steps=STEPS, lanes=1, seed=0):
    return torch.rand((lanes, steps, 6), generator=torch.Generator().manual_seed(seed))


def at(**numbers):
    """The six uniform numbers of one draw, in the middle unless told."""
    names = ("scale", "turn", "down", "right", "crop_down", "crop_right")
    return torch.tensor([[[numbers.get(name, 0.5) for name in names]]])


def seen_through(warp, images, draw, shown_size=None):
    canvas = tuple(images.shape[2:])
    values = warp.prepare(draw, torch.zeros(1), canvas, shown_size or canvas)
    return warp.apply(images, values[:, 0], None, shown_size or canvas)


def by_kornia(image, scale, degrees, down, right):
    """The same window by kornia's own matrices, in pixels: what is seen moves against the window."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from kornia.geometry.transform import get_rotation_matrix2d, warp_affine
    height, width = image.shape[2:]
    centre = torch.tensor([[(width - 1) / 2, (height - 1) / 2]])
    # Forward map canvas -> shown: undo the shift, turn by +degrees (kornia: counter-clockwise), magnify.
    matrix = get_rotation_matrix2d(centre, torch.tensor([degrees]), torch.full((1, 2), 1 / scale))
    shift = torch.eye(3)[None]
    shift[0, 0, 2], shift[0, 1, 2] = -right, -down
    return warp_affine(image, matrix @ shift, (height, width), align_corners=True, padding_mode="zeros")


def smooth(chance, size=(33, 52)):
    coarse = torch.rand((1, 3, 5, 7), generator=chance)
    return torch.nn.functional.interpolate(coarse, size, mode="bicubic").clamp(0, 1)


@pytest.mark.parametrize(
    ("scale", "turn", "down", "right"),
    [
        (1.0, 0, 0, 0),
        (0.7, 0, 0, 0),
        (1.3, 0, 0, 0),
        (1.0, 20, 0, 0),
        (1.0, -35, 0, 0),
        (1.0, 0, 4, 0),
        (1.0, 0, 0, -6),
        (0.8, 25, 3, -5),
        (1.2, -40, -2, 7),
    ],
)
def test_it_agrees_with_kornia_on_a_canvas_that_is_not_square(scale, turn, down, right, chance):
    image = smooth(chance)
    warp = fv.Warp(scale=(scale, scale), degrees=60, jitter=10, pad="gray")
    draw = at(turn=0.5 + turn / 120, down=0.5 + down / 20, right=0.5 + right / 20)
    found = seen_through(warp, image - 0.0, draw)
    expected = by_kornia(image - 0.5, scale, float(turn), down, right) + 0.5
    # At the very edge of the canvas the two paddings may differ by a pixel's fraction.
    inside = by_kornia(torch.ones_like(image), scale, float(turn), down, right) > 0.999
    inside = torch.nn.functional.max_pool2d(-inside.float(), 3, 1, 1) < -0.5
    assert inside.float().mean() > 0.3
    torch.testing.assert_close(found[inside], expected[inside], atol=2e-3, rtol=0)


@pytest.mark.parametrize(("row", "column"), [(3, 20), (12, 2), (0, 0), (16, 23), (8, 12)])
@pytest.mark.parametrize(("down", "right"), [(0, 0), (2, -3), (-4, 1)])
def test_t06_a_single_pixel_lands_at_its_row_and_column(row, column, down, right):
    image = torch.zeros(1, 1, 17, 24)
    image[0, 0, row, column] = 1
    warp = fv.Warp(jitter=8, pad="edge" if 0 < row < 16 and 0 < column < 23 else "gray")
    shown = seen_through(warp, image, at(down=0.5 + down / 16, right=0.5 + right / 16))
    # The window moves down and right, so what it shows moves up and left.
    place = (row - down, column - right)
    inside = 0 <= place[0] < 17 and 0 <= place[1] < 24
    if inside:
        assert float(shown[0, 0, place[0], place[1]]) == pytest.approx(1, abs=1e-4)
        rest = shown.clone()
        rest[0, 0, place[0], place[1]] = 0
        assert rest.max() <= 0.5 + 1e-4
    else:
        assert shown.max() <= 0.5 + 1e-4


@pytest.mark.parametrize(("row", "column"), [(3, 20), (12, 0), (16, 19)])
def test_t06_a_gradient_of_one_pixel_lands_at_its_row_and_column(row, column):
    image = torch.zeros(1, 1, 17, 24, requires_grad=True)
    shown = seen_through(fv.Warp(jitter=8), image, at(down=0.5 + 2 / 16, right=0.5 - 3 / 16))
    (gradient,) = torch.autograd.grad(shown[0, 0, row - 2, column + 3], image)
    assert torch.nonzero(gradient[0, 0].abs() > 0.5).tolist() == [[row, column]]


@pytest.mark.parametrize("scale", [0.6, 1.0, 1.4])
def test_t07_what_is_in_the_middle_stays_there(scale):
    image = torch.zeros(1, 1, 17, 25)
    image[0, 0, 8, 12] = 1
    shown = seen_through(fv.Warp(scale=(scale, scale)), image, at())[0, 0]
    weights = shown / shown.sum()
    assert float((weights.sum(1) * torch.arange(17)).sum()) == pytest.approx(8, abs=1e-3)
    assert float((weights.sum(0) * torch.arange(25)).sum()) == pytest.approx(12, abs=1e-3)


def test_t22_shifts_have_mean_zero_and_are_symmetric():
    warp = fv.Warp(jitter=3, shift=0.1)
    values = warp.prepare(uniform(), torch.zeros(STEPS), (17, 24), (17, 24))[0]
    down, right = values[:, 5] * 17 / 2, values[:, 2] * 24 / 2
    for moved, reach in ((down, 3 + 1.7), (right, 3 + 2.4)):
        error = reach / math.sqrt(3 * STEPS)
        assert abs(float(moved.mean())) < 4 * error
        assert float(moved.std()) == pytest.approx(reach / math.sqrt(3), rel=0.03)
        assert abs(float((moved**3).mean())) < 4 * reach**3 / math.sqrt(7 * STEPS)
        assert float(moved.abs().max()) <= reach + 1e-4
        assert float(moved.max()) > 0.99 * reach < -float(moved.min()) + 0.02 * reach


@pytest.mark.parametrize("crop", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("canvas", [(17, 24), (40, 12)], ids=str)
def test_t23_ten_thousand_draws_stay_in_the_documented_ranges(crop, canvas):
    height, width = canvas
    warp = fv.Warp(scale=(0.4, 1.1), degrees=12, crop=crop)
    values = warp.prepare(uniform(), torch.zeros(STEPS), canvas, canvas)[0].double()
    scale = (values[:, 0] ** 2 + (values[:, 3] * height / width) ** 2).sqrt()
    angle = torch.atan2(values[:, 3] * height / width, values[:, 0]) * 180 / math.pi
    down, right = values[:, 5] / 2, values[:, 2] / 2
    assert 0.4 - 1e-5 <= scale.min() < 0.41
    assert 1.09 < scale.max() <= 1.1 + 1e-5
    assert -12 - 1e-4 <= angle.min() < -11.9
    assert 11.9 < angle.max() <= 12 + 1e-4
    # A window that crop lets wander never leaves the canvas, and at crop 1 goes to its edge.
    slack = crop * (1 - scale).clamp(min=0) / 2
    for moved in (down, right):
        assert (moved.abs() <= slack + 1e-6).all()
        if crop:
            assert float((moved.abs() / slack.clamp(min=1e-9))[slack > 0.01].max()) > 0.98


def test_ranges_may_be_given_in_either_order():
    numbers, progress = uniform(50), torch.zeros(50)
    one = fv.Warp(scale=(0.5, 1.2)).prepare(numbers, progress, (17, 24), (17, 24))
    other = fv.Warp(scale=(1.2, 0.5)).prepare(numbers, progress, (17, 24), (17, 24))
    assert torch.equal(one, other)


@pytest.mark.parametrize("option", ["degrees", "jitter", "shift"])
def test_amounts_follow_their_schedule(option):
    numbers = torch.full((1, 3, 6), 0.9)
    progress = torch.tensor([0.0, 0.5, 1.0])
    falling = fv.Warp(**{option: (0.4, 0.0)}).prepare(numbers, progress, (17, 24), (17, 24))[0]
    for step, amount in enumerate((0.4, 0.2, 0.0)):
        constant = fv.Warp(**{option: amount}).prepare(numbers, progress, (17, 24), (17, 24))[0]
        torch.testing.assert_close(falling[step], constant[step])


@pytest.mark.parametrize("pad", ["reflect", "edge", "gray"])
def test_t22_there_is_no_black_border(pad):
    image = torch.full((1, 3, 17, 24), 0.5)
    warp = fv.Warp(scale=(1.5, 1.5), degrees=40, jitter=9, pad=pad)
    for number in (0.0, 0.3, 0.999):
        shown = seen_through(warp, image, at(turn=number, down=number, right=number))
        torch.testing.assert_close(shown, image, atol=1e-5, rtol=0)


def test_reflection_shows_the_canvas_again_and_edge_its_last_pixel():
    image = torch.linspace(0, 1, 24).expand(1, 1, 17, 24).contiguous()
    draw = at(right=0.999999)
    reflected = seen_through(fv.Warp(jitter=6), image, draw)
    assert float(reflected[0, 0, 5, -1]) == pytest.approx(float(image[0, 0, 5, 24 - 6]), abs=0.01)
    edge = seen_through(fv.Warp(jitter=6, pad="edge"), image, draw)
    assert float(edge[0, 0, 5, -1]) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("canvas", "shown_size"),
    [
        ((17, 24), (34, 48)),
        ((64, 48), (16, 12)),
        ((101, 67), (24, 16)),
        ((50, 50), (50, 50)),
        ((45, 99), (20, 44)),
    ],
    ids=str,
)
def test_a_plain_warp_resamples_the_whole_canvas_where_it_is(canvas, shown_size, chance):
    # A ramp along each axis must stay the same ramp, whatever the two sizes.
    ratio = (canvas[0] * shown_size[1]) / (canvas[1] * shown_size[0])
    rows = (torch.arange(canvas[0]) + 0.5) / canvas[0]
    columns = (torch.arange(canvas[1]) + 0.5) / canvas[1]
    image = torch.stack([rows[:, None].expand(canvas), columns.expand(canvas)])[None]
    shown = seen_through(fv.Warp(pad="edge"), image, at(), shown_size)
    tall, broad = max(1, 1 / ratio), max(1, ratio)
    down = ((torch.arange(shown_size[0]) + 0.5) / shown_size[0] - 0.5) * tall + 0.5
    across = ((torch.arange(shown_size[1]) + 0.5) / shown_size[1] - 0.5) * broad + 0.5
    margin = 1 / min(*canvas, *shown_size)
    lines = (shown[0, 0, :, shown_size[1] // 2], down), (shown[0, 1, shown_size[0] // 2], across)
    for (found, expected), side in zip(lines, canvas, strict=True):
        inner = (expected > margin) & (expected < 1 - margin)
        # Half a pixel of the canvas is what averaging uneven blocks may move.
        torch.testing.assert_close(found[inner], expected[inner], atol=0.6 / side, rtol=0)


def test_a_much_smaller_view_averages_and_does_not_pick_single_pixels(chance):
    image = torch.rand((1, 1, 96, 128), generator=chance)
    shown = seen_through(fv.Warp(), image, at(), (12, 16))
    assert float(shown.std()) < 0.5 * float(image.std())
    means = torch.nn.functional.avg_pool2d(image, 8)
    assert correlation(shown, means) > 0.95


@pytest.mark.parametrize("seed", range(3))
def test_a_neutral_warp_changes_nothing(seed, chance):
    image = torch.rand((1, 3, 17, 24), generator=chance)
    torch.testing.assert_close(
        seen_through(fv.Warp(), image, uniform(1, seed=seed)), image, atol=2e-6, rtol=0
    )


@pytest.mark.parametrize(
    "options", [{"scale": (0, 1)}, {"degrees": -1}, {"crop": 1.5}, {"pad": "black"}, {"jitter": (1, 2, 3)}]
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(fv.RecipeError):
        fv.Warp(**options)
