"""The figures: Vega-Lite charts, drawn to SVG when the report is written.

Colours are CSS variables and ``currentColor``, so that one drawing serves light, dark and print.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from speedbench.records import Estimate
from speedbench.report import words
from speedbench.report.view import Line, Load

WIDTH = 250
ROW = 26
MAX_LABEL = 150
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"
MAX_SHAPES = 4
COLOURS = [f"var(--arm{number})" for number in range(MAX_SHAPES)]
SHAPES = ["circle", "square", "triangle-up", "diamond"]
TICKS = (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 20)

Row = tuple[str, str, Estimate]
"""Slice, way to speculate, what was found."""


def speedup_domain(loads: Sequence[Load]) -> tuple[float, float]:
    """Return the range of speedups that the figures of all loads share."""
    found = [arm.speedup for load in loads for line in load.all_lines for arm in line.arms]
    return domain(found, reference=1.0)


def al_domain(lines: Iterable[Line]) -> tuple[float, float]:
    """Return the range of acceptance lengths, from 1, of some slices."""
    found = [arm.al for line in lines for arm in line.arms]
    return 1.0, max(domain(found, reference=1.0)[1], 1.1)


def domain(estimates: Iterable[Estimate], reference: float) -> tuple[float, float]:
    """Return the range of an axis: all values, and intervals as far as they stay near them.

    >>> from speedbench.records import Estimate
    >>> wide = Estimate(estimand="", value=2.0, low=0.9, high=1e9, n=2, unit="ratio", evidence="")
    >>> domain([wide], reference=1.0)
    (0.9, 3.0)
    """
    known = [found for found in estimates if math.isfinite(found.value)]
    values = [reference, *(found.value for found in known)]
    lows = [found.low for found in known if math.isfinite(found.low)]
    highs = [found.high for found in known if math.isfinite(found.high)]
    low = max(min([*values, *lows]), min(values) / 1.5)
    return low, min(max([*values, *highs]), max(values) * 1.5)


def speedup_svg(load: Load, limits: tuple[float, float]) -> str:
    """Return measured speedup by slice at one load, a line at 1."""
    rows = [(line.name, a.arm.name, a.speedup) for line in load.all_lines for a in line.arms]
    ticks = [tick for tick in TICKS if limits[0] <= tick <= limits[1]]
    return _intervals_svg(rows, limits, "measured speedup", ticks=ticks, scale="log")


def al_svg(load: Load, limits: tuple[float, float]) -> str:
    """Return acceptance length by slice at one load."""
    rows = [(line.name, a.arm.name, a.al) for line in load.all_lines for a in line.arms]
    return _intervals_svg(rows, limits, "AL per step, tokens")


def al_of_run_svg(found: Sequence[tuple[str, Estimate]]) -> str:
    """Return acceptance length by slice of a run."""
    high = domain([estimate for _, estimate in found], reference=1.0)[1]
    rows = [(name, "", estimate) for name, estimate in found]
    return _intervals_svg(rows, (1.0, max(high, 1.1)), "AL per step, tokens")


def rates_svg(rows: Sequence[tuple[str, Sequence[Estimate]]]) -> str:
    """Return conditional acceptance rates as a heat map, slices by draft position.

    Parameters
    ----------
    rows
        For each slice its name and the rates, position 1 first.
    """
    import altair as alt

    cells = [
        {
            "slice": name,
            "position": str(number),
            "rate": _or_none(rate.value),
            "label": words.value_text(rate),
        }
        for name, rates in rows
        for number, rate in enumerate(rates, start=1)
    ]
    names = [name for name, _ in rows]
    base = alt.Chart(_data(cells)).encode(
        x=alt.X(
            "position:N",
            sort=None,
            title="draft position",
            axis=alt.Axis(orient="top", labelAngle=0),
        ),
        y=alt.Y("slice:N", sort=names, title=None, axis=_labels(names)),
    )
    shade = base.mark_rect(fill=COLOURS[0]).encode(
        fillOpacity=alt.FillOpacity(
            "rate:Q", scale=alt.Scale(domain=[0, 1], range=[0.02, 0.55]), legend=None
        )
    )
    chart = shade + base.mark_text().encode(text="label:N")
    n_positions = max((len(rates) for _, rates in rows), default=1)
    return _svg(chart.properties(width=min(WIDTH, 56 * n_positions), height=ROW * len(names)))


def _point(row: Row, arms: Sequence[str], limits: tuple[float, float]) -> dict[str, Any]:
    """Return what is drawn for one estimate; an interval that leaves the axis ends in an arrow."""
    name, arm, found = row
    low, high = words.possible_bounds(found)
    return {
        "slice": name,
        "arm": arm,
        "number": str(arms.index(arm) % MAX_SHAPES),
        "value": _or_none(found.value),
        "low": _or_none(max(low, limits[0])) if math.isfinite(low) else None,
        "high": _or_none(min(high, limits[1])) if math.isfinite(high) else None,
        "beyond_low": "◂" if low < limits[0] else "",
        "beyond_high": "▸" if high > limits[1] else "",
    }


def _intervals_svg(
    rows: Sequence[Row],
    limits: tuple[float, float],
    title: str,
    *,
    ticks: list[float] | None = None,
    scale: Literal["linear", "log"] = "linear",
) -> str:
    """Return points with intervals along x, a slice per row, ways to speculate side by side."""
    import altair as alt

    names = list(dict.fromkeys(name for name, _, _ in rows))
    arms = list(dict.fromkeys(arm for _, arm, _ in rows))
    numbers = [str(number) for number in range(MAX_SHAPES)]
    coloured = alt.Color("number:N", scale=alt.Scale(domain=numbers, range=COLOURS), legend=None)
    shaped = alt.Shape("number:N", scale=alt.Scale(domain=numbers, range=SHAPES), legend=None)
    axis = alt.Axis(
        values=ticks or alt.Undefined, format="~g", title=title, tickCount=5, labelFlush=False
    )
    span = alt.Scale(type=scale, domain=list(limits), nice=False, zero=False)

    def along(field: str) -> Any:
        return alt.X(f"{field}:Q", axis=axis, scale=span)

    base = alt.Chart(_data([_point(row, arms, limits) for row in rows])).encode(
        y=alt.Y("slice:N", sort=names, title=None, axis=_labels(names)),
        yOffset=alt.YOffset("arm:N", sort=arms, scale=alt.Scale(paddingOuter=0.35)),
    )
    one = alt.Chart(_data([{"one": 1.0}])).mark_rule(stroke="currentColor")
    spans = base.transform_filter("isValid(datum.low) && isValid(datum.high)")
    dots = base.transform_filter("isValid(datum.value)").mark_point(filled=True, size=46, opacity=1)
    arrows = [
        spans.transform_filter(f"datum.beyond_{side} != ''")
        .mark_text(fontSize=11, baseline="middle")
        .encode(x=along(side), text=f"beyond_{side}:N", color=coloured)
        for side in ("low", "high")
    ]
    rules = spans.mark_rule(strokeWidth=2, strokeOpacity=0.6)
    chart = alt.layer(
        one.encode(x=along("one")),
        rules.encode(x=along("low"), x2="high", color=coloured),
        dots.encode(x=along("value"), color=coloured, shape=shaped),
        *arrows,
    )
    return _svg(chart.properties(width=WIDTH, height=max(ROW, 10 * len(arms)) * len(names)))


def _data(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Return rows as they go into a chart."""
    import altair as alt

    return alt.Data(values=rows)  # type: ignore[no-untyped-call]


def _labels(names: Sequence[str]) -> Any:
    """Return an axis with room for the names in whichever font the reader has."""
    import altair as alt

    room = min(MAX_LABEL, max(map(words.width_of, names), default=0) * 7.4)
    return alt.Axis(minExtent=room + 8, maxExtent=room + 8, labelLimit=MAX_LABEL)


def _svg(chart: Any) -> str:
    """Draw a chart; the result takes its colours from the page and fits its column."""
    import vl_convert

    quiet = {"domain": False, "ticks": False, "labelColor": "currentColor"}
    styled = (
        chart.configure(font=FONT, background="transparent", padding=2, aria=False)
        .configure_view(stroke=None)
        .configure_axis(
            **quiet,
            titleColor="currentColor",
            titleFontWeight="normal",
            labelFontSize=12,
            titleFontSize=12,
            gridColor="currentColor",
            gridOpacity=0.12,
            labelPadding=6,
        )
        .configure_text(color="currentColor", fontSize=12)
    )
    svg: str = vl_convert.vegalite_to_svg(styled.to_dict())
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg, count=2)
    width = re.search(r'width="([\d.]+)"', svg)
    limit = f"max-width:{1.2 * float(width[1]):.0f}px" if width else ""
    svg = re.sub(r' width="[^"]*" height="[^"]*"', "", svg, count=1)
    return svg.replace("<svg", f'<svg aria-hidden="true" style="width:100%;height:auto;{limit}"', 1)


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
