"""What makes the comparison resumable and polite: records beside pictures, and the lock. No peer needed."""

import fcntl

import numpy as np
import pytest
from PIL import Image

from tests.peers.clock import turn
from tests.peers.quality import draw_classes
from tests.peers.shelf import Shelf

LEVELS = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)


def test_a_picture_is_found_again_with_what_it_cost(tmp_path):
    shelf = Shelf(tmp_path, {"steps": 8, "classes": (1, 2)})
    assert shelf.find(7) is None
    shelf.put(7, LEVELS, seconds=1.5)
    again = Shelf(tmp_path, {"steps": 8, "classes": (1, 2)})
    assert again.find(7)["seconds"] == 1.5
    with Image.open(again.picture(7)) as opened:
        assert np.array_equal(np.asarray(opened), LEVELS)


def test_a_record_of_other_settings_counts_as_missing(tmp_path):
    Shelf(tmp_path, {"steps": 8}).put(7, LEVELS, seconds=1.5)
    assert Shelf(tmp_path, {"steps": 9}).find(7) is None


def test_a_picture_without_its_record_counts_as_missing(tmp_path):
    shelf = Shelf(tmp_path, {})
    shelf.put(7, LEVELS)
    (tmp_path / "0007.json").unlink()  # as after an interruption: the record is written last
    assert shelf.picture(7).is_file()
    assert shelf.find(7) is None


def test_a_turn_holds_the_lock_and_gives_it_back(tmp_path, monkeypatch):
    path = tmp_path / "lock"
    monkeypatch.setenv("BENCH_LOCK", str(path))
    with path.open("a") as other:
        with turn(), pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_without_the_variable_nobody_is_waited_for(monkeypatch):
    monkeypatch.delenv("BENCH_LOCK", raising=False)
    with turn():
        pass


def test_classes_are_drawn_by_the_seed_and_none_twice():
    drawn = draw_classes(1000, 16, 0)
    assert len(set(drawn)) == 16
    assert drawn == draw_classes(1000, 16, 0)
    assert drawn != draw_classes(1000, 16, 1)
    assert all(0 <= one < 1000 for one in drawn)
