"""Addresses among the words of a command: which are places, and which of them are written to."""

from __future__ import annotations

import pytest

import featvis as fv
from featvis.cli.elsewhere import _find, folders_here
from featvis.results.mirror import CACHE


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("gallery build small --out s3://b/g", {4: True}),
        ("gallery build small --out=s3://b/g", {3: True}),
        ("gallery build small -o s3://b/g --dry-run", {4: False}),
        ("gallery status s3://b/g", {2: False}),
        ("gallery status --json s3://b/g", {3: False}),
        ("gallery merge -q s3://b/g", {3: True}),
        ("gallery export s3://b/g gs://c/h --zip s3://b/g.zip", {2: False, 3: False, 5: True}),
        ("evaluate s3://b/g --examples s3://b/photos", {1: True, 3: False}),
        ("compare memory://a memory://b", {1: False, 2: False}),
        ("reproduce s3://b/g/conv/0001.png --out new.png", {1: False}),
        ("dream s3://b/photo.jpg --out s3://b/dreams", {1: False, 3: True}),
        ("render conv:1 --model file:///home/net.py:make", {}),
        ("render conv:1 --executor ray:address=ray://host:10001", {}),
        ("render conv:1 --weights https://host/w.pt --out out", {}),
        ("gallery build C://small", {}),
    ],
)
def test_places_are_found(typed, found):
    assert {place: writes for place, (_, writes) in _find(typed.split())} == found


@pytest.mark.parametrize("typed", ["--out http://a.b/c", "--out=https://a.b/c", "--zip HTTPS://a.b/c.zip"])
def test_the_web_cannot_be_written_to(typed):
    with pytest.raises(fv.OutputError, match="nothing can be written to"):
        list(_find(["render", "conv:1", *typed.split()]))


def test_help_opens_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE, str(tmp_path))
    with folders_here(["gallery", "build", "--out", "s3://b/g", "--help"]) as words:
        assert words == ["gallery", "build", "--out", "s3://b/g", "--help"]
    assert list(tmp_path.iterdir()) == []


def test_one_folder_named_twice_is_one(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE, str(tmp_path))
    with folders_here(["compare", "memory://a/b", "memory://a/b"]) as words:
        assert words[1] == words[2] != "memory://a/b"
        assert words[1].startswith(str(tmp_path))
