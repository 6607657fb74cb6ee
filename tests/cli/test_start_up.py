"""The program starts quickly because it imports late, and the shell completes its words."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import Finished, command, environment

from speedbench import __version__

HEAVY = ("pydantic", "polars", "numpy", "scipy", "aiohttp", "openvino", "altair", "tokenizers")
COMMANDS = {"run", "quickstart", "report", "doctor"}


def test_help_names_every_command_and_exits_with_0(speedbench: Callable[..., Finished]) -> None:
    done = speedbench("--help")
    assert done.code == 0
    assert all(name in done.stdout for name in COMMANDS)


def test_version_is_the_packages(speedbench: Callable[..., Finished]) -> None:
    assert speedbench("--version").stdout.strip() == __version__


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_explains_itself(name: str, speedbench: Callable[..., Finished]) -> None:
    done = speedbench(name, "--help")
    assert done.code == 0
    assert f"speedbench {name}" in done.stdout


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["--version"], ["rum"]])
def test_what_measures_nothing_imports_nothing_heavy(words: list[str], tmp_path: Path) -> None:
    program = (
        "import json, sys\nfrom speedbench.cli import main\n"
        f"try: main({words!r})\nexcept SystemExit: pass\n"
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True
    )
    assert json.loads(done.stderr.splitlines()[-1]) == []


@pytest.mark.skipif(not hasattr(os, "wait4"), reason="this system does not count a child's CPU")
def test_the_cpu_time_of_help_is_told(tell: Callable[[str], None]) -> None:
    """Printed, not asserted: what decides it is what is imported, which the test above holds."""
    spent_s = []
    for _ in range(5):
        child = subprocess.Popen(
            command("--help"), env=environment(), stdout=subprocess.DEVNULL, close_fds=True
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        assert child.returncode == 0
        spent_s.append(usage.ru_utime + usage.ru_stime)
    tell(f"speedbench --help: {statistics.median(spent_s):.3f} s of CPU (median of 5)")


# --- completion ----------------------------------------------------------------------------------


@pytest.fixture
def completed(
    tmp_path: Path, speedbench_process: Callable[..., Finished]
) -> Callable[..., set[str]]:
    """Install completion as a user does, and let a real bash complete the last word."""
    if not (bash := shutil.which("bash")):
        pytest.skip("there is no bash here")
    home = {"HOME": str(tmp_path), "SHELL": bash}
    done = speedbench_process("--install-completion", "--shell", "bash", **home)
    assert done.code == 0, done.stderr

    def complete(*words: str) -> set[str]:
        line = " ".join(f"'{word}'" for word in words)
        program = (
            f"source ~/.bashrc; COMP_WORDS=(speedbench {line}); COMP_CWORD={len(words)}; "
            "_speedbench; printf '%s\\n' \"${COMPREPLY[@]}\""
        )
        shell = subprocess.run(
            [bash, "--norc", "-c", program], env=environment(**home), capture_output=True, text=True
        )
        assert shell.returncode == 0, shell.stderr
        return set(shell.stdout.split())

    return complete


def test_the_shell_completes_commands_and_options(completed: Callable[..., set[str]]) -> None:
    assert completed("") >= COMMANDS
    assert completed("qu") == {"quickstart"}
    assert completed("run", "--draft-l") == {"--draft-length"}
    assert completed("run", "--conc") == {"--concurrency"}
