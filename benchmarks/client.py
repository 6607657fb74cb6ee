"""How true and how cheap are the load client's stamps, beside other clients on the same machine?

    python benchmarks/client.py            every client at 128 to 2,048 streams: about 20 minutes
    python benchmarks/client.py --quick    ours and the C floor at 32 and 1,024: under a minute

A paced server (benchmarks/native/paced_server.c) writes its clock into every chunk just before it
sends it, so the truth is known for each.  Client and server share the machine's cores.  The product
is run as its users run it: `speedbench run` with its journal, its display on a terminal and its
self-check.  `make bench-peers` installs the other clients, each into its own environment; one that
is not installed, or fails, is listed with the reason.  The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from client_figures import Figures, medians
from client_load import Client, Load, NotRun, run
from client_ours import FLOOR, PLAIN_AIOHTTP, SPEEDBENCH
from client_report import (
    AIPERF,
    LATE_SHARE_OF_STEP,
    LEGEND,
    Results,
    got,
    json_figures,
    keeps_up,
    show_case,
    show_targets,
    streams_ratio,
    targets,
)
from client_server import Native, Pace, build
from peers import CLIENTS as PEERS
from peers import INSTALLS

LEVELS, QUICK_LEVELS = [128, 256, 512, 1024, 2048], [32, 1024]
NAMES = [SPEEDBENCH.name, FLOOR.name, PLAIN_AIOHTTP.name, *(peer.name for peer in PEERS)]
AIPERF_LEVELS = [64, 32, 16, 8]
"""Tried in this order, for aiperf alone, when it does not keep up at the lowest level."""


@dataclass(frozen=True)
class Case:
    """One table: a load and the clients that get it."""

    name: str
    title: str
    load: Load
    clients: list[Client]


@dataclass
class Bench:
    """Where results gather; results of one case are shown as soon as it is over."""

    native: Native
    scratch: Path
    repeats: int
    results: dict[str, dict[str, Figures | NotRun]]

    def measure(self, case: Case) -> None:
        """Run the clients of a case in turn, as often as asked, and print its table."""
        runs: dict[str, list[Figures | NotRun]] = {client.name: [] for client in case.clients}
        for _ in range(self.repeats):
            for client in case.clients:
                print(f"{case.name}: {client.name} ...", file=sys.stderr, flush=True)
                runs[client.name].append(run(client, case.load, self.native, self.scratch))
        self.results[case.name] = {name: _together(several) for name, several in runs.items()}
        own_clock = {client.name for client in case.clients if client.own_clock}
        show_case(case.title, self.results[case.name], own_clock)


def _together(runs: list[Figures | NotRun]) -> Figures | NotRun:
    """Return the medians, or why one of the repeats did not run."""
    figures = [run for run in runs if isinstance(run, Figures)]
    failures = [run for run in runs if isinstance(run, NotRun)]
    return failures[0] if failures else medians(figures)


def plain_cases(levels: list[int], pace: Pace, rounds: int, clients: list[Client]) -> list[Case]:
    """Return the levels that every client gets."""
    per_s = 1e3 / pace.interval_ms
    return [
        Case(
            str(streams),
            f"{streams:,} streams, {per_s:g} chunks/s each, {streams * per_s:,.0f} in all; "
            f"{rounds} request{'s' if rounds > 1 else ''} of {pace.answer_s:.2f} s a stream",
            Load(streams, rounds, pace),
            clients,
        )
        for streams in levels
    ]


def other_cases(pace: Pace, rounds: int, native: Native) -> list[Case]:
    """Return what only our own client is asked: no kernel stamps, TLS, very many streams."""
    read = Load(1024, rounds, pace, kernel_stamps=False)
    slow = Pace(max(10, round(pace.answer_s * 10)), 100.0)
    cases = [
        Case(
            "1024 read",
            "1,024 streams, stamps of reads instead of the kernel's",
            read,
            [SPEEDBENCH],
        ),
        Case(
            "8192",
            "8,192 streams, 10 chunks/s each, 81,920 in all",
            Load(8192, 1, slow),
            [FLOOR, SPEEDBENCH],
        ),
    ]
    if native.no_tls is None:
        load = Load(1024, rounds, pace, tls=True, kernel_stamps=False)
        cases.insert(0, Case("1024 TLS", "1,024 streams over TLS", load, [SPEEDBENCH]))
    return cases


def search_aiperf(bench: Bench, pace: Pace, rounds: int, levels: list[int], aiperf: Client) -> None:
    """Go below the lowest level until aiperf keeps up there, so that a ratio can be given."""
    bound_ms = LATE_SHARE_OF_STEP * pace.interval_ms
    for streams in [min(levels), *AIPERF_LEVELS]:
        if str(streams) not in bench.results:
            bench.measure(plain_cases([streams], pace, rounds, [aiperf])[0])
        found = got(bench.results, str(streams), AIPERF)
        if found is None or keeps_up(found, bound_ms):
            return


def conclude(results: Results, levels: list[int], pace: Pace) -> None:
    """Print targets, the ratio of streams and the line of JSON."""
    show_targets(targets(results, levels))
    ratio, said = streams_ratio(results, levels, pace.interval_ms)
    print(f"\nstreams_ratio_aiperf: {said}")
    print(json.dumps(json_figures(results, ratio)))


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="ours and the floor: under a minute")
    parser.add_argument("--levels", type=int, nargs="+", help="streams; default: 128 to 2048")
    parser.add_argument("--clients", nargs="+", choices=NAMES, help="only these; default: all")
    parser.add_argument("--chunks", type=int, help="per answer; default: 250, --quick 150")
    parser.add_argument("--rounds", type=int, help="requests in turn; default: 2, --quick 1")
    parser.add_argument("--repeats", type=int, default=1, help="of every run; medians are given")
    parser.add_argument("--keep", type=Path, help="keep what the clients wrote in this directory")
    return parser.parse_args()


def main() -> None:
    """Run what was asked for."""
    args = arguments()
    started_s = time.perf_counter()
    rounds = args.rounds or (1 if args.quick else 2)
    levels = args.levels or (QUICK_LEVELS if args.quick else LEVELS)
    clients = [SPEEDBENCH, FLOOR] + ([] if args.quick else [PLAIN_AIOHTTP, *PEERS])
    if args.clients:
        clients = [client for client in clients if client.name in args.clients]
    pace = Pace(args.chunks or (150 if args.quick else 250), 20.0)
    print(f"{os.cpu_count()} cores, {platform.platform()}, Python {platform.python_version()}")
    print(f"installed by make bench-peers: {', '.join(pip[0][-1] for pip in INSTALLS.values())}")
    print(LEGEND)
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(build(), args.keep or Path(scratch), args.repeats, {})
        for case in plain_cases(levels, pace, rounds, clients):
            bench.measure(case)
        aiperf = [client for client in clients if client.name == AIPERF]
        if aiperf:
            search_aiperf(bench, pace, rounds, levels, aiperf[0])
        if not args.quick and SPEEDBENCH in clients:
            for case in other_cases(pace, rounds, bench.native):
                bench.measure(case)
            if bench.native.no_tls:
                print(f"\n1,024 streams over TLS did not run: {bench.native.no_tls}")
    print(f"\n{time.perf_counter() - started_s:.0f} s in all")
    conclude(bench.results, levels, pace)


if __name__ == "__main__":
    main()
