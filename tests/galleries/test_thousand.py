"""A machine that hands out pictures to very many workers has time and memory to spare."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.galleries.thousand import main, simulate, summary


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc on this system")
def test_it_takes_a_fifth_of_a_core_and_little_memory(tmp_path):
    told = simulate(tmp_path, pictures=1500, workers=1000, size=32, seconds=30.0)
    assert (told["rendered"], told["again"]) == (1500, 0)
    assert len(list((tmp_path / "out").glob("layers.*/*.png"))) == 1500
    # 1,000 workers with a picture in 30 seconds each.
    assert 1000 / 30 * told["ms"] / 1e3 < 0.2
    memory = told["MB"]
    assert (memory[1500] - memory[300]) / 1200 < 0.004, "MB for a picture"
    assert "at 33.3 pictures/s" in summary(told, 30.0)


@pytest.mark.slow
def test_the_program_runs(capsys):
    assert main(["--pictures", "40", "--workers", "7", "--size", "16"]) == 0
    said = capsys.readouterr().out
    assert "40 pictures by 7 workers" in said
    assert "0 made again" in said
