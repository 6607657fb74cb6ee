"""Make .venv from requirements.lock and install speedbench into it, editable.

Run by `make setup` with the Python that the environment shall have; needs nothing but that
Python's standard library.  The last thing it writes is .venv/.setup-stamp, which holds the lock's
hash: a new lock means a new environment, a new pyproject.toml only a new editable install.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / ".setup-stamp"
LOCK = ROOT / "requirements.lock"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
# Modules are compiled when they are first imported: most never are, and it saves 20 s here.
PIP = [str(PYTHON), "-m", "pip", "install", "--quiet", "--no-compile"]


def say(text: str) -> None:
    print("setup: " + text, flush=True)


def pip_install(*arguments: str) -> None:
    """Run pip; its own error has been printed when it fails."""
    quiet = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run([*PIP, *arguments], cwd=ROOT, env=quiet, check=False)
    if done.returncode:
        sys.exit(f"setup: pip failed (exit {done.returncode}); its message is above")


def main() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036  (this runs before anything was checked)
        sys.exit(f"setup: Python 3.11 or newer is needed, this is {sys.version.split()[0]}")
    began = time.monotonic()
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    wanted = f"python {sys.version_info[0]}.{sys.version_info[1]} lock {digest}\n"
    built = STAMP.exists() and STAMP.read_text(encoding="utf-8") == wanted
    if not built:
        say(f"1/3 making .venv with Python {sys.version.split()[0]}")
        STAMP.unlink(missing_ok=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True)
        n_packages = LOCK.read_text(encoding="utf-8").count("==")
        say(f"2/3 installing {n_packages} locked packages, about 1 GB; one to five minutes")
        pip_install("--require-hashes", "--requirement", str(LOCK))
    say("3/3 installing speedbench, editable")
    pip_install("--no-deps", "--no-build-isolation", "--editable", ".")
    STAMP.write_text(wanted, encoding="utf-8")
    say(f"done in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
