"""render: what may be asked for, and what is refused before the first second of compute."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import featvis as fv
from featvis.spec.target import Target
from tests.networks import handle, seeded, small

OPTIONS = {"size": (17, 24), "steps": 2, "lanes": 2}
LABELS = ["tench", "goldfish", "shark", "hen", "owl"]


@pytest.fixture(scope="module")
def model():
    return small(labels=LABELS)


def render(model, wish, **changes):
    return fv.render(model, wish, **{**OPTIONS, **changes})


@pytest.mark.parametrize(
    ("wish", "targets"),
    [
        ("norm:1", ["norm:1"]),
        ("fc:owl,hen", ["fc:4", "fc:3"]),
        (["norm:0:2", "norm:1,3"], ["norm:0", "norm:1", "norm:3"]),
        (Target("norm", 2, (1, 3)), ["norm:2@1,3"]),
        ([fv.channel("norm", 2), "norm:2"], ["norm:2"]),
        (fv.neuron("norm", 2), ["norm:2@4,6"]),
        (fv.logit("shark"), ["fc:2"]),
        ([fv.logit(0), Target("conv1", 3)], ["fc:0", "conv1:3"]),
    ],
    ids=str,
)
def test_a_wish_may_be_an_address_a_target_an_objective_or_a_list(model, wish, targets):
    assert [picture.target for picture in render(model, wish)] == targets


def test_an_objective_and_its_address_are_one_picture(model):
    assert render(model, fv.channel("norm", 2))[0].png() == render(model, "norm:2")[0].png()
    assert render(model, fv.logit("owl"))[0].png() == render(model, "fc:4")[0].png()


def test_a_picture_says_what_it_is_of(model):
    (picture,) = render(model, "fc:owl", seed=3)
    assert (picture.layer, picture.unit, picture.label, picture.seed) == ("fc", 4, "owl", 3)
    assert picture.model == "Small"
    assert picture.weights == model.fingerprint()
    assert picture.seconds > 0
    assert picture.recipe["steps"] == 2


def test_textures_and_classes_have_their_own_default_recipes(model):
    inner, outer = render(model, ["norm:1", "fc:1"])
    assert inner.recipe == fv.Recipe.load("texture").but(**OPTIONS, threads=1).to_json()
    ours = fv.Recipe.load("portrait").but(**OPTIONS, threads=1).to_json()
    weighed = outer.recipe["penalties"]  # less than usual: nobody trained this network
    assert [one["name"] for one in weighed] == [one["name"] for one in ours["penalties"]]
    assert outer.recipe == {**ours, "penalties": weighed}


def test_layers_whose_units_see_more_have_the_recipe_channel():
    recipe = fv.Recipe.load("channel").but(size=(32, 48), steps=1, lanes=1, threads=1)
    (picture,) = fv.render("efficientnet_lite0", "blocks.4:1", size=(32, 48), steps=1, lanes=1)
    assert picture.recipe == recipe.to_json()


def test_our_recipe_for_classes_does_for_networks_without_batchnorm():
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 2)
    )
    plain = fv.load_model(module, mean=(0.5,) * 3, std=(0.5,) * 3, input_size=16)
    for recipe in (None, "portrait"):
        (picture,) = render(plain, "3:1", recipe=recipe)
        assert picture.recipe["penalties"] == []
    with pytest.raises(fv.RecipeError, match="no BatchNorm2d"):
        render(plain, "3:1", penalties=[{"name": "batchnorm"}])


def test_seeds_are_pictures_of_their_own(model):
    pictures = render(model, "norm:0:2", seed=5, seeds=2)
    assert [(picture.target, picture.seed) for picture in pictures] == [
        ("norm:0", 5),
        ("norm:0", 6),
        ("norm:1", 5),
        ("norm:1", 6),
    ]


@pytest.mark.parametrize("recipe", ["portrait", fv.Recipe(steps=1)], ids=["name", "recipe"])
def test_a_recipe_is_taken_by_name_or_as_it_is(model, recipe):
    (picture,) = render(model, "norm:1", recipe=recipe)
    assert picture.recipe["steps"] == 2, "what is said beside it comes first"


def test_a_space_that_has_a_size_sets_the_canvas(model):
    (picture,) = fv.render(model, "norm:1", space=fv.PixelImage(size=(20, 30)), steps=1, lanes=1)
    assert picture.size == (20, 30)
    assert picture.recipe["space"]["name"] == "pixel"
    with pytest.raises(fv.CanvasError, match="two canvases"):
        fv.render(model, "norm:1", space=fv.PixelImage(size=(20, 30)), size=(17, 24), steps=1)
    for same in ("20x30", [20, 30]):  # it may be said twice
        (picture,) = fv.render(model, "norm:1", space=fv.PixelImage(size=(20, 30)), size=same, steps=1)
        assert picture.size == (20, 30)


def test_a_space_may_be_named(model):
    assert render(model, "norm:1", space="pixel")[0].recipe["space"]["name"] == "pixel"


def test_the_networks_view_may_be_smaller_than_the_canvas(model):
    (picture,) = render(model, "norm:1", size=(40, 50), input_size=(17, 24))
    assert picture.size == (40, 50)
    assert picture.score != render(model, "norm:1", size=(40, 50))[0].score


def test_a_start_image_is_the_canvas_and_its_digest_is_in_the_recipe(model, chance):
    start = torch.rand((3, 19, 26), generator=chance)
    (picture,) = fv.render(model, "norm:1", start=start, steps=1, lanes=1, learning_rate=1e-9)
    assert (picture.image - start).abs().max() <= 1.01 / 255
    assert picture.recipe["start"].startswith("sha256:")
    (other,) = fv.render(model, "norm:1", start=1 - start, steps=1, lanes=1, learning_rate=1e-9)
    assert other.key != picture.key


@pytest.mark.parametrize("patience", [0, 2])
@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (True, "stopped"),
        (np.True_, "stopped"),
        (torch.tensor(True), "stopped"),
        (torch.tensor([True]), "stopped"),
        (False, "ok"),
        (torch.tensor(False), "ok"),
        (None, "ok"),
        (1, "ok"),
        (torch.tensor(2.0), "ok"),
        (torch.tensor([1.0, 2.0]), "ok"),
    ],
)
def test_any_truth_value_ends_the_pictures_under_way(model, answer, status, patience):
    (picture,) = render(model, "norm:1", watch=lambda step: answer, patience=patience, steps=3)
    assert picture.status == status


@pytest.mark.parametrize(
    ("watch", "told"),
    [
        (lambda step: step.scores > -9, "2 truth values"),
        (lambda number, step: None, "takes number, step"),
        (lambda: None, "takes nothing"),
        (5, "got int"),
    ],
)
def test_a_watch_that_cannot_be_one_is_told(model, watch, told):
    with pytest.raises(fv.UserError, match=f"watch .*{told}"):
        render(model, "norm:1", watch=watch)


def test_watch_hears_every_step(model):
    heard = []
    render(model, "norm:0:3", watch=lambda step: heard.append((step.number, tuple(step.scores.shape))))
    assert heard == [(0, (2,)), (1, (2,))] * 2


REFUSED = [
    ({"targets": []}, fv.TargetError, "nothing to render"),
    ({"targets": "norm:1,norm:2"}, fv.TargetError, "a comma stands between units of one layer"),
    ({"targets": Target("norm", "1")}, fv.TargetError, "a unit of norm is a whole number"),
    ({"space": lambda: 1}, fv.RecipeError, "space is an image space"),
    ({"space": 3}, fv.RecipeError, "space is an image space"),
    ({"recipe": {"stepz": 3}}, fv.RecipeError, "did you mean 'steps'"),
    ({"recipe": 5}, fv.RecipeError, "a recipe is"),
    ({"recipe": ["channel"]}, fv.RecipeError, "a recipe is"),
    ({"snapshots": 5}, fv.RecipeError, "snapshots are numbers of steps"),
    ({"snapshots": "12"}, fv.RecipeError, "snapshots are numbers of steps"),
    ({"seed": True}, fv.RecipeError, "a seed is"),
    ({"penalties": {"name": "l2"}}, fv.RecipeError, r"one in a list: penalties=\["),
    ({"penalties": fv.l2()}, fv.RecipeError, r"one in a list: penalties=\["),
    ({"penalties": [fv.l2()]}, fv.RecipeError, "a part that was made: write {'name': 'l2'"),
    ({"penalties": [{"name": "l2", "weight": ".1"}]}, fv.RecipeError, "write 0.1"),
    ({"targets": [3]}, fv.TargetError, "an address or an objective"),
    ({"targets": "nrom:1"}, fv.TargetError, "did you mean 'norm'"),
    ({"targets": "norm:8"}, fv.TargetError, "units 0 to 7"),
    ({"targets": "norm:0:9"}, fv.TargetError, "past the last"),
    ({"targets": "fc:zebra"}, fv.TargetError, "class name"),
    ({"targets": "norm:1@9,1"}, fv.TargetError, "outside the map"),
    ({"targets": "fc:1@0,0"}, fv.TargetError, "no map"),
    ({"steps": 0}, fv.RecipeError, "steps"),
    ({"stepz": 3}, fv.RecipeError, "did you mean 'steps'"),
    ({"seed": -1}, fv.RecipeError, "seed"),
    ({"seed": True}, fv.RecipeError, "seed"),
    ({"seeds": 0}, fv.RecipeError, "seeds"),
    ({"recipe": "portait"}, fv.RecipeError, "did you mean 'portrait'"),
    ({"space": "pixle"}, fv.RecipeError, "did you mean 'pixel'"),
    ({"transforms": [3]}, fv.RecipeError, "got int"),
    ({"penalties": [{"name": "l3"}]}, fv.RecipeError, "l3"),
    ({"start": torch.zeros(1, 17, 24)}, fv.CanvasError, "shape"),
    ({"start": torch.full((3, 17, 24), 2.0)}, fv.CanvasError, "beyond"),
    ({"start": torch.zeros(3, 9, 9)}, fv.CanvasError, "shape"),
    ({"model": "efficientnet"}, fv.ModelError, "did you mean"),
]


@pytest.mark.parametrize(("wrong", "error", "says"), REFUSED, ids=lambda value: str(value)[:30])
def test_a_mistake_is_refused_before_any_compute_and_leaves_nothing(model, wrong, error, says, tmp_path):
    out, steps = tmp_path / "out", []
    given = {"model": model, "targets": "norm:1", **OPTIONS, **wrong}
    with pytest.raises(error, match=says) as caught:
        fv.render(given.pop("model"), given.pop("targets"), out=out, watch=steps.append, **given)
    assert steps == []
    assert not out.exists()
    assert "\n" not in str(caught.value)


def test_one_wrong_target_among_many_refuses_them_all(model):
    with pytest.raises(fv.TargetError):
        render(model, ["norm:0:4", "norm:8"], watch=lambda step: pytest.fail("it began"))


def test_every_picture_of_a_grid_network_is_finite_and_full_of_levels(model):
    for picture in render(model, "norm:all", steps=12):
        assert picture.score == picture.score
        assert len(set(picture.levels.flatten().tolist())) > 20


def test_a_network_on_two_names_gives_the_same_weights_the_same_key(model):
    other = handle(seeded(type(model.module)), labels=LABELS)
    assert other.fingerprint() == model.fingerprint()
    assert render(other, "norm:1")[0].key == render(model, "norm:1")[0].key


def test_a_picture_tells_its_scores_over_the_run_without_waiting_for_them(model):
    heard = []
    options = {"size": (17, 24), "steps": 5, "lanes": 2}
    one, other = fv.render(
        model, "norm:1:3", watch=lambda step: heard.append(step.scores.tolist()), **options
    )
    for lane, picture in enumerate((one, other)):
        assert picture.trace == [pytest.approx(scores[lane], rel=6e-4) for scores in heard]
        assert picture.trace == [float(f"{score:.4g}") for score in picture.trace]
    long = fv.render(model, "norm:1", **{**options, "steps": 150})[0]
    assert len(long.trace) == 64
    assert one.entry()["trace"] == one.trace


def test_numbers_of_numpy_are_numbers(model):
    given = {
        "seed": (3, np.int64(3)),
        "seeds": (2, np.int32(2)),
        "size": (24, np.int64(24)),
        "steps": (2, np.uint8(2)),
        "snapshots": ((1, 2), np.array([1, 2])),
        "penalties": ([{"name": "l2", "weight": 0.5}], [{"name": "l2", "weight": np.float32(0.5)}]),
        "transforms": ([fv.Noise(sd=0.5)], [fv.Noise(sd=np.float32(0.5))]),
        "learning_rate": (0.5, np.float32(0.5)),
    }
    ours, theirs = (
        fv.render(model, fv.Target("norm", number(2)), **{name: pair[place] for name, pair in given.items()})
        for place, number in enumerate((int, np.int64))
    )
    assert [picture.png() for picture in ours] == [picture.png() for picture in theirs]
    assert [[*picture.snapshots] for picture in theirs] == [[1, 2]] * 2


def test_a_dict_is_a_recipe(model):
    assert render(model, "norm:1", recipe={"learning_rate": 0.3})[0].recipe["learning_rate"] == 0.3


def test_the_default_dtype_of_torch_may_be_another(model):
    expected = render(model, "norm:1")[0].png()
    torch.set_default_dtype(torch.float64)
    try:
        assert render(model, "norm:1")[0].png() == expected
        assert [step.scores.dtype for step in fv.ascend(model, "norm:1", fv.PixelImage(size=16), steps=1)]
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("lr", "learning_rate"),
        ("thresholds", "snapshots"),
        ("param_f", "space"),
        ("batch", "lanes"),
        ("callback", "watch"),
        ("seed_input", "start"),
        ("init", "start"),
        ("fixed_image_size", "size"),
        ("image_size", "size"),
        ("verbose", "progress"),
        ("iterations", "steps"),
    ],
)
def test_other_tools_words_are_told_in_ours(model, name, said):
    with pytest.raises(fv.RecipeError, match=f"unknown option '{name}'; did you mean '{said}'[?]"):
        render(model, "norm:1", **{name: 3})


@pytest.mark.parametrize("name", ["jitter", "rotate", "scale"])
def test_other_tools_transforms_are_told_in_ours(model, name):
    with pytest.raises(fv.RecipeError, match=r"did you mean 'warp'[?]"):
        render(model, "norm:1", transforms=[name])


def test_a_folder_is_a_text_or_a_path(model):
    with pytest.raises(fv.OutputError, match="out is a folder or a file"):
        render(model, "norm:1", out=5)
