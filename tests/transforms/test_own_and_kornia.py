"""Functions of a user's own, kornia's augmentations, and how ranges and schedules are told apart."""

from __future__ import annotations

import random
import sys

import kornia.augmentation
import numpy as np
import pytest
import torch

import featvis as fv
from featvis import draws
from featvis.spec import register
from featvis.transforms.chain import Chain
from featvis.transforms.from_kornia import Kornia
from tests.networks import small

SETTINGS = {"size": (17, 24), "steps": 3, "lanes": 2}


def test_a_users_function_gets_numbers_of_its_pictures_own():
    shown_size = []

    def shade(images, uniform):
        if bool((uniform != 0.5).any()):  # not the call before the run, which looks at what it does
            shown_size.append(uniform.clone())
        return images * uniform[:, :1, None, None]

    changes = [fv.transform(shade, name="shade", numbers=2)]
    together = fv.render(small(), "norm:0:3", transforms=changes, **SETTINGS)
    assert shown_size[0].shape == (2, 2)
    assert not torch.equal(shown_size[0][0], shown_size[0][1])
    assert not torch.equal(shown_size[0], shown_size[1])
    alone = fv.render(small(), "norm:2", transforms=changes, **SETTINGS)
    assert np.array_equal(together[2].levels, alone[0].levels)


def rotated(images):
    return torch.rot90(images, 2 * int(torch.randint(2, ())), (2, 3))


def scaled(images):
    return images * random.uniform(0.5, 1) * float(np.random.uniform(0.5, 1))


def shifted(images, uniform):
    return images.roll(int(torch.randint(9, ())), -1) * uniform[:, :1, None, None]


@pytest.mark.parametrize("function", [rotated, scaled, shifted, kornia.augmentation.RandomAffine(30.0)])
def test_a_function_with_chance_of_its_own_is_repeated(function):
    changes = [fv.transform(function, name="own")]
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    together = fv.render(small(), "norm:0:3", transforms=changes, **SETTINGS)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.array_equal(np.random.get_state()[1], states[2])
    torch.manual_seed(7)
    random.seed(7)
    np.random.seed(7)
    again = fv.render(small(), "norm:2", transforms=changes, seed=0, **SETTINGS)
    assert np.array_equal(together[2].levels, again[0].levels)
    changes = [fv.transform(function, name="own")]
    made = changes[0]
    images, numbers = torch.rand(8, 3, 16, 24), torch.rand(8, 4)
    shown = made.apply(images, numbers, None, (16, 24))
    assert torch.equal(shown[5:6], made.apply(images[5:6], numbers[5:6], None, (16, 24)))
    assert not made.replayable
    moved = made.apply(images[:1].repeat(8, 1, 1, 1), numbers, None, (16, 24))
    assert len({one.numpy().tobytes() for one in moved}) > 1, "each picture has its own draw"


def test_a_function_without_chance_may_be_recorded():
    still = fv.transform(lambda images: images.flip(-1), name="still")
    still.check((16, 24), (16, 24))
    assert still.replayable


def test_what_others_read_is_not_written_into():
    def darker(images):
        return images.mul_(0.5)

    with pytest.raises(fv.UserError, match=r"transform 'darker' writes into its images.*clone"):
        fv.render(small(), "norm:1", transforms=[fv.transform(darker)], **SETTINGS)


@pytest.mark.parametrize(
    "function",
    [
        lambda images: images - images.mean(0),
        lambda images, uniform: images.roll(1, 0) * uniform[:, :1, None, None],
    ],
)
def test_a_function_that_mixes_pictures_is_refused(function):
    with pytest.raises(fv.UserError, match="depend on the others of its batch"):
        fv.render(small(), "norm:1", transforms=[fv.transform(function, name="mixed")], **SETTINGS)


def test_the_name_of_a_function_is_in_the_recipe_and_the_key():
    pictures = [
        fv.render(small(), "norm:1", transforms=[fv.transform(lambda i, u: i, name=name)], **SETTINGS)[0]
        for name in ("mine", "other")
    ]
    assert pictures[0].recipe["transforms"][0]["name"] == "mine"
    assert pictures[0].key != pictures[1].key


def test_functions_that_cannot_be_transforms_are_refused():
    with pytest.raises(fv.RecipeError, match="'noise' is one of featvis' own"):
        fv.transform(lambda i, u: i, name="noise")
    with pytest.raises(fv.RecipeError, match="got int"):
        fv.transform(3, name="three")
    with pytest.raises(fv.RecipeError, match="name is a text"):
        fv.transform(lambda i, u: i, name=" ")
    cut = fv.transform(lambda i, u: i[..., 1:], name="cut")
    with pytest.raises(fv.UserError, match=r"'cut' must return images of the shape .*\(2, 3, 17, 23\)"):
        fv.render(small(), "norm:1", transforms=[cut], **SETTINGS)


def test_it_is_a_decorator_too():
    @fv.transform
    def mirrored(images):
        return images.flip(-1)

    @fv.transform(name="shade", numbers=1)
    def darker(images, uniform):
        return images * uniform[:, :1, None, None]

    assert (mirrored.part_name, darker.part_name, darker.numbers) == ("mirrored", "shade", 1)
    (picture,) = fv.render(small(), "norm:1", transforms=[mirrored, darker], **SETTINGS)
    assert [one["name"] for one in picture.recipe["transforms"]] == ["mirrored", "shade"]
    with pytest.raises(fv.RecipeError, match="name="):
        fv.transform(lambda images: images)
    with pytest.raises(fv.UserError, match=r"'three' is called with .*takes a, b, c"):
        fv.transform(lambda a, b, c: a, name="three")


def test_a_transform_whose_name_another_took_is_refused():
    """The recipe names it, and the name now stands for the other."""
    first = fv.transform(lambda images: images * 0.5, name="mine")
    fv.transform(lambda images: images * 0.7, name="mine")
    with pytest.raises(fv.RecipeError, match="two parts are called 'mine'"):
        fv.render(small(), "norm:1", transforms=[first], **SETTINGS)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("RandomElasticTransform", {"p": 1.0, "alpha": [0.3, 0.3]}),
        ("ColorJiggle", {"brightness": 0.2, "p": 1.0}),
        ("RandomGaussianNoise", {"std": 0.1, "p": 1.0}),
        ("RandomErasing", {"p": 0.7}),
    ],
)
def test_a_picture_gets_what_kornia_gives_it_alone_after_its_seed(name, options, chance):
    images = torch.rand((3, 3, 17, 24), generator=chance)
    streams = [lambda purpose, seed=seed: draws.stream(seed, "a", 0, purpose) for seed in range(3)]
    one = register.make("transforms", {"name": "kornia", "augmentation": name, **options})
    before = torch.get_rng_state()
    changes = Chain(
        [one], streams, steps=2, channels=3, canvas=(17, 24), shown_size=(17, 24), device=torch.device("cpu")
    )
    shown = changes(images, 1)
    assert torch.equal(torch.get_rng_state(), before)
    told = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    plain = getattr(kornia.augmentation, name)(**told)
    for lane in range(3):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(changes._values[0][lane, 1, 0]))
            expected = plain(images[lane : lane + 1])
        assert torch.equal(shown[lane : lane + 1], expected)


def test_kornia_in_a_recipe_keeps_its_options_and_pictures_keep_their_bytes():
    entry = {"name": "kornia", "augmentation": "RandomElasticTransform", "p": 1.0, "alpha": [0.3, 0.3]}
    recipe = fv.Recipe(**SETTINGS, transforms=[entry])
    assert recipe.transforms[0]["options"] == {"p": 1.0, "alpha": [0.3, 0.3]}
    assert fv.Recipe(**recipe.to_json()) == recipe
    together = fv.render(small(), "norm:0:3", recipe=recipe)
    alone = fv.render(small(), "norm:2", recipe=recipe)
    assert np.array_equal(together[2].levels, alone[0].levels)


def test_the_generators_come_back_also_after_a_failure():
    one = Kornia(augmentation="RandomHorizontalFlip")
    before = torch.get_rng_state()
    with pytest.raises(Exception, match=r".*"):
        one.apply(torch.zeros(1, 1, 1, 1, 1, 1), torch.zeros(1, 1), None, (1, 1))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("told", "line"),
    [
        ({"augmentation": "RandomElastic"}, "did you mean .*'RandomElasticTransform'"),
        ({"augmentation": "RandomRotation", "degree": 5.0}, "did you mean 'degrees'"),
        ({"degrees": 5.0}, "another augmentation is named by augmentation"),
        ({"augmentation": "RandomCrop", "size": [8, 8]}, "into .*keeps their size"),
    ],
)
def test_mistakes_with_kornia_are_one_line(told, line):
    with pytest.raises(fv.RecipeError, match=line) as caught:
        fv.render(small(), "norm:1", recipe=fv.Recipe(**SETTINGS, transforms=[{"name": "kornia", **told}]))
    assert "\n" not in str(caught.value)


def test_an_augmentation_that_is_named_otherwise_is_told_by_which_option():
    with pytest.raises(fv.RecipeError, match=r"'name'; .*: augmentation='RandomPerspective'$"):
        fv.Kornia(name="RandomPerspective", p=1.0)


def test_without_kornia_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "kornia.augmentation", None)
    with pytest.raises(fv.RecipeError, match="pip install kornia"):
        Kornia(augmentation="RandomAffine")


def numeric(field):
    return field not in ("pad", "augmentation", "options", "crops", "pixels", "power")


EVERY = [
    (name, field)
    for name, schema in register.scan("transforms").items()
    for field in schema.model_fields
    if numeric(field)
]


@pytest.mark.parametrize(("name", "option"), EVERY)
def test_every_amount_may_be_a_schedule(name, option, chance):
    schema = register.scan("transforms")[name]
    ranged = option in ("scale", "side") or (name, option) == ("blur", "sigma")
    start, end = ([0.9, 0.9], [0.2, 0.2]) if ranged else (0.9, 0.2)
    others = {"scale": [0.5, 0.5]} if (name, option) == ("warp", "crop") else {}

    def values(given):
        one = register.make("transforms", {"name": name, **others, option: given})
        uniform = torch.rand((1, 5, one.numbers), generator=torch.Generator().manual_seed(3))
        return one.prepare(uniform, torch.linspace(0, 1, 5), (20, 20), (20, 20))[0]

    moving = values([start, end])
    assert torch.allclose(moving[0], values(start)[0])
    assert torch.allclose(moving[-1], values(end)[-1])
    if name != "flip":
        assert not torch.allclose(moving[-1], values(start)[-1])
    written = schema(**{option: [start, end]}).model_dump(mode="json")[option]
    assert written == [start, end]


def test_a_flat_pair_is_a_range_where_something_is_drawn_from_it_and_a_schedule_where_not():
    recipe = fv.Recipe(transforms=[{"name": "warp", "scale": [0.6, 1.1], "degrees": [10, 0], "crop": 1}])
    entry = recipe.transforms[0]
    assert (entry["scale"], entry["degrees"], entry["crop"]) == ([0.6, 1.1], [10.0, 0.0], 1.0)
    for scale in ([1], [0.5, [1, 2]], [[1, 2, 3], [1, 2]], "wide", True):
        with pytest.raises(fv.RecipeError, match="warp: scale"):
            fv.Recipe(transforms=[{"name": "warp", "scale": scale}])
