"""Videos, volumes and signals on pages: their view is shown, stepped through frame by frame, or heard."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from torch import nn

import featvis as fv
from featvis.galleries.export import export_site
from featvis.pages.folder import write_pages
from featvis.pages.thumbnails import read_picture_size
from tests.networks import seeded
from tests.pages.browsing import find_axe
from tests.pages.markup import Page

FRAMES, HEIGHT, WIDTH = 5, 12, 16


def make_gallery(folder):
    """Of a network of volumes and of one of sounds, each a folder."""
    eyes = seeded(lambda: nn.Sequential(nn.Conv3d(3, 4, 3), nn.ReLU()))
    told = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "input_size": (HEIGHT, WIDTH), "frames": FRAMES}
    options = {"steps": 2, "lanes": 2, "progress": False}
    fv.render(fv.load_model(eyes, **told), "0:0:2", size=(HEIGHT, WIDTH), out=folder / "eyes", **options)
    ears = seeded(lambda: nn.Sequential(nn.Conv1d(1, 4, 9), nn.ReLU()))
    told = {"mean": (0.5,), "std": (0.5,), "input_size": 600, "signal": True, "sample_rate": 8000}
    fv.render(fv.load_model(ears, **told), "0:0:2", out=folder / "ears", **options)
    for name in ("eyes", "ears"):
        write_pages(folder / name)
    return folder


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    return make_gallery(tmp_path_factory.mktemp("films"))


@pytest.fixture
def own(gallery, tmp_path):
    """A copy that may be changed."""
    return shutil.copytree(gallery, tmp_path / "own")


def large(folder, name="0/0001.html"):
    page = Page((folder / name).read_text("utf-8"))
    return page, page.all("img", id="large")[0]


def test_a_volume_s_page_shows_its_frames_and_tells_how_many(gallery):
    page, image = large(gallery / "eyes")
    assert image["src"] == "0001.view.png"
    assert (image["data-frames"], image["data-frame-height"], image["data-frame-width"]) == ("5", "12", "16")
    assert image["alt"].endswith("5 frames, row by row")
    assert "Frames 5 of 12 × 16 px" in page.text
    assert page.all("a", href="0001.png"), "what is saved is the picture, which can be made again"
    assert page.all("audio") == []
    rows = (gallery / "eyes/site/units.js").read_text()
    assert '"0/0001.view.png"' in rows
    small = read_picture_size(gallery / "eyes/0/thumbs/0001.webp")
    assert small == (2 * HEIGHT + 1, 3 * WIDTH + 2), "of the sheet"


def test_a_sound_is_seen_and_heard(gallery):
    page, image = large(gallery / "ears")
    assert image["src"] == "0001.view.png"
    assert "data-frames" not in image
    (sound,) = page.all("audio")
    assert (sound["src"], sound["preload"]) == ("0001.wav", "none")
    (policy,) = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert "media-src 'self' file:" in policy["content"]
    assert "600" not in image.get("data-height", "")


def test_what_does_not_belong_to_the_picture_is_not_shown(own, tmp_path):
    folder = own / "eyes"
    np.save(folder / "0/0001.npy", np.zeros((3, 5, 12, 99), np.float32))
    (folder / "0/0000.npy").write_bytes(b"no array")
    write_pages(folder)
    for unit in ("0000", "0001"):
        assert large(folder, f"0/{unit}.html")[1]["src"] == f"{unit}.png"
    outside = tmp_path / "outside.wav"
    shutil.move(own / "ears/0/0000.wav", outside)
    (own / "ears/0/0000.wav").symlink_to(outside)
    (own / "ears/0/0001.view.png").unlink()
    write_pages(own / "ears")
    assert large(own / "ears", "0/0000.html")[0].all("audio") == []
    assert large(own / "ears", "0/0001.html")[1]["src"] == "0001.png"


@pytest.mark.parametrize("odd", [[5, 12], [0, 12, 16], [5, -1, 16], ["5", 12, 16], [1 << 30, 2, 2], 5, None])
def test_a_manifest_does_not_tell_how_many_frames_there_are(own, odd):
    folder = own / "eyes"
    manifest = json.loads((folder / "manifest.json").read_text())
    for entry in manifest["pictures"]:
        entry |= {"film": odd, "view": "../secret.png", "sound": "/etc/passwd.wav"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    write_pages(folder)
    page, image = large(folder)
    assert (image["src"], image["data-frames"]) == ("0001.view.png", "5")
    assert page.all("audio") == []


def test_a_site_for_the_web_has_the_sounds(gallery, tmp_path):
    export_site([gallery / "ears"], tmp_path / "site")
    assert (tmp_path / "site/0/0001.wav").is_file()
    assert (tmp_path / "site/0/0001.view.png").is_file()


@pytest.mark.browser
def test_frames_are_stepped_through_and_played(visit, expect):
    page = visit().open("eyes/0/0000.html")
    frame, slider = page.locator(".film .frame"), page.get_by_role("slider", name="Frame")
    expect(frame).to_have_attribute("aria-label", "Frame 1 of 5")

    def seen():
        """What of the sheet lies under the middle of the frame: column and row of the frame."""
        return page.evaluate(
            """() => {
                const box = document.querySelector('.film .frame').getBoundingClientRect();
                const image = document.querySelector('.film .frame img').getBoundingClientRect();
                const across = (box.x + box.width / 2 - image.x) / image.width;
                const down = (box.y + box.height / 2 - image.y) / image.height;
                return [Math.floor(across * 3), Math.floor(down * 2)];
            }"""
        )

    assert seen() == [0, 0]
    slider.focus()
    for place in range(1, 5):
        page.keyboard.press("ArrowRight")
        expect(frame).to_have_attribute("aria-label", f"Frame {place + 1} of 5")
        assert seen() == [place % 3, place // 3]
    assert page.url.endswith("0000.html"), "arrows move the slider, not the page"
    page.get_by_role("button", name="Play").click()
    expect(frame).to_have_attribute("aria-label", "Frame 3 of 5")
    page.get_by_role("button", name="Pause").click()
    told = frame.get_attribute("aria-label")
    page.wait_for_timeout(400)
    assert frame.get_attribute("aria-label") == told
    expect(page.locator("#large")).to_be_visible()


@pytest.mark.browser
def test_without_a_script_the_sheet_is_shown(visit, expect):
    page = visit(java_script_enabled=False).open("eyes/0/0000.html")
    expect(page.get_by_role("img", name="5 frames, row by row")).to_be_visible()


@pytest.mark.browser
def test_a_sound_plays(visit):
    page = visit().open("ears/0/0000.html")
    assert page.evaluate(
        """() => new Promise((done) => {
            const sound = document.querySelector('audio');
            sound.addEventListener('loadedmetadata', () => done(Math.round(sound.duration * 8000)));
            sound.addEventListener('error', () => done('refused'));
            sound.load();
            sound.preload = 'auto';
        })"""
    ) == 600  # fmt: skip


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("place", ["eyes/0/0000.html", "ears/0/0000.html"])
def test_axe_finds_nothing_serious(visit, place, scheme, width):
    axe = find_axe()
    if axe is None:
        pytest.skip("no axe-core: npm install --no-save axe-core, or let AXE_CORE name its axe.min.js")
    seen = visit(color_scheme=scheme, viewport={"width": width, "height": 800})
    seen.context.add_init_script(path=axe)
    page = seen.open(place)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    told = page.evaluate("axe.run(document, {preload: false})")
    assert len(told["passes"]) > 15
    faults = [one for one in told["violations"] if one["impact"] in ("serious", "critical")]
    assert [f"{one['help']}: {one['nodes'][0]['html']}" for one in faults] == []
