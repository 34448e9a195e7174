"""What every transform holds to; a new one is tested by being there."""

from __future__ import annotations

import pytest
import torch

import featvis as fv
from featvis import draws
from featvis.spec import register
from featvis.transforms.chain import Chain
from tests.networks import small

NAMES = register.names("transforms")
OPTIONS = {
    "warp": {"scale": [0.6, 1.2], "degrees": 15, "jitter": 2, "shift": 0.1, "crop": 0.5},
    "noise": {"sd": [0.3, 0.05]},
    "flip": {"horizontal": 0.8, "vertical": 0.6},
    "color_shift": {"mean": 0.2, "log_sd": 0.1},
    "color_jitter": {"offset": 0.1},
    "crop": {"side": [0.5, 0.9]},
    "kornia": {"augmentation": "RandomAffine", "options": {"degrees": 10.0, "p": 1.0}},
    "multicrop": {"crops": 2, "side": [0.5, 0.9]},
}
"""Options under which a part does something; a part that is not here does so by default."""
AUGMENTATIONS = {"RandomAffine": "RandomRotation"}
"""Other augmentations of kornia that take the same options."""
CPU = torch.device("cpu")


def made(name):
    return register.make("transforms", {"name": name, **OPTIONS.get(name, {})})


def streams(*seeds):
    return [lambda purpose, seed=seed: draws.stream(seed, "layer:0", 0, purpose) for seed in seeds]


def chain(name, seeds=(0, 1, 2), steps=4, canvas=(17, 24), shown_size=None, channels=3):
    return Chain(
        [made(name)],
        streams(*seeds),
        steps=steps,
        channels=channels,
        canvas=canvas,
        shown_size=shown_size or canvas,
        device=CPU,
    )


@pytest.fixture
def images(chance):
    return torch.rand((3, 3, 17, 24), generator=chance)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("canvas", [(17, 24), (24, 17), (1, 9), (32, 8)], ids=str)
def test_the_shape_is_what_is_seen(name, canvas, channels, chance):
    shown = chain(name, canvas=canvas, channels=channels)(
        torch.rand((3, channels, *canvas), generator=chance), 0
    )
    assert shown.shape == (3 * made(name).copies(), channels, *canvas)
    assert shown.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shown_size", [(12, 9), (17, 48), (40, 40), (3, 5)], ids=str)
def test_the_network_may_be_shown_another_size_than_the_canvas(name, shown_size, images):
    shown = chain(name, shown_size=shown_size)(images, 1)
    assert shown.shape == (3 * made(name).copies(), 3, *shown_size)
    assert abs(float(shown.mean() - images.mean())) < 0.15


@pytest.mark.parametrize("name", NAMES)
def test_it_does_something_and_each_picture_and_step_has_its_own_draw(name, images):
    same = images[:1].expand(3, -1, -1, -1)
    changes = chain(name, steps=12)
    # Over several steps, for a flip leaves many as they are.
    shown = torch.stack([changes(same, step)[:3] for step in range(12)])
    assert not torch.equal(shown[:, 0], same[:1].expand(12, -1, -1, -1))
    assert not torch.equal(shown[:, 0], shown[:, 1]), "two pictures"
    assert not torch.equal(shown[:-1, 0], shown[1:, 0]), "two steps"


@pytest.mark.parametrize("name", NAMES)
def test_the_same_numbers_give_the_same_result(name, images):
    first, second = chain(name), chain(name)
    for step in range(4):
        assert torch.equal(first(images, step), second(images, step))
    assert torch.equal(first(images, 2), second(images, 2)), "a step may be looked at again"


@pytest.mark.parametrize("name", NAMES)
def test_t21_a_picture_does_not_depend_on_its_mates(name, images, chance):
    one, other = chain(name, seeds=(5, 6, 7)), chain(name, seeds=(8, 9, 6))
    mates = torch.rand(images.shape, generator=chance)
    mates[2] = images[1]
    for step in range(4):
        assert torch.equal(one(images, step)[1], other(mates, step)[2])


@pytest.mark.parametrize("name", NAMES)
def test_t20_the_global_state_of_chance_is_neither_used_nor_touched(name, images):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    shown = chain(name)(images, 0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(chain(name)(images, 0), shown)


@pytest.mark.parametrize("name", NAMES)
def test_images_are_not_changed_in_place(name, images):
    copy = images.clone()
    chain(name)(images, 0)
    assert torch.equal(images, copy)


@pytest.mark.parametrize("name", NAMES)
def test_gradient_flows_to_each_picture_and_only_to_its_own(name, images):
    images.requires_grad_()
    shown = chain(name)(images, 0)
    (gradient,) = torch.autograd.grad(shown[1].sum(), images)
    assert gradient[1].abs().sum() > 0.2 * shown[1].numel()
    assert not gradient[0].any()
    assert not gradient[2].any()


@pytest.mark.parametrize("name", NAMES)
def test_a_longer_run_with_constant_options_begins_like_a_shorter_one(name):
    # The draws of a step do not move when the run grows; only schedules do.
    numbers = made(name).numbers
    short, long = (draws.uniform(streams(3)[0]("0 " + name), steps, numbers) for steps in (4, 9))
    assert torch.equal(short, long[:4])


@pytest.mark.parametrize("name", NAMES)
def test_parameters_for_every_step_are_ready_before_the_run(name):
    one = made(name)
    numbers = torch.rand((3, 5, one.numbers), generator=torch.Generator().manual_seed(0))
    values = one.prepare(numbers, torch.linspace(0, 1, 5), (17, 24), (17, 24))
    assert values.shape[:2] == (3, 5)
    lane = one.prepare(numbers[1:2], torch.linspace(0, 1, 5), (17, 24), (17, 24))
    assert torch.equal(values[1], lane[0])


@pytest.mark.parametrize("name", NAMES)
def test_t43_every_option_changes_the_picture(name):
    model, schema = small(), register.scan("transforms")[name]
    given = schema(**OPTIONS.get(name, {})).model_dump(mode="json")
    levels = picture_of(model, name, given)
    for option, field in schema.model_fields.items():
        other = {**given, option: changed(given[option], field)}
        assert (picture_of(model, name, other) != levels).any(), option


QUICK = {"size": (17, 24), "steps": 4, "lanes": 1}


def picture_of(model, name, options):
    recipe = fv.Recipe(**QUICK, transforms=[{"name": name, **options}])
    return fv.render(model, "norm:1", recipe=recipe)[0].levels


def changed(value, field):
    if isinstance(value, dict):
        return {**value, "degrees": 45.0}
    if isinstance(value, str) and value in AUGMENTATIONS:
        return AUGMENTATIONS[value]
    if isinstance(value, int) and not isinstance(value, bool):
        return value + 3
    if isinstance(value, str):
        return next(choice for choice in field.annotation.__args__ if choice != value)
    if isinstance(value, list | tuple):
        return [number * (0.7 if number > 0.6 else 1.5) for number in value]
    return value * 0.5 + 0.01


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_option_is_refused_in_one_line(name):
    with pytest.raises(fv.RecipeError, match="option") as caught:
        register.make("transforms", {"name": name, "colour": 1})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_t25_the_penalty_sees_the_image_not_the_draw(name, images):
    model, shown_size = small(), []

    @fv.objective(layers=["conv1"])
    def both(activations, images):
        shown_size.append((activations["conv1"].detach(), images.detach()))
        return images.mean((1, 2, 3)) + 0 * activations["conv1"].mean((1, 2, 3))

    space = fv.PixelImage(size=(17, 24))
    start = {"pixels": space.fit(images[0])["pixels"][None]}
    climb = fv.ascend(model, both, space, steps=6, transforms=[made(name)], start=start, learning_rate=1e-6)
    for _ in climb:
        assert torch.allclose(shown_size[-1][1][0], images[0], atol=1e-2)
    with model.tap(["conv1"], size=(17, 24)) as activations:
        plain = activations(shown_size[-1][1])["conv1"]
    # Over several steps, for a flip leaves some as they are.
    assert not all(torch.allclose(plain, found[:1], atol=1e-2) for found, _ in shown_size)
