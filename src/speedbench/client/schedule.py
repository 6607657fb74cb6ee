"""Which conversation starts when: slots of a closed loop, due times of an open one.

Knows no clock: it is told what time it is.
"""

from __future__ import annotations

import heapq
from collections import deque

from speedbench.client.messages import Begin, Task


class Schedule:
    """The conversations of one phase that have not begun, and the slots that are free.

    In a closed loop a conversation is scheduled for the moment its slot became free; in an open
    loop for the moment it is due, also when it then has to wait for a slot.
    """

    def __init__(self, begin: Begin, start_ns: int) -> None:
        self.begin = begin
        self._start_ns = start_ns
        self._queue: deque[Task] = deque()
        self._free_since = [start_ns + begin.ramp_ns * i // begin.slots for i in range(begin.slots)]
        self._finished = False

    def add(self, task: Task) -> None:
        """Take a conversation's first request."""
        self._queue.append(task)

    def finish(self) -> None:
        """Note that nothing will be added any more."""
        self._finished = True

    def release(self, at_ns: int) -> None:
        """Note that a conversation has ended and its slot is free again."""
        if self.begin.slots:
            heapq.heappush(self._free_since, at_ns)

    def next(self, now_ns: int) -> tuple[Task, int] | None:
        """Return what is to start now, with the time it was scheduled for; None for nothing."""
        when_ns = self.next_ns()
        if when_ns is None or when_ns > now_ns:
            return None
        deadline_ns = self._start_ns + self.begin.duration_ns
        if self.begin.duration_ns and now_ns >= deadline_ns:
            self._queue.clear()
            self._finished = True
            return None
        freed_ns = heapq.heappop(self._free_since) if self.begin.slots else self._start_ns
        task = self._queue.popleft()
        return task, self._start_ns + task.due_ns if self.begin.open_loop else freed_ns

    def next_ns(self) -> int | None:
        """Return when the next conversation may start; None when none may without further news."""
        if not self._queue or (self.begin.slots and not self._free_since):
            return None
        free_ns = self._free_since[0] if self.begin.slots else self._start_ns
        due_ns = self._start_ns + self._queue[0].due_ns if self.begin.open_loop else 0
        return max(free_ns, due_ns)

    @property
    def over(self) -> bool:
        """Whether no further conversation will start."""
        return self._finished and not self._queue
