"""Write docs/reference/api/: a page for every public module, filled from its docstrings.

The pages are made anew by each `make docs` and are not kept in the repository.
"""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "speedbench"
PAGES = ROOT / "docs" / "reference" / "api"


def main() -> None:
    """Write the pages and an index of them."""
    shutil.rmtree(PAGES, ignore_errors=True)
    PAGES.mkdir(parents=True)
    index = ["# Python reference", ""]
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if any(part.startswith("_") for part in parts):
            continue
        name = ".".join(parts)
        page = f"# {name}\n\n::: {name}\n    options:\n      show_root_heading: false\n"
        (PAGES / f"{name}.md").write_text(page, encoding="utf-8")
        index.append(f"- [{name}]({name}.md)")
    (PAGES / "index.md").write_text("\n".join(index) + "\n", encoding="utf-8")
    print(f"docs: {len(index) - 2} reference pages")


if __name__ == "__main__":
    main()
