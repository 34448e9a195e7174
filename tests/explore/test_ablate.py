"""What switching units off does to classes: the figures are those of a computation by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import featvis as fv
from featvis.cli import main
from featvis.errors import UserError
from featvis.explore import ablate_gallery
from featvis.pages.folder import write_pages
from featvis.pages.words import say_number
from featvis.trust.intervals import StreamedMeans, of_mean
from tests.explore.test_without import Planted, folder_of, logits
from tests.networks import handle, seeded, small

NET = """
import torch
from torch import nn
def make():
    torch.manual_seed(3)
    net = nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    return net
"""


@pytest.fixture
def images(chance):
    return torch.rand((7, 3, 17, 24), generator=chance)


def test_only_the_planted_class_changes_and_its_interval_leaves_out_0(images):
    model = handle(seeded(Planted), labels=tuple("abcd"))
    found = fv.ablate(model, "found:3", list(images), batch=3)
    changed = [one for one in found.classes if one.logit]
    assert [one.label for one in changed] == ["d"]
    expected = model.module.fc.bias[3].detach() - logits(model, images)[:, 3]
    assert changed[0].logit == pytest.approx(float(expected.mean()), rel=1e-5)
    low, high = changed[0].logit_interval
    assert low < changed[0].logit < high < 0
    assert changed[0].is_sure
    assert not found.classes[0].is_sure
    assert found.losses() == changed
    assert found.gains() == []


def test_the_means_of_all_classes_are_those_by_hand_whatever_the_batch(images):
    model = small(labels=tuple("abcde"))
    off = fv.without(model, "relu1:0:4")
    before, after = logits(model, images).double(), logits(off, images).double()
    found = fv.ablate(model, "relu1:0:4", list(images), batch=7)
    assert [one.logit for one in found.classes] == pytest.approx((after - before).mean(0).tolist(), abs=1e-6)
    shares = (after.softmax(1) - before.softmax(1)).mean(0)
    assert [one.probability for one in found.classes] == pytest.approx(shares.tolist(), abs=1e-6)
    assert found.first_changed == int((before.argmax(1) != after.argmax(1)).sum())
    again = fv.ablate(model, "relu1:0:4", list(images), batch=2)
    assert [one.logit for one in again.classes] == pytest.approx(
        [one.logit for one in found.classes], abs=1e-6
    )


def test_a_streamed_interval_is_that_of_the_bootstrap():
    values = np.random.default_rng(5).normal(0.3, 2.0, (400, 2))
    means = StreamedMeans(2, draws=4000)
    for part in np.array_split(values, 13):
        means.add(part)
    low, high = means.interval()
    for column in range(2):
        expected = of_mean(values[:, column], np.arange(400), 4000, seed=1)
        assert (low[column], high[column]) == pytest.approx(expected, abs=0.02)
    assert means.mean == pytest.approx(values.mean(0))
    one = StreamedMeans(1)
    one.add(values[:1, :1])
    assert one.interval() is None


def test_a_folder_is_read_and_the_mean_is_its_own(images, tmp_path):
    model = small()
    folder = folder_of(tmp_path, images)
    found = fv.ablate(model, "relu1:2", folder, "mean")
    assert (found.photographs, found.skipped) == (7, 1)
    assert "their mean over 7 photographs" in found.how
    levels = (images * 255).round() / 255
    by_hand = fv.ablate(model, "relu1:2", list(levels), "mean")
    assert [one.logit for one in found.classes] == pytest.approx(
        [one.logit for one in by_hand.classes], abs=1e-5
    )
    assert "Ablation('relu1:2' of Small, 7 photographs" in repr(found)
    assert "<table" in found._repr_html_()


def test_a_network_of_probabilities_is_asked_for_its_logits(images):
    model = handle(torch.nn.Sequential(seeded(Planted), torch.nn.Softmax(1)))
    found = fv.ablate(model, "0.found:1", list(images))
    assert found.layer == "0"
    assert [one.unit for one in found.classes if one.logit] == [1]


def test_the_command_line_tells_and_writes_it(images, tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    folder_of(tmp_path / "photos", images)
    (tmp_path / "net.py").write_text(NET)
    network = ["--model", f"file:{tmp_path / 'net.py'}:make", "--mean", "0,0,0", "--std", "1,1,1"]
    network += ["--input-size", "16"]
    photos = str(tmp_path / "photos")
    assert (
        main(["ablate", "0:1", "1:2", photos, *network, "--out", str(tmp_path / "a.json"), "--count", "2"])
        == 0
    )
    text = capsys.readouterr().out
    assert "0:1 1:2 zeroed; 7 photographs, classes of 4" in text
    assert "falls most:" in text
    assert main(["ablate", "0:1", "1:2", photos, *network, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads((tmp_path / "a.json").read_text())
    assert len(told["classes"]) == 3
    for words, said in (
        (["blocks.4:400", photos], "out of range"),
        (["blocks.4:4", str(tmp_path / "none")], "no folder of photographs"),
        (["blocks.4:4", photos, "--mode", "men"], "did you mean 'mean'"),
        (["blocks.4:4", photos, "--mode", "mean", "--factor", "2"], "give one of them"),
        (["blocks.4:4", photos, "--mean-of", photos], "--mean-of is for --mode mean"),
    ):
        assert main(["ablate", *words]) == 2
        assert said in capsys.readouterr().err


@pytest.fixture
def gallery(images, tmp_path):
    """A gallery of units and a class of a planted network, photographs, and how the network is named."""
    (tmp_path / "photos").mkdir()
    folder_of(tmp_path / "photos", images)
    model = handle(seeded(Planted), labels=("ape, monkey", "bee", "<b>cat", "dog"))
    targets = ["found:0:3", "found:1@1,1", "fc:0", "fc:2"]
    fv.render(model, targets, size=(17, 24), steps=1, out=tmp_path / "made", progress=False)
    write_pages(tmp_path / "made")
    return tmp_path / "made", tmp_path / "photos", model


def test_each_unit_of_a_gallery_is_off_by_itself_and_its_page_tells_who_suffers(gallery):
    folder, photos, model = gallery
    told = fv.ablate_gallery(folder, photos, model=model)
    assert list(told["units"]) == ["found:0", "found:1", "found:2"], "classes are not switched off"
    assert told["photographs"] == 7
    for unit in range(3):
        own = fv.ablate(model, f"found:{unit}", photos)
        kept = told["units"][f"found:{unit}"]
        assert kept["falls"] == [one.to_json() for one in own.losses()]
        assert kept["rises"] == [one.to_json() for one in own.gains()]
        changed = {name: [one["class"] for one in kept[name]] for name in ("falls", "rises")}
        expected = ([], [2]) if unit == 2 else ([unit], [])  # Unit 2 speaks against its class
        assert (changed["falls"], changed["rises"]) == expected, "it feeds this class alone"
        assert kept["first_changed_interval"] == own.to_json()["first_changed_interval"]
    page = (folder / "found/0000.html").read_text()
    assert "If it were off" in page
    assert "Classes that gain: none." in page
    low, high = told["units"]["found:0"]["falls"][0]["logit_interval"]
    assert f"{say_number(low)} to {say_number(high)}" in page
    assert '<a href="../fc/0000.html">ape</a>' in page, "a class of the gallery is linked"
    assert ">bee</th>" in (folder / "found/0001.html").read_text()
    assert "&lt;b&gt;cat" in (folder / "found/0002.html").read_text()
    assert "If it were off" not in (folder / "fc/0000.html").read_text()
    assert json.loads((folder / "ablations.json").read_text()) == told


def test_what_was_measured_is_kept_and_what_was_measured_otherwise_is_not(gallery, monkeypatch):
    folder, photos, model = gallery
    monkeypatch.setattr("featvis.explore.ablate_gallery.TOGETHER", 1)
    measured = []
    each = ablate_gallery.ablate_each

    def counted(model, sets, *args, **more):
        if len(measured) == 2:
            raise KeyboardInterrupt
        measured.extend(sets)
        return each(model, sets, *args, **more)

    monkeypatch.setattr("featvis.explore.ablate_gallery.ablate_each", counted)
    with pytest.raises(KeyboardInterrupt):
        fv.ablate_gallery(folder, photos, model=model)
    measured.pop(), measured.pop()
    told = fv.ablate_gallery(folder, photos, model=model)
    assert (measured, list(told["units"])) == ([["found:2"]], ["found:0", "found:1", "found:2"])
    assert fv.ablate_gallery(folder, photos, model=model) == told
    monkeypatch.undo()
    halved = fv.ablate_gallery(folder, photos, model=model, factor=0.5)
    assert halved["units"]["found:0"]["how"] == "found:0 times 0.5"
    falls = [one["units"]["found:0"]["falls"][0]["logit"] for one in (halved, told)]
    assert falls[0] == pytest.approx(falls[1] / 2, rel=1e-3)
    (folder / "ablations.json").write_text("{")
    assert fv.ablate_gallery(folder, photos, model=model) == told


def test_what_cannot_be_switched_off_is_said(gallery, tmp_path):
    folder, photos, model = gallery
    with pytest.raises(UserError, match="it is no gallery"):
        fv.ablate_gallery(photos, photos, model=model)
    with pytest.raises(UserError, match="the folder holds pictures of"):
        fv.ablate_gallery(folder, photos, model=small())
    fv.render(model, "fc:1", size=(17, 24), steps=1, out=tmp_path / "classes", progress=False)
    with pytest.raises(UserError, match="no pictures of units that can be switched off"):
        fv.ablate_gallery(tmp_path / "classes", photos, model=model)


def test_a_gallery_on_the_command_line(images, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    folder_of(tmp_path / "photos", images)
    Path("net.py").write_text(NET)
    network = ["--model", "file:net.py:make", "--mean", "0,0,0", "--std", "1,1,1", "--input-size", "16"]
    assert main(["render", "0:0:2", *network, "--size", "16", "--steps", "1", "--out", "made"]) == 0
    assert main(["gallery", "pages", "made"]) == 0
    capsys.readouterr()
    assert main(["ablate", "made", "photos"]) == 2
    assert "give --model file:net.py:make" in capsys.readouterr().err
    assert main(["ablate", "made", "photos", "--model", "efficientnet_lite0"]) == 2
    assert "give --model" not in capsys.readouterr().err, (
        "a network that was named is taken, also the usual one"
    )
    assert main(["ablate", "made", "photos", *network, "--count", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("0:0: another class first for ")
    assert lines[-1] == "made/ablations.json"
    assert "If it were off" in Path("made/0/0001.html").read_text()
    assert main(["ablate", "made", "photos", *network, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(Path("made/ablations.json").read_text())
    for words, said in (
        (["made", "photos", "--out", "a.json"], "leave out --out"),
        (["photos", "photos"], "it is no gallery"),
        (["made", "none"], "no folder of photographs"),
    ):
        assert main(["ablate", *words, *network]) == 2
        assert said in capsys.readouterr().err


@pytest.mark.slow
def test_the_strongest_units_of_a_class_hurt_it_more_than_others(lite0):
    """Ten units of ``blocks.6`` that speak most for a cat in its photograph; five times ten at random."""
    folder = Path(pytest.importorskip("skimage").__file__).parent / "data"
    cat = lite0.labels.index(next(label for label in lite0.labels if label.startswith("Egyptian cat")))
    blocks = fv.find_blocks(lite0, folder / "chelsea.png", f"classifier:{cat}", "blocks.6")
    strongest = [unit for unit, _ in blocks.strongest(10)]
    crops = crops_of(folder / "chelsea.png", lite0.input_size)
    hurt = fv.ablate(lite0, f"blocks.6:{','.join(map(str, strongest))}", crops).classes[cat]
    assert hurt.logit < 0
    chance = np.random.default_rng(0)
    rest = [unit for unit in range(320) if unit not in strongest]
    for _ in range(5):
        units = ",".join(map(str, chance.choice(rest, 10, replace=False)))
        other = fv.ablate(lite0, f"blocks.6:{units}", crops).classes[cat]
        print(
            f"strongest {hurt.logit:.2f} {hurt.logit_interval}, "
            f"at random {other.logit:.2f} {other.logit_interval}"
        )
        assert hurt.logit_interval[1] < other.logit_interval[0]


def crops_of(path, size):
    """Twelve crops of a photograph."""
    photo = fv.load_image(path, channels=3)
    height, width = photo.shape[1:]
    chance = np.random.default_rng(1)
    crops = []
    for _ in range(12):
        side = int(chance.integers(220, 300))
        top, left = (int(chance.integers(0, most - side + 1)) for most in (height, width))
        crops.append(photo[:, top : top + side, left : left + side])
    return [torch.nn.functional.interpolate(one[None], size, mode="bilinear")[0].clamp(0, 1) for one in crops]
