"""Write requirements.lock from pyproject.toml: every platform, every supported Python, hashes.

The resolver lives in a throw-away environment, so it needs no place in the lock it writes.
Versions already locked are kept where they still fit; `--upgrade` takes the newest of each.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESOLVER = "uv==0.13.9"
OPTIONS = [
    "--universal",
    "--fork-strategy=fewest",
    "--python-version=3.11",
    "--extra=embedded",
    "--extra=dev",
    "--generate-hashes",
    "--no-emit-index-url",
    "--no-emit-find-links",
    "--no-header",
    "--no-annotate",
    "--no-cache",
    "--quiet",
]


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run([sys.executable, "-m", "venv", scratch], check=True)
        binaries = Path(scratch, "Scripts" if os.name == "nt" else "bin")
        pip = [str(binaries / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "--disable-pip-version-check", RESOLVER], check=True)
        compile_ = [str(binaries / "uv"), "pip", "compile", "pyproject.toml", *OPTIONS]
        subprocess.run(
            [*compile_, "--output-file=requirements.lock", *sys.argv[1:]],
            cwd=ROOT,
            check=True,
            stdout=subprocess.DEVNULL,
        )
    packages = Path(ROOT, "requirements.lock").read_text(encoding="utf-8").count("==")
    print(f"lock: requirements.lock holds {packages} pinned packages")


if __name__ == "__main__":
    main()
