"""What is returned shows itself: a list that is a sheet, a picture that is an image."""

from __future__ import annotations

import base64
import copy
import io
import pickle

import numpy as np
import pytest
from PIL import Image

import featvis as fv
from featvis.results.picture import Picture
from tests.networks import small
from tests.pages.markup import Page
from tests.test_notebook import kernel  # noqa: F401

CHANCE = np.random.default_rng(3)


def make(target="norm:3", size=(24, 20), channels=3, **told):
    """A picture of smooth random colours, as pictures are."""
    coarse = CHANCE.integers(0, 256, (channels, 8, 8), dtype=np.uint8)
    levels = np.stack([np.asarray(Image.fromarray(one).resize(size[::-1])) for one in coarse])
    told = {"score": 12.345, "start_score": -1.0, "recipe": {"steps": 3}, "model": "small", **told}
    return Picture(levels, target, told.pop("seed", 0), key="k", **told)


def weight(thing):
    """The bytes of a cell's output, as a notebook's file keeps them."""
    png = thing._repr_png_()
    return len(thing._repr_html_()) + len(base64.b64encode(png or b""))


def test_render_returns_a_list_that_is_a_sheet():
    pictures = fv.render(small(), "norm:0:3", size=(17, 24), steps=2, lanes=4)
    assert isinstance(pictures, list)
    assert isinstance(pictures, fv.Pictures)
    assert [picture.unit for picture in pictures] == [0, 1, 2]
    page = Page(pictures._repr_html_())
    assert len(page.all("img")) == 3
    for picture, shown in zip(pictures, page.addresses, strict=True):
        assert picture.target in page.text
        assert f"score {picture.score:.4g}" in page.text
        held = Image.open(io.BytesIO(base64.b64decode(shown.partition(",")[2])))
        assert (np.asarray(held) == picture.levels.transpose(1, 2, 0)).all(), "small ones are shown exactly"
    with Image.open(io.BytesIO(pictures._repr_png_())) as sheet:
        assert sheet.width > 2 * 24


def test_the_text_is_one_line():
    few = fv.Pictures([make(f"norm:{n}", score=float(n)) for n in range(40)])
    for thing in (few, few[:1], few[:0], few[0], make("x" * 4000, label="y" * 4000)):
        assert len(repr(thing).splitlines()) == 1
    assert repr(few) == "Pictures(40 pictures of small, scores 0 to 39: norm:0, norm:1, norm:2, …)"
    assert repr(few[0]) == "Picture('norm:0', score 0, 24x20, 3 steps)"
    assert repr(fv.Pictures()) == "Pictures(0 pictures: )"


def test_it_goes_on_as_a_list():
    pictures = fv.Pictures([make("norm:0"), make("norm:1")])
    assert isinstance(pictures[:1], fv.Pictures)
    first, second = pictures
    assert pictures[-1] is second
    assert pictures + pictures[:1] == [first, second, first]
    assert [*reversed(pictures)] == [second, first]
    for again in (copy.copy(pictures), pickle.loads(pickle.dumps(pictures))):
        assert isinstance(again, fv.Pictures)
        assert [picture.target for picture in again] == ["norm:0", "norm:1"]


def test_dead_and_failed_ones_and_verdicts_are_said():
    pictures = fv.Pictures(
        [
            make("norm:0", status="dead"),
            make("norm:1", status="failed", score=float("nan")),
            make("norm:2", verdicts=["saturated"], label="tabby, tabby cat", seed=4),
        ]
    )
    page = Page(pictures._repr_html_())
    assert len(page.all("img")) == 1
    assert "1 dead, 1 failed" in page.text
    assert "its score is nan" in page.text
    assert "norm:2 tabby" in page.text
    assert "saturated" in page.text
    assert "seed 4" in page.text


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>'])
def test_nothing_that_somebody_wrote_is_html(text):
    picture = make(text, label=text, verdicts=[text], model=text, variant=text)
    for thing in (picture, fv.Pictures([picture])):
        page = Page(thing._repr_html_())
        assert len(page.all("img")) == 1
        assert not page.all("script")
        assert text in page.text


@pytest.mark.parametrize("count", [1, 16, 300])
def test_a_sheet_is_modest_in_bytes(count):
    rough = [CHANCE.integers(0, 256, (3, 224, 224), dtype=np.uint8) for _ in range(4)]
    pictures = fv.Pictures([make(f"norm:{n}", size=(224, 224)) for n in range(count)])
    for place, picture in enumerate(pictures):  # no picture is as rough as noise alone
        picture.levels = (picture.levels // 2 + rough[place % 4] // 4).astype(np.uint8)
    assert weight(pictures) < 1_500_000
    if count > 100:
        assert "200 more: pictures[100:200]" in Page(pictures._repr_html_()).text


@pytest.mark.parametrize(
    ("channels", "told", "shape"),
    [
        (3, {}, (24, 20, 3)),
        (1, {}, (24, 20, 3)),
        (4, {"alpha": True}, (24, 20, 4)),
        (2, {"alpha": True}, (24, 20, 4)),
        (5, {}, (24, 20, 3)),
        (2, {}, (24, 20, 3)),
        (6, {"frames": 2}, (24, 41, 3)),
    ],
)
def test_a_picture_is_an_image(channels, told, shape):
    picture = make(channels=channels, **told)
    array = np.asarray(picture)
    assert (array.shape, array.dtype) == (shape, np.uint8)
    assert picture.to_pil().size == (shape[1], shape[0])
    assert (np.asarray(Image.fromarray(array)) == array).all(), "what PIL takes"
    if channels == 3:
        assert (array == picture.levels.transpose(1, 2, 0)).all()
    if channels == 1:
        assert (array == picture.levels[0][..., None]).all()
    assert np.asarray(picture, dtype=np.float32).max() <= 255
    assert np.stack([picture, picture]).shape == (2, *shape)
    assert len(Page(picture._repr_html_()).all("img")) == 1
    assert picture._repr_png_().startswith(b"\x89PNG")


def test_a_signal_is_an_image_of_its_plot():
    picture = make(size=(1, 300), channels=1)
    assert np.asarray(picture).shape[1:] == (300, 3)


def test_matplotlib_shows_a_picture_as_it_is():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    from matplotlib import pyplot

    for picture in (make(), make(channels=1)):
        shown = pyplot.imshow(picture)
        levels = shown.make_image(None, unsampled=True)[0][..., :3]
        pyplot.close("all")
        assert (levels == picture.levels.transpose(1, 2, 0)).all()


def test_show_is_the_cells_in_a_notebook_and_the_viewers_elsewhere(kernel, monkeypatch):  # noqa: F811
    picture, viewed = make(), []
    pictures = fv.Pictures([picture])
    picture.show()
    pictures.show()
    assert kernel == [("display", picture), ("display", pictures)]
    monkeypatch.setattr("featvis.results.picture.is_notebook", lambda: False)
    monkeypatch.setattr("featvis.results.pictures.is_notebook", lambda: False)
    monkeypatch.setattr(Image.Image, "show", lambda image: viewed.append(image.size))
    picture.show()
    pictures.show()
    assert viewed == [(20, 24), fv.grid(pictures).size]
