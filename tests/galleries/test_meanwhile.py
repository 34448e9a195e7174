"""Pages of a gallery that is being built: there to be looked at, and gone with the build."""

from __future__ import annotations

import time

import pytest

import featvis as fv
from featvis.galleries import meanwhile
from featvis.galleries.meanwhile import Pages
from tests.networks import small


@pytest.fixture
def folder(tmp_path):
    fv.render(small(), "norm:0:2", size=16, steps=1, lanes=2, out=tmp_path)
    return tmp_path


def wait_for(condition):
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.slow
def test_pages_are_written_beside_the_build(folder, monkeypatch):
    monkeypatch.setattr(meanwhile, "EVERY", 0.0)
    prepared = []
    with Pages(folder, lambda: prepared.append(1)) as pages:
        pages.now_and_then()
        process = pages._process
        pages.now_and_then()
        assert pages._process is process, "one at a time"
        wait_for(lambda: process.poll() is not None)
        assert (process.returncode, prepared) == (0, [1])
        assert "norm/0001.html" in (folder / "index.html").read_text()
        pages.now_and_then()
        assert pages._process is None, "it rests for a multiple of what they took"


@pytest.mark.slow
def test_they_end_with_the_build(folder, monkeypatch):
    monkeypatch.setattr(meanwhile, "EVERY", 0.0)
    half = folder / "norm" / ".0000.html.abcd.part"
    with Pages(folder, lambda: None) as pages:
        pages.now_and_then()
        process = pages._process
        half.write_text("half a page")
    assert process.returncode is not None
    assert not half.exists()


def test_none_are_written_before_their_time(folder):
    with Pages(folder, lambda: pytest.fail("it is too early")) as pages:
        pages.now_and_then()
    assert not (folder / "index.html").exists()
