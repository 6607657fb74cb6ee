"""Start sglang's Rust bench client: its extension alone, without the package that holds it.

    sglang_rust.py [OPTIONS OF sglang-bench]

`python -m sglang.benchmark.rust_client` does the same, but imports sglang first, which needs torch.
"""

from __future__ import annotations

import importlib.util
import sys
import sysconfig
from pathlib import Path


def main() -> int:
    """Hand our arguments to the extension."""
    packages = Path(sysconfig.get_path("purelib"))
    (binary,) = packages.glob("sglang/srt/rust_extensions/_bench.*.so")
    spec = importlib.util.spec_from_file_location("_bench", binary)
    assert spec is not None
    assert spec.loader is not None
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    try:
        bench.run_argv(["sglang-bench", *sys.argv[1:]])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
