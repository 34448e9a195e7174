"""What is compared between two processes and four workers is measured rightly."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.run.executors.overhead import processor_times, time_since

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc on this system")


def test_all_processes_below_this_one_are_counted():
    """Theirs and those that they started; time asleep is none."""
    busy = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ntime.sleep(60)"
    nested = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {busy!r}])"
    before = processor_times()
    time.sleep(0.1)
    assert time_since(before) < 0.08
    with subprocess.Popen([sys.executable, "-c", nested], stdout=subprocess.PIPE) as outer:
        outer.stdout.readline()
        assert 0.28 < time_since(before) < 1.0
        (inner,) = processor_times().keys() - before.keys() - {outer.pid}
        outer.kill()
        subprocess.run(["kill", str(inner)], check=True)
