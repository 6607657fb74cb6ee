"""Counters in the Prometheus text format, summed over whatever labels they carry."""

from __future__ import annotations

import math

from prometheus_client.parser import text_string_to_metric_families

from speedbench.errors import StreamError


class Counters:
    r"""The samples of one ``/metrics`` page; one that is no finite number counts as absent.

    >>> page = Counters('drafts_total{engine="0"} 3.0\ndrafts_total{engine="1"} 4.0\n')
    >>> page.total("drafts_total"), page.total("absent_total")
    (7, None)
    """

    def __init__(self, text: str) -> None:
        try:
            families = list(text_string_to_metric_families(text))
        except (ValueError, KeyError, IndexError) as error:
            raise StreamError("bad_counters", f"the counters do not parse: {error}") from error
        samples = [sample for family in families for sample in family.samples]
        self._samples = [sample for sample in samples if math.isfinite(sample.value)]

    def total(self, name: str) -> int | None:
        """Return the sum of a counter over its labels; None where the page does not hold it."""
        found = [sample.value for sample in self._samples if sample.name == name]
        return int(sum(found)) if found else None

    def by_position(self, name: str, label: str) -> tuple[int, ...] | None:
        r"""Return the sums of a counter for 0, 1, 2, ... of a label; None where it is absent.

        >>> text = 'a_total{position="1"} 2\na_total{position="0"} 5\n'
        >>> Counters(text).by_position("a_total", "position")
        (5, 2)
        """
        sums: dict[int, int] = {}
        for sample in self._samples:
            if sample.name == name and sample.labels.get(label, "").isdecimal():
                position = int(sample.labels[label])
                sums[position] = sums.get(position, 0) + int(sample.value)
        return tuple(sums.get(i, 0) for i in range(max(sums) + 1)) if sums else None
