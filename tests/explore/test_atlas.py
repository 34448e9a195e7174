"""The map of activations: its sample, layout, cells, classes, and the folder that it leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

import featvis as fv
from featvis.cli import main
from featvis.explore.cells import directions_of, find_cells, find_likeness, nearest_cells, typical
from featvis.explore.layout import lay_out, tsne
from featvis.explore.sample import Moments, Stream, draw_sample
from featvis.explore.speech import find_speech
from featvis.photographs.photos import list_files
from tests.networks import handle, seeded

SIDE = 24
COLOURS = {"red": (230, 20, 20), "green": (20, 230, 20), "blue": (20, 20, 230)}


class Colours(nn.Module):
    """Three units that are the three colours, a classifier that is the mean of each; bent on request."""

    def __init__(self, bend=False):
        super().__init__()
        self.seen = nn.Conv2d(3, 3, 1)
        self.pool = nn.AvgPool2d(4)
        self.act = nn.Softplus(beta=3) if bend else nn.Identity()
        self.fc = nn.Linear(3, 3)
        with torch.no_grad():
            self.seen.weight.copy_(torch.eye(3)[:, :, None, None])
            self.seen.bias.fill_(1.0)  # images come as -1 … 1
            self.fc.weight.copy_(torch.tensor([[2.0, 0, 0], [0, 3, 0], [0, 0, 5]]))
            self.fc.bias.copy_(torch.tensor([0.5, -0.25, 1.0]))

    def forward(self, images):
        found = self.act(self.pool(functional.relu_(self.seen(images))))
        return self.fc(found.mean((2, 3)))


def colours(bend=False):
    return handle(Colours(bend), (SIDE, SIDE), labels=list(COLOURS))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Plain photographs of each colour, with a little noise of their own, and one of all three in bands."""
    folder = tmp_path_factory.mktemp("photos")
    chance = np.random.default_rng(5)
    for name, colour in COLOURS.items():
        for number in range(3):
            noise = chance.integers(-20, 20, (SIDE, SIDE + 12, 3))
            levels = np.clip(np.asarray(colour) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(levels).save(folder / f"{name}{number}.png")
    return folder


def image_of(path):
    return torch.from_numpy(np.asarray(Image.open(path)).transpose(2, 0, 1).copy()).float() / 255


def stream(model, photos, layer="pool", scales=(1.0,)):
    return Stream(model, layer, list_files(photos), scales, batch=4)


OPTIONS = {"size": 16, "steps": 1, "layout": "pca", "least": 2, "progress": False}


def test_the_sample_is_what_the_network_gives_at_those_places(photos):
    model = colours()
    sample = draw_sample([stream(model, photos)], 40, seed=3)
    assert (len(sample.owners), sample.photographs, sample.skipped) == (40, 9, 0)
    with model.tap(["pool"], size=(SIDE, SIDE + 12)) as tap, torch.no_grad():
        for owner, middle, box, vector in zip(
            sample.owners, sample.middles, sample.boxes, sample.vectors[0], strict=True
        ):
            image = image_of(photos / sample.names[owner])
            maps = tap(image[None])["pool"][0]
            row, column = (int(one // 4) for one in middle)
            assert vector.astype(np.float32) == pytest.approx(maps[:, row, column].numpy(), rel=1e-3)
            assert tuple(middle) == (row * 4 + 2, column * 4 + 2)
            # The patch lies around the middle, as far as the photograph goes.
            assert box[2:].tolist() == [20, 20]
            assert box[0] == np.clip(row * 4 + 2 - 10, 0, SIDE - 20)
    # No place is taken twice, and another seed takes others.
    places = {(int(o), *map(float, m)) for o, m in zip(sample.owners, sample.middles, strict=True)}
    assert len(places) == 40
    other = draw_sample([stream(model, photos)], 40, seed=4)
    assert not np.array_equal(other.middles, sample.middles)


def test_the_sample_does_not_depend_on_the_batch_and_memory_is_as_told(photos):
    model = colours()
    one, other = (
        draw_sample([Stream(model, "pool", list_files(photos), (1.0, 1.5), batch)], 300) for batch in (1, 5)
    )
    assert np.array_equal(one.middles, other.middles)
    assert np.array_equal(one.owners, other.owners)
    assert np.allclose(one.vectors[0], other.vectors[0], atol=1e-3)
    assert one.vectors[0].dtype == np.float16
    assert one.nbytes == 300 * 3 * 2
    # Both scales are there, the larger one with a finer grid of middles.
    assert set(one.scales.tolist()) == {0, 1}


def test_files_that_are_no_photographs_are_counted(photos, tmp_path):
    (tmp_path / "notes.txt").write_text("no photograph")
    Image.open(photos / "red0.png").save(tmp_path / "red.png")
    sample = draw_sample([stream(colours(), tmp_path)], 20)
    assert (sample.photographs, sample.skipped, len(sample.owners)) == (1, 1, 10)
    (tmp_path / "red.png").unlink()
    with pytest.raises(fv.UserError, match=r"no photograph that can be read \(1 files"):
        draw_sample([stream(colours(), tmp_path)], 20)


def test_what_float16_cannot_hold_is_kept_as_float32(photos):
    model = colours()
    with torch.no_grad():
        model.module.seen.weight.mul_(1e5)
    sample = draw_sample([stream(model, photos)], 20)
    assert sample.vectors[0].dtype == np.float32
    assert np.isfinite(sample.vectors[0]).all()
    assert sample.vectors[0].max() > 65504


def test_a_second_network_sees_the_same_places(photos):
    model = colours()
    both = draw_sample([stream(model, photos), stream(model, photos, "seen")], 60)
    assert len(both.vectors[0]) == len(both.vectors[1]) == 60
    with model.tap(["seen"], size=(SIDE, SIDE + 12)) as tap, torch.no_grad():
        for owner, middle, vector in zip(both.owners, both.middles, both.vectors[1], strict=True):
            maps = tap(image_of(photos / both.names[owner])[None])["seen"][0]
            row, column = (int(one) for one in middle)
            assert vector.astype(np.float32) == pytest.approx(
                maps[:, row, column].numpy(), rel=2e-3, abs=2e-3
            )


def test_whitening_is_the_inverse_second_moment_of_every_position(photos):
    model = colours()
    sample = draw_sample([stream(model, photos)], 10)
    rows = []
    with model.tap(["pool"], size=(SIDE, SIDE + 12)) as tap, torch.no_grad():
        for name in sample.names:
            rows.append(tap(image_of(photos / name)[None])["pool"][0].flatten(1).T)
    every = torch.cat(rows).double().numpy()
    assert sample.moments[0].count == len(every)
    second = every.T @ every / len(every)
    assert np.allclose(sample.moments[0].second, second, rtol=1e-4)
    ridge = 1e-3 * np.trace(second) / 3
    assert np.allclose(sample.moments[0].whitening(), np.linalg.inv(second + ridge * np.eye(3)), rtol=1e-3)


def test_moments_leave_out_what_is_not_finite():
    moments = Moments(2)
    moments.add(np.array([[1.0, 2.0], [np.nan, 0.0], [np.inf, 1.0], [3.0, 4.0]]))
    assert (moments.count, moments.mean.tolist()) == (2, [2.0, 3.0])


@pytest.mark.parametrize("layout", ["pca", "tsne"])
def test_groups_stay_together_whatever_the_layout(layout):
    chance = np.random.default_rng(1)
    middles = chance.normal(size=(4, 12)) * 6
    owners = np.repeat(np.arange(4), 40)
    vectors = (middles[owners] + chance.normal(size=(160, 12)) * 0.3).astype(np.float16)
    places = lay_out(vectors, layout, steps=150)
    assert places.min() >= 0
    assert places.max() <= 1
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    assert (owners[apart.argmin(1)] == owners).mean() > 0.97
    assert np.array_equal(places, lay_out(vectors, layout, steps=150))


def test_vectors_beyond_the_landmarks_lie_among_their_own(monkeypatch):
    monkeypatch.setattr("featvis.explore.layout.LANDMARKS", 60)
    chance = np.random.default_rng(2)
    middles = chance.normal(size=(3, 8)) * 6
    owners = np.arange(240) % 3
    places = lay_out(middles[owners] + chance.normal(size=(240, 8)) * 0.2, "tsne", steps=150)
    means = np.stack([places[owners == one].mean(0) for one in range(3)])
    nearest = np.linalg.norm(places[:, None] - means[None], axis=2).argmin(1)
    assert (nearest == owners).mean() > 0.97


def test_tsne_descends_the_divergence_that_it_is_defined_by():
    chance = torch.Generator().manual_seed(0)
    points = torch.randn(30, 5, generator=chance)

    def divergence(placed):
        # As van der Maaten and Hinton write it, by loops over pairs.
        apart = torch.cdist(points, points).square().double()
        likely = torch.zeros(30, 30, dtype=torch.float64)
        for one in range(30):
            low, high = 1e-6, 1e6
            for _ in range(80):
                precision = (low * high) ** 0.5
                weights = torch.exp(-apart[one] * precision)
                weights[one] = 0
                share = weights / weights.sum()
                entropy = -(share[share > 0] * share[share > 0].log()).sum()
                low, high = (precision, high) if entropy > np.log(8) else (low, precision)
            likely[one] = share
        likely = (likely + likely.T) / 60
        kernel = 1 / (1 + torch.cdist(placed, placed).square().double())
        kernel.fill_diagonal_(0)
        kernel = kernel / kernel.sum()
        held = likely > 0
        return float((likely[held] * (likely[held] / kernel[held]).log()).sum())

    start = points[:, :2] / points[:, 0].std() * 1e-4
    few, many = (tsne(points, perplexity=8, steps=steps) for steps in (60, 300))
    assert divergence(many) <= divergence(few) + 0.01
    assert divergence(many) < 0.6 * divergence(start)


def test_cells_are_where_the_places_are_and_thin_ones_are_left_out():
    places = np.array([[0.05, 0.05], [0.1, 0.2], [0.9, 0.6], [1.0, 1.0], [0.99, 0.98]])
    cells = find_cells(places, 2, 2)
    assert list(zip(cells.rows, cells.columns, strict=True)) == [(0, 0), (1, 1)]
    assert [one.tolist() for one in cells.members] == [[0, 1], [2, 3, 4]]
    assert len(find_cells(places, 2, 3)) == 1


def test_neighbours_are_compared_with_all_pairs():
    chance = np.random.default_rng(0)
    places = chance.random((4000, 2))
    cells = find_cells(places, 8, 1)
    middle = np.stack([(cells.columns + 0.5) / 8 * 6, (cells.rows + 0.5) / 8 * 6], 1)
    smooth = np.concatenate([np.sin(middle), np.cos(middle)], 1)
    alike = find_likeness(cells, smooth, draws=400)
    assert alike.pairs == 2 * 8 * 7
    assert alike.difference[0] > 0.4
    noise = find_likeness(cells, chance.normal(size=(64, 6)), draws=400)
    assert noise.difference[0] < 0 < noise.difference[1]


def test_nearest_and_typical_are_by_what_differs_from_the_mean():
    means = np.array([[10.0, 1.0], [10.0, 1.1], [10.0, -1.0]])
    assert nearest_cells(means, np.array([10.0, 0.0]), 2) == [[1, 2], [0, 2], [0, 1]]
    vectors = np.array([[1.0, 0], [1.0, 0.1], [0.9, 0.05], [0, 1.0]])
    few = typical(vectors, np.arange(4), np.array([0, 0, 1, 1], dtype=np.int32), np.zeros(2), 3)
    # From two photographs first, then what is left of the best.
    assert set(few[:2].tolist()) in ({1, 2}, {0, 2})
    assert 3 not in few.tolist()


def test_a_whitened_direction_responds_to_its_own_mean_alone():
    means = np.array([[3.0, 1.0], [3.0, -1.0]])
    whitening = np.linalg.inv(means.T @ means / 2)
    found = directions_of(means, whitening)
    assert np.allclose(np.linalg.norm(found, axis=1), 1)
    assert abs(float(found[0] @ means[1])) < 1e-6
    assert float(found[0] @ means[0]) > 0.5


def test_classes_add_up_to_the_logits_where_the_rest_is_linear(photos):
    model = colours()
    # Every position of every photograph, one group for each photograph.
    sample = draw_sample([stream(model, photos)], 9 * 6 * 9)
    groups = [np.flatnonzero(sample.owners == owner) for owner in np.unique(sample.owners)]
    speech = find_speech(stream(model, photos), sample, groups)
    assert speech.linear is True
    assert speech.labels == tuple(COLOURS)
    with model.tap(["fc"], size=(SIDE, SIDE + 12)) as tap, torch.no_grad():
        for group, values in zip(groups, speech.values, strict=True):
            name = sample.names[sample.owners[group[0]]]
            logits = tap(image_of(photos / name)[None])["fc"][0]
            total = values * len(group) + np.array([0.5, -0.25, 1.0])
            assert total == pytest.approx(logits.numpy(), rel=1e-4)


def test_elsewhere_they_are_the_gradient_times_the_activation(photos):
    model = colours(bend=True)
    sample = draw_sample([stream(model, photos)], 30)
    groups = [np.array([place, place + 1]) for place in range(0, 30, 2)]
    speech = find_speech(stream(model, photos), sample, groups)
    assert speech.linear is False
    with model.tap(["pool", "fc"], size=(SIDE, SIDE + 12), cheaper=False) as tap:
        for group, values in zip(groups, speech.values, strict=True):
            expected = np.zeros(3)
            for one in group:
                image = image_of(photos / sample.names[sample.owners[one]])[None].requires_grad_()
                found = tap(image)
                row, column = (int(side // 4) for side in sample.middles[one])
                for unit in range(3):
                    (slope,) = torch.autograd.grad(found["fc"][0, unit], found["pool"], retain_graph=True)
                    part = (slope * found["pool"].detach())[0, :, row, column]
                    expected[unit] += float(part.sum()) / 2
            assert values == pytest.approx(expected, rel=1e-3, abs=1e-6)
    # The network is as it was: no hook is left.
    assert not any(module._forward_hooks for module in model.module.modules())


def test_a_network_without_classes_has_none(photos):
    model = handle(seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())), (SIDE, SIDE))
    sample = draw_sample([stream(model, photos, "1")], 20)
    assert find_speech(stream(model, photos, "1"), sample, [np.arange(3)]) is None


@pytest.fixture(scope="module")
def drawn(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("map") / "atlas"
    made = fv.atlas(colours(), "pool", photos, out, count=200, grids=(2, 4), **OPTIONS)
    return made, out


def test_known_patches_land_in_their_cells(drawn, photos):
    made, out = drawn
    # Three plain colours: each has cells of its own, which speak for its class most.
    for grid, sheet in enumerate(made.sheets[0]):
        for members, values in zip(sheet.cells.members, sheet.speech.values, strict=True):
            kinds = {made.sample.names[owner][:-5] for owner in made.sample.owners[members]}
            if len(kinds) == 1:
                assert list(COLOURS)[int(values.argmax())] == kinds.pop()
        for name, colour in COLOURS.items():
            row, column = made.find(np.asarray(colour) / 127.5, grid)
            at = np.flatnonzero((sheet.cells.rows == row) & (sheet.cells.columns == column))[0]
            owners = made.sample.owners[sheet.cells.members[at]]
            assert {made.sample.names[owner][:-5] for owner in owners} == {name}
    told = json.loads((out / "atlas.json").read_text())
    assert told["positions"] == 200
    assert [grid["side"] for grid in told["grids"]] == [2, 4]


def test_cells_are_targets_like_any_other(drawn):
    made, out = drawn
    manifest = json.loads((out / "manifest.json").read_text())
    by_target = {entry["target"]: entry for entry in manifest["pictures"]}
    sheet = made.sheets[0][0]
    assert len(by_target) == sum(len(one.cells) for one in made.sheets[0])
    # The address renders the same picture, and the file reproduces itself.
    lanes = sheet.pictures[0].recipe["lanes"]
    (again,) = fv.render(
        colours(), f"pool@{out / 'cells.safetensors'}:grid2:0", size=16, steps=1, lanes=lanes
    )
    assert again.target == sheet.pictures[0].target
    assert again.png() == (out / by_target[again.target]["file"]).read_bytes()


def test_the_same_call_renders_nothing_again_and_another_map_is_refused(drawn, photos):
    made, out = drawn
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    again = fv.atlas(colours(), "pool", photos, out, count=200, grids=(2, 4), **OPTIONS)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.png") if path.name != "grid.png"} == {
        path: time for path, time in before.items() if path.name != "grid.png"
    }
    assert again.places.tolist() == made.places.tolist()
    with pytest.raises(fv.OutputError, match="holds another map"):
        fv.atlas(colours(), "pool", photos, out, count=100, grids=(2, 4), **OPTIONS)


def test_two_layers_share_positions_and_layout(photos, tmp_path):
    made = fv.atlas(
        colours(), "pool", photos, tmp_path / "two", beside="seen", count=60, grids=[2], **OPTIONS
    )
    first, second = made.sheets[0][0], made.sheets[1][0]
    assert [one.tolist() for one in first.cells.members] == [one.tolist() for one in second.cells.members]
    assert {picture.target.partition("@")[0] for picture in second.pictures} == {"seen"}
    assert (tmp_path / "two/site/beside-cells-2.webp").is_file()
    assert (tmp_path / "two/beside/cells.safetensors").is_file()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"grids": (4, 2)}, "smallest first"),
        ({"grids": ()}, "got none"),
        ({"count": 1}, "from 2 up"),
        ({"layout": "som"}, "unknown layout 'som'"),
        ({"scales": (0.0,)}, "scales lie above 0"),
        ({"least": 500}, "no cell holds 500"),
        ({"stepz": 3}, "did you mean 'steps'"),
    ],
)
def test_mistakes_are_told(changed, said, photos, tmp_path):
    options = {**OPTIONS, "count": 40, "grids": (2,), **changed}
    with pytest.raises(fv.UserError, match=said):
        fv.atlas(colours(), "pool", photos, tmp_path / "no", **options)
    assert not (tmp_path / "no" / "index.html").exists()


def test_a_layer_without_positions_is_refused(photos, tmp_path):
    with pytest.raises(fv.TargetError, match="with positions"):
        fv.atlas(colours(), "fc", photos, tmp_path / "no", **OPTIONS)


def test_umap_is_asked_for_by_its_package(photos, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    monkeypatch.setattr("featvis.explore.layout.find_spec", lambda name: None)
    with pytest.raises(fv.ModelError, match=r"pip install 'featvis\[atlas\]'"):
        fv.atlas(colours(), "pool", photos, tmp_path / "no", **{**OPTIONS, "layout": "umap"})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "does not exist"),
        (["{photos}", "--grids", "a,b"], "--grids takes numbers"),
        (["{photos}", "--layout", "som"], "unknown layout"),
        (["{photos}", "--beside-model", "vgg"], "name that layer"),
        (["{photos}", "--set", "size=9"], "--set size"),
        (["{photos}", "--least", "0"], "--least is at least 1"),
    ],
)
def test_the_command_tells_mistakes_before_torch(arguments, said, photos, capsys):
    words = [word.format(photos=photos) for word in arguments]
    assert main(["atlas", *words, "--layer", "blocks.4"]) == 2
    assert said in capsys.readouterr().err


NETWORK = """
import torch
from torch import nn
def make():
    torch.manual_seed(3)
    layers = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(6, 8, 3))
    return layers, {"input_size": (24, 24), "mean": (0.5,) * 3, "std": (0.5,) * 3}
"""


@pytest.mark.slow
def test_a_killed_map_of_a_thousand_cells_goes_on_and_ends_with_the_same_bytes(tmp_path):
    photos, chance = tmp_path / "photos", np.random.default_rng(5)
    photos.mkdir()
    for number in range(30):  # no two places alike
        Image.fromarray(chance.integers(0, 256, (SIDE, SIDE + 12, 3), np.uint8)).save(
            photos / f"{number}.png"
        )
    (tmp_path / "net.py").write_text(NETWORK)
    command = [sys.executable, "-m", "featvis", "atlas", str(photos), "--layer", "3", "--count", "6000"]
    command += ["--model", f"file:{tmp_path / 'net.py'}:make", "--grids", "16,48", "--least", "1"]
    command += ["--cell", "16", "--steps", "2", "--lanes", "16", "--layout", "pca", "--mean", "0.5,0.5,0.5"]
    command += ["--std", "0.5,0.5,0.5", "--input-size", "24"]

    def start(out):
        return subprocess.Popen([*command, "--out", str(out)], stderr=subprocess.DEVNULL, env=os.environ)

    killed = tmp_path / "killed"
    process, deadline = start(killed), time.monotonic() + 300
    while len(list(killed.glob("objectives/*.png"))) < 200:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = {path: path.stat().st_mtime_ns for path in killed.glob("objectives/*.png")}
    assert not (killed / "index.html").exists()
    for out in (killed, tmp_path / "whole"):
        assert start(out).wait(300) == 0
    assert {path: path.stat().st_mtime_ns for path in done} == done
    for path in sorted((tmp_path / "whole").rglob("*")):
        if path.is_file() and path.name not in ("manifest.json", "atlas.json"):
            assert (killed / path.relative_to(tmp_path / "whole")).read_bytes() == path.read_bytes(), path
    assert (killed / "atlas.json").read_bytes() == (tmp_path / "whole/atlas.json").read_bytes()
    assert len(list(killed.glob("objectives/*.png"))) >= 1000
    assert Path(killed / "index.html").is_file()
