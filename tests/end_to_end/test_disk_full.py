"""A disk that fills up in the middle of a run costs nothing that was finished.

A limit on the size of files (RLIMIT_FSIZE) stands in for the full disk: writing fails at a byte of
the kernel's choosing, within a frame of the journal, without any privilege.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests import server as scripts
from tests.conftest import Finished, environment
from tests.server import ScriptedServer

from speedbench import analysis
from speedbench.load import read_journals

resource = pytest.importorskip("resource", reason="this system has no limits on file sizes")

LIMIT_BYTES = 24_000


def run_with_limit(words: list[str], limit_bytes: int) -> Finished:
    program = (
        "import resource\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit_bytes}, {limit_bytes}))\n"
        "from speedbench.cli import main\nmain()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_full_disk_ends_the_run_in_one_sentence_and_resume_finishes_it(
    concurrency: int, server: ScriptedServer, tmp_path: Path
) -> None:
    server.play(scripts.chat(*["word " * 20] * 10, between_s=0.0))
    words = ["run", "--engine", "openai", "--base-url", server.base_url, "--category", "qa"]
    words += ["--concurrency", str(concurrency), "--output", str(tmp_path / "run")]
    journal = tmp_path / "run" / "journal" / "worker-0.journal"

    full = run_with_limit(words, LIMIT_BYTES)
    assert "cannot write the journal" in full.sentence
    assert "--resume" in full.sentence
    assert full.code == 4
    kept = read_journals([journal])
    assert 0 < len(kept.delivered()) < 11
    assert kept.good_bytes[0] + kept.torn_bytes[0] == journal.stat().st_size <= LIMIT_BYTES

    n_sent = len(server.received)
    done = run_with_limit([*words, "--resume"], resource.RLIM_INFINITY)
    assert done.code == 0, done.stderr
    assert set(kept.delivered()) < set(read_journals([journal]).delivered())
    requests = analysis.read_trace(tmp_path / "run")[1].requests
    assert len(requests) == 11
    assert requests["failure_kind"].null_count() == 11
    n_warm_up = 1
    assert len(server.received) - n_sent == n_warm_up + 11 - len(kept.delivered())


def test_a_disk_without_room_for_the_first_file_is_one_sentence(
    server: ScriptedServer, tmp_path: Path
) -> None:
    words = ["run", "--engine", "openai", "--base-url", server.base_url, "--num-prompts", "11"]
    full = run_with_limit([*words, "--output", str(tmp_path / "run")], 100)
    assert "cannot write" in full.sentence
    assert full.code == 4
