"""What a run or a study says on the terminal when it is done: one screen, made to be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from speedbench.records import Estimate, Summary
from speedbench.report import view, words

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PIPE_WIDTH = 100
WIDE = 96
"""Columns from which on nothing has to be left out."""
MAX_NAME = 20
VERDICT_STYLES = {"on": "green", "off": "yellow", "cannot tell": "dim"}

RUN_COLUMNS = {
    "al_per_request": "AL/request",
    "ar_1": "AR1",
    "ar_2": "AR2",
    "ar_3": "AR3",
    "ar_4": "AR4",
    "distinct_3gram_share": "3-grams",
    "user_tps": "tokens/s",
    "tpot_vllm_s": "TPOT vLLM ms",
    "ttft_s_p50": "TTFT ms",
}
"""Estimands of a run and their headings; only what the summary has is shown."""
RUN_LEGEND = {
    "al_per_step": "AL per step: tokens per decode step, pooled",
    "al_per_request": "AL/request: mean of the requests' own",
    "ar_1": "AR1, AR2, ...: conditional acceptance rate at that position",
    "distinct_3gram_share": "3-grams: share of distinct ones in the answers, low where they repeat",
    "user_tps": "tokens/s: decode of one request, prefill token excluded",
    "tpot_vllm_s": "TPOT as vLLM defines it: the first chunk taken for one token",
    "ttft_s_p50": "TTFT: median time to first token",
}


def show_study(summary: Summary, directory: Path) -> None:
    """Print the screen of a study.

    Parameters
    ----------
    summary
        What was found.
    directory
        Where ``summary.json`` and ``report.html`` are.
    """
    console = output()
    shown = view.study_view(summary)
    _head(console, summary)
    for load in shown.loads:
        show_table(console, _load_table(load, console.width))
    say(console, _study_legend(shown, console.width >= WIDE), style="dim")
    say(console, " ".join(view.measured(shown)))
    _notes(console, summary)
    console.print()
    for sentence in words.conclusions(summary.decisions):
        say(console, sentence, style="bold")
    _paths(directory)


def show_run(summary: Summary, directory: Path) -> None:
    """Print the screen of a run; parameters as in `show_study`."""
    console = output()
    whole, groups = view.run_view(summary)
    _head(console, summary)
    lines = [line for group in groups if group.by == "category" for line in group.lines]
    show_table(console, _run_table([*lines, whole], console.width))
    legend = [said for name, said in RUN_LEGEND.items() if name in whole.estimates]
    say(console, "; ".join([*legend, "[ ]: 95% intervals"]) + ".", style="dim")
    _notes(console, summary)
    console.print()
    _paths(directory)


def output() -> Console:
    """Return standard output: as wide as the terminal, or 100 columns and no colour in a pipe."""
    import io
    import sys

    from rich.console import Console

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a γ must not cost anybody their result
    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)


def say(console: Console, paragraph: str, style: str = "") -> None:
    """Print a paragraph as it is: nothing in it is markup."""
    import textwrap

    from rich.text import Text

    if paragraph:
        width = min(console.width, PIPE_WIDTH)
        lines = textwrap.wrap(paragraph, width, break_long_words=False, break_on_hyphens=False)
        console.print(Text("\n".join(lines), style=style), soft_wrap=True)


def show_table(console: Console, table: Table) -> None:
    """Print a table and an empty line, without trailing blanks in a pipe."""
    if console.is_terminal:
        console.print(table)
    else:
        with console.capture() as captured:
            console.print(table)
        print("\n".join(line.rstrip() for line in captured.get().splitlines()))
    console.print()


def _head(console: Console, summary: Summary) -> None:
    toy = " (a toy)" if view.is_toy(summary) else ""
    title = words.visible(summary.title, 80) + toy
    say(console, f"{title}: {words.counted(summary.counts)}", style="bold")
    console.print()


def _notes(console: Console, summary: Summary) -> None:
    for note in summary.notes:
        say(console, words.visible(note, 600))


def _paths(directory: Path) -> None:
    """Print where everything is; a path is never wrapped."""
    page = directory / "report.html"
    print(f"{directory / 'summary.json'}")
    print(f"{page}" if page.exists() else f"for tables and figures: speedbench report {directory}")


def _load_table(load: view.Load, width: int) -> Table:
    """Return one load as a table: a line for each slice, the whole last."""
    wide = width >= WIDE
    several = len(load.overall.arms) > 1
    one_length = len({figures.arm.draft_length for figures in load.overall.arms}) == 1
    table = _table(words.streams(load.concurrency), [line.name for line in load.all_lines], wide)
    table.add_column("best")
    for heading in ("AL per step", "speedup"):
        table.add_column(heading)
    for heading in (
        "Eq. 3",
        *(["next"] if wide and several else []),
        "3-grams" if wide else "3-gr",
    ):
        table.add_column(heading, justify="right")
    table.add_column("decision")
    for line in load.all_lines:
        best, other = line.best, line.next_best
        cells = [
            line.name,
            words.visible(best.arm.method) if one_length else best.arm.name,
            _interval(best.al, wide),
            _interval(best.speedup, wide),
            words.value_text(best.proxy),
            *([words.value_text(other.speedup)] if wide and other else []),
            words.value_text(best.distinct),
            _decision(line, wide),
        ]
        styles = {len(cells) - 1: VERDICT_STYLES.get(line.verdict, "")}
        _add_row(table, cells, "bold" if line is load.overall else "", styles)
    return table


def _decision(line: view.Line, wide: bool) -> str:
    if line.chosen is not None:
        return "on" if line.chosen.draft_length is None else f"on, γ={line.chosen.draft_length}"
    if line.verdict == "cannot tell" and not wide:
        return "?"
    return line.verdict or words.NONE


def _run_table(lines: Sequence[view.RunLine], width: int) -> Table:
    """Return a run as a table of the columns that it has."""
    wide = width >= WIDE
    known = lines[-1].estimates
    names = [name for name in RUN_COLUMNS if name in known]
    table = _table("category", [line.name for line in lines], wide)
    if "al_per_step" in known:
        table.add_column("AL per step")
    for name in names:
        table.add_column(RUN_COLUMNS[name], justify="right")
    table.add_column("n", justify="right")
    for line in lines:
        cells = [line.name]
        if "al_per_step" in known:
            cells.append(_interval(line.estimates["al_per_step"], wide))
        cells += [_value(line.estimates, name) for name in names]
        cells.append(str(view.n_prompts(line)))
        _add_row(table, cells, "bold" if line is lines[-1] else "", {})
    return table


def _value(estimates: Mapping[str, Estimate], name: str) -> str:
    return words.value_text(estimates[name]) if name in estimates else words.NONE


def _interval(found: Estimate, wide: bool) -> str:
    shown = words.estimate_text(found)
    return shown if wide else shown.replace(", ", ",")


def _table(heading: str, names: Sequence[str], wide: bool) -> Table:
    """Return an empty table whose first column is as wide as the names, within reason."""
    from rich.table import Table

    width = min(MAX_NAME, max(map(words.width_of, [heading, *names])))
    table = Table(box=None, pad_edge=False, padding=(0, 2 if wide else 1, 0, 0))
    table.header_style = "bold underline"
    table.add_column(heading, no_wrap=True, overflow="ellipsis", min_width=width, max_width=width)
    return table


def _add_row(table: Table, cells: Sequence[str], style: str, styles: Mapping[int, str]) -> None:
    """Add cells as they are: nothing in them is markup."""
    from rich.text import Text

    texts = [Text(cell, style=styles.get(i, ""), no_wrap=True) for i, cell in enumerate(cells)]
    table.add_row(*texts, style=style)


def _study_legend(shown: view.StudyView, wide: bool) -> str:
    lengths = {arm.draft_length for arm in shown.arms}
    same = f" (γ={next(iter(lengths))})" if len(lengths) == 1 else ""
    runner_up = "; next: the runner-up's speedup" if wide else ""
    unknown = "" if wide else "; ?: cannot tell"
    return (
        f"best: the method measured fastest{same}{runner_up}. AL: tokens per target step. speedup: "
        "decode time per token, without over with. Eq. 3: speedup by AL and step times. 3-grams: "
        f"distinct share of answers. [ ]: {words.percent(shown.confidence)} intervals; decisions "
        f"use {words.percent(shown.decision_confidence)}, to hold jointly per load{unknown}."
    )
