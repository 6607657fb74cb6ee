"""``speedbench doctor``."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from speedbench.errors import CallError

if TYPE_CHECKING:
    from rich.table import Table

    from speedbench.doctor import Answer, Fact, Level, Plan
    from speedbench.doctor.verdict import Judgement

LEVELS = (1, 32, 128, 512, 1024, 2048)
RATE_HZ = 25.0
SECONDS = 3.0
NONE = "–"
MARKS = {"trustworthy": "ok", "not trustworthy": "no", "cannot tell": "cannot tell"}


def doctor(
    *,
    levels: Annotated[list[int] | None, Parameter(consume_multiple=True, negative=())] = None,
    need: int | None = None,
    rate: float | None = None,
    seconds: float | None = None,
    stamps: str | None = None,
    workers: int | None = None,
    base_url: str | None = None,
    model: str | None = None,
    header: Annotated[list[str] | None, Parameter(negative=())] = None,
    ca_file: Path | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Say whether this client, or with --base-url that server, is fit to measure.

    The client is tried against a server of our own that keeps its schedule and stamps every chunk;
    exits with 1 when it cannot be trusted, with 3 when that cannot be told.

    Parameters
    ----------
    levels
        Numbers of streams to try (default 1 32 128 512 1024 2048), until one is not trustworthy.
    need
        So many streams must be trustworthy; levels above it are left out.
    rate
        Chunks per second and stream (default 25).
    seconds
        How long each stream lasts (default 3).
    stamps
        Who stamps what arrives: kernel (default, where the system can) or read.
    workers
        Processes that share the load (default: as a run would have).
    base_url
        Check this server instead, with three small requests; without /v1.
    model
        The model's name there; default: the first one it lists.
    header
        NAME: VALUE, as for run.
    ca_file
        An authority (PEM) to trust besides the system's, for https.
    json
        Print the figures as JSON.
    """
    from speedbench.cli.run import given, headers_of

    of_client = given(
        levels=levels, need=need, rate=rate, seconds=seconds, stamps=stamps, workers=workers
    )
    of_server = given(model=model, header=header, ca_file=ca_file)
    if base_url is None:
        if of_server:
            raise CallError(f"{_option(of_server)} belongs to --base-url")
        return _client(of_client, as_json=json)
    if of_client:
        raise CallError(f"{_option(of_client)} tries the client: leave --base-url out")
    engine = given(
        base_url=base_url, model=model, headers=headers_of(header or ()) or None, ca_file=ca_file
    )
    return _server(engine, as_json=json)


def _option(given: dict[str, Any]) -> str:
    return "--" + next(iter(given)).replace("_", "-")


# --- the client ----------------------------------------------------------------------------------


def _client(given: dict[str, Any], *, as_json: bool) -> int:
    # Slow to import, and not needed for --help.
    from speedbench import doctor
    from speedbench.cli.progress import progress
    from speedbench.doctor.machine import cpu_times, stolen_between
    from speedbench.load.health import TOLERATED

    need = given.get("need")
    plan = _plan(given)
    plan.validate()
    facts = doctor.machine_facts()
    before = cpu_times()
    levels: list[Level] = []
    judgements: list[Judgement] = []
    with TemporaryDirectory(prefix="speedbench-doctor-") as scratch, progress(None) as observer:

        def of_level(streams: int) -> Any:
            observer.describe(f"{streams} streams")
            return observer

        for level in doctor.measured(plan, Path(scratch), of_level):
            levels.append(level)
            judgements.append(doctor.judged(level, tolerated=TOLERATED))
            if judgements[-1].verdict == doctor.NO:
                break
    stolen = stolen_between(before, cpu_times())
    facts += [stolen] if stolen else []
    result = doctor.answer(levels, judgements, need=need)
    show = _client_json if as_json else _show_client
    show(facts, levels, judgements, result)
    return result.exit_code


def _plan(given: dict[str, Any]) -> Plan:
    """Return what is to be tried, levels in order and none above the one that is needed."""
    from speedbench.doctor import Plan
    from speedbench.doctor.machine import most_streams

    need = given.get("need")
    if need is not None and need < 1:
        raise CallError(f"--need {need}: must be a number of streams from 1 up")
    levels = given.get("levels")
    if levels is None:
        levels = [level for level in LEVELS if level <= most_streams()]
    if need is not None:
        levels = [level for level in levels if level < need] + [need]
    return Plan(
        levels=tuple(sorted(set(levels))),
        rate_hz=given.get("rate", RATE_HZ),
        seconds=given.get("seconds", SECONDS),
        stamps=given.get("stamps", "kernel"),
        workers=given.get("workers"),
    )


def _client_json(
    facts: Sequence[Fact],
    levels: Sequence[Level],
    judgements: Sequence[Judgement],
    result: Answer,
) -> None:
    import msgspec

    rows = [
        {**msgspec.structs.asdict(level), **msgspec.structs.asdict(judgement)}
        for level, judgement in zip(levels, judgements, strict=True)
    ]
    whole = {"machine": facts, "levels": rows, **msgspec.structs.asdict(result)}
    print(msgspec.json.encode(whole).decode())


def _show_client(
    facts: Sequence[Fact],
    levels: Sequence[Level],
    judgements: Sequence[Judgement],
    result: Answer,
) -> None:
    from speedbench.cli.show import output, say, show_table
    from speedbench.doctor.verdict import counted

    console = output()
    for fact in facts:
        say(console, f"{'ok' if fact.good else 'mind'}  {fact.name}: {fact.sentence}")
    console.print()
    show_table(console, _truth_table(levels, judgements))
    show_table(console, _account_table(levels))
    say(
        console,
        "stamp error: client's stamp of a chunk against the server's own, just before it was sent; "
        "TTFT error: likewise; pace: ideal over actual duration; late: the server behind its "
        "schedule. The second table is what the client finds out about itself in every run; bound: "
        "of its stamp error. Times in ms, p99 unless it says p50.",
        style="dim",
    )
    for level, judgement in zip(levels, judgements, strict=True):
        if judgement.because:
            say(console, f"{counted(level.streams)}: {judgement.because}.")
    console.print()
    say(console, f"{result.sentence}.", style="bold")


TRUTH: dict[str, Callable[[Level], str]] = {
    "streams": lambda level: str(level.streams),
    "chunks": lambda level: str(level.chunks_offered),
    "lost": lambda level: str(level.chunks_offered - level.chunks_received),
    "stamp error p50": lambda level: _figure(level.error_ms_p50),
    "p99": lambda level: _figure(level.error_ms_p99),
    "of interval": lambda level: _percent(level.share),
    "TTFT error": lambda level: _figure(level.ttft_error_ms_p99),
    "pace": lambda level: _percent(level.pace),
    "late": lambda level: _figure(level.server_late_ms_p99),
}
ACCOUNT: dict[str, Callable[[Level], str]] = {
    "streams": lambda level: str(level.streams),
    "stamps": lambda level: str(level.client.get("stamps", NONE)),
    "bound": lambda level: _client_figure(level, "stamp_error_ms_p99"),
    "read delay": lambda level: _client_figure(level, "read_delay_ms_p99"),
    "loop lag": lambda level: _client_figure(level, "loop_lag_ms_p99"),
    "send late": lambda level: _client_figure(level, "send_lateness_ms_p99"),
    "CPU": lambda level: _percent(level.client.get("cpu_share_max", math.nan)),
    "GC pauses": lambda level: str(level.client.get("gc_pauses", NONE)),
    "merged": lambda level: str(level.client.get("merged_chunks", NONE)),
    "it says": lambda level: str(level.client.get("verdict", NONE)),
}


def _truth_table(levels: Sequence[Level], judgements: Sequence[Judgement]) -> Table:
    table = _table(TRUTH)
    table.add_column("verdict")
    for level, judgement in zip(levels, judgements, strict=True):
        table.add_row(*(cell(level) for cell in TRUTH.values()), judgement.verdict)
    return table


def _account_table(levels: Sequence[Level]) -> Table:
    table = _table(ACCOUNT)
    for level in levels:
        table.add_row(*(cell(level) for cell in ACCOUNT.values()))
    return table


def _table(columns: dict[str, Callable[[Level], str]]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold underline")
    for heading in columns:
        table.add_column(heading, justify="right")
    return table


def _figure(value_ms: float) -> str:
    if math.isnan(value_ms):
        return NONE
    if 0 < value_ms < 0.001:
        return f"{value_ms:.4f}"
    return f"{value_ms:.3f}" if value_ms < 10 else f"{value_ms:.0f}"


def _percent(share: float) -> str:
    return NONE if math.isnan(share) else f"{share:.2%}" if share < 0.095 else f"{share:.0%}"


def _client_figure(level: Level, name: str) -> str:
    return _figure(level.client.get(name, math.nan))


# --- a server ------------------------------------------------------------------------------------


def _server(engine: dict[str, Any], *, as_json: bool) -> int:
    from speedbench import doctor
    from speedbench.cli.show import output, say
    from speedbench.doctor.server import server_config, server_exit_code
    from speedbench.report import words

    config = server_config(engine)
    with TemporaryDirectory(prefix="speedbench-doctor-") as scratch:
        checks = doctor.checked(config, Path(scratch))
    code = server_exit_code(checks)
    if as_json:
        import msgspec

        print(msgspec.json.encode({"checks": checks, "exit_code": code}).decode())
        return code
    console = output()
    for check in checks:
        said = words.visible(check.sentence, 400)
        say(console, f"{MARKS.get(check.verdict, check.verdict)}  {check.name}: {said}")
    console.print()
    ends = {0: "fit to measure", 1: "not fit to measure", 3: "cannot tell whether it is fit"}
    say(console, f"{ends[code]}: {config.engine.model_dump()['base_url']}", style="bold")
    sys.stdout.flush()
    return code
