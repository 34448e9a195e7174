"""What can happen to a folder: each is noticed, said in one line, repaired or refused; nothing is lost."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import time

import pytest

import featvis as fv
from featvis import files
from featvis.cli import main
from featvis.engine.move import BatchMover
from featvis.errors import OutputError
from featvis.galleries.folder import GalleryFolder
from featvis.results.lock import LOCK, FolderLock
from tests.galleries.planted import manifest, pngs, section, strays, write_config
from tests.galleries.test_config import REPOSITORY


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A config and the folder that an undisturbed build of it gives."""
    place = tmp_path_factory.mktemp("whole")
    config = write_config(place, section(["conv1:0:4", "fc:0:2"]))
    fv.build_gallery(config, out=place / "out")
    return config, place / "out"


@pytest.fixture
def folder(whole, tmp_path):
    """A copy of it, to be damaged."""
    return shutil.copytree(whole[1], tmp_path / "out")


def build(config, folder, *more):
    return main(["gallery", "build", str(config), "--out", str(folder), *more])


def said(capsys):
    return capsys.readouterr().err.splitlines()


def test_a_truncated_picture_is_rendered_again(whole, folder, capsys, ascents):
    path = folder / "conv1/0002.png"
    path.write_bytes(path.read_bytes()[:400])
    assert build(whole[0], folder) == 0
    assert any("0002.png" in line and "rendered again" in line for line in said(capsys))
    assert len(ascents) == 1
    assert pngs(folder) == pngs(whole[1])


def test_a_picture_that_is_gone_is_rendered_again(whole, folder, capsys, ascents):
    (folder / "conv1/0002.png").unlink()
    assert build(whole[0], folder) == 0
    assert any("0002.png is gone" in line for line in said(capsys))
    assert len(ascents) == 1
    assert pngs(folder) == pngs(whole[1])


@pytest.mark.parametrize("damage", ["deleted", "empty", "half"])
def test_a_manifest_that_is_lost_is_made_anew(whole, folder, capsys, ascents, damage):
    path = folder / "manifest.json"
    text = path.read_text()
    path.unlink() if damage == "deleted" else path.write_text(
        "" if damage == "empty" else text[: len(text) // 2]
    )
    assert build(whole[0], folder) == 0
    assert sum("made anew from 6 pictures" in line for line in said(capsys)) == 1
    assert ascents == []
    kept = [{k: v for k, v in entry.items() if k != "seconds"} for entry in manifest(folder)["pictures"]]
    known = [{k: v for k, v in entry.items() if k != "seconds"} for entry in manifest(whole[1])["pictures"]]
    assert kept == known
    assert manifest(folder)["gallery"]["sections"] == manifest(whole[1])["gallery"]["sections"]


def test_a_later_versions_manifest_is_refused(whole, folder, capsys, ascents):
    told = {**manifest(folder), "featvis": "12.0.1", "pictures": {"in another": "form"}}
    (folder / "manifest.json").write_text(json.dumps(told))
    for command in (
        ["build", str(whole[0]), "--out", str(folder)],
        ["status", str(folder)],
        ["pages", str(folder)],
    ):
        assert main(["gallery", *command]) == 2
        lines = said(capsys)
        assert len([line for line in lines if "12.0.1" in line]) == 1, lines
    assert manifest(folder) == told, "it is left as it is"
    assert ascents == []
    (folder / "manifest.json").unlink()
    assert build(whole[0], folder) == 0
    assert pngs(folder) == pngs(whole[1])


def refuse_writes(monkeypatch, number, allowed=0, part=".png"):
    """Let every writing of a file fail, as the system would, after so many of a kind."""
    left = [allowed]
    fdopen = os.fdopen

    def limited(handle, *rest, **told):
        name = os.readlink(f"/proc/self/fd/{handle}")
        if part in name:
            left[0] -= 1
            if left[0] < 0:
                os.close(handle)
                raise OSError(number, os.strerror(number))
        return fdopen(handle, *rest, **told)

    monkeypatch.setattr(files.os, "fdopen", limited)


@pytest.mark.parametrize("part", [".png", "."])
@pytest.mark.parametrize(("number", "words"), [(errno.ENOSPC, "No space left"), (errno.EROFS, "Read-only")])
def test_a_full_disk_is_said_once_and_nothing_is_torn(
    whole, tmp_path, monkeypatch, capsys, number, words, part
):
    config, out = whole[0], tmp_path / "out"
    with monkeypatch.context() as patch:
        refuse_writes(patch, number, allowed=5, part=part)
        assert build(config, out) == 2
    lines = [line for line in said(capsys) if "cannot write" in line]
    assert len(lines) == 1
    assert words in lines[0]
    assert strays(out) == [], "no half-written file, no lock"
    finished = pngs(out)
    assert 0 < len(finished) < 6
    assert all(pngs(whole[1])[name] == content for name, content in finished.items())
    inodes = {name: (out / name).stat().st_ino for name in finished}
    assert build(config, out) == 0
    assert pngs(out) == pngs(whole[1])
    assert {name: (out / name).stat().st_ino for name in inodes} == inodes, "what was finished stays"


def test_a_folder_that_cannot_be_written_is_refused_at_once(whole, tmp_path, monkeypatch, capsys, ascents):
    out = tmp_path / "closed"
    out.mkdir()

    def refuse(*, dir, prefix):
        assert dir == out
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)  # root is not stopped by permissions
    assert build(whole[0], out) == 2
    assert said(capsys) == [
        f"running the code of {whole[0].parent / 'net.py'}",
        f"featvis: cannot write to {out}: Permission denied",
    ]
    assert ascents == []
    assert list(out.iterdir()) == []


def test_a_folder_that_vanishes_is_not_begun_anew(whole, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    add, count = GalleryFolder.add, []

    def vanishing(self, picture):
        count.append(picture.target)
        path = add(self, picture)
        if len(count) == 3:
            shutil.move(out, tmp_path / "moved")
        return path

    with monkeypatch.context() as patch:
        patch.setattr(GalleryFolder, "add", vanishing)
        assert build(whole[0], out) == 2
    assert sum("moved or deleted" in line for line in said(capsys)) == 1
    assert len(count) == 3
    assert not out.exists(), "nothing was written beside what was moved away"
    shutil.move(tmp_path / "moved", out)
    assert build(whole[0], out) == 0
    assert pngs(out) == pngs(whole[1])


def test_a_second_build_at_the_same_time_is_refused(whole, folder, capsys, ascents):
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom featvis.results.lock import FolderLock\n"
        f"with FolderLock(Path({str(folder)!r})):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment) as holder:
        assert holder.stdout.readline() == b"held\n"
        for command in (["build", str(whole[0]), "--out", str(folder)], ["pages", str(folder)]):
            assert main(["gallery", *command]) == 2
            lines = [line for line in said(capsys) if "another command" in line]
            assert len(lines) == 1
            assert f"process {holder.pid}" in lines[0]
        holder.kill()
        holder.wait()
    assert (folder / LOCK).exists(), "left by the kill"
    assert build(whole[0], folder) == 0, "and yet it holds nobody up"
    assert not (folder / LOCK).exists()
    assert ascents == []


def test_the_lock_is_taken_by_one_of_many(tmp_path):
    code = (
        "import os, sys, time\nfrom pathlib import Path\nfrom featvis.results.lock import FolderLock\n"
        "from featvis.errors import OutputError\n"
        f"place = Path({str(tmp_path)!r})\nend = time.monotonic() + 1.0\n"
        "while time.monotonic() < end:\n"
        "    try:\n"
        "        with FolderLock(place):\n"
        "            handle = os.open(place / 'inside', os.O_CREAT | os.O_EXCL)\n"
        "            os.close(handle)\n"
        "            os.unlink(place / 'inside')\n"
        "    except OutputError:\n"
        "        pass\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    several = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in range(3)]
    assert [one.wait() for one in several] == [0, 0, 0], "never two inside"
    assert list(tmp_path.iterdir()) == []


def test_the_lock_notices_that_its_folder_is_another(tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    with FolderLock(place) as lock:
        lock.check()
        shutil.move(place, tmp_path / "moved")
        with pytest.raises(OutputError, match="moved or deleted"):
            lock.check()
        place.mkdir()
        (place / LOCK).write_text("somebody else's")
        with pytest.raises(OutputError, match="moved or deleted"):
            lock.check()
    assert (place / LOCK).read_text() == "somebody else's", "what is not ours is left alone"


def test_what_a_kill_left_half_written_is_removed_and_nothing_else(whole, folder):
    ours = [
        ".manifest.json.ab12cd_9.part",
        "conv1/.0003.png.xyzxyz12.part",
        "site/.gallery.css.abcdefgh.part",
    ]
    others = [".notes.part", "conv1/.0003.png.part", "film.part", ".gitignore"]
    for name in (*ours, *others):
        (folder / name).write_bytes(b"half")
    assert build(whole[0], folder) == 0
    assert [name for name in ours if (folder / name).exists()] == []
    assert [name for name in others if not (folder / name).exists()] == []


def test_a_picture_that_a_kill_kept_from_the_manifest_is_not_rendered_again(whole, folder, ascents):
    """Of a changed recipe, too: the file is newer than the entry of the same name."""
    config, _ = whole
    shorter = config.parent / "shorter.toml"
    shorter.write_text(config.read_text().replace("steps = 3", "steps = 2"))
    before = (folder / "manifest.json").read_bytes()
    fv.build_gallery(shorter, out=folder)
    after = pngs(folder)
    (folder / "manifest.json").write_bytes(before)
    del ascents[:]
    outcome = fv.build_gallery(shorter, out=folder)
    assert (outcome.rendered, outcome.stale, ascents) == (0, 0, [])
    assert pngs(folder) == after
    assert {entry["steps"] for entry in manifest(folder)["pictures"]} == {2}


def test_ctrl_c_leaves_a_folder_that_goes_on(whole, tmp_path, monkeypatch, capsys):
    add = GalleryFolder.add

    def interrupted(self, picture):
        path = add(self, picture)
        if picture.target == "conv1:2":
            raise KeyboardInterrupt
        return path

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(GalleryFolder, "add", interrupted)
        assert build(whole[0], out) == 130
    assert "the same command goes on" in said(capsys)[-1]
    assert len(manifest(out)["pictures"]) == 3
    assert strays(out) == []
    assert build(whole[0], out) == 0
    assert pngs(out) == pngs(whole[1])


def interrupt_at(patch, number):
    """Ctrl-C in the step of this number, counted over all jobs."""
    move, calls = BatchMover.__call__, []

    def interrupted(self, *given):
        calls.append(given)
        if len(calls) == number:
            raise KeyboardInterrupt
        return move(self, *given)

    patch.setattr(BatchMover, "__call__", interrupted)


def test_ctrl_c_keeps_the_pictures_under_way_and_renders_them_whole_the_next_time(
    whole, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        interrupt_at(patch, 6)  # three steps of the first job are done, two of the second
        assert build(whole[0], out) == 130
    line = said(capsys)[-1]
    count = (
        f"interrupted: 2 of 6 pictures are finished in {out}, 2 more as they stood; the same command goes on"
    )
    assert count in line
    kept = {entry["target"]: entry for entry in manifest(out)["pictures"]}
    stopped = [entry for entry in kept.values() if entry["status"] == "stopped"]
    assert [(entry["steps"], entry["file"] is not None) for entry in stopped] == [(2, True)] * 2
    picture = fv.load_picture(out / stopped[0]["file"])
    assert (picture.status, picture.taken) == ("stopped", 2)
    assert main(["gallery", "status", str(out)]) == 0
    assert "2 done, 4 missing, 0 dead, 0 failed" in capsys.readouterr().out
    assert main(["gallery", "pages", str(out)]) == 0
    page = (out / stopped[0]["file"]).with_suffix(".html").read_text("utf-8")
    assert "stopped" in page
    assert "Its run was interrupted" in (out / "site" / "legend.html").read_text("utf-8")
    # A manifest that is lost forgets nothing of it.
    (out / "manifest.json").unlink()
    assert build(whole[0], out) == 0
    assert pngs(out) == pngs(whole[1])
    assert {entry["status"] for entry in manifest(out)["pictures"]} == {"ok"}


def test_a_picture_under_way_replaces_no_finished_one(whole, folder, monkeypatch):
    config, _ = whole
    other = config.parent / "longer.toml"
    other.write_text(config.read_text().replace("steps = 3", "steps = 4"))
    before = pngs(folder)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 3)
        with pytest.raises(fv.Interrupted) as caught:
            fv.build_gallery(other, out=folder)
    assert caught.value.pictures == []
    assert pngs(folder) == before


def test_the_manifest_is_not_written_for_every_picture(whole, tmp_path, monkeypatch):
    written = []
    write = GalleryFolder.write_manifest
    monkeypatch.setattr(
        GalleryFolder, "write_manifest", lambda self: written.append(time.time()) or write(self)
    )
    fv.build_gallery(whole[0], out=tmp_path / "out")
    assert len(written) == 2, "before and after: the six pictures took less than two seconds"
