"""Snapshots, videos and morphs: the frames are the pictures, in their order and at their time."""

from __future__ import annotations

import builtins

import numpy as np
import pytest
import torch
from PIL import Image

import featvis as fv
from featvis.results.manifest import picture_files
from tests.networks import small

OPTIONS = {"size": (17, 24), "steps": 12, "lanes": 2, "redirect_steps": 2, "learning_rate": 0.3}


def ramp(count=6, height=17, width=23, channels=3):
    """Frames of one grey each, so that no palette or codec can mix them up."""
    return [np.full((channels, height, width), 20 + 35 * place, dtype=np.uint8) for place in range(count)]


def greys_of(path):
    with Image.open(path) as opened:
        found = []
        for place in range(opened.n_frames):
            opened.seek(place)
            found.append((np.asarray(opened.convert("L")).mean(), opened.info["duration"], opened.size))
        return found


@pytest.mark.parametrize(("fps", "milliseconds"), [(10, 100), (24, 40), (50, 20)])
def test_a_gif_shows_every_frame_in_order_and_at_its_time(tmp_path, fps, milliseconds):
    path = fv.video(ramp(), tmp_path / "ramp.gif", fps)
    found = greys_of(path)
    assert [size for *_, size in found] == [(23, 17)] * 6
    assert [round(grey) for grey, *_ in found] == [20, 55, 90, 125, 160, 195]
    assert {duration for _, duration, _ in found} == {milliseconds}


def test_frames_may_be_pictures_images_tensors_or_levels(tmp_path):
    levels = ramp(4)
    (picture,) = fv.render(small(), "norm:0", **OPTIONS)
    picture.levels = np.full((3, 17, 23), 55, np.uint8)
    frames = [levels[0], picture, torch.full((3, 17, 23), 90 / 255), Image.new("L", (23, 17), 125)]
    assert [round(grey) for grey, *_ in greys_of(fv.video(frames, tmp_path / "mixed.gif"))] == [
        20,
        55,
        90,
        125,
    ]
    grey = fv.video(ramp(3, channels=1), tmp_path / "grey.gif")
    assert [round(value) for value, *_ in greys_of(grey)] == [20, 55, 90]


def test_an_mp4_shows_every_frame_and_an_odd_side_gets_even(tmp_path):
    av = pytest.importorskip("av")
    path = fv.video(ramp(), tmp_path / "ramp.mp4", 8)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (24, 18)
        assert float(stream.average_rate) == 8
        greys = [frame.to_ndarray(format="gray").mean() for frame in container.decode(stream)]
    assert np.abs(np.array(greys) - [20, 55, 90, 125, 160, 195]).max() < 12
    assert (np.diff(greys) > 20).all()


def test_without_an_encoder_mp4_is_one_line_before_any_compute(tmp_path, monkeypatch):
    plain = builtins.__import__

    def missing(name, *given, **more):
        if name == "av":
            raise ImportError(name)
        return plain(name, *given, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(fv.OutputError, match=r"pip install 'featvis\[video\]'; gif needs nothing") as caught:
        fv.render(small(), "norm:0", out=tmp_path / "there", video="mp4", **OPTIONS)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize(
    ("frames", "name", "fps", "says"),
    [
        ([], "a.gif", 12, "at least one frame"),
        ([*ramp(1), *ramp(1, 18)], "a.gif", 12, "17x23 and 18x23"),
        ([np.zeros((2, 4, 5), np.uint8)], "a.gif", 12, r"\(1 or 3, H, W\)"),
        ([np.full((3, 4, 5), 200.0)], "a.gif", 12, r"x / 255"),
        ([np.full((3, 4, 5), np.nan)], "a.gif", 12, "NaN"),
        (ramp(2), "a.avi", 12, r"\.gif or \.mp4, got 'avi'"),
        (ramp(2), "a.gif", 0, "fps"),
        (ramp(2), "a.gif", 1000, "fps"),
    ],
)
def test_what_is_no_video_is_said(tmp_path, frames, name, fps, says):
    with pytest.raises(fv.UserError, match=says):
        fv.video(frames, tmp_path / name, fps)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("patience", [0, 50])
def test_snapshots_are_the_images_after_so_many_steps(tmp_path, patience):
    options = {**OPTIONS, "patience": patience}
    stood = {}

    def keep(step):
        stood[step.number + 1] = (step.images[:2] * 255).round().to(torch.uint8).numpy()

    pictures = fv.render(small(), "norm:0:2", snapshots=[1, 5, 12], out=tmp_path, watch=keep, **options)
    for lane, picture in enumerate(pictures):
        assert sorted(picture.snapshots) == [1, 5, 12]
        for number, levels in picture.snapshots.items():
            assert (levels == stood[number][lane]).all()
            with Image.open(tmp_path / "norm" / f"{lane:04d}-step{number}.png") as opened:
                assert (np.asarray(opened).transpose(2, 0, 1) == levels).all()
        assert (picture.snapshots[12] == picture.levels).all()
    plain = fv.render(small(), "norm:0:2", **options)
    assert [one.png() for one in pictures] == [one.png() for one in plain], "and change nothing"


def test_snapshots_are_no_pictures_of_the_folder_and_are_made_if_they_lack(tmp_path):
    fv.render(small(), "norm:0:2", out=tmp_path, **OPTIONS)
    first = fv.render(small(), "norm:0:2", out=tmp_path, snapshots=[3], video="gif", **OPTIONS)
    assert [sorted(picture.snapshots) for picture in first] == [[3], [3]], "a video's frames are let go"
    files = sorted(path.name for path in (tmp_path / "norm").iterdir())
    expected = [f"000{n}{end}" for n in (0, 1) for end in ("-step3.png", ".gif", ".png")]
    assert files == [*expected, "grid.png"]
    assert [path.name for path in picture_files(tmp_path)] == ["0000.png", "0001.png"]
    steps = []
    again = fv.render(
        small(), "norm:0:2", out=tmp_path, snapshots=[3], video="gif", watch=steps.append, **OPTIONS
    )
    assert not steps, "everything is there"
    assert all((one.snapshots[3] == two.snapshots[3]).all() for one, two in zip(again, first, strict=True))
    (tmp_path / "manifest.json").unlink()
    assert len(fv.render(small(), "norm:0:2", out=tmp_path, watch=steps.append, **OPTIONS)) == 2
    assert not steps, "the manifest is made anew from pictures alone"


def test_a_picture_that_ended_before_a_snapshot_is_not_made_again_for_it(tmp_path):
    options = {**OPTIONS, "steps": 60, "patience": 6, "tolerance": 0.5, "snapshots": [3, 60], "out": tmp_path}
    (first,) = fv.render(small(), "norm:1", **options)
    assert first.taken < 60
    assert sorted(first.snapshots) == [3]
    steps = []
    (again,) = fv.render(small(), "norm:1", watch=steps.append, **options)
    assert not steps
    assert (again.taken, again.evaluations, sorted(again.snapshots)) == (first.taken, first.taken, [3])


def test_a_runs_video_ends_with_its_picture(tmp_path):
    (picture,) = fv.render(small(), "norm:1", out=tmp_path, video="gif", **OPTIONS)
    found = fv.render(small(), "norm:1", snapshots=list(range(1, 13)), **OPTIONS)[0].snapshots
    with Image.open(tmp_path / "norm" / "0001.gif") as opened:
        assert opened.n_frames >= 10, "equal frames become one that lasts"
        opened.seek(0)
        first = np.asarray(opened.convert("RGB")).transpose(2, 0, 1).astype(int)
        opened.seek(opened.n_frames - 1)
        last = np.asarray(opened.convert("RGB")).transpose(2, 0, 1).astype(int)
    assert abs(first - found[1]).mean() < 6
    assert abs(last - picture.levels).mean() < 6
    assert abs(last - found[1]).mean() > 12


@pytest.mark.parametrize("numbers", [[0], [13], [1.5], [True]])
def test_a_snapshot_that_no_run_comes_to_is_refused(numbers):
    with pytest.raises(fv.RecipeError, match="after 1 to 12 steps"):
        fv.render(small(), "norm:0", snapshots=numbers, **OPTIONS)


def test_a_video_needs_a_folder():
    with pytest.raises(fv.OutputError, match="say where with out"):
        fv.render(small(), "norm:0", video="gif", **OPTIONS)


@pytest.mark.parametrize("space", ["fourier", "pixel"])
def test_a_morph_goes_straight_from_picture_to_picture(space):
    pictures = fv.render(small(), "norm:0:3", space=space, **OPTIONS)
    frames = fv.morph(pictures, frames=4)
    assert len(frames) == 9
    for place, picture in ((0, 0), (4, 1), (8, 2)):
        assert (frames[place] - pictures[picture].image).abs().max() <= 0.6 / 255
    # Both spaces are linear up to the sigmoid: the middle is the mean of the logits of colours.
    halfway = torch.logit(fv.morph(pictures[:2], frames=2)[1])
    ends = torch.stack([torch.logit(frames[0]), torch.logit(frames[4])])
    torch.testing.assert_close(halfway, ends.mean(0), atol=0.01, rtol=0.01)
    early = torch.logit(frames[1])
    torch.testing.assert_close(early, ends[0].lerp(ends[1], 0.25), atol=0.01, rtol=0.01)


def test_what_cannot_be_morphed_is_said():
    (one,) = fv.render(small(), "norm:0", **OPTIONS)
    (other,) = fv.render(small(), "norm:0", **{**OPTIONS, "size": (18, 24)})
    with pytest.raises(fv.RecipeError, match="two pictures or more, got 1"):
        fv.morph([one])
    with pytest.raises(fv.RecipeError, match="at least one frame"):
        fv.morph([one, one], frames=0)
    with pytest.raises(fv.CanvasError, match="17x24 and 18x24"):
        fv.morph([one, other])
