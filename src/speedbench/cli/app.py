"""The program `speedbench`: its commands, and how errors leave it.

Commands are named here and imported when they run, so that ``speedbench --help`` stays quick.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from speedbench import __version__
from speedbench.errors import SpeedbenchError

INTERRUPTED = 130

app = App(
    name="speedbench",
    help="Measure speculative decoding as it is deployed, and decide where it pays.",
    version=__version__,
    help_format="plaintext",
    result_action="return_value",
    suppress_keyboard_interrupt=False,  # `main` says what Ctrl-C leaves behind
)
app.command(
    "speedbench.cli.quickstart:quickstart",
    help="The whole story on the embedded engine, no arguments needed.",
)
app.command(
    "speedbench.cli.run:run",
    help="Measure one engine on one data set, at one load or several.",
)
app.command(
    "speedbench.cli.report:report",
    help="Recompute summary and report of a run or a study from its journal.",
)
app.command(
    "speedbench.cli.doctor:doctor",
    help="Say whether this client, or a server, is fit to measure.",
)
app.register_install_completion_command(
    help="Teach the shell (bash, zsh, fish, PowerShell) to complete speedbench's options."
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and leave with its exit code.

    0 done, 1 the answer is no, 2 the call is wrong, 3 cannot tell, 4 the engine or the environment
    failed, 130 interrupted.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    sys.exit(_outcome(words, debug))


def _outcome(words: list[str], debug: bool) -> int:
    try:
        code = app(words, exit_on_error=False, print_error=debug)
    except CycloptsError as error:
        return complain(str(error).replace("\n", " "), 2)
    except SpeedbenchError as error:
        if debug:
            traceback.print_exc()
        return complain(str(error), error.exit_code)
    except KeyboardInterrupt:
        return complain("interrupted; what was finished is kept, go on with --resume", INTERRUPTED)
    return code if isinstance(code, int) else 0


def complain(sentence: str, code: int) -> int:
    """Print a sentence for the person who called, and return the exit code."""
    print(f"speedbench: {sentence}", file=sys.stderr)
    return code
