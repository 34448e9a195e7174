"""Files at an address: whole or not at all, one writer at a time, and true lines where there is no way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import fsspec
import pytest

from featvis.errors import OutputError
from featvis.results import elsewhere
from featvis.results.elsewhere import LOCK, Claim, Elsewhere, is_address

NO_PROCESS = 2**22 + 5
"""Above what Linux numbers processes by."""


@pytest.fixture(params=["memory", "file"])
def place(request, tmp_path):
    fsspec.filesystem("memory").store.clear()
    return Elsewhere(f"memory://{tmp_path.name}/g" if request.param == "memory" else f"file://{tmp_path}/g")


def test_what_is_put_is_listed_and_read(place):
    assert place.list() == {}
    put = place.put("conv/0001.png", b"picture")
    assert place.list() == {"conv/0001.png": put}
    assert put.size == 7
    assert abs(put.when - time.time()) < 60
    assert place.read("conv/0001.png") == b"picture"
    assert place.put("conv/0001.png", b"another").mark != put.mark
    place.remove("conv/0001.png")
    place.remove("conv/0001.png")
    assert place.list() == {}


def test_a_file_that_cannot_be_moved_to_its_place_leaves_the_old_one_and_nothing_else(tmp_path, monkeypatch):
    place = Elsewhere(f"file://{tmp_path}")
    place.put("a.json", b"old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(place._files, "mv", fail)
    with pytest.raises(OutputError, match=r"^cannot write file://.*/a\.json: No space left on device$"):
        place.put("a.json", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_bytes() == b"old"


def test_of_two_that_create_a_file_one_does(place):
    assert place.create("one", b"first")
    assert not place.create("one", b"second")
    assert place.read("one") == b"first"


def test_names_that_lead_out_of_the_folder_are_not_listed(tmp_path, monkeypatch):
    place = Elsewhere(f"file://{tmp_path}/g")
    root, info = place._root, {"type": "file", "size": 1, "mtime": 1.0}
    names = ["a.png", "../b.png", "x/../../c.png", "/etc/d.png", "e\\..\\f.png", "./g.png"]
    monkeypatch.setattr(place._files, "find", lambda *_, **__: {f"{root}/{name}": info for name in names})
    assert sorted(place.list()) == ["a.png", "etc/d.png"]


def test_one_writer_at_a_time(place):
    first = Claim(place)
    with pytest.raises(OutputError, match=rf"another command \(process {os.getpid()} on .* is writing to"):
        Claim(place)
    first.release()
    Claim(place).release()
    assert place.list() == {}


@pytest.mark.parametrize(
    ("changes", "free"),
    [
        ({}, False),
        ({"process": NO_PROCESS}, True),
        ({"process": NO_PROCESS, "host": "elsewhere"}, False),
        ({"host": "elsewhere", "at": time.time() - elsewhere.STALE - 5}, True),
        ({"at": "yesterday"}, True),
    ],
)
def test_whose_writer_was_killed_is_free(place, changes, free):
    Claim(place)
    place.put(LOCK, json.dumps({**json.loads(place.read(LOCK)), **changes}).encode())
    if not free:
        with pytest.raises(OutputError, match="is writing to"):
            Claim(place)
        return
    Claim(place)
    assert json.loads(place.read(LOCK))["process"] == os.getpid()


def test_a_writer_whose_folder_is_taken_over_sends_no_more(place, monkeypatch):
    monkeypatch.setattr(elsewhere, "BEAT", 0.0)
    first = Claim(place)
    before = json.loads(place.read(LOCK))["at"]
    first.beat()
    assert json.loads(place.read(LOCK))["at"] > before
    place.put(LOCK, b"{}")
    second = Claim(place)
    with pytest.raises(OutputError, match=r"another command writes to .* now"):
        first.beat()
    first.release()
    second.beat()


def test_a_sign_of_life_that_cannot_be_given_is_no_loss_for_a_while(place, monkeypatch):
    monkeypatch.setattr(elsewhere, "BEAT", 0.0)
    claim = Claim(place)

    def fail(self, name):
        raise OutputError("cannot read it")

    with monkeypatch.context() as patch:
        patch.setattr(Elsewhere, "read", fail)
        claim.beat()
        patch.setattr(elsewhere, "STALE", -1.0)
        with pytest.raises(OutputError, match="cannot read it"):
            claim.beat()
    claim.beat()


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("s5://bucket/path", "unknown kind of address 's5://'; did you mean 's3://'"),
        ("s3://bucket/path", "s3://bucket/path needs s3fs: pip install s3fs"),
        (
            "github://x/y",
            "github://x/y: github:// needs org and repo, which this address does not tell; give",
        ),
        ("reference://x/y", "reference://x/y: reference:// needs fo, which"),
        (
            "simplecache://x/y",
            "simplecache://x/y: simplecache:// is no kind of place by itself; give a folder",
        ),
        (
            "dir://x/y",
            "dir://x/y: dir:// is no kind of place by itself; give a folder, or an address such as s3",
        ),
    ],
)
def test_what_nothing_reads_is_one_true_line(address, line, monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    with pytest.raises(OutputError) as caught:
        Elsewhere(address)
    assert str(caught.value).startswith(line)


def test_a_place_that_can_only_be_read_says_so(place, monkeypatch):
    def refuse(*_, **__):
        raise NotImplementedError

    monkeypatch.setattr(place._files, "pipe_file", refuse)
    with pytest.raises(OutputError, match=r"^cannot write .*: nothing that is installed can do that there$"):
        place.put("a.json", b"new")


def test_passwords_are_not_shown():
    with pytest.raises(OutputError) as caught:
        Elsewhere("ftp://me:secret@127.0.0.1:9/path").list()
    assert "secret" not in str(caught.value)
    assert "ftp://me@127.0.0.1:9/path" in str(caught.value)


@pytest.mark.parametrize(
    "path", ["s3:/bucket", "C://gallery", "file:net.py:make", "://x", "s3://", "gallery"]
)
def test_paths_and_networks_are_no_addresses(path):
    assert not is_address(path)


def test_without_an_address_fsspec_is_not_imported(tmp_path):
    told = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from featvis.cli import main; code = main(['gallery', 'status', 'none']); "
            "print(code, 'fsspec' in sys.modules)",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == "2 False\n"
