"""What is compared between two processes and four workers is measured rightly, and is what it should be."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.run.executors.overhead import main, processor_time

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc on this system")


def test_all_processes_below_this_one_are_counted():
    """Those that are at work and those that have ended, and their own; time asleep is none."""
    busy = "import time\nwhile time.process_time() < 0.3: pass\n"
    nested = f"import subprocess, sys, time\nsubprocess.run([sys.executable, '-c', {busy!r}])\n{busy}"
    before = processor_time()
    time.sleep(0.1)
    assert processor_time() - before < 0.08
    subprocess.run([sys.executable, "-c", nested], check=True)
    assert 0.55 < processor_time() - before < 1.5


@pytest.mark.cluster
def test_four_workers_do_most_of_what_two_processes_do(capfd):
    pytest.importorskip("ray", reason="ray is not installed")
    assert main(["--pairs", "1", "--pictures", "12", "--seconds", "0.5"]) == 0
    (share,) = re.findall(r"four workers do ([\d.]+)%", capfd.readouterr().out)
    assert float(share) > 70, "90 is reached where nothing else is at work; see the program"
