"""Counters in the Prometheus text format (test_counters.py holds the embedded engine's)."""

from __future__ import annotations

import pytest

from speedbench.engines import StreamError
from speedbench.engines.counters import Counters

PAGE = """\
# HELP drafts Steps with a draft.
# TYPE drafts counter
drafts_total{engine="0"} 3.0
drafts_total{engine="1"} 4.0
drafts_created{engine="0"} 1.7e+09
# TYPE big counter
big_total 1.234567e+06
# TYPE at counter
at_total{position="0",engine="0"} 5
at_total{position="2",engine="0"} 1
at_total{position="0",engine="1"} 2
at_total{position="all",engine="1"} 9
# TYPE odd gauge
odd NaN
odd{engine="1"} +Inf
"""


def test_a_total_is_summed_over_its_labels() -> None:
    page = Counters(PAGE)
    assert page.total("drafts_total") == 7
    assert page.total("big_total") == 1_234_567


def test_what_is_not_there_is_absent_and_not_zero() -> None:
    page = Counters(PAGE)
    assert page.total("drafts") is None
    assert page.total("odd") is None
    assert page.by_position("drafts_total", "position") is None
    assert Counters("").total("drafts_total") is None


def test_positions_are_summed_and_gaps_are_zero() -> None:
    assert Counters(PAGE).by_position("at_total", "position") == (7, 0, 1)


@pytest.mark.parametrize("text", ['a_total{b="1" 3\n', "a_total three\n", "<html></html>"])
def test_another_text_is_a_failure(text: str) -> None:
    with pytest.raises(StreamError, match="do not parse") as caught:
        Counters(text)
    assert caught.value.kind == "bad_counters"
