"""Image files: one reader for every door, and one writer that goes by the name."""

from __future__ import annotations

import ast
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import featvis as fv
from featvis.cli import main
from featvis.errors import FeatvisWarning
from featvis.photographs.photos import read_photo
from featvis.run.redraw import lay_photograph
from tests.networks import small

RAMP = np.linspace(0, 255, 24 * 16).reshape(16, 24).round().astype(np.uint8)


def rgb():
    return np.stack([RAMP, RAMP[::-1], 255 - RAMP], axis=2)


def rotated(path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, as a telephone held upright writes it
    Image.fromarray(np.ascontiguousarray(np.rot90(rgb()))).save(path, exif=exif)


def sixteen(path):
    Image.fromarray(RAMP.astype(np.uint16) * 257).save(path)


def floating(top):
    return lambda path: Image.fromarray(RAMP.astype(np.float32) / 255 * top).save(path)


def whole(path):
    Image.fromarray(RAMP.astype(np.int32) * 257).save(path)


def wide(path):
    Image.fromarray((RAMP.astype(np.int64) * 8_000_000).astype(np.int32)).save(path)


def unsigned(path):
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(path, RAMP.astype(np.uint32) * 16_843_009)  # up to the last of 32 bits


def signed(path):
    levels = RAMP.astype(np.int32) * 257
    levels[:, 0] = -5
    Image.fromarray(levels).save(path)


def not_finite(path):
    levels = RAMP.astype(np.float32) / 255
    levels[0, :2], levels[15, 23] = (np.nan, np.inf), 1
    Image.fromarray(levels).save(path)


def transparent(path):
    alpha = np.where(np.arange(24) < 12, 255, 0).astype(np.uint8)[None].repeat(16, 0)
    Image.fromarray(np.dstack([rgb(), alpha])).save(path)


def palette(path):
    Image.fromarray(RAMP).convert("P").save(path)


def palette_with_a_clear_colour(path):
    image = Image.fromarray(np.where(np.arange(24) < 12, 0, 1).astype(np.uint8)[None].repeat(16, 0), "P")
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.save(path, transparency=1)


def cmyk(path):
    Image.fromarray(rgb()).convert("CMYK").save(path)


def bilevel(path):
    Image.fromarray(RAMP > 127).save(path)


GRAY = RAMP[..., None].repeat(3, 2)
WHITE = np.where(np.arange(24)[None, :, None] < 12, rgb(), 255)
CLEAR = np.where(np.arange(24)[None, :, None] < 12, np.array([255, 0, 0]), 255).repeat(16, 0)
FILES = {
    "16-bit.png": (sixteen, GRAY),
    "16-bit.tif": (sixteen, GRAY),
    "float to 1.tif": (floating(1.0), GRAY),
    "float to 255.tif": (floating(255.0), GRAY),
    "float to 65535.tif": (floating(65535.0), GRAY),
    "32-bit of 16.tif": (whole, GRAY),
    "32-bit.tif": (wide, GRAY),
    "32-bit without sign.tif": (unsigned, GRAY),
    "32-bit with sign.tif": (signed, np.where(np.arange(24)[None, :, None] == 0, 0, GRAY)),
    "rotated.jpg": (rotated, None),
    "rotated.png": (rotated, rgb()),
    "alpha.png": (transparent, WHITE),
    "alpha.webp": (lambda path: transparent(path.with_suffix(".png")) or resave(path), None),
    "palette.png": (palette, GRAY),
    "clear.png": (palette_with_a_clear_colour, CLEAR),
    "clear.gif": (palette_with_a_clear_colour, CLEAR),
    "cmyk.tif": (cmyk, rgb()),
    "cmyk.jpg": (cmyk, None),
    "bilevel.png": (bilevel, np.where(GRAY > 127, 255, 0)),
    "gray.png": (lambda path: Image.fromarray(RAMP).save(path), GRAY),
    "rgb.bmp": (lambda path: Image.fromarray(rgb()).save(path), rgb()),
}


def resave(path):
    with Image.open(path.with_suffix(".png")) as image:
        image.save(path, lossless=True)


@pytest.mark.parametrize("name", FILES)
def test_every_door_reads_what_its_maker_saw(name, tmp_path):
    make, wanted = FILES[name]
    path = tmp_path / name
    make(path)
    image = fv.load_image(path, channels=3)
    assert image.shape == (3, 16, 24)
    levels = (image * 255).round().byte().permute(1, 2, 0).numpy()
    if wanted is not None:
        assert np.abs(levels.astype(int) - wanted).max() <= 1
    else:  # what JPEG and WebP make of it
        near = WHITE if "alpha" in name else rgb()
        assert np.abs(levels.astype(int) - near).mean() < 25
    assert (np.asarray(read_photo(path, 3)) == levels).all()
    laid = lay_photograph(small(size=(16, 24)), path, (16, 24))
    assert torch.equal(laid, image)
    gray = fv.load_image(path, channels=1)
    assert gray.shape == (1, 16, 24)
    assert float(gray.std()) > 0.1 or "clear" in name


def test_numbers_that_are_none_are_black(tmp_path):
    not_finite(tmp_path / "x.tif")
    levels = (fv.load_image(tmp_path / "x.tif", channels=1)[0] * 255).round().numpy()
    assert (levels[0, :2] == 0).all()
    assert np.abs(levels[1:] - RAMP[1:]).max() <= 1


@pytest.mark.usefixtures("embedded_once")
@pytest.mark.parametrize("name", ["x.gif", "x.png", "x.webp", "x.tif"])
def test_of_an_animation_the_first_frame_is_read_and_that_is_said(name, tmp_path, monkeypatch, capsys):
    frames = [Image.new("RGB", (24, 16), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    with pytest.warns(FeatvisWarning, match="has 3 frames; the first is read"):
        image = fv.load_image(tmp_path / name, channels=3)
    assert image[:, 8, 12].tolist() == pytest.approx([1, 0, 0], abs=0.02)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_photo(tmp_path / name, 3).getpixel((0, 0))[0] > 250, (
            "in a folder of thousands nothing is said"
        )
    monkeypatch.chdir(tmp_path)
    typed = ["dream", name, "-l", "blocks.0", "--size", "48x48", "--steps", "1", "--octaves", "1"]
    assert main(typed) == 0
    assert capsys.readouterr().err.count("has 3 frames; the first is read") == 1


@pytest.mark.parametrize("kind", ["text", "empty", "cut short", "folder", "absent", "eps"])
def test_what_is_no_image_is_one_line(kind, tmp_path):
    path = tmp_path / "x.png"
    if kind == "folder":
        path.mkdir()
    elif kind == "cut short":
        Image.fromarray(rgb()).save(path)
        path.write_bytes(path.read_bytes()[:60])
    elif kind == "eps":
        path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n")
    elif kind != "absent":
        path.write_bytes(b"hello" if kind == "text" else b"")
    with pytest.raises(fv.OutputError) as caught:
        fv.load_image(path, channels=3)
    assert "\n" not in str(caught.value)
    assert "x.png" in str(caught.value)
    assert read_photo(path, 3) is None


@pytest.fixture(scope="module")
def picture():
    return fv.render(small(), "conv1:2", size=(17, 24), steps=2, lanes=1)[0]


FORMATS = {".png": "PNG", ".jpg": "JPEG", ".JPEG": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}
FORMATS |= {".bmp": "BMP", "": "PNG"}


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_picture_is_saved_in_the_format_of_its_name(suffix, picture, tmp_path):
    path = picture.save(tmp_path / f"x{suffix}")
    with Image.open(path) as opened:
        assert opened.format == FORMATS[suffix]
        levels = np.asarray(opened.convert("RGB")).transpose(2, 0, 1).astype(int)
    far = np.abs(levels - picture.levels)
    assert far.mean() < 6 if FORMATS[suffix] == "JPEG" else far.max() == 0
    if FORMATS[suffix] == "PNG":
        assert path.read_bytes() == picture.png()
        assert fv.load_picture(path).key == picture.key


@pytest.mark.parametrize("name", ["x.gif", "x.pdf", "x.xyz", "x.npy", "x.png.txt"])
def test_a_name_of_another_format_is_refused_and_writes_nothing(name, picture, tmp_path):
    with pytest.raises(fv.OutputError, match=r"images are written as \.png, \.jpg"):
        picture.save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_transparency_is_not_lost_in_silence(tmp_path):
    told = {"size": (17, 24), "steps": 2, "lanes": 1, "space": "alpha"}
    (cut,) = fv.render(small(), "conv1:2", penalties=[{"name": "alpha", "weight": 1}], **told)
    with pytest.raises(fv.OutputError, match="JPEG holds no transparency"):
        cut.save(tmp_path / "x.jpg")
    with Image.open(cut.save(tmp_path / "x.webp")) as opened:
        assert opened.mode == "RGBA"


@pytest.mark.usefixtures("embedded_once")
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_commands_write_by_the_name_too(suffix, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["weights", "conv_stem", "--units", "0:4", "--out", f"w.{suffix}"]) == 0
    with Image.open(f"w.{suffix}") as opened:
        assert opened.format == {"jpg": "JPEG", "png": "PNG"}[suffix]
    capsys.readouterr()
    for command in (["weights", "conv_stem"], ["reproduce", f"w.{suffix}"]):
        assert main([*command, "--out", "w.xyz"]) == 2
        assert "images are written as" in capsys.readouterr().err


def test_images_are_opened_by_one_reader():
    """The one that names the formats; what featvis has in memory itself is no file of others."""
    own = {"read.py"}
    package = Path(fv.__file__).parent
    for path in package.rglob("*.py"):
        opens = [
            node
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Image.open"
        ]
        assert not opens or path.name in own, path
