"""Times and rates from stamps, without a clock.

Stamps are int64 nanoseconds of one monotonic clock, results are float64 seconds or tokens per
second.  Undefined is NaN; `percentiles` counts how many values it had to leave out.
"""

from speedbench.timing._latency import (
    DecodeSums,
    decode_seconds_per_token,
    decode_sums_by,
    e2e_s,
    itl_s,
    tpot_s,
    ttft_s,
    user_tps,
)
from speedbench.timing._steps import StepLatency, batch_at, step_latency, step_seconds_from_stamps
from speedbench.timing._streams import Streams
from speedbench.timing._summary import Percentiles, goodput, goodput_share, percentiles
from speedbench.timing._throughput import (
    Throughput,
    Window,
    in_flight,
    output_tps,
    peak_tps,
    steady_window,
    whole_window,
)

__all__ = [
    "DecodeSums",
    "Percentiles",
    "StepLatency",
    "Streams",
    "Throughput",
    "Window",
    "batch_at",
    "decode_seconds_per_token",
    "decode_sums_by",
    "e2e_s",
    "goodput",
    "goodput_share",
    "in_flight",
    "itl_s",
    "output_tps",
    "peak_tps",
    "percentiles",
    "steady_window",
    "step_latency",
    "step_seconds_from_stamps",
    "tpot_s",
    "ttft_s",
    "user_tps",
    "whole_window",
]
