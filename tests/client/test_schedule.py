"""Who starts when, told by a schedule that knows no clock."""

from __future__ import annotations

import ast
import inspect
import itertools

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from speedbench.client import schedule
from speedbench.client.messages import Begin, Task
from speedbench.client.schedule import Schedule

START_NS = 1_000


def begin(**changes: int) -> Begin:
    return Begin(**{"phase": "load", "block": 0, "slots": 1, **changes})  # type: ignore[arg-type]


def task(number: int, due_ns: int = 0) -> Task:
    return Task(number=number, request=msgspec.Raw(b""), payload=b"", due_ns=due_ns)


def filled(how: Begin, *due_ns: int) -> Schedule:
    found = Schedule(how, START_NS)
    for number, at_ns in enumerate(due_ns):
        found.add(task(number, at_ns))
    return found


def started(plan: Schedule, now_ns: int) -> list[tuple[int, int]]:
    """Everything that starts at `now_ns`: number and the time it was scheduled for."""
    found = []
    while (one := plan.next(now_ns)) is not None:
        found.append((one[0].number, one[1]))
    return found


def test_it_imports_no_clock() -> None:
    names = {
        name
        for node in ast.walk(ast.parse(inspect.getsource(schedule)))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in [getattr(node, "module", None), *[alias.name for alias in node.names]]
    }
    assert names.isdisjoint({"time", "datetime", "asyncio", "random"})


def test_a_slot_starts_the_next_conversation_when_it_is_free() -> None:
    plan = filled(begin(slots=2), 0, 0, 0)
    assert started(plan, START_NS) == [(0, START_NS), (1, START_NS)]
    assert plan.next_ns() is None
    plan.release(START_NS + 50)
    assert plan.next_ns() == START_NS + 50
    assert started(plan, START_NS + 70) == [(2, START_NS + 50)]


def test_a_ramp_frees_slot_after_slot() -> None:
    plan = filled(begin(slots=4, ramp_ns=400), 0, 0, 0, 0)
    assert [started(plan, START_NS + at_ns) for at_ns in (0, 99, 100, 350)] == [
        [(0, START_NS)],
        [],
        [(1, START_NS + 100)],
        [(2, START_NS + 200), (3, START_NS + 300)],
    ]


def test_an_open_loop_starts_when_it_is_due() -> None:
    plan = filled(begin(slots=0, open_loop=True), 0, 10, 10, 30)
    assert started(plan, START_NS + 15) == [
        (0, START_NS), (1, START_NS + 10), (2, START_NS + 10),
    ]  # fmt: skip
    assert plan.next_ns() == START_NS + 30
    assert started(plan, START_NS + 29) == []
    assert started(plan, START_NS + 99) == [(3, START_NS + 30)]


def test_with_a_limit_what_is_due_waits_and_keeps_its_time() -> None:
    plan = filled(begin(slots=1, open_loop=True), 0, 10)
    assert started(plan, START_NS + 20) == [(0, START_NS)]
    assert plan.next_ns() is None
    plan.release(START_NS + 40)
    assert started(plan, START_NS + 40) == [(1, START_NS + 10)]


def test_after_its_duration_nothing_starts() -> None:
    plan = filled(begin(slots=1, duration_ns=100), 0, 0, 0)
    assert started(plan, START_NS) == [(0, START_NS)]
    plan.release(START_NS + 99)
    assert started(plan, START_NS + 99) == [(1, START_NS + 99)]
    assert not plan.over
    plan.release(START_NS + 100)
    assert started(plan, START_NS + 100) == []
    assert plan.over


def test_it_is_over_when_nothing_will_be_added_and_nothing_is_left() -> None:
    plan = filled(begin(), 0)
    assert not plan.over
    plan.finish()
    assert not plan.over
    started(plan, START_NS)
    assert plan.over


@given(
    st.integers(0, 4),
    st.booleans(),
    st.integers(0, 50),
    st.lists(st.integers(0, 200), max_size=20).map(sorted),
    st.data(),
)
def test_every_conversation_starts_once_in_order_and_never_early(
    slots: int, open_loop: bool, ramp_ns: int, due_ns: list[int], data: st.DataObject
) -> None:
    how = begin(slots=slots, open_loop=open_loop, ramp_ns=0 if open_loop else ramp_ns)
    plan = filled(how, *due_ns)
    plan.finish()
    now_ns, in_flight, order = START_NS, 0, []
    for _ in itertools.count():
        for number, at_ns in started(plan, now_ns):
            order.append(number)
            in_flight += 1
            assert at_ns <= now_ns
            if open_loop:
                assert at_ns == START_NS + due_ns[number]
        if slots:
            assert in_flight <= slots
        if plan.over:
            break
        following = plan.next_ns()
        if following is not None:
            assert following > now_ns  # all that could start has started
            now_ns = following
        else:
            assert in_flight
            now_ns += data.draw(st.integers(0, 30))
            in_flight -= 1
            plan.release(now_ns)
    assert order == list(range(len(due_ns)))
