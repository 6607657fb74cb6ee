"""``speedbench report``."""

from __future__ import annotations

from pathlib import Path


def report(directory: Path, /) -> int:
    """Recompute summary and report of a run or a study from its journal.

    Parameters
    ----------
    directory
        A run (it holds manifest.json) or a study (study.json).
    """
    from speedbench.errors import CallError
    from speedbench.report import write_report

    if (directory / "study.json").is_file():
        from speedbench import quickstart

        result = quickstart.analyse(directory)
    elif (directory / "manifest.json").is_file():
        from speedbench import analysis

        result = analysis.analyse_run(directory)
    else:
        raise CallError(
            f"{directory} is neither a run (manifest.json) nor a study (study.json): give a "
            "directory that speedbench run or quickstart wrote"
        )
    page = directory / "report.html"
    write_report(result, page)
    print(directory / "summary.json")
    print(page)
    return 0
