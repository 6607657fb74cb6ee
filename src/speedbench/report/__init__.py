"""From a summary to what people read: the terminal's screen and one self-contained HTML file.

`view` arranges a summary, `words` says it, `charts` draws it, `page` writes it down; nothing here
computes a figure that is not in the summary.
"""

from __future__ import annotations

from speedbench.report.page import write_report

__all__ = ["write_report"]
