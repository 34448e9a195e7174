"""What every image space holds to; a new one is tested by being there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import featvis as fv
from featvis.images.statistics import ImageStatistics
from featvis.spec import register
from tests.networks import small

NAMES = register.names("images")
SIZES = [(17, 24), (24, 17), (8, 8), (33, 20), (1, 13), (13, 1), (2, 2), (1, 1), (2, 1)]
CHANNELS = [1, 3, 4, 13]


def space_of(name, size=(17, 24), channels=3, **options):
    return register.make("images", {"name": name, **options}, size=size, channels=channels)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def one(parameters):
    """A batch of one picture's parameters."""
    return {key: value[None].clone() for key, value in parameters.items()}


def noisy(space, lanes=2):
    """Parameters well away from the start, so that every part of the formula shows."""
    drawn = [space.draw(generator(seed), 100.0) for seed in range(lanes)]
    return {key: torch.stack([each[key] for each in drawn]) for key in drawn[0]}


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_t08_any_size_and_number_of_channels(name, size, channels):
    if max(size) < register.find("images", name).smallest:
        with pytest.raises(fv.CanvasError, match=f"{size[0]}x{size[1]}"):
            space_of(name, size, channels)
        return
    space = space_of(name, size, channels)
    images = space.decode(noisy(space))
    assert images.shape == (2, space.image_channels, *size)
    assert images.dtype == torch.float32
    assert 0 <= images.min() <= images.max() <= 1
    assert not torch.equal(images[0], images[1]), "two pictures start from two images"


@pytest.mark.parametrize("name", NAMES)
def test_the_start_is_near_grey(name):
    space = space_of(name, (33, 20))
    if not space.starts_grey:
        pytest.skip(f"{name} says that it starts in full contrast")
    image = space.decode(one(space.draw(generator())))
    assert (image - 0.5).abs().mean() < 0.05
    assert image.std() > 0
    wider = space.decode(one(space.draw(generator(), 10.0)))
    assert wider.std() > 2 * image.std(), "later attempts start wider"


@pytest.mark.parametrize("name", NAMES)
def test_a_start_comes_from_its_own_generator_alone(name):
    space = space_of(name)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, again, other = (space.draw(generator(seed)) for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), before)
    for key in first:
        assert torch.equal(first[key], again[key])
        assert torch.equal(first[key], other[key]) == (key in space.held)


@pytest.mark.parametrize("name", NAMES)
def test_t21_a_picture_decodes_the_same_beside_any_mates(name):
    space = space_of(name)
    if space.coupled:
        pytest.skip(f"{name} says that pictures have something in common")
    four, mates = noisy(space, 4), noisy(space, 4)
    mates = {key: value.flip(0) for key, value in mates.items()}
    for key in four:
        mates[key][2] = four[key][2]
    assert torch.equal(space.decode(four)[2], space.decode(mates)[2])


@pytest.mark.parametrize("name", NAMES)
def test_t21_a_picture_and_its_gradient_are_the_same_in_any_lane(name, chance):
    space = space_of(name)
    if space.coupled:
        pytest.skip(f"{name} says that pictures have something in common")
    weights = torch.randn((4, space.image_channels, 17, 24), generator=chance)
    found = []
    for order in ([0, 1, 2, 3], [2, 3, 1, 0], [1, 0, 3, 2]):  # the last lane too, where vectors end
        lanes = {key: value[order].requires_grad_() for key, value in noisy(space, 4).items()}
        images = space.decode(lanes)
        (images * weights[order]).sum().backward()
        place = order.index(2)
        found.append([images[place], *(value.grad[place] for value in lanes.values())])
    for one, *others in zip(*found, strict=True):
        assert all(torch.equal(one, other) for other in others)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(17, 24), (12, 9), (1, 13)], ids=str)
def test_t31_every_parameter_gets_a_gradient(name, size, chance):
    space = space_of(name, size)
    parameters = {key: value.requires_grad_() for key, value in one(space.draw(generator())).items()}
    images = space.decode(parameters)
    (images * torch.rand(images.shape, generator=chance)).sum().backward()
    for key, value in parameters.items():
        assert value.grad is not None
        if key in space.held:
            assert not value.grad.any()
            continue
        reached = (value.grad != 0).float().mean()
        # A real image's spectrum has a few imaginary parts that mean nothing.
        assert reached > 0.75, f"{key}: only {reached:.0%} of it"


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_is_the_true_one(name, chance):
    space = space_of(name, (5, 4))
    if not space.true_gradient:
        pytest.skip(f"{name} says that it filters the gradient")
    parameters = noisy(space, 1)
    keys, values = zip(*parameters.items(), strict=True)
    parameters = dict(zip(keys, (value.requires_grad_() for value in values), strict=True))
    weights = torch.randn((1, space.image_channels, 5, 4), generator=chance)
    (space.decode(parameters) * weights).sum().backward()
    for key, value in parameters.items():
        if key in space.held:
            continue
        step = 2e-3 * torch.sign(torch.randn(value.shape, generator=chance))
        with torch.no_grad():
            ends = [
                (space.decode({**parameters, key: value + sign * step}) * weights).double().sum()
                for sign in (0.5, -0.5)
            ]
        slope = float(ends[0] - ends[1])
        assert float((value.grad * step).sum()) == pytest.approx(slope, rel=0.03, abs=2e-4)


def photograph(chance, channels, size):
    """Shapes of several scales, detail, and the extremes 0 and 255, as 8-bit levels."""
    image = torch.zeros(channels, *size)
    for side in (2, 4, 8, 32):
        small_image = torch.randn((1, channels, side, side), generator=chance)
        image += torch.nn.functional.interpolate(small_image, size, mode="bilinear")[0] / 2
    levels = ((image + 0.5) * 255).round().clamp(0, 255).to(torch.uint8)
    levels.flatten()[:6] = torch.tensor([0, 255, 1, 254, 128, 127], dtype=torch.uint8)[: levels.numel()]
    return levels


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("size", [(17, 24), (33, 20), (64, 31), (1, 13), (13, 1)], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_t29_t30_a_start_image_comes_back_exactly(name, size, channels, chance):
    space = space_of(name, size, channels)
    if not space.fits:
        pytest.skip(f"{name} says that it cannot start from an image")
    channels = space.image_channels
    levels = photograph(chance, channels, size)
    if size == (17, 24):
        assert {0, 255} <= set(levels.unique().tolist())
    image = space.decode(one(space.fit(levels.float() / 255)))[0]
    assert torch.equal((image * 255).round().to(torch.uint8), levels)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["black", "white", "checkers", "noise"])
def test_t30_extreme_images_come_back_exactly(name, kind, chance):
    space = space_of(name, (18, 25))
    if not space.fits:
        pytest.skip(f"{name} says that it cannot start from an image")
    shape = (space.image_channels, 18, 25)
    levels = {
        "black": torch.zeros(shape),
        "white": torch.full(shape, 255.0),
        "checkers": 255.0 * ((torch.arange(18)[:, None] + torch.arange(25)) % 2).expand(shape),
        "noise": torch.randint(0, 256, shape, generator=chance).float(),
    }[kind]
    image = space.decode(one(space.fit(levels / 255)))[0]
    assert torch.equal((image * 255).round(), levels)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("image", "says"),
    [
        (torch.zeros(3, 24, 17), "shape"),
        (torch.zeros(1, 17, 24), "shape"),
        (torch.zeros(17, 24), "shape"),
        (torch.zeros(3, 17, 24, dtype=torch.uint8), "float"),
        (torch.full((3, 17, 24), 1.1), "beyond"),
        (torch.full((3, 17, 24), torch.nan), "beyond"),
    ],
)
def test_a_start_image_that_does_not_fit_is_refused(name, image, says):
    space = space_of(name)
    if len(image) == 3:
        image = torch.cat([image, *[image[:1]] * (space.image_channels - 3)])
    with pytest.raises(fv.CanvasError, match=says if space.fits else "cannot start from an image"):
        space.fit(image)


@pytest.mark.parametrize("name", NAMES)
def test_without_a_size_the_error_names_it(name):
    with pytest.raises(fv.CanvasError, match="size="):
        _ = register.make("images", {"name": name}).canvas


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("options", [{"size": 0}, {"size": (4, -1)}, {"channels": 0}, {"colour": 1}])
def test_a_wrong_option_is_refused_in_one_line(name, options):
    with pytest.raises(fv.RecipeError) as caught:
        register.make("images", {"name": name}, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_a_number_means_a_square(name):
    assert register.make("images", {"name": name}, size=9).canvas == (9, 9)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 3, 4, 13])
def test_a_network_of_any_number_of_channels_renders(name, channels):
    model = small(channels, (11, 14))
    options = {"size": (11, 14), "steps": 8, "transforms": []}
    options |= {"seeds": 2} if register.find("images", name).coupled else {"lanes": 1}
    rate = register.find("images", name).usual_rate
    picture, *_ = fv.render(model, "norm:1", space=name, learning_rate=rate, **options)
    assert picture.levels.shape[0] == space_of(name, channels=channels).image_channels
    assert picture.levels.shape[1:] == (11, 14)
    assert picture.levels.dtype == np.uint8
    assert picture.score > picture.start_score


QUICK = {"size": (17, 24), "steps": 4, "lanes": 2, "learning_rate": 0.02}
OTHERS = {
    "inner": "pixel",
    "levels": "octaves",
    "box": [0.0, 0.1, 0.5, 0.9],
    "weights": [[0.0, 0.5], [1.0, 0.2]],
    "radius": 0.1,
    "color_exponent": 2.5,
    "depth": 2,
    "scales": [[1, 4]],
    "frames": 1,
}
"""Other values of options than their defaults, where a number cannot just be another one."""


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Statistics of photographs that there are not: other colours and another spectrum than ours."""
    covariance, spectrum = np.diag([1.0, 0.2, 0.5]), np.random.default_rng(0).uniform(1, 2, (3, 17, 13))
    found = ImageStatistics(covariance, np.full(3, 0.5), spectrum, (17, 24), 1, 0)
    return str(found.save(tmp_path_factory.mktemp("statistics") / "other.safetensors"))


@pytest.mark.parametrize("name", NAMES)
def test_t43_every_option_changes_the_picture(name, measured):
    def levels_with(**options):
        units = ["norm:1", "norm:2"]  # some spaces are of pictures that are rendered together
        return fv.render(small(), units, space={"name": name, **options}, **QUICK)[0].levels

    def changed(option, value, field):
        if option == "statistics":
            return measured
        if option in OTHERS:
            return OTHERS[option]
        if isinstance(value, bool):
            return not value
        if isinstance(value, str):
            return next(choice for choice in field.annotation.__args__ if choice != value)
        return value + 1 if isinstance(value, int) else value * 1.5

    schema = register.scan("images")[name].model_fields
    usual = {"frames": 3} if "frames" in schema else {}  # one frame has no time to change in
    plain = levels_with(**usual)
    for option, field in schema.items():
        other = levels_with(**usual | {option: changed(option, field.default, field)})
        assert (other != plain).any(), option
