"""A build that is ended by SIGKILL at random moments, each time gone on with by the same command."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

import featvis as fv
from tests.galleries.planted import RECIPE, manifest, pngs, section, strays, write_config
from tests.galleries.test_config import REPOSITORY


def sections(first, second):
    """Sections of so many pictures, the second ones also upside down."""
    return section([f"conv1:6:{6 + first}"], title="One") + section(
        [f"conv2:0:{second}"], title="Two", variants=["picture", "negative"]
    )


def run_killed(place, kills, seed, pictures):
    write_config(place, sections(*pictures), RECIPE.replace("steps = 3", "steps = 12"))
    told = subprocess.run(
        [sys.executable, "-m", "tests.galleries.killed", str(place), str(kills), str(seed)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    return json.loads(told.stdout)


def without_seconds(folder):
    told = manifest(folder)
    entries = [{k: v for k, v in entry.items() if k != "seconds"} for entry in told.pop("pictures")]
    told["gallery"].pop("command")
    told.pop("created")
    return told, entries


@pytest.mark.parametrize(
    ("kills", "seed", "pictures"), [(2, 1, (6, 4)), pytest.param(25, 2, (18, 16), marks=pytest.mark.slow)]
)
def test_nothing_is_lost_torn_or_rendered_twice(tmp_path, kills, seed, pictures):
    told = run_killed(tmp_path, kills, seed, pictures)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert (told["code"], told["last"]) == (0, 0)
    assert len(told["killed_at"]) == kills
    grown = sorted({count for count in told["pictures"] if count})
    assert kills < 10 or len(grown) >= 5, "pictures were finished between the kills"
    assert set(told["ended"]) <= {0}
    assert len(pngs(whole)) == pictures[0] + 2 * pictures[1]
    assert pngs(killed) == pngs(whole), "byte for byte"
    assert strays(killed) == [], "no temporary file, no lock"
    assert without_seconds(killed) == without_seconds(whole)
    for entry in manifest(killed)["pictures"]:
        picture = fv.load_picture(killed / entry["file"])
        assert (picture.key, picture.target, picture.trace) == (entry["key"], entry["target"], entry["trace"])
    assert told["replaced"] == [], "a finished file was never written again"
    finished = set()
    for line in (tmp_path / "killed.log").read_text().splitlines():
        what, _, target = line.partition(" ")
        assert target not in finished, f"{target} was begun after it was finished"
        finished |= {target} if what == "finish" else set()
    names = {path.relative_to(whole).as_posix() for path in whole.rglob("*") if path.is_file()}
    assert {path.relative_to(killed).as_posix() for path in killed.rglob("*") if path.is_file()} == names
    print(f"pictures after each kill: {told['pictures']}")
