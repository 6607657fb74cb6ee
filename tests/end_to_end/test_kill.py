"""The program that shows that kills lose nothing runs, and finds nothing lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import environment

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "kill.py"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds workers in /proc")
def test_a_few_kills_lose_nothing_and_send_nothing_twice() -> None:
    done = subprocess.run(
        [sys.executable, PROGRAM, "--kills", "3", "--seed", "5"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert (figures["kills"], figures["lost"], figures["twice"]) == (3, 0, 0)
    assert figures["requests"] > 0
