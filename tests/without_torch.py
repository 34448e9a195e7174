"""Commands that must answer without torch: one by one in a fresh process, which says what it imported."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PROGRAM = """
import io, json, os, sys
from contextlib import redirect_stderr, redirect_stdout
from featvis.cli import main

told = []
for typed, about in json.load(sys.stdin):
    os.environ.update(about)
    shown, said = io.StringIO(), io.StringIO()
    with redirect_stdout(shown), redirect_stderr(said):
        try:
            code = main(typed)
        except SystemExit as end:  # of the shell's completion
            code = end.code
    for name in about:
        del os.environ[name]
    heavy = [name for name in ("torch", "numpy") if name in sys.modules]
    told.append([code or 0, shown.getvalue(), said.getvalue(), heavy])
print(json.dumps(told))
"""


@dataclass
class Answer:
    """What a command said, and what was imported by then."""

    code: int
    out: str
    err: str
    heavy: list[str]


def answers(commands: Sequence[Sequence[str]], about: Sequence[Mapping[str, str]] = ()) -> list[Answer]:
    """Run commands, each with variables of the environment of its own."""
    asked = [[list(typed), {}] for typed in commands]
    for one, variables in zip(asked, about, strict=False):
        one[1] = dict(variables)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], input=json.dumps(asked), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return [Answer(*told) for told in json.loads(done.stdout)]
