"""Start vLLM's bench client: `vllm bench serve`, without the rest of the command line.

    start_vllm.py [OPTIONS OF vllm bench serve]

The parser and the program are vLLM's own.  `vllm` itself imports its server first, which needs
many more packages and takes many seconds.
"""

from __future__ import annotations

from vllm.benchmarks.serve import add_cli_args, main
from vllm.utils.argparse_utils import FlexibleArgumentParser

if __name__ == "__main__":
    parser = FlexibleArgumentParser()
    add_cli_args(parser)
    main(parser.parse_args())
