"""The folder: nothing torn, nothing lost, nothing done twice, nothing outside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from torch import nn

import featvis as fv
from featvis.errors import FeatvisWarning
from featvis.results.entries import Entries
from featvis.results.manifest import read_manifest
from featvis.results.store import Store, check_writable, file_name
from featvis.spec.recipe import recipe_id
from featvis.spec.target import Target
from tests.networks import handle, seeded, small

OPTIONS = {"size": (17, 24), "steps": 3, "lanes": 2}


@pytest.fixture(scope="module")
def model():
    return small()


def render(model, out, wish="norm:0:3", **changes):
    """Render into a folder; returns the pictures and how many steps that took."""
    steps = []
    pictures = fv.render(
        model, wish, out=out, watch=lambda step: steps.append(step.number), **{**OPTIONS, **changes}
    )
    return pictures, len(steps)


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text("utf-8"))


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_what_lies_in_the_folder(model, tmp_path):
    render(model, tmp_path, ["norm:0:3", "conv1:5@2,3"], seeds=2)
    assert files(tmp_path) == [
        "conv1/0005@2,3-seed1.png",
        "conv1/0005@2,3.png",
        "conv1/grid.png",
        "manifest.json",
        "norm/0000-seed1.png",
        "norm/0000.png",
        "norm/0001-seed1.png",
        "norm/0001.png",
        "norm/0002-seed1.png",
        "norm/0002.png",
        "norm/grid.png",
    ]
    told = manifest(tmp_path)
    assert {"featvis", "model", "weights", "recipe", "created", "pictures"} <= set(told)
    fields = "file target layer unit label seed key score start_score steps seconds status verdicts"
    for entry in told["pictures"]:
        assert set(fields.split()) <= set(entry)
        picture = fv.load_picture(tmp_path / entry["file"])
        assert (picture.target, picture.seed, picture.key) == (entry["target"], entry["seed"], entry["key"])
        assert entry["steps"] == 3
    with Image.open(tmp_path / "norm/grid.png") as sheet:
        assert sheet.width > 3 * 24


def test_nothing_is_rendered_twice(model, tmp_path):
    first, steps = render(model, tmp_path)
    assert steps == 2 * 3, "three pictures in two lanes"
    before = {path: (tmp_path / path).stat().st_mtime_ns for path in files(tmp_path) if "/0" in path}
    again, steps = render(model, tmp_path)
    assert steps == 0
    assert [picture.png() for picture in again] == [picture.png() for picture in first]
    assert {path: (tmp_path / path).stat().st_mtime_ns for path in before} == before
    _, steps = render(model, tmp_path, "norm:0:5")
    assert steps == 3, "the two that lack"
    assert len(manifest(tmp_path)["pictures"]) == 5


def snapshot(folder):
    """Every file's bytes, but for those that are meant to grow."""
    growing = ("grid.png", "manifest.json")
    return {name: (folder / name).read_bytes() for name in files(folder) if not name.endswith(growing)}


def test_another_recipe_lies_beside_and_replaces_nothing(model, tmp_path):
    first, _ = render(model, tmp_path, snapshots=[2], video="gif", transparency=True)
    before = snapshot(tmp_path)
    second, steps = render(model, tmp_path, steps=4, snapshots=[2], video="gif", transparency=True)
    assert steps == 8
    other = recipe_id(second[0].recipe)
    after = snapshot(tmp_path)
    assert before.items() <= after.items(), "what was there is as it was"
    endings = (".gif", ".png", "-step2.png", "-transparency.png")
    assert after.keys() - before.keys() == {
        f"norm/000{unit}-{other}{end}" for unit in range(3) for end in endings
    }
    for picture in second:
        assert after[f"norm/000{picture.unit}-{other}.png"] == picture.png()
    told = manifest(tmp_path)
    assert [entry["steps"] for entry in told["pictures"]] == [3, 4] * 3
    assert {told["recipes"][entry["recipe"]]["steps"] for entry in told["pictures"]} == {3, 4}
    # Both are there for whoever asks again, also when the manifest is lost.
    for again in range(2):
        for made, changes in ((first, {}), (second, {"steps": 4})):
            kept, steps = render(model, tmp_path, snapshots=[2], video="gif", transparency=True, **changes)
            assert steps == 0
            assert [one.png() for one in kept] == [one.png() for one in made]
            assert all(
                (one.snapshots[2] == two.snapshots[2]).all() for one, two in zip(kept, made, strict=True)
            )
        assert snapshot(tmp_path) == after
        if not again:
            (tmp_path / "manifest.json").unlink()
    _, steps = render(model, tmp_path, "norm:0", seed=1)
    assert steps == 3
    assert len(manifest(tmp_path)["pictures"]) == 7, "another seed is another picture"


def test_a_third_recipe_and_a_lost_file_find_their_places(model, tmp_path):
    for steps in (3, 4, 5):
        render(model, tmp_path, "norm:0", steps=steps)
    before = snapshot(tmp_path)
    assert len(before) == 3
    for lost in before:
        (tmp_path / lost).unlink()
        for steps in (4, 5, 3):
            render(model, tmp_path, "norm:0", steps=steps)
        assert snapshot(tmp_path) == before, f"{lost} is where it was"


def test_a_picture_beside_another_is_adopted(model, tmp_path):
    render(model, tmp_path, "norm:0")
    told = (tmp_path / "manifest.json").read_text()
    render(model, tmp_path, "norm:0", steps=4)
    (tmp_path / "manifest.json").write_text(told)  # as a kill leaves it
    _, steps = render(model, tmp_path, "norm:0", steps=4)
    assert steps == 0
    assert len(manifest(tmp_path)["pictures"]) == 2


def test_a_dead_unit_of_another_recipe_removes_no_picture(tmp_path):
    net = seeded(lambda: nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU()))
    net[0].bias.data[0] = -1.0
    net[0].weight.data[0] = 0.0
    dead = handle(net)
    render(dead, tmp_path, ["1:0", "1:1"])
    render(dead, tmp_path, ["1:0", "1:1"], steps=4)
    statuses = [(entry["unit"], entry["status"], entry["steps"]) for entry in manifest(tmp_path)["pictures"]]
    assert sorted(statuses) == [(0, "dead", 3), (0, "dead", 4), (1, "ok", 3), (1, "ok", 4)]
    for steps in (3, 4):
        assert render(dead, tmp_path, ["1:0", "1:1"], steps=steps)[1] == 0


def test_a_layers_grid_grows_and_says_what_it_shows(model, tmp_path):
    def size():
        with Image.open(tmp_path / "norm/grid.png") as sheet:
            return sheet.size

    render(model, tmp_path, "norm:1")
    alone = (tmp_path / "norm/grid.png").read_bytes()
    width, height = size()
    render(model, tmp_path, "norm:0")
    assert size()[0] > 1.8 * width, "both are on it"
    grown = (tmp_path / "norm/grid.png").read_bytes()
    render(model, tmp_path, "norm:1")
    assert (tmp_path / "norm/grid.png").read_bytes() == grown, "whoever asks"
    render(model, tmp_path, "norm:1", steps=4)
    assert size()[1] > 1.8 * height, "another recipe is a strip of its own"
    fresh = tmp_path / "fresh"
    render(model, fresh, "norm:1")
    assert (fresh / "norm/grid.png").read_bytes() == alone


@pytest.mark.parametrize("damage", ["deleted", "empty", "half", "not a table", "no pictures"])
def test_a_manifest_that_is_lost_or_damaged_is_rebuilt_from_the_pictures(model, tmp_path, damage):
    render(model, tmp_path)
    told = manifest(tmp_path)
    path = tmp_path / "manifest.json"
    text = path.read_text("utf-8")
    if damage == "deleted":
        path.unlink()
    else:
        path.write_text(
            {"empty": "", "half": text[: len(text) // 2], "not a table": "[1]", "no pictures": "{}"}[damage]
        )
    rebuilt = read_manifest(tmp_path)
    assert rebuilt is not None
    keep = (
        "file",
        "target",
        "layer",
        "unit",
        "label",
        "seed",
        "key",
        "score",
        "start_score",
        "steps",
        "status",
    )
    assert [{k: e[k] for k in keep} for e in rebuilt["pictures"]] == [
        {k: e[k] for k in keep} for e in told["pictures"]
    ]
    assert (rebuilt["model"], rebuilt["weights"]) == (told["model"], told["weights"])
    _, steps = render(model, tmp_path)
    assert steps == 0
    assert len(manifest(tmp_path)["pictures"]) == 3


def test_a_picture_that_is_lost_or_damaged_is_rendered_again(model, tmp_path):
    first, _ = render(model, tmp_path)
    (tmp_path / "norm/0000.png").unlink()
    (tmp_path / "norm/0001.png").write_bytes(b"torn")
    again, steps = render(model, tmp_path)
    assert steps == 3, "two pictures, one job"
    assert [picture.png() for picture in again] == [picture.png() for picture in first]
    assert (tmp_path / "norm/0001.png").read_bytes() == first[1].png()


def test_a_picture_without_an_entry_is_adopted(model, tmp_path):
    render(model, tmp_path)
    told = manifest(tmp_path)
    told["pictures"] = told["pictures"][:1]
    (tmp_path / "manifest.json").write_text(json.dumps(told))
    _, steps = render(model, tmp_path)
    assert steps == 0


def test_an_entry_that_points_outside_is_not_followed(model, tmp_path):
    folder = tmp_path / "gallery"
    (picture, *_), _ = render(model, folder)
    outside = picture.save(tmp_path / "outside.png")
    told = manifest(folder)
    for entry in told["pictures"]:
        if entry["key"] == picture.key:
            entry["file"] = "../outside.png"
    (folder / "manifest.json").write_text(json.dumps(told))
    (folder / "norm/0000.png").unlink()
    _, steps = render(model, folder)
    assert steps == 3, "it is rendered again, inside"
    assert (folder / "norm/0000.png").is_file()
    assert outside.is_file()


@pytest.mark.parametrize("pictures", [["text"], [3], [{}], [{"unit": "x", "seed": "y"}], [None]])
def test_entries_that_are_nothing_break_nothing(model, tmp_path, pictures):
    render(model, tmp_path)
    told = manifest(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({**told, "pictures": pictures}))
    again, steps = render(model, tmp_path)
    assert [picture.status for picture in again] == ["ok"] * 3
    assert steps == 0, "the pictures are there"


def test_a_folder_of_another_network_is_refused(model, tmp_path):
    render(model, tmp_path)
    other = handle(seeded(type(model.module), seed=8))
    before = files(tmp_path)
    with pytest.raises(fv.OutputError, match="other weights; choose another"):
        render(other, tmp_path)
    assert files(tmp_path) == before


def test_an_error_midway_keeps_what_was_finished(model, tmp_path):
    numbers = []

    def fail(step):
        numbers.append(step.number)
        if numbers.count(1) == 2:  # the second batch, whether or not the first one is written by now
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        fv.render(model, "norm:0:4", out=tmp_path, watch=fail, **OPTIONS)
    assert [entry["unit"] for entry in manifest(tmp_path)["pictures"]] == [0, 1]
    assert not [path for path in files(tmp_path) if path.endswith(".part")]
    assert (tmp_path / "norm/grid.png").is_file()


def test_a_place_that_cannot_be_written_is_refused_before_any_compute(model, tmp_path):
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        steps = []
        with pytest.raises(fv.OutputError):
            fv.render(model, "norm:0", out=out, watch=lambda step, steps=steps: steps.append(step), **OPTIONS)
        assert steps == []
    assert files(tmp_path) == ["file"]


def test_a_folder_that_cannot_be_made_leaves_none_behind(tmp_path, monkeypatch):
    def fail(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", fail)
    with pytest.raises(fv.OutputError, match="Permission denied"):
        check_writable(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


NASTY = [
    "../../x",
    "/etc/x",
    "..",
    "a/b",
    "a\\b",
    "C:x",
    "x\0y",
    "x y",
    "<b>",
    ".hidden",
    "é ü",
    "-rf",
    "a" * 300,
]


def test_two_layers_never_share_a_folder(tmp_path):
    net = nn.Sequential()
    for name in ("a/b", "a_b", "a b"):
        net._modules[name] = seeded(lambda: nn.Conv2d(3, 3, 1))
    pictures = fv.render(handle(net), [Target(name, 1) for name in net._modules], out=tmp_path, **OPTIONS)
    assert len({file_name(picture) for picture in pictures}) == 3


class Named(nn.Module):
    """A network with a layer of any name at all."""

    def __init__(self, name):
        super().__init__()
        self._modules[name] = nn.Conv2d(3, 4, 3)
        self._name = name

    def forward(self, images):
        return self._modules[self._name](images)


@pytest.mark.parametrize("name", NASTY)
def test_a_layer_of_any_name_stays_inside_the_folder(name, tmp_path):
    folder = tmp_path / "deep" / "gallery"
    model = handle(seeded(lambda: Named(name)))
    (picture,) = fv.render(model, Target(name, 1), out=folder, **OPTIONS)
    every = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert every
    assert all(path.resolve().is_relative_to(folder.resolve()) for path in every)
    (entry,) = manifest(folder)["pictures"]
    assert (folder / entry["file"]).read_bytes() == picture.png()
    assert len(Path(entry["file"]).parts) == 2


@pytest.mark.parametrize("name", NASTY)
def test_an_objective_of_any_name_stays_inside_the_folder(name, model, tmp_path):
    mine = fv.objective(layers=["norm"], name=name)(lambda a: a["norm"].mean((1, 2, 3)))
    (picture,) = fv.render(model, mine, out=tmp_path / "gallery", **OPTIONS)
    every = list(tmp_path.rglob("*.png"))
    assert every
    assert all(path.resolve().is_relative_to((tmp_path / "gallery").resolve()) for path in every)
    assert file_name(picture) == manifest(tmp_path / "gallery")["pictures"][0]["file"]
    again = fv.render(
        model, mine, out=tmp_path / "gallery", watch=lambda step: pytest.fail("again"), **OPTIONS
    )
    assert again[0].png() == picture.png()


def test_a_large_folder_is_asked_for_each_picture_by_its_key_alone(tmp_path):
    """Looking through all entries for each would take hours for 100,000."""
    model = small()
    made = fv.render(model, "norm:0:3", out=tmp_path, size=16, steps=1, lanes=4)
    store = Store(tmp_path, model="small", weights=made[0].weights, recipe=made[0].recipe)
    assert [store.done(picture.key).target for picture in made] == ["norm:0", "norm:1", "norm:2"]

    class Counted(Entries):
        asked = 0

        def __iter__(self):
            Counted.asked += 1
            return super().__iter__()

    store.entries = Counted(tmp_path, store.entries)
    for picture in made:
        assert store.done(picture.key) is not None
        assert store.done(picture.key[:-1]) is None
    assert Counted.asked == 0
    other = fv.render(model, "norm:3", size=16, steps=1, lanes=4)[0]
    assert store.done(other.key) is None
    store.add(other)
    assert store.done(other.key).target == "norm:3", "what is added is found"


def test_a_folder_never_gives_the_picture_of_another_function(model, tmp_path):
    def make(unit):
        @fv.objective(layers=["norm"])
        def strongest(activations):
            return activations["norm"][:, unit].amax((1, 2))

        return strongest

    first, taken = render(model, tmp_path, make(0))
    again, none = render(model, tmp_path, make(0))
    assert taken
    assert not none
    assert again[0].png() == first[0].png()
    with pytest.warns(FeatvisWarning, match="another function of the same name"):
        other, _ = render(model, tmp_path, make(5))
    assert other[0].score == fv.render(model, make(5), **OPTIONS)[0].score != first[0].score
    assert other[0].key == first[0].key
    assert len(manifest(tmp_path)["pictures"]) == 1
    assert not render(model, tmp_path, make(5))[1]


def test_a_folder_never_gives_the_picture_of_another_transform(model, tmp_path):
    def shaded(factor):
        @fv.transform
        def shade(images):
            return images * factor

        return [shade]

    dark, _ = render(model, tmp_path, "norm:1", transforms=shaded(0.25))
    assert not render(model, tmp_path, "norm:1", transforms=shaded(0.25))[1]
    with pytest.warns(FeatvisWarning, match="norm:1 as another function"):
        light, _ = render(model, tmp_path, "norm:1", transforms=shaded(0.75))
    assert light[0].png() != dark[0].png()


def test_a_picture_whose_function_is_not_known_is_believed_by_its_name(model, tmp_path):
    """As those are that were made before it was kept, and those of a manifest made anew."""
    mine = fv.objective(layers=["norm"], name="mine")(lambda a: a["norm"].mean((1, 2, 3)))
    render(model, tmp_path, mine)
    (tmp_path / "manifest.json").unlink()
    assert not render(model, tmp_path, mine)[1]


def test_a_manifest_of_another_program_is_not_written_over(model, tmp_path):
    for theirs in ('{"name": "my web app"}', '["a.js"]', "7"):
        (tmp_path / "manifest.json").write_text(theirs)
        with pytest.raises(fv.OutputError, match="not featvis's and would be written over"):
            render(model, tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]
        assert (tmp_path / "manifest.json").read_text() == theirs
    for nothing in ("{}", "[]", '{"pictures": 3}', "torn {"):
        (tmp_path / "manifest.json").write_text(nothing)
        assert render(model, tmp_path)
        assert len(manifest(tmp_path)["pictures"]) == 3


def test_an_image_of_another_program_is_not_written_over(model, tmp_path):
    (tmp_path / "norm").mkdir()
    Image.new("RGB", (9, 7), "red").save(tmp_path / "norm" / "0001.png")
    theirs = (tmp_path / "norm" / "0001.png").read_bytes()
    (first, steps), (second, none) = (render(model, tmp_path) for _ in range(2))
    assert (tmp_path / "norm" / "0001.png").read_bytes() == theirs
    files = [entry["file"] for entry in manifest(tmp_path)["pictures"]]
    assert files == ["norm/0000.png", f"norm/0001-{recipe_id(first[1].recipe)}.png", "norm/0002.png"]
    assert [one.png() for one in first] == [one.png() for one in second]
    assert (steps > 0, none) == (True, 0)
