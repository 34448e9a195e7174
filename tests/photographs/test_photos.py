"""Files of a folder, and what is read from them."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

import featvis as fv
from featvis.photographs.framing import frame_middle, frame_whole
from featvis.photographs.photos import list_files, read_ahead, read_photo

RED, GREEN = (200, 10, 30), (20, 180, 60)


def two_halves(mode="RGB"):
    """Red on the left, green on the right; 8 rows by 12 columns."""
    image = Image.new("RGB", (12, 8), RED)
    image.paste(GREEN, (6, 0, 12, 8))
    return image.quantize(4) if mode == "P" else image.convert(mode)


def levels(path, channels=3):
    return np.asarray(read_photo(path, channels)).astype(int)


@pytest.mark.parametrize("mode", ["RGB", "P", "RGBA", "L", "LA", "1", "CMYK"])
def test_modes(tmp_path, mode):
    path = tmp_path / f"photo.{'tif' if mode == 'CMYK' else 'png'}"
    two_halves(mode).save(path)
    read = levels(path)
    assert read.shape == (8, 12, 3)
    expected = np.asarray(two_halves().convert("1" if mode == "1" else "RGB").convert("RGB")).astype(int)
    if mode in ("L", "LA"):
        expected = np.asarray(two_halves("L").convert("RGB")).astype(int)
    assert abs(read - expected).max() <= 2
    grey = levels(path, 1)
    assert grey.shape == (8, 12)


def test_a_cmyk_jpeg(tmp_path):
    two_halves("CMYK").save(tmp_path / "photo.jpg", quality=95)
    read = levels(tmp_path / "photo.jpg")
    assert abs(read[4, 1] - RED).max() < 25
    assert abs(read[4, 10] - GREEN).max() < 25


@pytest.mark.parametrize(
    ("orientation", "corner"),
    [(1, (0, 0)), (3, (7, 11)), (6, (0, 7)), (8, (11, 0)), (2, (0, 11)), (5, (0, 0))],
)
def test_what_a_camera_wrote_on_orientation_is_applied(tmp_path, orientation, corner):
    image = Image.new("RGB", (12, 8), (0, 0, 0))
    image.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "photo.png", exif=exif)
    read = levels(tmp_path / "photo.png")
    assert read.shape[:2] == ((12, 8) if orientation >= 5 else (8, 12))
    assert np.argwhere(read[:, :, 0] == 255).tolist() == [list(corner)]


def test_what_is_transparent_lies_on_white(tmp_path):
    image = two_halves("RGBA")
    image.putalpha(Image.new("L", (12, 8), 0))
    image.putpixel((2, 3), (*RED, 255))
    image.putpixel((3, 3), (0, 0, 0, 128))
    image.save(tmp_path / "photo.png")
    read = levels(tmp_path / "photo.png")
    assert read[0, 0].tolist() == [255, 255, 255]
    assert read[3, 2].tolist() == list(RED)
    assert read[3, 3].tolist() == [127, 127, 127]
    palette = two_halves("P")
    palette.save(tmp_path / "palette.png", transparency=palette.getpixel((0, 0)))
    read = levels(tmp_path / "palette.png")
    assert read[0, 0].tolist() == [255, 255, 255]
    assert abs(read[0, 11] - GREEN).max() <= 2


def test_sixteen_bits_and_floating_point(tmp_path):
    ramp = np.linspace(0, 65535, 96).reshape(8, 12)
    Image.fromarray(ramp.astype(np.uint16)).save(tmp_path / "sixteen.png")
    Image.fromarray(ramp.astype(np.int32)).save(tmp_path / "thirtytwo.tif")
    Image.fromarray((ramp / 65535).astype(np.float32)).save(tmp_path / "unit.tif")
    Image.fromarray((ramp / 257).astype(np.float32)).save(tmp_path / "byte.tif")
    for path in sorted(tmp_path.iterdir()):
        assert abs(levels(path)[:, :, 1] - ramp / 257).max() <= 0.51, path.name


def test_of_an_animation_the_first_frame_counts(tmp_path):
    frames = [Image.new("RGB", (12, 8), color) for color in (RED, GREEN)]
    frames[0].save(tmp_path / "photo.gif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "photo.webp", save_all=True, append_images=frames[1:], lossless=True)
    for name in ("photo.gif", "photo.webp"):
        assert abs(levels(tmp_path / name)[0, 0] - RED).max() <= 2


def test_what_is_no_photograph_is_none(tmp_path, monkeypatch):
    two_halves().resize((300, 200)).save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "noise.jpg").write_bytes(b"\xff\xd8\xff" + bytes(range(256)) * 4)
    (tmp_path / "text.png").write_text("hello")
    # Ghostscript would run it.
    (tmp_path / "program.eps").write_text(
        "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    )
    for name in ("cut.png", "noise.jpg", "text.png", "program.eps", "nowhere.png"):
        assert read_photo(tmp_path / name, 3) is None, name
    assert read_photo(tmp_path / "whole.png", 3).size == (300, 200)
    for limit in (40_000, 25_000):  # Pillow warns up to twice its limit and raises beyond
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        assert read_photo(tmp_path / "whole.png", 3) is None


def test_files_are_sorted_and_the_fingerprint_is_of_paths_sizes_and_times(tmp_path):
    folder = tmp_path / "photos"
    for name in ("b/2.png", "a.png", "b/1.png", "B.png", "b-c.png", ".hidden/3.png", "b/.hidden.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"12")
        os.utime(folder / name, ns=(5, 5))
    (folder / "loop").symlink_to(folder)
    os.mkfifo(folder / "pipe.png")
    first = list_files(folder)
    assert first.names == ("B.png", "a.png", "b-c.png", "b/1.png", "b/2.png")
    assert list_files(folder).fingerprint == first.fingerprint
    (folder / ".hidden" / "4.png").write_bytes(b"")
    assert list_files(folder).fingerprint == first.fingerprint
    seen = {first.fingerprint}
    os.utime(folder / "a.png", ns=(6, 6))
    seen.add(list_files(folder).fingerprint)
    (folder / "a.png").write_bytes(b"123")
    os.utime(folder / "a.png", ns=(6, 6))
    seen.add(list_files(folder).fingerprint)
    (folder / "a.png").rename(folder / "c.png")
    seen.add(list_files(folder).fingerprint)
    assert len(seen) == 4


def test_our_own_output_is_no_photograph(tmp_path):
    (tmp_path / "a.png").write_bytes(b"1")
    for out in (tmp_path, tmp_path / "gallery"):
        (out / "examples" / "conv").mkdir(parents=True, exist_ok=True)
        (out / "examples" / "conv" / "0000-0.webp").write_bytes(b"1")
        (out / "examples.json").write_bytes(b"{}")
        for known in ("a.png",):
            names = list_files(tmp_path, out).names
            assert known in names
            assert not [name for name in names if name.startswith(out.relative_to(tmp_path).as_posix() + "/")]
    assert list_files(tmp_path, tmp_path / "gallery").names == (
        "a.png", "examples.json", "examples/conv/0000-0.webp",
    )  # fmt: skip


def test_a_folder_that_is_none(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(fv.UserError, match="does not exist"):
        list_files(tmp_path / "nowhere")
    with pytest.raises(fv.UserError, match="is a file"):
        list_files(tmp_path / "file")


def test_reading_ahead_keeps_the_order_and_is_bounded():
    begun = []

    def read(name):
        begun.append(name)
        return name * 2

    reader = read_ahead(read, [str(n) for n in range(50)], ahead=5)
    assert next(reader) == "00"
    assert len(begun) <= 6
    assert list(reader) == [str(n) * 2 for n in range(1, 50)]
    dropped = read_ahead(read, ["a"] * 50, ahead=3)
    next(dropped)
    dropped.close()
    assert begun.count("a") <= 4


@pytest.mark.parametrize(
    ("photo", "short", "canvas"),
    [((300, 451), 224, (224, 337)), ((451, 300), 224, (337, 224)), ((50, 50), 224, (224, 224)),
     ((10, 400), 20, (20, 80)), ((400, 10), 20, (80, 20))],
)  # fmt: skip
def test_the_shorter_side_is_the_networks(photo, short, canvas):
    assert frame_whole(photo, short).canvas == canvas


def test_boxes_go_back_to_the_photographs_pixels():
    frame = frame_whole((448, 600), 224)
    assert frame.canvas == (224, 300)
    assert frame.box((0, 7), (290, 310)) == (0, 580, 14, 20)
    assert frame.box((-5, 3), None) == (0, 0, 6, 600)
    # a third of a pixel is taken whole
    assert frame_whole((300, 400), 90).box((1, 2), (89, 90)) == (3, 296, 4, 4)
    # of a long photograph the middle is shown
    assert frame_whole((10, 400), 20).box(None, None) == (0, 180, 10, 40)
    assert frame_whole((10, 400), 20).box((2, 4), (0, 2)) == (1, 180, 1, 1)
    assert frame_middle((100, 400), (50, 50)).box(None, (0, 25)) == (0, 150, 100, 50)
    assert frame_whole((20, 37), 40, multiple=8).canvas == (40, 72)


def test_the_region_is_what_is_laid_on_the_canvas(tmp_path):
    photo = Image.new("RGB", (400, 100), (0, 0, 0))
    photo.paste((255, 255, 255), (150, 0, 250, 100))
    shown = frame_middle((100, 400), (50, 50)).lay(photo, Image.Resampling.BICUBIC)
    assert shown.shape == (3, 50, 50)
    assert shown[:, :, 1:-1].min() == 255
    assert shown.min() > 200, "the filter reaches over the edge, as if all were resized and then cut"
