"""The labelled grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import featvis as fv
from tests.networks import small


@pytest.fixture(scope="module")
def pictures():
    return fv.render(small(), "norm:0:7", size=(17, 24), steps=2, lanes=4)


def holds(sheet, picture, times=4):
    """How often a picture stands in the sheet, each pixel a square: 24 of them are enlarged to 96."""
    pixels, tile = np.asarray(sheet), picture.levels.transpose(1, 2, 0).repeat(times, 0).repeat(times, 1)
    height, width, _ = tile.shape
    rows, columns = len(pixels) - height + 1, pixels.shape[1] - width + 1
    # Only where two corners fit is the rest looked at.
    fits = (pixels[:rows, :columns] == tile[0, 0]).all(2)
    fits &= (pixels[height - 1 :, width - 1 :] == tile[-1, -1]).all(2)
    places = np.argwhere(fits)
    return sum(np.array_equal(pixels[y : y + height, x : x + width], tile) for y, x in places)


def test_every_picture_stands_in_the_grid_once(pictures):
    sheet = fv.grid(pictures, columns=3, title="a layer")
    assert [holds(sheet, picture) for picture in pictures] == [1] * 7
    sheet = fv.grid(pictures, columns=3, captions=False)
    assert [holds(sheet, picture, 1) for picture in pictures] == [1] * 7


@pytest.mark.parametrize(("side", "times"), [(16, 6), (28, 4), (32, 3), (47, 3), (48, 1), (64, 1), (96, 1)])
def test_small_pictures_are_enlarged_so_that_captions_can_be_read(pictures, side, times):
    blank = [replace(picture, levels=np.full((3, side, side), 9, dtype=np.uint8)) for picture in pictures[:3]]
    sheet = fv.grid(blank, columns=3)
    assert sheet.width == 3 * (side * times + 6) + 6
    assert fv.grid(blank, columns=3, cell=40).width <= 3 * 46 + 6


@pytest.mark.parametrize(("columns", "rows"), [(1, 7), (3, 3), (7, 1)])
def test_it_has_so_many_columns(pictures, columns, rows):
    sheet = fv.grid(pictures, columns=columns, captions=False)
    assert sheet.width // 24 in (columns, columns + columns // 3)
    assert sheet.width == columns * (24 + 6) + 6
    assert sheet.height == rows * (17 + 6) + 6


def test_the_order_is_row_by_row(pictures):
    sheet = np.asarray(fv.grid(pictures, columns=3, captions=False))
    for place, picture in enumerate(pictures):
        top, left = 6 + place // 3 * 23, 6 + place % 3 * 30
        assert np.array_equal(sheet[top : top + 17, left : left + 24], picture.levels.transpose(1, 2, 0))


def test_captions_and_title_take_room_and_ink(pictures):
    plain, told = (fv.grid(pictures, captions=captions, title="x" * captions) for captions in (False, True))
    assert told.height > 4 * (plain.height - 18)
    assert told.width == 3 * (4 * 24 + 6) + 6


def test_grey_pictures_and_other_channels_fit_in(pictures):
    (many,) = fv.render(small(4), "norm:1", size=(17, 24), steps=1, lanes=1)
    (grey,) = fv.render(small(1), "norm:1", size=(17, 24), steps=1, lanes=1)
    assert fv.grid([pictures[0], many, grey]).height > 4 * 17


@pytest.mark.parametrize("wrong", [{"pictures": []}, {"columns": 0}, {"columns": -2}])
def test_a_grid_of_nothing_is_refused(pictures, wrong):
    with pytest.raises(fv.UserError, match="at least one"):
        fv.grid(**{"pictures": pictures, **wrong})


def test_a_dead_unit_read_from_a_manifest_has_a_cell_of_full_size(pictures):
    blank = np.full((3, 1, 1), 128, dtype=np.uint8)  # a dead unit has no file, so no pixels either
    dead = replace(pictures[2], levels=blank, status="dead")
    fresh = replace(pictures[2], status="dead")
    sheets = [fv.grid([pictures[0], one, pictures[1]], columns=3, captions=False) for one in (dead, fresh)]
    assert (np.asarray(sheets[0]) == np.asarray(sheets[1])).all()


def test_a_contact_sheet_shrinks_what_is_larger_and_keeps_the_rest(pictures):
    sheet = fv.grid(pictures, columns=7, captions=False, cell=12)
    assert sheet.size == (7 * (12 + 6) + 6, (8 if round(17 / 2) == 8 else 9) + 12)
    assert fv.grid(pictures, cell=99, columns=3).tobytes() == fv.grid(pictures, columns=3).tobytes()
    with pytest.raises(fv.UserError, match="at least one pixel"):
        fv.grid(pictures, cell=0)


def test_strips_begin_anew_with_each_layer(pictures):
    others = [replace(picture, layer="other") for picture in pictures[:2]]
    sheet = fv.grid([pictures[0], others[0], *pictures[1:], others[1]], by_layer=True, title="both")
    first, second = fv.grid(pictures, 7, title="norm"), fv.grid(others, 7, title="other")
    assert sheet.height == 30 + first.height + second.height
    assert sheet.width == first.width
    assert sheet.crop((0, 30, first.width, 30 + first.height)).tobytes() == first.tobytes()
    assert [holds(sheet, picture) for picture in pictures] == [2, 2] + [1] * 5


def test_pictures_tensors_arrays_and_pil_images_stand_in_one_grid(pictures):
    one = pictures[0]
    forms = [one, one.image, one.levels, one.levels.transpose(1, 2, 0), one.to_pil()]
    assert holds(fv.grid(forms), one) == 5
    assert holds(fv.grid(form for form in forms[1:]), one, 1) == 4, "without captions nothing is enlarged"
    assert holds(fv.grid(one), one) == holds(fv.grid(one.image), one, 1) == 1
    strips = fv.grid(forms, by_layer=True)
    assert holds(strips, one) == 1
    assert holds(strips, one, 1) == 4
    with pytest.raises(fv.CanvasError, match=r"an image of a grid.*got int"):
        fv.grid([one, 3])
    with pytest.raises(fv.UserError, match="at least one picture"):
        fv.grid(form for form in [])
