"""The script for the first minutes on a GPU runs through without one: no typo costs a minute there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.gpu_check import BLOCKS, main

ROOT = Path(__file__).parents[1]


def test_each_block_writes_what_it_found_and_when_it_was_done(tmp_path, capsys):
    assert main(["--out", str(tmp_path), "--device", "cpu", "--only", "device", "folding"]) == 0
    found = [json.loads(line) for line in (tmp_path / "checks.jsonl").read_text().splitlines()]
    assert [line["block"] for line in found if line["what"] == "done"] == ["device", "folding"]
    assert any(line.get("pairs", 0) > 0 for line in found)
    assert "0 failed" in capsys.readouterr().out


def test_a_block_whose_time_is_over_or_that_raises_does_not_end_the_others(tmp_path, monkeypatch):
    from tests import gpu_check

    def sleeps(check):
        while True:
            pass

    def raises(check):
        raise ValueError("a typo")

    def each(check):
        check.each({"bad": lambda: 1 / 0, "good": lambda: {"ok": True}})

    monkeypatch.setattr(
        gpu_check, "BLOCKS", [("sleeps", 1.0, sleeps), ("raises", 2.0, raises), ("each", 9.0, each)]
    )
    assert main(["--out", str(tmp_path), "--device", "cpu", "--minutes", "0.2"]) == 1
    found = [json.loads(line) for line in (tmp_path / "checks.jsonl").read_text().splitlines()]
    assert [(line["block"], line["what"], line["ok"]) for line in found] == [
        ("sleeps", "its share of the time was over", None),
        ("sleeps", "done", None),
        ("raises", "it raised", False),
        ("raises", "done", None),
        ("each", "bad", False),
        ("each", "good", True),
        ("each", "done", None),
    ]


@pytest.mark.slow
def test_all_of_it_runs_here_with_stand_ins(tmp_path):
    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.gpu_check",
            "--out",
            str(tmp_path),
            "--device",
            "cpu",
            "--minutes",
            "9",
        ],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr[-2000:]
    found = [json.loads(line) for line in (tmp_path / "checks.jsonl").read_text().splitlines()]
    assert [line["block"] for line in found if line["what"] == "done"] == [name for name, *_ in BLOCKS]
    assert not [line for line in found if "its share of the time" in line["what"]]
    parts = [line for line in found if line["block"] == "every_part"]
    assert len(parts) > 50
