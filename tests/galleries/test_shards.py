"""Shards: who may write to a folder beside whom, what they note, and that a merge is what one build makes."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading

import pytest
import torch
from filelock import FileLock

import featvis as fv
from featvis.cli import main
from featvis.errors import OutputError, RecipeError
from featvis.galleries import build as building
from featvis.galleries.config import load_gallery
from featvis.galleries.plan import plan_gallery
from featvis.galleries.shares import Share, parse_share, share_of
from featvis.galleries.status import read_status
from featvis.results import lock as locks
from featvis.results.journal import Journals, read_agreed
from featvis.results.lock import LOCK, PRIVATE, FolderLock, Member, hold, hold_beside, members
from tests.galleries.planted import RECIPE, manifest, pngs, section, strays, write_config
from tests.galleries.test_config import REPOSITORY

ALL = (
    section(["conv1:3:8"], title="One", variants=["picture", "negative"])
    + section(["conv2:0:3"], variants=["diverse"], diverse=2)
    + section(["fc:all"], recipe={"best_of": 2}).replace(":", " =").replace("fc =", "fc:")
    + section(["odd:2"])
)
SHARES = 3


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return write_config(tmp_path_factory.mktemp("config"), ALL, RECIPE.replace("steps = 3", "steps = 2"))


@pytest.fixture(scope="module")
def whole(config):
    """What one build makes."""
    fv.build_gallery(config, out=config.parent / "whole")
    return config.parent / "whole"


def build(config, out, number=None, count=SHARES, **told):
    return fv.build_gallery(config, out=out, shard=None if number is None else (number, count), **told)


def but_for_times(out):
    told = manifest(out)
    told["gallery"].pop("command")
    told.pop("created")
    for entry in told["pictures"]:
        entry.pop("seconds")
    return told


def files(out):
    return {path.relative_to(out).as_posix() for path in out.rglob("*")}


def same(out, whole):
    assert pngs(out) == pngs(whole), "byte for byte"
    assert but_for_times(out) == but_for_times(whole)
    assert files(out) == files(whole)
    for sheet in whole.glob("*/grid.png"):
        assert (out / sheet.relative_to(whole)).read_bytes() == sheet.read_bytes()
    return True


def test_two_shares_meet_where_a_number_is_in_both():
    shares = [Share(number, count) for count in range(1, 10) for number in range(1, count + 1)]
    for one in shares:
        for other in shares:
            numbers = range(math.lcm(one.count, other.count))
            assert one.meets(other) == bool({*one.take(numbers)} & {*other.take(numbers)})
            assert one.excludes(other.name) == one.meets(other)


@pytest.mark.parametrize("typed", ["0/4", "5/4", "3", "3/", "-1/4", "1/0", "a/b", "1/4/2", "1.5/4", ""])
def test_what_is_no_share_is_refused(typed, config, tmp_path, capsys):
    with pytest.raises(RecipeError, match=r"1/64 to 64/64|for instance 3/64"):
        parse_share(typed)
    assert main(["gallery", "build", str(config), "--out", str(tmp_path / "out"), "--shard", typed]) == 2
    assert not (tmp_path / "out").exists()
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


@pytest.mark.parametrize("shard", [(True, 2), (1.0, 2), ("1", 2), (3, 2)])
def test_what_is_no_share_in_python_is_refused(shard, config, tmp_path):
    with pytest.raises(RecipeError, match="a shard is one of so many"):
        fv.build_gallery(config, out=tmp_path / "out", shard=shard)


def test_shares_are_whole_sets_and_full_lanes_of_every_picture_once(config):
    network = fv.load_model(f"file:{config.parent / 'net.py'}:make", mean=(0.5,) * 3, std=(0.5,) * 3)
    items = list(plan_gallery(load_gallery(config), network).pictures.values())
    parts = [share_of(items, Share(number, 4)) for number in range(1, 5)]
    assert sorted(item.name for part in parts for item in part) == sorted(item.name for item in items)
    for unit in range(3):
        mates = [sum((item.layer, item.unit) == ("conv2", unit) for item in part) for part in parts]
        assert sorted(mates) == [0, 0, 0, 2], "a set is computed together, so it stays together"
    plain = [sum((item.layer, item.variant) == ("conv1", "picture") for item in part) for part in parts]
    assert sorted(plain) == [0, 1, 2, 2], "two lanes: one share has half a job"


def test_a_merge_is_what_one_build_makes(config, whole, tmp_path):
    out = tmp_path / "out"
    made = [build(config, out, number) for number in (3, 1, 2)]
    assert sum(one.rendered for one in made) == len(pngs(whole))
    assert sum(one.total for one in made) == len(manifest(whole)["pictures"])
    assert not (out / "manifest.json").exists()
    told = read_status(out)
    before = read_status(whole)
    assert (told.done, told.missing, told.dead, told.failed) == (before.done, 0, 2, 1)
    assert [(one.name, one.writing) for one in told.shards] == [
        (f"shard-{number}-of-3", False) for number in (1, 2, 3)
    ]
    assert [one.done + one.failed for one in told.shards] == [made[1].total, made[2].total, made[0].total]
    merged = fv.merge_gallery(out)
    assert (merged.total, merged.done, merged.missing, merged.writing) == (
        made[0].total + made[1].total + made[2].total,
        before.done,
        0,
        [],
    )
    assert merged.dead == ["conv1:5", "-1*conv1:5"]
    assert list(merged.failed) == ["odd:2"]
    assert same(out, whole)
    assert fv.merge_gallery(out).done == before.done, "once more changes nothing"
    assert same(out, whole)


def test_a_build_takes_over_what_shards_made(config, whole, tmp_path, ascents):
    out = tmp_path / "out"
    build(config, out, 1)
    build(config, out, 2)
    del ascents[:]
    outcome = build(config, out)
    assert outcome.existing + outcome.rendered + len(outcome.failed) == outcome.total
    assert outcome.dead == ["conv1:5", "-1*conv1:5"]
    assert 0 < len(ascents) < 8
    assert same(out, whole)


def test_a_shard_goes_on_where_it_was_and_shares_may_be_cut_anew(config, whole, tmp_path, ascents):
    out = tmp_path / "out"
    first = build(config, out, 1, limit=2)
    assert (first.rendered, first.missing) == (2, first.total - 2)
    second = build(config, out, 1)
    assert second.existing == 2
    del ascents[:]
    assert build(config, out, 1).rendered == 0
    assert len(ascents) <= 1, "what failed is tried again, nothing else"
    for number in (1, 2):
        build(config, out, number, 2)
    fv.merge_gallery(out)
    assert same(out, whole)


@pytest.fixture
def sharded(config, tmp_path):
    """A folder with one of two shards."""
    build(config, tmp_path / "out", 1, 2)
    return tmp_path / "out"


def test_a_line_that_a_kill_tore_or_lost_costs_no_picture(config, whole, sharded, ascents):
    journal = sharded / PRIVATE / "shard-1-of-2.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    kinds = [json.loads(line).get("entry", {}).get("status") for line in lines]
    place = kinds.index("ok")
    journal.write_bytes(b"".join(lines[:place] + lines[place + 1 :])[:-40])
    del ascents[:]
    build(config, sharded, 1, 2)
    assert len(ascents) <= 3, "the dead unit's tries, and what failed"
    build(config, sharded, 2, 2)
    fv.merge_gallery(sharded)
    assert same(sharded, whole)


def test_a_picture_that_is_gone_is_missing(config, whole, sharded):
    gone = next(iter(pngs(sharded)))
    (sharded / gone).unlink()
    build(config, sharded, 2, 2)
    merged = fv.merge_gallery(sharded)
    assert merged.missing == 1
    build(config, sharded)
    assert same(sharded, whole)


def test_what_is_there_is_merged_while_a_shard_is_at_work(config, whole, sharded):
    with hold_beside(sharded, "shard-1-of-2", Share(1, 2).excludes):
        told = read_status(sharded)
        assert [(one.name, one.writing) for one in told.shards] == [("shard-1-of-2", True)]
        assert told.per_minute > 0
        merged = fv.merge_gallery(sharded)
        assert merged.writing == ["shard-1-of-2"]
        assert (sharded / "index.html").exists()
        assert merged.missing == merged.total - merged.done - len(merged.dead) - len(merged.failed) > 0
        assert read_agreed(sharded) is not None
        assert Journals(sharded).update().told
    build(config, sharded, 2, 2)
    fv.merge_gallery(sharded)
    assert same(sharded, whole)


def test_what_killed_shards_left_half_written_goes_when_nobody_is_at_work(config, whole, sharded):
    halves = [sharded / name for name in ("conv1/.0003.png.4gxhyv62.part", "conv2/.0001.npy.ab_12345.part")]
    for half in halves:
        half.parent.mkdir(parents=True, exist_ok=True)
        half.write_bytes(b"half")
    with hold_beside(sharded, "shard-2-of-2", Share(2, 2).excludes):
        fv.merge_gallery(sharded)
        assert all(half.exists() for half in halves), "they may be those of who is at work"
    build(config, sharded, 2, 2)
    fv.merge_gallery(sharded)
    assert not any(half.exists() for half in halves)
    assert same(sharded, whole)


HELD = [
    ("shard-3-of-4", ["--shard", "1/2"], "shard 3 of 4 (process {pid}) is writing"),
    ("shard-3-of-4", ["--shard", "3/4"], "shard 3 of 4 (process {pid}) is writing"),
    ("shard-3-of-4", [], "shard 3 of 4 (process {pid}) is writing"),
    ("shard-3-of-4", ["--shard", "3/8"], "shard 3 of 4 (process {pid}) is writing"),
    ("something-else", ["--shard", "3/8"], "something else (process {pid}) is writing"),
    (None, ["--shard", "1/2"], "another command (process {pid}) is writing"),
]


@pytest.mark.parametrize(("held", "typed", "said"), HELD)
def test_who_may_not_write_beside_another_is_refused_in_one_line(held, typed, said, config, tmp_path, capsys):
    out = tmp_path / "out"
    with hold(out) if held is None else hold_beside(out, held, lambda name: False):
        assert main(["gallery", "build", str(config), "--out", str(out), *typed]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("featvis:")]
    assert len(errors) == 1
    assert said.format(pid=os.getpid()) in errors[0]


def test_disjoint_shares_go_together_and_a_killed_one_holds_nobody_up(tmp_path):
    out = tmp_path / "out"
    with hold_beside(out, "shard-3-of-4", Share(3, 4).excludes):
        for other in (Share(4, 4), Share(2, 2), Share(1, 4)):
            with hold_beside(out, other.name, other.excludes):
                assert sum(one.is_held() for one in members(out)) == 2
    assert [one for one in members(out) if one.is_held()] == []
    left = Member(out, "shard-1-of-2").path
    left.parent.mkdir(parents=True)
    left.write_text("12345 on elsewhere\n")
    with hold_beside(out, "shard-1-of-2", Share(1, 2).excludes):
        pass
    assert members(out) == []


@pytest.mark.slow
def test_many_that_begin_at_once_get_in_one_after_the_other(tmp_path):
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom featvis.results.lock import hold_beside\n"
        "from featvis.galleries.shares import Share\n"
        "share = Share(int(sys.argv[1]), 6)\n"
        f"with hold_beside(Path({str(tmp_path)!r}), share.name, share.excludes):\n"
        "    print('in', flush=True)\n    sys.stdin.read()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    several = [
        subprocess.Popen([sys.executable, "-c", code, str(number)], env=environment, **pipes)
        for number in range(1, 7)
    ]
    assert [one.stdout.readline() for one in several] == [b"in\n"] * 6
    assert sum(one.is_held() for one in members(tmp_path)) == 6
    with pytest.raises(OutputError, match=r"shard . of 6"), FolderLock(tmp_path):
        pass
    assert not (tmp_path / LOCK).exists()
    for one in several:
        one.communicate()
    assert [one.returncode for one in several] == [0] * 6


def test_who_has_not_said_yet_who_it_is_is_waited_for(tmp_path, monkeypatch):
    """Between taking a lock and naming its holder a busy machine may let a second pass."""
    lock = FileLock(tmp_path / LOCK, thread_local=False)
    lock.acquire()
    later = threading.Timer(0.5, lock.release)
    later.start()
    with hold_beside(tmp_path, "shard-1-of-2", Share(1, 2).excludes):
        assert not lock.is_locked
    lock.acquire()
    monkeypatch.setattr(locks, "NAMELESS", 0.3)
    with pytest.raises(OutputError, match="process unknown"), FolderLock(tmp_path):
        pass
    lock.release()


def test_shards_of_another_config_or_version_are_refused(config, sharded, capsys):
    other = write_config(config.parent / "other", section(["conv1:0:4"]))
    assert main(["gallery", "build", str(other), "--out", str(sharded), "--shard", "2/2"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "shards of another config or network" in said
    assert f"featvis gallery merge {sharded}" in said
    place = sharded / PRIVATE / "plan.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), "torch": "1.0"}))
    with pytest.raises(OutputError, match=r"its writers use torch 1\.0, this is .*fv\.merge_gallery"):
        build(config, sharded, 2, 2)


def test_the_first_shard_says_how_many_threads(config, sharded):
    place = sharded / PRIVATE / "plan.json"
    assert read_agreed(sharded).threads == 1
    torch.set_num_threads(2)
    try:
        build(config, sharded, 2, 2)
    finally:
        torch.set_num_threads(1)
    assert place.exists()
    fv.merge_gallery(sharded)
    assert {recipe["threads"] for recipe in manifest(sharded)["recipes"].values()} == {1}


def test_another_kind_of_machine_is_refused_or_said_of_each_picture(config, sharded, monkeypatch, capsys):
    own = read_agreed(sharded).machine
    monkeypatch.setattr(building, "machine_of", lambda device: "cuda Other")
    command = ["gallery", "build", str(config), "--out", str(sharded), "--shard", "2/2"]
    assert main(command) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"made by {own}, this is cuda Other" in said
    assert "--allow-unlike" in said
    first = set(pngs(sharded))
    assert main([*command, "--allow-unlike"]) == 0
    fv.merge_gallery(sharded)
    told = manifest(sharded)
    assert told["machine"] == own
    machines = {entry["file"]: entry.get("machine") for entry in told["pictures"] if entry["file"]}
    assert {file for file, machine in machines.items() if machine is None} == first
    assert {machine for file, machine in machines.items() if file not in first} == {"cuda Other"}


def test_a_folder_that_one_build_made_keeps_its_machine(config, tmp_path, monkeypatch):
    out = tmp_path / "out"
    build(config, out, limit=3)
    assert manifest(out)["machine"] == building.machine_of(torch.device("cpu"))
    monkeypatch.setattr(building, "machine_of", lambda device: "cuda Other")
    for shard in (None, 1):
        with pytest.raises(OutputError, match=r"this is cuda Other: .* allow_unlike=True"):
            build(config, out, shard)
    build(config, out, limit=2, allow_unlike=True)
    machines = [entry["machine"] for entry in manifest(out)["pictures"] if "machine" in entry]
    assert machines == ["cuda Other"] * 2


def test_what_is_no_gallery_cannot_be_merged(tmp_path, capsys):
    (tmp_path / "notes").mkdir()
    for place in (tmp_path / "none", tmp_path / "notes"):
        assert main(["gallery", "merge", str(place)]) == 2
        assert str(place) in capsys.readouterr().err
    assert strays(tmp_path) == []


def test_what_the_commands_say(config, sharded, capsys):
    assert main(["gallery", "merge", str(sharded), "--json"]) in (0, 1)
    told = json.loads(capsys.readouterr().out)
    assert told["done"] + told["missing"] + len(told["dead"]) + len(told["failed"]) == told["total"]
    assert main(["gallery", "build", str(config), "--out", str(sharded), "--shard", "2/2", "--prune"]) == 2
    assert "--prune is for whole builds" in capsys.readouterr().err
    main(["gallery", "build", str(config), "--out", str(sharded), "--shard", "2/2"])
    said = capsys.readouterr().out
    assert "this was shard 2/2" in said
    assert f"featvis gallery merge {sharded}" in said
    assert main(["gallery", "status", str(sharded)]) == 0
    assert "shard 2 of 2: ended, " in capsys.readouterr().out
    for heard in ("--quiet", "--verbose"):
        assert main(["gallery", "merge", str(sharded), heard]) in (0, 1)
        assert str(sharded / "index.html") in capsys.readouterr().out
