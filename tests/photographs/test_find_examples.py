"""find_examples against a computation that looks at every photograph by itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import featvis as fv
from featvis.photographs.photos import list_files, read_photo
from tests.networks import activations_of, handle, layouts, seeded, small
from tests.pages.markup import Page
from tests.photographs.photographs import photo, shown, write_folder
from tests.test_borrowed import state_of

TARGETS = {"conv1": [0, 3, 5], "norm": [7, 0, 2, 4], "fc": [1, 4]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("photographs")
    write_folder(place)
    return place


@pytest.fixture(scope="module")
def model():
    return small(size=(24, 24))


def by_force(model, folder, targets, short, read=lambda activation: activation):
    """Each photograph alone, without the tap: for each unit the values, the positions and the scores."""
    names, found = [], {}
    for name in list_files(folder).names:
        if read_photo(folder / name, model.channels) is None:
            continue
        names.append(name)
        images = shown(model, folder / name, short)
        for layer, units in targets.items():
            activation = read(activations_of(model, layer, images).movedim(model.layer(layer).axis, 1))[0]
            for unit in units:
                one = activation[unit].numpy()
                place = np.unravel_index(one.argmax(), one.shape) if one.ndim else None
                found.setdefault(f"{layer}:{unit}", []).append(
                    (float(one.max()), place and [int(n) for n in place], float(one.mean()))
                )
    return names, found


def compare(result, names, truth, count=9):
    assert list(result["units"]) == list(truth)
    assert result["images"] == len(names)
    for key, told in result["units"].items():
        values, places, scores = zip(*truth[key], strict=True)
        order = sorted(range(len(names)), key=lambda n: (-values[n], n))[:count]
        assert [one["image"] for one in told["examples"]] == [names[n] for n in order], key
        assert [one["position"] for one in told["examples"]] == [places[n] for n in order], key
        best = [one["value"] for one in told["examples"]]
        assert best == pytest.approx([values[n] for n in order], abs=1e-5)
        assert told["mean_best"] == pytest.approx(np.mean(best), abs=1e-5)
        assert told["mean_value"] == pytest.approx(np.mean(values), abs=1e-5)
        shares, quantiles = zip(*told["quantiles"], strict=True)
        assert shares == (0.5, 0.9, 0.99, 1.0)
        assert quantiles == pytest.approx(np.quantile(values, shares).tolist(), abs=1e-5)
        shares, quantiles = zip(*told["scores"]["quantiles"], strict=True)
        assert quantiles == pytest.approx(np.quantile(scores, shares).tolist(), abs=1e-5)
        assert told["scores"]["best"] == pytest.approx(max(scores), abs=1e-5)
        assert told["scores"]["image"] == names[int(np.argmax(scores))]


def test_sixty_photographs_three_layers_as_by_force(folder, model):
    result = fv.find_examples(model, folder, TARGETS)
    names, truth = by_force(model, folder, TARGETS, 24)
    assert len(names) == 60
    assert len({shown(model, folder / name, 24).shape for name in names}) > 20
    compare(result, names, truth)
    assert result["skipped"] == 4, "notes, an empty file, two that are cut short"
    assert result["folder"] == folder.name
    assert result["model"] == model.name
    assert result["weights"] == model.fingerprint()
    assert all(one["file"] is None for unit in result["units"].values() for one in unit["examples"])


@pytest.mark.parametrize("size", [(33, 33), (30, 47)], ids=str)
def test_another_size_and_count(folder, model, size):
    result = fv.find_examples(model, folder, {"norm": [1]}, size=size, count=4)
    compare(result, *by_force(model, folder, {"norm": [1]}, min(size)), count=4)


def test_the_batch_changes_nothing_where_a_batchnorm_looks_at_the_batch(folder):
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3)
            self.norm = nn.BatchNorm2d(6, track_running_stats=False)

        def forward(self, images):
            return self.two(self.norm(self.one(images)).relu())

    model = handle(seeded(Network), (24, 24))
    alone = fv.find_examples(model, folder, {"two": [0, 1]}, batch=1)
    together = fv.find_examples(model, folder, {"two": [0, 1]}, batch=8)
    assert together["units"] == alone["units"]


def test_the_batch_changes_nothing(folder, model):
    first = fv.find_examples(model, folder, TARGETS)
    for batch in (1, 3, 60):
        again = fv.find_examples(model, folder, TARGETS, batch=batch)
        for key, told in first["units"].items():
            other = again["units"][key]
            for one, two in zip(told["examples"], other["examples"], strict=True):
                assert {**one, "value": 0} == {**two, "value": 0}
                assert one["value"] == pytest.approx(two["value"], abs=1e-5)
            for name in ("quantiles", "mean_best", "mean_value"):
                assert np.allclose(told[name], other[name], atol=1e-5)
            assert np.allclose(told["scores"]["quantiles"], other["scores"]["quantiles"], atol=1e-5)
            assert told["scores"]["image"] == other["scores"]["image"]


def test_the_earlier_of_two_copies_wins(tmp_path, model):
    # Nineteen copies of each of three photographs, so that copies fall into full and into short batches.
    for n in range(57):
        photo(n % 3, 30 + n % 3, 40).save(tmp_path / f"{n:02d}.png")
    result = fv.find_examples(model, tmp_path, TARGETS, count=9, batch=8)
    for key, told in result["units"].items():
        numbers = [int(one["image"][:2]) for one in told["examples"]]
        first = numbers[0]
        assert first < 3
        assert numbers == [first + 3 * n for n in range(9)], key
        assert int(told["scores"]["image"][:2]) < 3


def test_a_unit_that_is_always_the_same_shows_the_first_files(folder):
    model = handle(nn.Sequential(nn.ReLU(), nn.Threshold(9.0, 9.0)), (24, 24))
    told = fv.find_examples(model, folder, {"1": [2]})["units"]["1:2"]
    names = [name for name in list_files(folder).names if read_photo(folder / name, 3) is not None]
    assert [one["image"] for one in told["examples"]] == names[:9]
    assert {tuple(one["position"]) for one in told["examples"]} == {(0, 0)}


def test_every_layout(folder):
    model = layouts((24, 24))
    plain = {"map": [1, 5], "map_last": [0, 6]}
    compare(fv.find_examples(model, folder, plain), *by_force(model, folder, plain, 24))
    # A token for each position of the map before, after two that are none; its layout is not known.
    tokens = {"tokens": [0, 3]}
    told = fv.find_examples(model, folder, tokens)
    names, truth = by_force(model, folder, tokens, 24, read=lambda activation: activation[:, :, 2:])
    for key, rows in truth.items():
        for example in told["units"][key]["examples"]:
            expected, _place, _mean = rows[names.index(example["image"])]
            assert example["value"] == pytest.approx(expected, abs=1e-5)
        best = max(rows, key=lambda row: row[2])
        assert told["units"][key]["scores"]["best"] == pytest.approx(best[2], abs=1e-5)
    for layer in ("signal", "vector"):
        names, truth = by_force(model, folder, {layer: [2]}, 24)
        told = fv.find_examples(model, folder, {layer: [2]})["units"][f"{layer}:2"]
        values = [value for value, _place, _mean in truth[f"{layer}:2"]]
        assert [one["value"] for one in told["examples"]] == pytest.approx(sorted(values)[:-10:-1], abs=1e-5)
        assert {(one["position"], one["box"]) for one in told["examples"]} == {(None, None)}


def test_tokens_of_square_patches_have_a_position(folder):
    model = fv.load_model("timm:vit_tiny_patch16_224", weights="none", input_size=64)
    told = fv.find_examples(model, folder, {"norm_pre": [3], "blocks.0": [5]}, count=3, batch=4)
    for key, unit in told["units"].items():
        for example in unit["examples"]:
            width, height = read_photo(folder / example["image"], 3).size
            short, steps = min(height, width), 4 + round((max(height, width) / min(height, width) - 1) * 4)
            rows, columns = (4, steps) if height == short else (steps, 4)
            row, column = example["position"]
            assert 0 <= row < rows
            assert 0 <= column < columns
            if key == "blocks.0:5":
                assert example["box"] == [0, 0, height, width]
            else:
                assert example["box"][0] == int(row * height / rows)
                assert example["box"][1] == int(column * width / columns)


class Spot(nn.Module):
    """Unit 0 says how bright a square of 5 is, at a stride of 2; unit 1 how dark."""

    def __init__(self):
        super().__init__()
        self.look = nn.Conv2d(3, 2, 5, stride=2, padding=2)
        with torch.no_grad():
            self.look.weight.fill_(1)
            self.look.weight[1] = -1
            self.look.bias.zero_()

    def forward(self, images):
        return self.look(images)


@pytest.mark.parametrize(
    ("height", "width", "row", "column"), [(32, 32, 3, 5), (32, 50, 4, 41), (57, 32, 50, 0), (40, 32, 17, 13)]
)
def test_the_box_holds_exactly_what_was_planted(tmp_path, height, width, row, column):
    # At its own size; centres of positions lie on even rows and columns.
    top, left = row // 2 * 2, column // 2 * 2
    levels = np.random.default_rng(1).integers(0, 90, (height, width, 3), dtype=np.uint8)
    rows, columns = slice(max(top - 2, 0), top + 3), slice(max(left - 2, 0), left + 3)
    levels[rows, columns] = 255
    (tmp_path / "photos").mkdir()
    Image.fromarray(levels).save(tmp_path / "photos" / "planted.png")
    model = handle(Spot(), (32, 32))
    told = fv.find_examples(model, tmp_path / "photos", {"look": [0]}, out=tmp_path / "out")
    (example,) = told["units"]["look:0"]["examples"]
    assert example["position"] == [top // 2, left // 2]
    cut = levels[rows, columns]
    assert example["box"] == [rows.start, columns.start, cut.shape[0], cut.shape[1]]
    crop = np.asarray(Image.open(tmp_path / "out" / example["file"]).convert("RGB"))
    assert crop.shape == cut.shape
    assert crop.min() > 245


def test_the_box_of_a_photograph_that_was_resized(tmp_path):
    # Three times the canvas, not square: 5 pixels of the canvas are 15 of the photograph.
    levels = np.full((96, 150, 3), 30, dtype=np.uint8)
    levels[30:45, 99:114] = 255  # rows 10 to 14, columns 33 to 37 of the canvas
    (tmp_path / "photos").mkdir()
    Image.fromarray(levels).save(tmp_path / "photos" / "planted.png")
    model = handle(Spot(), (32, 32))
    with_odd_centres = seeded(lambda: nn.Sequential(nn.ZeroPad2d((1, 0, 0, 0)), Spot()))
    told = fv.find_examples(model, tmp_path / "photos", {"look": [0]}, out=tmp_path / "out")
    (example,) = told["units"]["look:0"]["examples"]
    top, left, height, width = example["box"]
    assert example["position"][0] == 6  # row 12
    assert (top, height, width) == (30, 15, 15)
    assert abs(left - 99) <= 3, "the nearest position's"
    # A column of padding before it: now a position lies at column 35.
    model = handle(with_odd_centres, (32, 32))
    told = fv.find_examples(model, tmp_path / "photos", {"1.look": [0]}, out=tmp_path / "other")
    (example,) = told["units"]["1.look:0"]["examples"]
    assert example["box"] == [30, 99, 15, 15]
    crop = np.asarray(Image.open(tmp_path / "other" / example["file"]).convert("RGB"))
    assert crop.shape == (15, 15, 3)
    assert crop.min() > 245


class OneSize(nn.Module):
    """A network of one size: the middle of a photograph is what it sees."""

    def __init__(self):
        super().__init__()
        self.spot = Spot()
        self.fc = nn.Linear(2 * 16 * 16, 3)

    def forward(self, images):
        return self.fc(self.spot(images).flatten(1))


def test_a_network_of_one_size_sees_the_middle(tmp_path):
    levels = np.full((32, 60, 3), 30, dtype=np.uint8)
    levels[10:15, 2:7] = 255  # outside the middle, which is columns 14 to 45
    levels[8:13, 22:27] = 200
    (tmp_path / "photos").mkdir()
    Image.fromarray(levels).save(tmp_path / "photos" / "planted.png")
    photo(5, 90, 40).save(tmp_path / "photos" / "tall.png")
    model = handle(seeded(OneSize), (32, 32))
    assert model.takes_one_size
    told = fv.find_examples(model, tmp_path / "photos", {"spot.look": [0], "fc": [1]}, out=tmp_path / "out")
    by_name = {one["image"]: one for one in told["units"]["spot.look:0"]["examples"]}
    assert by_name["planted.png"]["position"] == [5, 5]
    assert by_name["planted.png"]["box"] == [8, 22, 5, 5]
    height, width = by_name["tall.png"]["box"][2:]
    assert 4 <= height <= 8
    assert 4 <= width <= 8
    assert [one["box"] for one in told["units"]["fc:1"]["examples"]] == [None, None]


def test_photographs_of_every_kind_give_the_same(tmp_path):
    levels = np.full((32, 40, 3), 40, dtype=np.uint8)
    levels[10:15, 20:25] = 240
    image = Image.fromarray(levels)
    (tmp_path / "photos").mkdir()
    image.save(tmp_path / "photos" / "a.png")
    image.convert("L").save(tmp_path / "photos" / "grey.png")
    image.convert("RGBA").save(tmp_path / "photos" / "alpha.png")
    image.quantize(4).save(tmp_path / "photos" / "palette.png")
    image.convert("CMYK").save(tmp_path / "photos" / "cmyk.tif")
    grey = levels[:, :, 0].astype(np.uint16)
    Image.fromarray(grey * 257).save(tmp_path / "photos" / "sixteen.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "photos" / "turned.png", exif=exif)
    told = fv.find_examples(
        handle(Spot(), (32, 32)), tmp_path / "photos", {"look": [0]}, out=tmp_path / "out"
    )
    assert (told["images"], told["skipped"]) == (7, 0)
    for example in told["units"]["look:0"]["examples"]:
        assert example["position"] in ([6, 10], [6, 11]), example
        top, left, height, width = example["box"]
        assert (top, height, width) == (10, 5, 5)
        assert left in (18, 20)
        read = np.asarray(Image.open(tmp_path / "out" / example["file"]).convert("RGB"))
        assert read[:, 5 - (5 if left == 20 else 3) :].min() > 190, example
    values = [one["value"] for one in told["units"]["look:0"]["examples"]]
    assert values == pytest.approx([values[0]] * 7, abs=0.05)


def test_a_network_of_grey_images(tmp_path):
    image = Image.new("RGB", (40, 24), (0, 0, 0))
    image.paste((0, 255, 0), (10, 10, 16, 16))
    (tmp_path / "photos").mkdir()
    image.save(tmp_path / "photos" / "a.png")
    model = handle(nn.Sequential(nn.AvgPool2d(2)), (24, 24), channels=1)
    told = fv.find_examples(model, tmp_path / "photos", {"0": [0]}, out=tmp_path / "out")
    (example,) = told["units"]["0:0"]["examples"]
    assert example["position"] == [5, 5]
    assert example["box"] == [10, 10, 2, 2]
    assert example["value"] == pytest.approx(150 / 255 * 2 - 1, abs=0.01), "green's share of grey"


def test_crops_are_small(tmp_path):
    (tmp_path / "photos").mkdir()
    photo(1, 500, 900).save(tmp_path / "photos" / "a.png")
    told = fv.find_examples(small(), tmp_path / "photos", {"conv1": [1], "fc": [0]}, out=tmp_path / "out")
    (whole,) = told["units"]["fc:0"]["examples"]
    with Image.open(tmp_path / "out" / whole["file"]) as crop:
        assert (crop.format, crop.size) == ("WEBP", (160, 89))
    assert whole["file"] == "examples/fc/0000-0.webp"


def test_a_value_that_is_not_finite_is_nobodys_best(tmp_path):
    for n, level in enumerate((0, 128, 255)):
        Image.new("RGB", (24, 24), (level,) * 3).save(tmp_path / f"{n}.png")

    class Fussy(nn.Module):
        def forward(self, images):
            mean = images.mean((1, 2, 3), keepdim=True)
            return torch.where(mean < -0.99, torch.nan, torch.where(mean > 0.99, torch.inf, images))

    model = handle(nn.Sequential(Fussy()), (24, 24))
    told = fv.find_examples(model, tmp_path, {"0": [0]})["units"]["0:0"]
    assert [one["image"] for one in told["examples"]] == ["1.png"]
    assert told["quantiles"] == [[share, told["mean_value"]] for share in (0.5, 0.9, 0.99, 1.0)]
    assert told["scores"]["image"] == "1.png"


def test_the_network_is_borrowed(folder, model, tmp_path):
    before = state_of(model.module)
    fv.find_examples(model, folder, TARGETS, out=tmp_path)
    assert state_of(model.module) == before


def test_one_pass_for_all_layers_that_ends_at_the_deepest(folder, model):
    fv.find_examples(model, folder, {"norm": [0]})
    ran = {"conv1": 0, "pool": 0}
    hooks = [
        module.register_forward_hook(lambda *_, name=name: ran.update({name: ran[name] + 1}))
        for name, module in model.module.named_children()
        if name in ran
    ]
    fv.find_examples(model, folder, {"fc": [0]}, batch=1)
    assert ran["conv1"] == 62, "60 photographs, and two canvases to see that it takes any"
    ran.update(conv1=0, pool=0)
    fv.find_examples(model, folder, {"conv1": [0], "norm": [0]}, batch=60)
    assert ran["pool"] == 0
    assert ran["conv1"] < 60
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize(
    ("targets", "told", "message"),
    [
        ({"norn": [0]}, {}, "did you mean 'norm'"),
        ({"norm": [8]}, {}, "out of range"),
        ({"norm": [-1]}, {}, "-1"),
        ({}, {}, "no unit"),
        ({"norm": []}, {}, "no unit"),
        ({"norm": [0]}, {"count": 0}, "at least 1"),
        ({"norm": [0]}, {"batch": 0}, "at least 1"),
    ],
)
def test_mistakes_are_told_before_any_photograph_is_read(tmp_path, model, targets, told, message):
    with pytest.raises(fv.UserError, match=message):
        fv.find_examples(model, tmp_path / "nowhere", targets, **told)


def test_a_folder_without_photographs(tmp_path, model):
    with pytest.raises(fv.UserError, match="does not exist"):
        fv.find_examples(model, tmp_path / "nowhere", TARGETS)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "notes.txt").write_text("hello")
    with pytest.raises(fv.UserError, match=r"no photograph that can be read \(1 files were skipped\)"):
        fv.find_examples(model, tmp_path / "photos", TARGETS, out=tmp_path / "out")
    assert not (tmp_path / "out" / "examples.json").exists()


def test_it_says_how_far_it_is(folder, model, tmp_path, monkeypatch):
    monkeypatch.setattr("featvis.photographs.stream._SECONDS_BETWEEN_WORDS", 0.0)
    said = []
    fv.find_examples(model, folder, {"conv1": [0]}, out=tmp_path, say=said.append)
    assert said[0] == "1 of 64 photographs, 1 files skipped"
    assert said[-3:] == [
        "60 photographs, 4 files skipped",
        "measuring what the best positions see",
        "cutting 9 crops from 9 photographs",
    ]


def test_examples_show_what_the_units_see(folder):
    result = fv.find_examples(small(), folder, {"conv1": [0, 3]}, count=2)
    assert isinstance(result, dict)
    assert len(repr(result).splitlines()) == 1
    page = Page(result._repr_html_())
    assert len(page.all("img")) == 4
    best = result["units"]["conv1:3"]["examples"][0]
    assert f"{best['value']:.3g} {best['image']}" in page.text
    again = result | {"units": {"conv1:3": {"examples": [{**best, "image": "<i>.png"}]}}}
    page = Page(type(result)(again, folder)._repr_html_())
    assert "gone" in page.text
    assert not page.all("i")


@pytest.mark.parametrize(
    "targets", ["norm:0,2", ["norm:0", "norm:2"], {"norm": [0, 2]}, {"norm": np.array([0, 2])}]
)
def test_units_are_named_by_layer_or_by_addresses(targets, model, folder):
    assert list(fv.find_examples(model, folder, targets, count=1)["units"]) == ["norm:0", "norm:2"]


def test_arguments_in_another_order_are_told(model, folder):
    with pytest.raises(fv.UserError, match="folder of photographs comes before"):
        fv.find_examples(model, ["norm:0"], folder)
    with pytest.raises(fv.UserError, match="addresses, LAYER:UNITS, got int"):
        fv.find_examples(model, folder, [3])
