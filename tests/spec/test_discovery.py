"""A folder's files are listed once, and again as soon as there is another."""

from __future__ import annotations

import os

from featvis.spec.discovery import _files_in


def names(folder):
    return [file.name for file in _files_in(str(folder))]


def test_a_file_that_comes_or_goes_is_seen(tmp_path):
    folder = tmp_path / "transforms"
    assert names(folder) == []
    folder.mkdir()
    (folder / "one.py").touch()
    (folder / "__init__.py").touch()
    os.utime(folder, ns=(0, 0))  # long ago
    assert names(folder) == names(folder) == ["one.py"]
    (folder / "two.py").touch()
    assert names(folder) == ["one.py", "two.py"]
    (folder / "one.py").unlink()
    assert names(folder) == ["two.py"]


def test_so_is_one_that_comes_within_the_same_tick_of_the_clock(tmp_path):
    (tmp_path / "one.py").touch()
    changed = tmp_path.stat().st_mtime_ns
    assert names(tmp_path) == ["one.py"]
    (tmp_path / "two.py").touch()
    os.utime(tmp_path, ns=(changed, changed))
    assert names(tmp_path) == ["one.py", "two.py"]
