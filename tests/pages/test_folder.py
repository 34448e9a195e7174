"""write_pages: only what changed is written, only what it wrote is removed, nothing outside is touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import featvis
from featvis.errors import OutputError
from featvis.pages.compose import make_pages
from featvis.pages.folder import write_pages
from tests.pages.manifests import entry, manifest, rich, thumbnails, write_folder
from tests.pages.markup import Page


@pytest.fixture
def gallery(tmp_path):
    return write_folder(tmp_path / "gallery", *rich())


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def times(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def change(folder, function):
    told = json.loads((folder / "manifest.json").read_text("utf-8"))
    function(told)
    (folder / "manifest.json").write_text(json.dumps(told), "utf-8")


def page(folder, name):
    return Page((folder / name).read_text("utf-8"))


def test_pages_and_thumbnails_are_written_beside_the_pictures(gallery):
    before = files(gallery)
    written = write_pages(gallery)
    told, examples = rich()
    expected = set(make_pages(told, examples)) | thumbnails(told)
    assert {path.relative_to(gallery).as_posix() for path in written} == expected
    assert written[0] == gallery / "index.html"
    assert files(gallery) == before | expected | {"site/pages.json"}
    for name, text in make_pages(told, examples).items():
        assert (gallery / name).read_text("utf-8") == text
    with Image.open(gallery / "blocks.3/thumbs/0000.webp") as small:
        assert (small.format, small.size) == ("WEBP", (32, 24))


def test_a_second_run_touches_nothing(gallery):
    write_pages(gallery)
    before = times(gallery)
    assert write_pages(gallery) == []
    assert times(gallery) == before


def test_only_what_changed_is_written(gallery):
    write_pages(gallery)
    before = times(gallery)

    def rise(told):
        (one,) = [one for one in told["pictures"] if one["target"] == "blocks.3:2"]
        one["score"] = 77.0

    change(gallery, rise)
    written = {path.relative_to(gallery).as_posix() for path in write_pages(gallery)}
    assert written == {"blocks.3/0002.html", "blocks.3/index.html", "site/units.js"}
    after = times(gallery)
    assert {path.relative_to(gallery).as_posix() for path in after if after[path] != before[path]} == (
        written | {"manifest.json"}
    )


@pytest.mark.parametrize(
    ("size", "small"), [((300, 200), (128, 85)), ((96, 384), (32, 128)), ((5, 3), (5, 3))]
)
def test_a_thumbnail_is_at_most_128_pixels_and_keeps_its_shape(tmp_path, size, small):
    folder = write_folder(tmp_path, manifest(entry()))
    height, width = size
    Image.linear_gradient("L").resize((width, height)).save(folder / "blocks.3/0000.png")
    write_pages(folder)
    with Image.open(folder / "blocks.3/thumbs/0000.webp") as opened:
        assert (opened.height, opened.width) == small
        first, last = opened.convert("L").getpixel((0, 0)), opened.convert("L").getpixel((0, small[0] - 1))
        assert first + 100 < last, "it shows the picture"
    image = page(folder, "blocks.3/index.html").all("img")[0]
    assert (int(image["height"]), int(image["width"])) == small, "the file's own size, not the recipe's"


def test_a_thumbnail_is_made_anew_when_its_picture_is(gallery):
    write_pages(gallery)
    small, picture = gallery / "blocks.3/thumbs/0001.webp", gallery / "blocks.3/0001.png"
    before = small.read_bytes()
    Image.new("RGB", (32, 24), "red").save(picture)
    os.utime(picture, ns=(0, small.stat().st_mtime_ns + 10**9))
    assert write_pages(gallery) == [small]
    assert small.read_bytes() != before
    assert small.stat().st_mtime_ns >= picture.stat().st_mtime_ns - 10**9
    # The same picture, copied: looked at once, not written.
    for other in gallery.rglob("*.png"):
        other.touch()
    assert write_pages(gallery) == []
    small.unlink()
    assert write_pages(gallery) == [small]


def test_a_missing_or_damaged_picture_is_marked_and_the_rest_is_shown(gallery):
    write_pages(gallery)
    (gallery / "blocks.3/0000.png").unlink()
    (gallery / "blocks.3/0001.png").write_bytes((gallery / "blocks.3/0001.png").read_bytes()[:-900])
    (gallery / "blocks.3/0002.png").write_bytes(b"torn")
    for name in ("0001.png", "0002.png"):
        os.utime(gallery / "blocks.3" / name, (2**31, 2**31))
    (gallery / "examples/blocks.3/0012-1.webp").unlink()
    write_pages(gallery)
    layer = page(gallery, "blocks.3/index.html")
    assert [told["aria-label"] for told in layer.all("span", class_="blank")][:3] == [
        f"unit {unit}: no picture, missing" for unit in range(3)
    ]
    assert "its file is not in this folder" in page(gallery, "blocks.3/0000.html").text
    assert "its file is damaged" in page(gallery, "blocks.3/0001.html").text
    assert "its file is damaged" in page(gallery, "blocks.3/0002.html").text
    assert not {f"blocks.3/thumbs/{unit:04d}.webp" for unit in range(3)} & files(gallery)
    assert len(layer.all("img")) == 5
    assert len(page(gallery, "blocks.3/0012.html").all("ol", class_="crops")) == 1
    assert "0012-1.webp" not in (gallery / "blocks.3/0012.html").read_text("utf-8")


def test_what_is_gone_from_the_manifest_is_removed_and_nothing_else(gallery):
    write_pages(gallery)
    mine = gallery / "classifier/notes.html"
    mine.write_text("my notes")

    def forget(told):
        told["pictures"] = [
            one for one in told["pictures"] if one["layer"] != "classifier" and one["target"] != "blocks.3:4"
        ]

    change(gallery, forget)
    before = files(gallery)
    write_pages(gallery)
    assert before - files(gallery) == {
        "blocks.3/0004.html",
        "blocks.3/thumbs/0004.webp",
        "classifier/index.html",
        *(f"classifier/{unit:04d}.html" for unit in (1, 263, 264)),
        *(f"classifier/thumbs/{unit:04d}.webp" for unit in (1, 263, 264)),
    }
    assert not (gallery / "classifier/thumbs").exists()
    assert mine.read_text() == "my notes"
    assert (gallery / "classifier/0263.png").is_file(), "pictures are never removed"


def test_folders_that_it_made_and_that_are_empty_go_too(tmp_path):
    told = manifest(entry("a", 1), entry("b", 2, status="dead", file=None))
    write_folder(tmp_path, told)
    write_pages(tmp_path)
    assert (tmp_path / "b").is_dir()
    change(tmp_path, lambda told: told["pictures"].pop())
    write_pages(tmp_path)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    "name",
    [
        "../outside.html",
        "blocks.3/0000.png",
        "manifest.json",
        "examples/blocks.3/0012-0.webp",
        "/etc/hosts.html",
        "blocks.3/mine.html",
        "site/../../outside.html",
        7,
        None,
    ],
)
def test_a_forged_list_removes_nothing(gallery, name):
    write_pages(gallery)
    outside = gallery.parent / "outside.html"
    outside.write_text("not yours")
    (gallery / "blocks.3/mine.html").write_text("mine")
    (gallery / "site/pages.json").write_text(json.dumps({"files": [name]}))
    before = files(gallery)
    write_pages(gallery)
    assert files(gallery) == before
    assert outside.read_text() == "not yours"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"files": 3}', '{"files": {"a": 1}}'])
def test_a_damaged_list_is_made_anew(gallery, text):
    write_pages(gallery)
    path = gallery / "site/pages.json"
    sound = path.read_text()
    path.write_text(text)
    assert write_pages(gallery) == []
    assert path.read_text() == sound


def test_a_page_of_another_hand_is_not_replaced(gallery):
    (gallery / "index.html").write_text("<title>my own</title>")
    before = files(gallery)
    with pytest.raises(OutputError, match=r"index\.html was not made by featvis; move it away"):
        write_pages(gallery)
    assert files(gallery) == before
    assert (gallery / "index.html").read_text() == "<title>my own</title>"


def test_a_folder_that_leads_outside_is_refused(tmp_path):
    folder = write_folder(tmp_path / "gallery", manifest(entry(), entry("b", 1, status="dead", file=None)))
    (tmp_path / "outside").mkdir()
    (folder / "b").symlink_to(tmp_path / "outside")
    with pytest.raises(OutputError, match="leads out of"):
        write_pages(folder)
    assert list((tmp_path / "outside").iterdir()) == []
    assert not (folder / "index.html").exists()


def test_a_picture_that_leads_outside_is_not_shown(gallery):
    secret = gallery.parent / "secret.png"
    Image.new("RGB", (8, 8), "red").save(secret)
    (gallery / "examples/blocks.3/0012-0.webp").unlink()
    (gallery / "examples/blocks.3/0012-0.webp").symlink_to(secret)
    write_pages(gallery)
    assert "0012-0.webp" not in (gallery / "blocks.3/0012.html").read_text("utf-8")


@pytest.mark.parametrize("name", ["../secret.png", "/secret.png"])
def test_a_manifest_that_points_outside_is_not_trusted(tmp_path, name):
    folder = write_folder(tmp_path / "gallery", manifest(entry(unit=1), entry(unit=2)))
    Image.new("RGB", (8, 8), "red").save(tmp_path / "secret.png")
    change(folder, lambda told: told["pictures"][1].update(file=name))
    # These pictures of noise carry nothing to rebuild it from.
    with pytest.raises(OutputError, match="holds no pictures"):
        write_pages(folder)
    assert not list(tmp_path.rglob("*.webp"))


def test_a_separator_of_another_system_is_no_path(tmp_path):
    folder = write_folder(tmp_path / "gallery", manifest(entry(unit=1), entry(unit=2)))
    (folder / "a\\..\\secret.png").write_bytes((folder / "blocks.3/0001.png").read_bytes())
    change(folder, lambda told: told["pictures"][1].update(file="a\\..\\secret.png"))
    write_pages(folder)
    assert all("secret" not in path.read_text("utf-8") for path in folder.rglob("*.html"))
    assert [path.name for path in folder.rglob("*.webp")] == ["0001.webp"]


def test_what_an_interrupted_run_left_is_cleared(gallery):
    for name in (
        "blocks.3/.0000.html.abc123_x.part",
        "site/.gallery.css.abc.part",
        "blocks.3/thumbs/.0.webp.q.part",
    ):
        (gallery / name).parent.mkdir(exist_ok=True)
        (gallery / name).write_bytes(b"half")
    render = gallery / "blocks.3/.0000.png.abc.part"
    render.write_bytes(b"a picture that is being written")
    write_pages(gallery)
    assert [name for name in files(gallery) if name.endswith(".part")] == [
        render.relative_to(gallery).as_posix()
    ]


def test_an_interrupted_run_leaves_no_page_behind_for_good(gallery, monkeypatch):
    from featvis.pages import folder

    write = folder.write_whole

    def fail(path, content, **options):
        if path.name == "0005.html":
            raise OutputError("cannot write: No space left on device")
        return write(path, content, **options)

    monkeypatch.setattr(folder, "write_whole", fail)
    with pytest.raises(OutputError, match="No space left"):
        write_pages(gallery)
    monkeypatch.undo()
    assert (gallery / "blocks.3/0004.html").is_file()
    change(gallery, lambda told: told["pictures"].pop(4))
    write_pages(gallery)
    assert not (gallery / "blocks.3/0004.html").exists()


@pytest.mark.parametrize("text", ["{", "[1]", "\udcff"])
def test_damaged_examples_are_told(gallery, text):
    (gallery / "examples.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(OutputError, match=r"examples\.json .*delete it or make it anew"):
        write_pages(gallery)


def test_what_is_no_gallery_is_refused(tmp_path):
    with pytest.raises(OutputError, match="no folder"):
        write_pages(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="is a file"):
        write_pages(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(OutputError, match="holds no pictures"):
        write_pages(tmp_path / "empty")
    assert list((tmp_path / "empty").iterdir()) == []


def test_a_rendered_folder_has_pages_too_also_without_its_manifest(tmp_path):
    import featvis as fv
    from tests.networks import small

    fv.render(small(), ["norm:0:3"], size=(17, 24), steps=2, lanes=2, seeds=2, out=tmp_path)
    write_pages(tmp_path)
    assert len(page(tmp_path, "norm/index.html").all("img")) == 3
    assert [told["src"] for told in page(tmp_path, "norm/0001.html").all("img")] == [
        "0001.png",
        "0001-seed1.png",
    ]
    (tmp_path / "manifest.json").unlink()
    write_pages(tmp_path)
    assert len(page(tmp_path, "norm/index.html").all("img")) == 3


def test_t45_pages_are_written_without_torch(gallery):
    code = f"""
import sys
from pathlib import Path
from featvis.pages.folder import write_pages
print(len(write_pages(Path({str(gallery)!r}))), 'torch' in sys.modules, 'numpy' in sys.modules)
"""
    root = Path(featvis.__file__).parents[1]
    told = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    expected = set(make_pages(*rich())) | thumbnails(rich()[0])
    assert told.stdout.split() == [str(len(expected)), "False", "False"], told
