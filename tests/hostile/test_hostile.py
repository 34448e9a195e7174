"""Files made to do harm end in a result or one line: no traceback, no code, nothing half-written, within limits."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.hostile.guard import MEMORY, SECONDS, Guarded
from tests.hostile.inputs import CHANGED, Input, by_hand, change_of, mutated
from tests.hostile.measure import COLUMNS, Outcome, run, table
from tests.hostile.seeds import make_seeds
from tests.part import moved, part_of, takes_all

FAULTS = COLUMNS[3:]


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    return make_seeds(tmp_path_factory.mktemp("hostile") / "seeds")


@pytest.fixture(scope="module")
def guarded():
    process = Guarded()
    yield process
    process.end()


def check(outcome: Outcome) -> None:
    assert not outcome.problems, f"{outcome.problems}: {outcome}"


def quick() -> list[Input]:
    """One input made by hand of each kind, whatever takes no network."""
    by_kind: dict[str, list[Input]] = {}
    for one in by_hand():
        by_kind.setdefault(one.kind, []).append(one)
    chosen = [random.Random(kind).choice(group) for kind, group in by_kind.items()]
    cheap = ("PNG", "recipe TOML", "gallery TOML", "manifest", "safetensors", "--set")
    return [one for one in chosen if one.kind in cheap]


def test_one_of_each_kind(seeds, guarded):
    outcomes = list(run(quick(), seeds, guarded))
    assert len(outcomes) == 6
    for outcome in outcomes:
        check(outcome)


@pytest.mark.slow
def test_changed_files_of_every_reader(seeds, guarded, pytestconfig):
    @settings(
        max_examples=150 if takes_all(pytestconfig) else 30,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(kind=st.sampled_from(sorted(CHANGED)), chance=st.integers(0))
    def end_well(kind, chance):
        (outcome,) = run([change_of(kind, CHANGED[kind], str(chance))], seeds, guarded)
        check(outcome)

    end_well()


@pytest.mark.slow
def test_hundreds_of_hostile_inputs_end_well(seeds, guarded, pytestconfig):
    """Of those made by hand every fourth, and of each kind of file three changes; by ``--every`` all, and eight."""
    if takes_all(pytestconfig):
        changed = mutated(seed=0, count=8)
    else:
        changed = mutated(seed=moved(1000), count=3)
    outcomes = list(run([*part_of(list(by_hand()), 4, pytestconfig), *changed], seeds, guarded))
    assert len(outcomes) >= (300 if takes_all(pytestconfig) else 140)
    counts = table(outcomes)
    faults = {kind: row for kind, row in counts.items() if any(row[fault] for fault in FAULTS)}
    assert not faults, "\n".join(str(outcome) for outcome in outcomes if outcome.problems)
    # They are hostile: most are refused; and they are changed, not destroyed: some are read.
    assert sum(row["one line"] for row in counts.values()) > len(outcomes) / 3
    assert sum(row["results"] for row in counts.values()) > len(outcomes) / 16


@pytest.mark.slow
def test_the_watch_sees_what_must_not_be(seeds, guarded, tmp_path):
    """Networks of a ``file:`` run code, which is what the user asked for: here it does everything forbidden."""
    code = """
import os, socket, subprocess
import torch
{act}
def build():
    return torch.nn.Conv2d(3, 2, 3)
"""
    acts = {
        "open(r'{path}', 'w')": "open for writing",
        "subprocess.run(['true'])": "subprocess.Popen",
        "os.system('true')": "os.system",
        "socket.getaddrinfo('localhost', 80)": "socket.getaddrinfo",
        "exec('CANARY_5b1e = 1')": "compile",
        "os.mkdir(r'{path}')": "os.mkdir",
        "torch.zeros(700_000_000).sum()": "over limits",
        "while True: pass": "over limits",
        "1 / 0": "refused",
    }
    for place, (act, seen) in enumerate(acts.items()):
        act = act.format(path=tmp_path / f"written{place}")

        def prepare(seeds, inputs, out, act=act):
            (inputs / "net.py").write_text(code.format(act=act))

        typed = ["layers", "file:{in}/net.py:build", "--mean", "0,0,0", "--std", "1,1,1", "--no-fields"]
        (outcome,) = run([Input("code", act, typed, prepare, {"seconds": 6})], seeds, guarded)
        if seen == "refused":
            assert outcome.answer["code"] == 2
            assert outcome.lines == 1
        elif seen == "over limits":
            assert seen in outcome.problems, (act, str(outcome))
        else:
            assert any(seen in did for did in outcome.answer["did"]), (act, str(outcome))
            assert "code or reach" in outcome.problems
    assert MEMORY == 2 << 30
    assert SECONDS == 30
