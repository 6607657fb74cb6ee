"""Install the other clients that benchmarks/client.py compares with, each on its own.

    python benchmarks/client_install.py [NAME ...]

Each gets a virtual environment under build/peers, from the package registry that pip is set up for.
One that cannot be installed does not keep the others from it: the reason is written down, and the
benchmark prints it in that client's place.  What is installed already is left alone.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time

from peers import INSTALLS
from peers.place import PEERS, failed, installed, program


def install(name: str) -> str:
    """Install one client and say how that went."""
    told = "\n".join(" ".join(arguments) for arguments in INSTALLS[name])
    if installed(name).exists() and installed(name).read_text() == told:
        return "is there already"
    shutil.rmtree(PEERS / name, ignore_errors=True)
    failed(name).unlink(missing_ok=True)
    started_s = time.perf_counter()
    pip = [str(program(name, "python")), "-m", "pip", "install", "--quiet"]
    commands = [[sys.executable, "-m", "venv", str(PEERS / name)]]
    commands += [[*pip, "--disable-pip-version-check", *arguments] for arguments in INSTALLS[name]]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            failed(name).write_text((errors or [f"exit status {done.returncode}"])[-1][:200])
            return f"could not be installed: {failed(name).read_text()}"
    installed(name).write_text(told)
    return f"installed in {time.perf_counter() - started_s:.0f} s"


def main() -> None:
    """Install what is asked for, or everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(INSTALLS)}; default: all")
    PEERS.mkdir(parents=True, exist_ok=True)
    names = parser.parse_args().names or list(INSTALLS)
    if unknown := set(names) - set(INSTALLS):
        parser.error(f"no such client: {', '.join(unknown)}")
    for name in names:
        print(f"{name} ...", flush=True)
        print(f"{name} {install(name)}", flush=True)


if __name__ == "__main__":
    main()
