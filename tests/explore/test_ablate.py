"""What switching units off does to classes: the figures are those of a computation by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import featvis as fv
from featvis.cli import main
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
