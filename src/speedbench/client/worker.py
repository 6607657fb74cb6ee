"""A worker: one process, one thread, one loop over thousands of streams.

``python -m speedbench.client.worker`` reads one line of JSON from its standard input, the port and
token of whoever leads it, connects there, and does as it is told (`speedbench.client.messages`).
It ends when that connection does.

While a load runs, each turn of the loop does the same few things: wait, read what has arrived and
stamp it, start what is due, write the journal, report.  Nothing is parsed but the framing that
tells where an answer ends.
"""

from __future__ import annotations

import contextlib
import gc
import json
import signal
import socket
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic_ns

import msgspec

from speedbench.client.connection import STAMPS_IN_KERNEL
from speedbench.client.journal import FLUSH_READS, Began, JournalWriter, Opened
from speedbench.client.limits import raise_descriptor_limit
from speedbench.client.messages import (
    Begin,
    Broken,
    Drained,
    Finish,
    FromWorker,
    Progress,
    Ready,
    Release,
    Setup,
    Stop,
    Task,
    TaskEnded,
    ToWorker,
    Unpacker,
    packed,
)
from speedbench.client.poller import IN, poller
from speedbench.client.schedule import Schedule
from speedbench.client.streams import Streams
from speedbench.client.vitals import Clocks, PauseMeter, vitals
from speedbench.errors import SpeedbenchError
from speedbench.records import Failed

TICK_NS = 50_000_000
WATCH_NS = 100_000_000
VITALS_NS = 1_000_000_000
NAP_S = 0.0005
NAP_READS = range(4, 160)
"""Where the kernel stamps, a turn that found so many reads is followed by a nap, so that the next
one finds more of them: waking up costs more than reading, and no stamp gets worse.  A turn that
found more than that is behind, and goes on at once."""


class Worker:
    """Obeys one leader until it goes away."""

    def __init__(self, channel: socket.socket, setup: Setup) -> None:
        if not STAMPS_IN_KERNEL:
            setup = msgspec.structs.replace(setup, stamps="read")
        self._channel = channel
        self._unpacker = Unpacker(ToWorker)
        self._poller = poller()
        self._poller.register(channel.fileno(), IN)
        self._journal = JournalWriter(Path(setup.journal), setup.first_key)
        self._streams = Streams(setup, self._poller, self._journal, self._ended)
        self._streams.listen(channel.fileno(), self._hear)
        self._clocks, self._pauses = Clocks(), PauseMeter()
        self._naps = setup.stamps == "kernel"
        self._schedule: Schedule | None = None
        self._held: dict[int, int] = {}
        self._outbox: list[FromWorker] = []
        self._n_started = self._n_reads = self._n_reported = 0
        self._flushed_ns = self._watched_ns = self._vitals_ns = self._told_ns = 0
        self._stopped = False
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self._journal.append(
            Opened(
                monotonic_ns(), now, setup.launch, setup.worker, setup.stamps, setup.n_torn_bytes
            )
        )
        self._journal.flush()
        self._outbox.append(Ready(setup.stamps))

    def run(self) -> None:
        """Turn the loop until the leader says stop or goes away."""
        poll = self._poller.poll
        take = self._streams.take
        journal = self._journal
        while not self._stopped:
            timeout_s = self._timeout_s()
            began_ns = monotonic_ns()
            ready = poll(timeout_s)
            woke_ns = monotonic_ns()
            n_before = len(journal.reads)
            take(ready)
            n_reads = len(journal.reads) - n_before
            self._n_reads += n_reads
            if self._schedule is not None:
                journal.wakes.append((began_ns, woke_ns, n_reads))
            self._start_due()
            self._keep_house(woke_ns)
            if self._naps and n_reads in NAP_READS:
                time.sleep(NAP_S)

    def close(self) -> None:
        """Drop the streams and close the journal."""
        self._streams.close()
        self._journal.append(vitals(monotonic_ns(), self._pauses, self._clocks))
        self._journal.close()

    # --- what the leader says ----------------------------------------------------------------

    def _hear(self) -> None:
        try:
            data = self._channel.recv(1 << 20)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._stopped = True
            return
        for message in self._unpacker.feed(data):
            self._obey(message)

    def _obey(self, message: ToWorker | FromWorker) -> None:
        match message:
            case Begin():
                self._begin(message)
            case Task(number=number) if number in self._held:
                self._streams.start(message, self._held.pop(number))
            case Task() if self._schedule is not None:
                self._schedule.add(message)
            case Release(number) if self._schedule is not None:
                self._schedule.release(self._held.pop(number))
            case Finish() if self._schedule is not None:
                self._schedule.finish()
            case Stop():
                self._stopped = True

    def _begin(self, message: Begin) -> None:
        gc.collect()
        gc.freeze()
        gc.disable()
        now_ns = monotonic_ns()
        self._schedule = Schedule(message, now_ns)
        self._streams.begin(message.phase, message.block)
        self._n_started = self._n_reads = self._n_reported = 0
        self._journal.append(Began(now_ns, message.phase, message.block, message.slots))
        self._journal.append(vitals(now_ns, self._pauses, self._clocks))

    # --- one turn ----------------------------------------------------------------------------

    def _timeout_s(self) -> float:
        """Return how long the loop may wait before something is due."""
        due = [self._flushed_ns + TICK_NS, self._streams.next_ns()]
        if self._schedule is not None:
            due.append(self._schedule.next_ns())
        wait_ns = min(at_ns for at_ns in due if at_ns is not None) - monotonic_ns()
        return max(wait_ns * 1e-9, 0.0)

    def _start_due(self) -> None:
        now_ns = monotonic_ns()
        self._streams.repeat(now_ns)
        while self._schedule is not None and (found := self._schedule.next(now_ns)) is not None:
            task, scheduled_ns = found
            self._n_started += 1
            self._streams.start(task, scheduled_ns)

    def _ended(
        self, task: Task, failed: Failed | None, answer: list[tuple[int, bytes]], at_ns: int
    ) -> None:
        self._outbox.append(TaskEnded(task.number, failed, answer))
        if task.more and failed is None:
            self._held[task.number] = at_ns
        elif self._schedule is not None:
            self._schedule.release(at_ns)

    def _keep_house(self, now_ns: int) -> None:
        """Write and report, if there is reason to."""
        if now_ns - self._watched_ns > WATCH_NS:
            self._watched_ns = now_ns
            self._streams.watch(now_ns)
        if now_ns - self._vitals_ns > VITALS_NS:
            self._vitals_ns = now_ns
            self._journal.append(vitals(now_ns, self._pauses, self._clocks))
        self._check_clock()
        late = now_ns - self._flushed_ns > TICK_NS
        over = self._is_over()
        if not (self._outbox or late or over or len(self._journal.reads) >= FLUSH_READS):
            return
        self._flushed_ns = now_ns
        if over:
            self._journal.append(vitals(now_ns, self._pauses, self._clocks))
        self._journal.flush()
        self._report(over)

    def _check_clock(self) -> None:
        """Take back the kernel's stamps of a turn in which the wall clock was set."""
        if self._clocks.stepped():
            reads = self._journal.reads
            reads[:] = [(key, b"", read_ns, data) for key, _, read_ns, data in reads]
        self._journal.offset_ns = self._clocks.offset_ns

    def _is_over(self) -> bool:
        return (
            self._schedule is not None
            and self._schedule.over
            and not self._held
            and not self._streams.busy
        )

    def _report(self, over: bool) -> None:
        moved = self._n_started + self._n_reads
        if moved != self._n_reported:
            self._n_reported = moved
            self._outbox.append(Progress(self._n_started, self._n_reads))
        if over:
            self._outbox.append(Drained())
            self._schedule = None
            gc.enable()
            gc.unfreeze()
        if self._outbox:
            say(self._channel, self._outbox)
            self._outbox.clear()


def say(channel: socket.socket, messages: list[FromWorker]) -> None:
    """Send messages, waiting for a leader that is slow to listen; one that is gone is noticed."""
    channel.setblocking(True)
    with contextlib.suppress(OSError):
        channel.sendall(packed(messages))
    channel.setblocking(False)


def hear_setup(channel: socket.socket) -> Setup | None:
    """Return the first message; None when the leader is gone before it."""
    unpacker = Unpacker(ToWorker)
    while data := channel.recv(1 << 16):  # the leader waits for our answer before it says more
        for message in unpacker.feed(data):
            return message if isinstance(message, Setup) else None
    return None


def main() -> None:
    """Connect to the leader and work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the leader's to handle
    raise_descriptor_limit()
    where = json.loads(sys.stdin.readline())
    channel = socket.create_connection((where["host"], where["port"]))
    channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    channel.sendall(where["token"].encode())
    setup = hear_setup(channel)
    if setup is None:
        return
    worker = None
    try:
        worker = Worker(channel, setup)
        channel.setblocking(False)
        worker.run()
        worker.close()
    except SpeedbenchError as error:
        say(channel, [Broken(str(error))])


if __name__ == "__main__":
    main()
