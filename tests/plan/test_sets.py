"""Pictures that are rendered together for they depend on each other: diverse sets, coupled objectives."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import featvis as fv
from featvis.cli import main
from featvis.galleries.config import load_gallery
from featvis.galleries.plan import plan_gallery
from featvis.plan.make import make_plan
from featvis.run.executors import local
from featvis.run.prepare import prepare
from featvis.run.tuning import settle_auto
from tests.galleries.planted import manifest, pngs, section, write_config
from tests.networks import handle, small

SHORT = {"size": (17, 24), "steps": 3}


@pytest.fixture(scope="module")
def model():
    return small()


class TwoCauses(nn.Module):
    """Unit 0 answers to a red picture, or nearly as much to a blue one; a mixture is neither."""

    def __init__(self):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.differ = nn.Conv2d(3, 2, 1)
        self.bend = nn.Softplus()
        self.unit = nn.Conv2d(2, 3, 1, bias=False)
        with torch.no_grad():
            self.differ.weight.copy_(4 * torch.tensor([[1.0, 0, -1], [-1, 0, 1]])[:, :, None, None])
            self.differ.bias.zero_()
            self.unit.weight.copy_(torch.tensor([[1, 0.9], [1, 0], [0, 1]])[:, :, None, None])

    def forward(self, images):
        return self.unit(self.bend(self.differ(self.pool(images))))


def redness(picture):
    red, _, blue = picture.image.mean((1, 2))
    return float(red - blue)


PLANTED = {"size": (13, 10), "steps": 48, "transforms": [], "learning_rate": 0.1, "space": "pixel"} | {
    "schedule": "constant"
}


def test_c10_a_diverse_set_shows_both_causes_where_single_pictures_show_one():
    planted = handle(TwoCauses(), (13, 10))
    singles = fv.render(planted, "unit:0", seeds=4, lanes=4, **PLANTED)
    assert all(redness(one) > 0.3 for one in singles)
    # No chance keeps these starts apart, for the network sees nothing but the mean of their pixels.
    apart = [{"name": "diversity", "relative": True, "weight": 100}]
    diverse = fv.render(planted, "unit:0", diverse=4, penalties=apart, **PLANTED)
    causes = [redness(one) for one in diverse]
    assert max(causes) > 0.3
    assert min(causes) < -0.3
    assert all(one.score > one.start_score for one in diverse)


def test_a_sets_score_is_its_units_own(model):
    (_, second) = fv.render(model, "conv2:3", diverse=2, **SHORT)
    images = second.image[None]
    with model.tap(["conv2"], size=(17, 24)) as activations:
        assert second.score == pytest.approx(float(activations(images)["conv2"][0, 3].mean()), rel=1e-5)
    assert second.recipe["penalties"][-1]["name"] == "diversity"


def test_every_picture_of_a_set_tells_it_and_is_reproduced(model, tmp_path):
    pictures = fv.render(model, ["conv2:3", "conv2:1@2,3"], diverse=3, seed=2, out=tmp_path, **SHORT)
    assert [(one.target, one.seed, one.variant) for one in pictures[:3]] == [
        ("seeds 2-4 of conv2:3", seed, "diverse") for seed in (2, 3, 4)
    ]
    assert {one.recipe["lanes"] for one in pictures} == {3}
    files = [f"000{name}-diverse2-4-seed{seed}.png" for name in ("1@2,3", "3") for seed in (2, 3, 4)]
    assert sorted(path.name for path in tmp_path.glob("conv2/0*.png")) == files
    for file in files:
        path = tmp_path / "conv2" / file
        assert fv.reproduce(path, model).png() == path.read_bytes()


def test_a_set_does_not_depend_on_what_else_is_rendered_nor_on_what_is_there(model, tmp_path):
    alone = fv.render(model, "conv2:3", diverse=3, **SHORT)
    among = fv.render(model, ["conv2:1", "conv2:3", "fc:2"], diverse=3, out=tmp_path, **SHORT)
    assert [one.png() for one in among[3:6]] == [one.png() for one in alone]
    lost = tmp_path / "conv2" / "0003-diverse0-2-seed1.png"
    other = tmp_path / "conv2" / "0001-diverse0-2-seed2.png"
    before = [lost.read_bytes(), other.read_bytes()]
    lost.unlink()
    other.unlink()
    fv.render(model, ["conv2:1", "conv2:3"], diverse=3, out=tmp_path, **SHORT)
    assert [lost.read_bytes(), other.read_bytes()] == before


def test_other_sets_are_other_pictures(model):
    sets = [
        fv.render(model, "conv2:3", diverse=3, **SHORT),
        fv.render(model, "conv2:3", diverse=2, **SHORT),
        fv.render(model, "conv2:3", diverse=3, seed=1, **SHORT),
        fv.render(model, "conv2:3", seeds=3, **SHORT),
    ]
    keys = [one.key for each in sets for one in each]
    assert len(set(keys)) == len(keys)


def test_a_coupled_objective_renders_its_seeds_together_and_is_reproduced(model, tmp_path):
    path = fv.interpolation(fv.channel("conv2", 1), fv.channel("conv2", 5)) + 0.1 * fv.alignment("conv1")
    pictures = fv.render(model, path, seeds=4, out=tmp_path, **SHORT)
    assert [one.recipe["lanes"] for one in pictures] == [4] * 4
    assert pictures[0].target == f"seeds 0-3 of {path.describe()}"
    for picture in pictures:
        (file,) = tmp_path.glob(f"objectives/*{picture.key[:8]}.png")
        assert fv.reproduce(file, model, objective=path).png() == file.read_bytes()
        with pytest.raises(fv.UserError, match="is a picture of"):
            fv.reproduce(file, model, objective=fv.channel("conv2", 1) + fv.alignment("conv1"))


def test_an_interpolation_begins_and_ends_at_its_objectives(model):
    two = [fv.channel("conv2", 1), fv.channel("conv2", 5)]
    pictures = fv.render(model, fv.interpolation(*two), seeds=5, size=(17, 24), steps=24, transforms=[])
    with model.tap(["conv2"], size=(17, 24)) as activations:
        found = activations(torch.stack([one.image for one in pictures]))["conv2"].mean((2, 3))
    assert found[0, 1] > found[4, 1] + 0.02
    assert found[4, 5] > found[0, 5] + 0.02
    assert pictures[0].score == pytest.approx(float(found[0, 1]), rel=1e-5)
    assert pictures[2].score == pytest.approx(float(found[2, 1] + found[2, 5]) / 2, rel=1e-5)


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"diverse": 1}, "at least 2"),
        ({"diverse": -3}, "at least 2"),
        ({"diverse": 4, "seeds": 2}, "leave out seeds"),
        ({"diverse": 4, "lanes": 8}, "leave out lanes=8"),
        ({"diverse": 4, "patience": 3}, "no patience"),
        ({"penalties": ["diversity"]}, "ask for several: seeds=4"),
    ],
)
def test_what_cannot_be_a_set_is_refused(model, told, says):
    with pytest.raises(fv.RecipeError, match=says):
        fv.render(model, "conv2:3", **{**SHORT, **told})


def test_a_recipes_own_diversity_is_kept(model):
    own = [{"name": "diversity", "layer": "conv1", "weight": 3.0}]
    planned = make_plan(model, "conv2:3", diverse=2, penalties=own, **SHORT)
    assert [one["layer"] for one in planned.wanted[0].recipe.penalties] == ["conv1"]


def test_lanes_auto_leaves_a_set_together(model):
    planned = make_plan(model, "conv2:3", diverse=2, **SHORT)
    settled, choices = settle_auto(planned, frozenset({"lanes"}))
    assert [one.recipe for one in settled.wanted] == [one.recipe for one in planned.wanted]
    assert not choices


def test_a_set_with_a_dead_picture_is_tried_again_as_a_whole(model, monkeypatch):
    tried = []

    def fake(job, *args, **kwargs):
        pictures = run(job, *args, **kwargs)
        tried.append([(one.seed, one.attempt) for one in job.wanted])
        if len(tried) == 1:
            pictures[2].status = "dead"
        return pictures

    run = local.run_job
    monkeypatch.setattr(local, "run_job", fake)
    planned = make_plan(model, "conv2:3", diverse=3, **SHORT)
    # One picture of the set is wanted, but another one of it is dead.
    (picture,) = local.local(planned.wanted[:1], model, planned.weights)
    assert tried == [[(seed, attempt) for seed in range(3)] for attempt in (0, 1)]
    assert (picture.seed, picture.attempt) == (0, 1)


def test_where_memory_does_not_do_for_a_set_it_is_not_split(model, monkeypatch):
    def fake(job, *args, **kwargs):
        if job.wanted[0].mates is not None:
            raise MemoryError
        tried.append(job.recipe.lanes)
        if job.recipe.lanes > 2:
            raise MemoryError
        return run(job, *args, **kwargs)

    tried, run = [], local.run_job
    monkeypatch.setattr(local, "run_job", fake)
    both = [*make_plan(model, "conv2:3", lanes=4, recipe="channel", **SHORT).wanted]
    # Of the very recipe of the others, for here the objective couples and no penalty does.
    coupled = fv.channel("conv2", 3) - fv.diversity("conv2")
    both += make_plan(model, coupled, seeds=4, recipe="channel", **SHORT).wanted
    assert all(one.recipe == both[0].recipe for one in both)
    failures = []
    pictures = list(
        local.local(
            both,
            model,
            model.fingerprint(),
            failed=lambda one, why: failures.append((one.seed, one.recipe.lanes)),
        )
    )
    assert failures == [(seed, 4) for seed in range(4)]
    assert tried == [4, 2]
    assert [one.target for one in pictures] == ["conv2:3"]


@pytest.mark.usefixtures("embedded_once")
def test_the_command_renders_a_set(tmp_path, capsys):
    typed = ["render", "blocks.1:2", "--size", "32x48", "--steps", "2", "--out", str(tmp_path)]
    assert main([*typed, "--diverse", "2"]) == 0
    assert "2 pictures" in capsys.readouterr().out
    assert {path.name for path in tmp_path.glob("blocks.1/0*")} == {
        "0002-diverse0-1.png",
        "0002-diverse0-1-seed1.png",
    }
    assert main([*typed, "--diverse", "2", "--seeds", "3"]) == 2
    assert main([*typed, "--diverse", "1"]) == 2
    assert "--diverse is at least 2" in capsys.readouterr().err


def test_a_gallery_shows_diverse_sets_on_the_units_page(tmp_path):
    config = write_config(tmp_path, section(["conv2:4"], variants=["picture", "diverse"], diverse=3))
    outcome = fv.build_gallery(config, out=tmp_path / "out")
    assert (outcome.total, outcome.rendered, outcome.failed) == (4, 4, {})
    files = {f"conv2/0004-diverse0-2{name}.png" for name in ("", "-seed1", "-seed2")}
    assert set(pngs(tmp_path / "out")) == {"conv2/0004.png", *files}
    kinds = [entry["variant"] for entry in manifest(tmp_path / "out")["pictures"]]
    assert sorted(kinds) == ["diverse"] * 3 + ["picture"]
    page = (tmp_path / "out" / "conv2" / "0004.html").read_text("utf-8")
    assert "Diverse set" in page
    assert all(file.removeprefix("conv2/") in page for file in files)
    assert fv.build_gallery(config, out=tmp_path / "out").rendered == 0


def test_a_gallerys_set_is_the_one_that_render_gives(tmp_path):
    text = section(["conv2:4"], variants=["diverse"], diverse=2)
    gallery = load_gallery(write_config(tmp_path, text))
    net = small()
    planned = plan_gallery(gallery, net)
    expected = prepare(net, "conv2:4", diverse=2, size=(16, 20), steps=3, attempts=2)
    keys = [one.key(planned.weights) for one in expected.plan.wanted]
    assert [one.key for one in planned.pictures.values()] == keys
    assert planned.units == {"conv2": [4]}
    with pytest.raises(fv.RecipeError, match="diverse"):
        load_gallery(write_config(tmp_path, section(["conv2:4"], variants=["diverse"], diverse=1)))


POOLED = {**SHORT, "penalties": [{"name": "batchnorm", "weight": 5, "pooled": 4}]}


def names(pictures):
    return [one.target.rpartition(" of ")[2] for one in pictures]


def members(picture):
    return picture.target.split(" among ")[1].rpartition(" of ")[0].split(" | ")


def test_pooled_pictures_fill_sets_in_the_order_asked_and_the_last_with_companions(model):
    pictures = fv.render(model, ["norm:6,0,3", "norm:5,1,2"], **POOLED)
    assert names(pictures) == [f"norm:{unit}" for unit in (6, 0, 3, 5, 1, 2)]
    assert members(pictures[0]) == members(pictures[3]) == ["norm:6", "norm:0", "norm:3", "norm:5"]
    last = members(pictures[4])
    assert last[:2] == ["norm:1", "norm:2"]
    assert len(set(last)) == 4
    assert {one.recipe["lanes"] for one in pictures} == {4}
    assert {one.variant for one in pictures} == {"pooled"}


def test_one_alone_has_companions_that_its_seed_settles_and_comes_back_from_its_file(model, tmp_path):
    (alone,) = fv.render(model, "norm:3", out=tmp_path, **POOLED)
    (again,) = fv.render(model, "norm:3", **POOLED)
    (other,) = fv.render(model, "norm:3", seed=1, **POOLED)
    assert again.png() == alone.png()
    assert len(members(alone)) == len(set(members(alone))) == 4
    assert members(alone)[0] == "norm:3"
    assert members(other) != members(alone)
    (file,) = tmp_path.glob("norm/0*.png")
    assert file.name.startswith("0003-pooled0-0-")
    assert fv.reproduce(file, model).png() == alone.png()


def test_its_pictures_are_the_same_whichever_of_the_set_is_asked_for_later(model, tmp_path):
    """A killed run that lacks one picture of a set computes the set again, and that picture is the same."""
    first = fv.render(model, "norm:0:4", out=tmp_path, **POOLED)
    before = pngs(tmp_path)
    for file in list(tmp_path.glob("norm/0002*.png")):
        file.unlink()
    fv.render(model, "norm:0:4", out=tmp_path, **POOLED)
    assert pngs(tmp_path) == before
    assert len(first) == 4


def test_what_is_pooled_matters_to_the_picture(model):
    single = {**SHORT, "penalties": [{"name": "batchnorm", "weight": 5}]}
    (alone,) = fv.render(model, "norm:3", lanes=4, **single)
    (pooled,) = fv.render(model, "norm:3", **POOLED)
    assert (pooled.levels != alone.levels).any()


def test_each_seed_and_each_layer_has_sets_of_its_own(model):
    pictures = fv.render(model, ["norm:0,1", "fc:2"], seeds=2, **POOLED)
    sets = {tuple(members(one)) for one in pictures}
    assert len(sets) == 4
    assert all(len({name.partition(":")[0] for name in one}) == 1 for one in sets)


def test_a_layer_with_fewer_units_than_a_set_is_a_set_of_all(model):
    (one,) = fv.render(model, "fc:2", **{**SHORT, "penalties": [{"name": "batchnorm", "pooled": 9}]})
    assert sorted(members(one)) == [f"fc:{unit}" for unit in range(5)]
    assert one.recipe["lanes"] == 5


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"targets": "norm:1@2,3"}, "whole units"),
        ({"targets": fv.direction("norm", [1.0] * 8)}, "whole units"),
        ({"lanes": 3}, "its lanes"),
        ({"best_of": 2}, "not chosen"),
        ({"patience": 4}, "no patience"),
        ({"start": torch.rand(3, 17, 24)}, "no start image"),
    ],
    ids=["a position", "a direction", "lanes", "best_of", "patience", "start"],
)
def test_what_cannot_be_pooled_is_refused_in_one_line(model, asked, why):
    options = {"targets": "norm:1", **POOLED, **asked}
    with pytest.raises(fv.UserError, match=why):
        fv.render(model, options.pop("targets"), **options)


def test_an_option_that_came_later_leaves_old_keys_as_they_were():
    plain = fv.Recipe(penalties=["batchnorm"])
    assert "pooled" not in plain.penalties[0]
    assert fv.Recipe(penalties=[{"name": "batchnorm", "pooled": 4}]).penalties[0]["pooled"] == 4
    with pytest.raises(fv.RecipeError, match="pooled"):
        fv.Recipe(penalties=[{"name": "batchnorm", "pooled": 1}])
