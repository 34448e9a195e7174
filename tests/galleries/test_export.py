"""A folder for a web host: it holds all that its pages ask for, and touches nothing that is not its own."""

from __future__ import annotations

import json

import pytest

from featvis.cli import main
from featvis.errors import OutputError
from featvis.galleries.export import export_site
from featvis.pages.folder import write_pages
from tests.pages.manifests import entry, manifest, rich, write_folder
from tests.pages.markup import Page, resolve


@pytest.fixture
def gallery(tmp_path):
    folder = write_folder(tmp_path / "first", *rich())
    write_pages(folder)
    return folder


@pytest.fixture
def other(tmp_path):
    told = manifest(*(entry(unit=unit, score=3.0 + unit) for unit in range(3)), model="vgg16")
    folder = write_folder(tmp_path / "second", told)
    write_pages(folder)
    return folder


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def check_links(folder):
    """Every address on every page leads to a file of the folder."""
    pages = [name for name in files(folder) if name.endswith(".html")]
    for name in pages:
        for address in Page((folder / name).read_text("utf-8")).addresses:
            assert (folder / resolve(name, address)).is_file(), f"{name} asks for {address}"
    return pages


def test_one_gallery_lies_at_the_top(gallery, tmp_path):
    before = files(gallery)
    site = tmp_path / "site"
    path, count = export_site([gallery], site)
    assert path == site / "index.html"
    assert files(site) == before | {".nojekyll", "README.md", "site/export.json"}
    assert count == len(before) + 2
    for name in before:
        assert (site / name).read_bytes() == (gallery / name).read_bytes()
    assert len(check_links(site)) > 15
    assert (site / ".nojekyll").read_bytes() == b""
    head = (site / "README.md").read_text("utf-8").split("---\n")[1]
    assert head == 'title: "Lite0"\nsdk: static\npinned: false\n', "the head of a Space"
    assert files(gallery) == before


def test_two_galleries_get_an_index_and_are_compared(gallery, other, tmp_path):
    site = tmp_path / "site"
    export_site([gallery, other], site)
    assert {path.name for path in site.iterdir()} == {
        *("first", "second", "site", "index.html", "README.md", ".nojekyll"),
    }
    check_links(site)
    index = Page((site / "index.html").read_text("utf-8"))
    assert index.headings[0] == (1, "Lite0 and vgg16")
    assert [text.split()[0] for level, text in index.headings if level == 2] == ["Lite0", "vgg16"]
    assert "16 pictures" in index.text
    assert "3 pictures" in index.text
    assert index.all("a", href="second/blocks.3/0001.html")
    compare = Page((site / "site/compare.html").read_text("utf-8"))
    sources = [told["data-source"] for _, told in compare.tags if "data-source" in told]
    assert sources == ["../first/site/units.js", "../second/site/units.js"]
    assert not index.all("button", id="random"), "there are no units of its own"


def test_galleries_of_one_name_and_title_are_told_apart(gallery, tmp_path):
    twin = tmp_path / "elsewhere/first"
    write_folder(twin, *rich())
    write_pages(twin)
    export_site([gallery, twin], tmp_path / "site")
    compare = Page((tmp_path / "site/site/compare.html").read_text("utf-8"))
    assert "Lite0 (first) Lite0 (first-2)" in compare.text
    assert (tmp_path / "site/first-2/blocks.3/0000.png").is_file()
    assert 'title: "Lite0"\n' in (tmp_path / "site/README.md").read_text("utf-8"), "said once"


def test_an_export_replaces_what_an_export_wrote_and_nothing_else(gallery, other, tmp_path):
    site = tmp_path / "site"
    (site / ".git").mkdir(parents=True)
    (site / ".git/HEAD").write_text("ref")
    export_site([gallery, other], site)
    (site / "CNAME").write_text("example.org")
    export_site([other], site)
    assert files(site) == files(other) | {
        *(".nojekyll", "README.md", "site/export.json", "CNAME", ".git/HEAD"),
    }
    assert not (site / "first").exists(), "folders that are empty go too"
    again = tmp_path / "again"
    export_site([site], again)
    assert json.loads((again / "site/export.json").read_text())["files"] == sorted(
        {*files(other), ".nojekyll", "README.md"}
    )


@pytest.mark.parametrize(
    "name", ["../outside.html", "/etc/hosts.html", "CNAME", 7, ".git/HEAD", ".git/a.json"]
)
def test_a_forged_list_removes_nothing(other, tmp_path, name):
    site = tmp_path / "site"
    export_site([other], site)
    (tmp_path / "outside.html").write_text("not yours")
    (site / ".git").mkdir()
    for mine in ("CNAME", ".git/HEAD", ".git/a.json"):
        (site / mine).write_text("mine")
    (site / "site/export.json").write_text(json.dumps({"files": ["index.html", name]}))
    export_site([other], site)
    assert (tmp_path / "outside.html").read_text() == "not yours"
    assert {"CNAME", ".git/HEAD", ".git/a.json"} <= files(site)


def test_a_folder_of_another_hand_is_left_alone(gallery, tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    (site / "index.html").write_text("my own")
    with pytest.raises(OutputError, match="is not empty and no export wrote it"):
        export_site([gallery], site)
    assert files(site) == {"index.html"}
    for place in (gallery, gallery / "site/inner", gallery.parent):
        with pytest.raises(OutputError, match="lie in each other"):
            export_site([gallery], place)
    with pytest.raises(OutputError, match=r"no index\.html"):
        export_site([gallery, site.parent], tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_link_that_leads_out_is_not_followed(gallery, tmp_path):
    site, outside = tmp_path / "site", tmp_path / "outside"
    export_site([gallery], site)
    outside.mkdir()
    for path in (site / "classifier").rglob("*"):
        if path.is_file():
            path.rename(outside / path.name)
    for path in sorted((site / "classifier").rglob("*"), reverse=True):
        path.rmdir()
    (site / "classifier").rmdir()
    before = {path: path.read_bytes() for path in outside.iterdir()}
    (site / "classifier").symlink_to(outside)
    with pytest.raises(OutputError, match="leads out of"):
        export_site([gallery], site)
    assert {path: path.read_bytes() for path in outside.iterdir()} == before


def test_the_command_takes_one_way_and_says_where(gallery, other, tmp_path, capsys):
    assert main(["gallery", "export", str(gallery), str(other), "--out", str(tmp_path / "site")]) == 0
    count, page = capsys.readouterr().out.splitlines()
    assert count == f"{len(files(tmp_path / 'site')) - 1} files in {tmp_path / 'site'}"
    assert page == str(tmp_path / "site/index.html")
    for typed, says in {
        (): "give --zip FILE or --out FOLDER, one of them",
        ("--zip", str(tmp_path / "a.zip"), "--out", str(tmp_path / "b")): "one of them",
        ("--zip", str(tmp_path / "a.zip")): "--zip packs one gallery, got 2",
    }.items():
        assert main(["gallery", "export", str(gallery), str(other), *typed]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert says in line
    assert not (tmp_path / "a.zip").exists()
