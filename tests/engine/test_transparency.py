"""Transparency: how much the score depended on each pixel over the run, off the backward pass it takes."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import featvis as fv
from featvis.cli import main
from featvis.engine.lanes import stack_parameters
from featvis.engine.transparency import PixelGradients
from featvis.plan.make import make_plan
from featvis.results.store import file_name
from tests.networks import handle, seeded, small

SIZE = (17, 24)
PLAIN = {"size": SIZE, "steps": 6, "transforms": [], "lanes": 3, "redirect_steps": 0, "learning_rate": 0.05}


def slow(model, images, unit):
    """|dscore/dimage| summed over the images that a run came to, each differentiated alone."""
    net, total = model.module.eval(), torch.zeros(SIZE)
    for image in images:
        given = image.detach().clone()[None].requires_grad_()
        found = net.conv2(torch.relu(net.conv1((given - 0.5) / 0.5)))
        loss = net.norm(found)[0, unit].mean()
        (gradient,) = torch.autograd.grad(loss, given)
        total += gradient[0].abs().mean(0)
    return total


@pytest.mark.parametrize("options", [{}, {"patience": 50}, {"copies": 2}, {"optimizer": "sgd"}], ids=str)
def test_a13_it_is_the_slow_sum_of_slopes_over_the_run(options):
    model = small()
    way = []
    pictures = fv.render(
        model,
        ["norm:3", "norm:4"],
        space="pixel",
        transparency=True,
        watch=lambda step: way.append(step.images.clone()),
        **{**PLAIN, **options},
    )
    # Step n's slopes are taken at the images after step n - 1; the first at the start.
    space = fv.PixelImage(size=SIZE)
    planned = make_plan(model, ["norm:3", "norm:4"], space="pixel", **{**PLAIN, **options})
    started = space.decode(stack_parameters([space.draw(one.stream("start")) for one in planned.wanted]))
    for lane, (picture, unit) in enumerate(zip(pictures, (3, 4), strict=True)):
        images = [started[lane], *(step[lane] for step in way)]
        expected = slow(model, images[: PLAIN["steps"]], unit).numpy()
        levels = np.clip(expected / np.percentile(expected, 80), 0, 1) * 255
        assert picture.transparency.shape == SIZE
        assert np.abs(picture.transparency - levels).max() <= 0.6
        assert len(np.unique(picture.transparency)) > 8


def test_the_picture_s_bytes_do_not_depend_on_it(tmp_path):
    model = small()
    options = {**PLAIN, "transforms": None, "redirect_steps": 4}
    options = {name: value for name, value in options.items() if value is not None}
    plain = fv.render(model, "norm:3", **options)
    kept = fv.render(model, "norm:3", transparency=True, out=tmp_path, **options)
    assert plain[0].png() == kept[0].png()
    assert plain[0].transparency is None
    with pytest.raises(fv.UserError, match="transparency=True"):
        _ = plain[0].cut_out
    with Image.open(tmp_path / "norm" / "0003-transparency.png") as opened:
        shown = np.array(opened)
    assert np.array_equal(shown[..., :3].transpose(2, 0, 1), kept[0].levels)
    assert np.array_equal(shown[..., 3], kept[0].transparency)


class Corner(nn.Module):
    """Answers to what is in the upper left quarter and nowhere else."""

    def __init__(self):
        super().__init__()
        self.keep = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, images):
        height, width = images.shape[2] // 2, images.shape[3] // 2
        return self.keep(images[:, :, :height, :width])


@pytest.mark.parametrize("stages", [(), [[(8, 10), 0.5]]], ids=str)
def test_what_the_unit_does_not_see_is_transparent(stages):
    model = handle(seeded(Corner), (16, 20))
    (picture,) = fv.render(
        model, "keep:1", size=(16, 20), steps=8, stages=stages, transforms=[], transparency=True
    )
    seen = np.zeros((16, 20), bool)
    seen[:8, :10] = True
    assert picture.transparency[seen].min() > 60
    assert picture.transparency[9:].max() == 0
    assert picture.transparency[:, 11:].max() == 0


def test_a_smaller_canvas_counts_as_much_as_it_did():
    gathered = PixelGradients()
    gathered.begin(2, (6, 9), torch.device("cpu"))
    gathered.add(-torch.ones(2, 3, 6, 9))
    gathered.begin(2, (12, 27), torch.device("cpu"))
    assert float(gathered.sums[1].sum()) == pytest.approx(54)
    gathered.forget(1)
    assert float(gathered.sums[1].sum()) == 0
    assert float(gathered.sums[0].sum()) == pytest.approx(54)
    assert not gathered.levels[1].any()


def test_with_patience_a_lane_begins_anew_for_its_next_picture():
    model = small()
    options = {**PLAIN, "patience": 2, "steps": 24, "learning_rate": 0.2, "transparency": True}
    together = fv.render(model, "norm:0:7", **options)
    alone = fv.render(model, "norm:6", **options)
    assert np.array_equal(together[6].transparency, alone[0].transparency)


@pytest.mark.slow
def test_resume_reads_it_back_and_only_a_lost_file_is_made_anew(tmp_path, capsys):
    command = ["render", "blocks.1:0:2", "--size", "32", "--steps", "2", "--out", str(tmp_path)]
    assert main(command) == 0
    before = {path: path.read_bytes() for path in tmp_path.glob("blocks.1/0*.png")}
    assert len(before) == 2
    assert main([*command, "--transparency"]) == 0
    assert all(path.read_bytes() == content for path, content in before.items())
    files = sorted(path.name for path in tmp_path.glob("blocks.1/0*.png"))
    assert files == ["0000-transparency.png", "0000.png", "0001-transparency.png", "0001.png"]
    entries = json.loads((tmp_path / "manifest.json").read_text())["pictures"]
    assert [entry["file"] for entry in entries] == ["blocks.1/0000.png", "blocks.1/0001.png"]
    steps = []
    model, options = fv.load_model("efficientnet_lite0"), {"size": 32, "steps": 2, "out": tmp_path}
    options |= {"transparency": True, "watch": steps.append}
    pictures = fv.render(model, "blocks.1:0:2", **options)
    assert not steps
    for one in pictures:
        buffer = io.BytesIO()
        one.cut_out.save(buffer, "PNG")
        path = (tmp_path / file_name(one)).with_name(f"{one.unit:04d}-transparency.png")
        assert buffer.getvalue() == path.read_bytes()


@pytest.mark.parametrize(("channels", "space"), [(4, "fourier"), (3, "alpha"), (1, "alpha")])
def test_pictures_without_plain_colours_are_refused(channels, space):
    with pytest.raises(fv.RecipeError, match="1 or 3 channels"):
        fv.render(small(channels), "norm:3", space=space, transparency=True, **PLAIN)


def test_grey_pictures_have_it_too():
    (picture,) = fv.render(small(1), "norm:3", transparency=True, **PLAIN)
    assert picture.cut_out.mode == "LA"
