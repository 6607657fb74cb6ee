"""Run the examples in README.md, CONTRIBUTING.md and docs/: what the documentation shows must work.

- In a ```console block, every line `$ speedbench ...` is run (a trailing backslash continues it)
  and must exit 0, or N where the line ends in `# exit N`.  Other lines are output, not compared.
- The ```python blocks of a page are one program, run after the page's console blocks.

Each page has an empty directory of its own.  What is not to be run stands in a ```sh block.
Says file:line of each example that failed and exits 1, or prints one line and exits 0.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIMIT_S = 600
# An indented block, as in a list or a tab, closes at the same indentation.
BLOCK = re.compile(r"^( *)```(console|python)[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
DOCUMENTED_EXIT = re.compile(r"\s#\s*exit (\d+)\s*$")


def blocks(page: str, language: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number of each block's first line, and its lines without the indentation."""
    for match in BLOCK.finditer(page):
        if match[2] == language:
            first = page.count("\n", 0, match.start(3)) + 1
            yield first, [line.removeprefix(match[1]) for line in match[3].splitlines()]


def commands(page: str) -> Iterator[tuple[int, str]]:
    """Yield the line number and the text of each speedbench command."""
    for first, lines in blocks(page, "console"):
        text = "\n".join(lines).replace("\\\n", "\\\0")  # keeps the count of lines
        for offset, line in _numbered(text):
            if line.startswith("$ speedbench"):
                yield first + offset, line.removeprefix("$ ").replace("\\\0", " ")


def _numbered(text: str) -> Iterator[tuple[int, str]]:
    offset = 0
    for line in text.split("\n"):
        yield offset, line
        offset += 1 + line.count("\0")


def program(page: str) -> str:
    """Return the page's Python blocks, each at the line number it has in the page."""
    source: list[str] = []
    for first, lines in blocks(page, "python"):
        source += [""] * (first - 1 - len(source)) + lines
    return "\n".join(source)


def run(arguments: list[str], directory: str) -> tuple[int, str]:
    """Run a command; return its exit code and the last lines that it wrote."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    try:
        done = subprocess.run(
            arguments,
            cwd=directory,
            env={**os.environ, "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return -1, f"stopped after {LIMIT_S} s"
    return done.returncode, "\n".join(done.stdout.splitlines()[-8:])


def failures(name: str, page: str, directory: str) -> Iterator[str]:
    """Run one page's examples; yield a description of each that failed."""
    speedbench = str(Path(sys.executable).parent / "speedbench")
    for number, command in commands(page):
        documented = DOCUMENTED_EXIT.search(command)
        wanted = int(documented[1]) if documented else 0
        arguments = shlex.split(command, comments=True)
        code, tail = run([speedbench, *arguments[1:]], directory)
        if code != wanted:
            yield f"{name}:{number}: exit {code}, documented {wanted}: {command}\n{tail}"
    if source := program(page):
        script = Path(directory, ".page.py")
        script.write_text(source, encoding="utf-8")
        code, tail = run([sys.executable, str(script)], directory)
        if code:
            lines = re.findall(rf'"{re.escape(str(script))}", line (\d+)', tail)
            yield f"{name}:{lines[-1] if lines else 1}: exit {code} of a Python example\n{tail}"


def main() -> None:
    """Check the pages named on the command line, or all."""
    named = [Path(argument).resolve() for argument in sys.argv[1:]]
    pages = named or [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted((ROOT / "docs").rglob("*.md")),
    ]
    n_failed = n_pages = 0
    for path in filter(Path.exists, pages):
        page = path.read_text(encoding="utf-8")
        n_pages += 1
        with tempfile.TemporaryDirectory() as directory:
            for failure in failures(os.path.relpath(path, ROOT), page, directory):
                n_failed += 1
                print(failure, file=sys.stderr)
    print(f"docs: {n_pages} pages, {n_failed} examples failed")
    sys.exit(bool(n_failed))


if __name__ == "__main__":
    main()
