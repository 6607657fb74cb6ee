"""``speedbench quickstart``."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

RUNS = Path("speedbench-runs")


def quickstart(*, output: Path | None = None, repeats: int = 1, resume: bool = False) -> int:
    """Tell the whole story on the embedded engine.

    Parameters
    ----------
    output
        The study directory; default: a new one under speedbench-runs.
    repeats
        Launches of each engine; more of them narrow the intervals of times.
    resume
        Finish the interrupted study in --output.
    """
    from speedbench import quickstart as study
    from speedbench.cli.progress import announce, progress
    from speedbench.cli.show import show_study
    from speedbench.errors import CallError
    from speedbench.report import write_report

    if resume and output is None:
        raise CallError("--resume needs --output: which study is to be finished?")
    plan = study.Plan(repeats=repeats)
    directory = output or RUNS / f"{datetime.now():%Y%m%d-%H%M%S}-quickstart"
    announce(directory)
    with progress(study.n_requests(plan)) as observer:
        result = study.run(plan, directory, resume=resume, observer=observer)
    write_report(result, directory / "report.html")
    show_study(result, directory)
    return 0
