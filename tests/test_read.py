"""Reading what somebody else made: every file ends in what it holds or in one error, at little cost."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featvis.errors import OutputError
from featvis.read import (
    DEPTH,
    FORMATS,
    IMAGE_BYTES,
    TOML_BYTES,
    check_depth,
    check_file,
    open_image,
    parse_json,
    parse_toml,
    read_file,
    read_json,
    read_toml,
)


def test_only_regular_files_are_read(tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    assert check_file(tmp_path / "file") == 5
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert read_file(tmp_path / "link", 5) == b"12345"
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, says in [
        ("pipe", "pipe or device"),
        (".", "a folder"),
        ("gone", "no picture"),
        ("file/below", "no picture"),
        ("loop", "cannot be read"),
        ("a\0b", "cannot be read"),
        ("x" * 300, "cannot be read"),
    ]:
        with pytest.raises(OutputError, match=says) as caught:
            check_file(tmp_path / name, what="picture")
        assert "\n" not in str(caught.value)
    with pytest.raises(OutputError, match="pipe or device"):
        read_file(type(tmp_path)("/dev/zero"), None)


def test_what_is_too_large_is_not_read(tmp_path):
    (tmp_path / "sparse").touch()
    os.truncate(tmp_path / "sparse", 10**12)
    began = time.monotonic()
    for read in (
        read_toml,
        read_json,
        lambda path: read_file(path, 10**6),
        lambda path: open_image(path).__enter__(),
    ):
        with pytest.raises(OutputError, match="too large"):
            read(tmp_path / "sparse")
    assert time.monotonic() - began < 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a" + ".a" * 10**5 + " = 1", "more than 64 dots"),
        ("[a" + " . a" * 10**5 + "]", "more than 64 dots"),
        ("x = {'a'" + ".'a'" * 10**5 + " = 1}", "more than 64 dots"),
        ("a" + '."a.b"' * 10**5 + " = 1", "more than 64 dots"),
        ("x = " + "[" * 10**4 + "]" * 10**4, "nested too deeply"),
        ("x = " + "{a = " * 10**4 + "1" + "}" * 10**4, "nested too deeply"),
        ("x = " + "[" * (DEPTH + 1) + "]" * (DEPTH + 1), "nested too deeply"),
        ("x = " + "9" * 10**5, "digits"),
        ("x = '''" + "'" * 2 + "a" * 10**5, "Expected"),
        ("x = = 1", "Invalid value"),
    ],
)
def test_toml_that_would_take_long_is_refused_at_once(text, says):
    began = time.monotonic()
    with pytest.raises(ValueError, match=says):
        parse_toml(text)
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    "text",
    [
        "a" + ".a" * 60 + " = 1",
        "x = '" + "a." * 500 + "'\n# " + "b." * 500,
        'x = """\n' + "a.\n" * 500 + '"""',
        "x = [" + "1.5, " * 10_000 + "]",
        "x = " + "[" * (DEPTH - 1) + "]" * (DEPTH - 1),
        "x = 'its'\ny = \"it's\"",
        'x = "a \\" # b"\ny = 2',
    ],
)
def test_other_toml_is_read_as_python_reads_it(text):
    import tomllib

    assert parse_toml(text) == tomllib.loads(text)


def test_a_toml_file_is_utf_8_and_not_too_long(tmp_path):
    path = tmp_path / "x.toml"
    path.write_bytes(b"x = '\xff'")
    with pytest.raises(OutputError, match="does not read as TOML"):
        read_toml(path)
    path.write_text("x = 1\n#" + "a" * (TOML_BYTES - 7))
    assert read_toml(path) == {"x": 1}
    path.write_text("x = 1\n#" + "a" * (TOML_BYTES - 6))
    with pytest.raises(OutputError, match="too large"):
        read_toml(path)


def test_json_is_bounded_by_what_it_would_take(tmp_path):
    assert parse_json(b'{"a": [1, null]}') == {"a": [1, None]}
    for text in ("[" * 10**5, '{"a":' * 10**5, "{", "\udcff", "9" * 5000):
        with pytest.raises(ValueError, match=r"."):
            parse_json(text)
    with pytest.raises(UnicodeDecodeError):
        parse_json(b"\xff")
    with pytest.raises(OutputError, match=r"would take .* GiB"):
        parse_json(b"[" + b"[]," * 10**7 + b"[]]")
    # A manifest of 20,000 pictures with a trace each is nothing.
    entry = {"target": "a:1", "seed": 0, "key": "0" * 32, "trace": [0.125] * 64, "label": "x" * 60}
    text = json.dumps([entry] * 20_000)
    assert len(parse_json(text)) == 20_000
    (tmp_path / "x.json").write_text(text)
    assert len(read_json(tmp_path / "x.json")) == 20_000
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "gone.json")


def test_depth_is_counted_in_lists_and_tables():
    value = 1
    for _ in range(DEPTH):
        value = [value] if isinstance(value, dict) else {"a": value}
    check_depth(value)
    with pytest.raises(ValueError, match="too deeply"):
        check_depth([value])
    check_depth({}, 1)
    check_depth([1, 2, 3], 1)


def test_listed_formats_are_read_and_no_others(tmp_path):
    image = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    for kind in ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM"):
        image.save(tmp_path / "x", kind)
        with open_image(tmp_path / "x") as opened:
            assert opened.size == (4, 4)
    assert not {"EPS", "PS", "FITS", "WMF", "PSD", "ICNS", "PDF"} & set(FORMATS)
    for kind in ("EPS", "TGA", "PCX", "ICNS", "SGI"):
        image.resize((64, 64)).save(tmp_path / "x", kind)
        with pytest.raises(OutputError, match="no readable image"), open_image(tmp_path / "x"):
            pytest.fail("read")
    image.save(tmp_path / "x", "JPEG")
    with pytest.raises(OutputError, match="no readable PNG"), open_image(tmp_path / "x", ("PNG",)):
        pytest.fail("read")


def test_no_ghostscript_is_called(tmp_path, monkeypatch):
    import subprocess

    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program was run"))
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png", "EPS")
    with pytest.raises(OutputError), open_image(tmp_path / "x.png") as opened:
        opened.load()


def test_bombs_and_broken_images_are_one_error(tmp_path, monkeypatch):
    Image.new("1", (3000, 3000)).save(tmp_path / "x.png")
    whole = (tmp_path / "x.png").read_bytes()
    for limit in (10**6, 10**7 - 10**6 - 1):  # more than twice Pillow's limit, and less
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(OutputError), open_image(tmp_path / "x.png"):
            pytest.fail("read")
    monkeypatch.undo()
    for content in (b"", whole[:8], whole[:40], whole[: len(whole) // 2], b"x" * 100):
        (tmp_path / "x.png").write_bytes(content)
        with pytest.raises(OutputError, match=r"no readable image"), open_image(tmp_path / "x.png") as opened:
            opened.load()
    assert IMAGE_BYTES > 4 * Image.MAX_IMAGE_PIXELS, "what Pillow's limit allows fits"


def test_files_of_others_are_parsed_and_opened_in_one_place():
    import featvis

    package = Path(featvis.__file__).parent
    for path in sorted(package.rglob("*.py")):
        text = path.read_text("utf-8")
        for call in ("Image.open(", "json.load", "tomllib.load", "np.load("):
            allowed = path.name == "read.py" or (call, path.name) == ("np.load(", "statistics.py")
            assert call not in text or allowed, f"{path} has {call}: read.py reads what somebody else made"
