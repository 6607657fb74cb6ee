"""The HTML report: complete, self-contained, and not to be broken by what it shows."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from speedbench.records import Summary
from speedbench.report import write_report
from speedbench.report.page import rendered

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "\" onload='x' & {{ 7 * 7 }} \u202e\u200f",
)
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Tags(HTMLParser):
    """Collects elements and attributes, and checks that they nest."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_it_holds_what_was_decided_and_measured(study_page: str) -> None:
    for text in (
        "At 1 stream: draft_model γ=3 pays for coding; nothing pays for roleplay;",
        '1.60</span> <span class="bounds">[1.44, 1.76]',
        "2 failed (2 timeout)",
        "Demo pair, a toy.",
        "c_draft 0.080 [0.072, 0.088]",
        "tier A",
        "99.8%",
    ):
        assert text in study_page
    assert study_page.count("<figure") == 2


def test_it_loads_nothing_and_runs_nothing(study_page: str, run_page: str) -> None:
    for page in (study_page, run_page):
        found = Tags(page).found
        assert not {tag for tag, _ in found} & {"script", "link", "img", "iframe", "object"}
        assert not [name for _, attributes in found for name in attributes if name[:2] == "on"]
        assert not re.search(r"https?://|//\w|@import|url\((?!#)", page)
        policy = next(a for tag, a in found if tag == "meta" and "http-equiv" in a)
        assert str(policy["content"]).startswith("default-src 'none'; style-src 'unsafe-inline'")


def test_what_it_shows_cannot_break_it(make_a_study: Any) -> None:
    names = dict(zip(("coding", "math", "roleplay"), HOSTILE, strict=True))
    hostile = make_a_study(
        rename=names,
        title=HOSTILE[0],
        notes=list(HOSTILE),
        facts={HOSTILE[1]: {HOSTILE[0]: HOSTILE[1]}, "engine": {"pair": "x" * 1_000_000}},
        counts={"runs": 1, "requests": 1, "failed": 1, "failures": {HOSTILE[0]: 1}},
    )
    page = rendered(hostile)
    found = Tags(page).found
    assert not {tag for tag, _ in found} & {"script", "img"}
    assert not [name for _, attributes in found for name in attributes if name[:2] == "on"]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "\\u202e\\u200f" in page
    assert "\u202e" not in page
    assert "{{ 7 * 7 }}" in page
    assert len(page) < 300_000


def test_undefined_numbers_are_dashes(study_page: str) -> None:
    assert not re.search(r"\bnan\b", study_page, flags=re.IGNORECASE)
    assert "NaN" not in study_page
    assert '<span class="value">-</span></td>' in study_page


def test_every_figure_has_words_for_those_who_do_not_see_it(study_page: str) -> None:
    found = Tags(study_page).found
    images = [attributes for _, attributes in found if attributes.get("role") == "img"]
    assert len(images) == 4  # speedup at two loads, AL at two loads that agree, rates
    assert "from 0.70 (roleplay) to 1.60 (coding)" in str(images[0]["aria-label"])
    assert len([tag for tag, _ in found if tag == "figcaption"]) == 2


def test_tables_have_captions_and_scopes(study_page: str, run_page: str) -> None:
    for page in (study_page, run_page):
        found = Tags(page).found
        tags = [tag for tag, _ in found]
        assert tags.count("table") == tags.count("caption")
        assert all("scope" in attributes for tag, attributes in found if tag == "th")


def test_drawings_take_their_colours_from_the_page(study_page: str) -> None:
    drawings = "".join(re.findall(r"<svg.*?</svg>", study_page, flags=re.DOTALL))
    colours = set(re.findall(r'(?:fill|stroke)="([^"]+)"', drawings))
    assert colours <= {"none", "transparent", "currentColor", "var(--arm0)", "var(--arm1)"}


def test_a_run_without_evidence_says_so(make_a_run: Any) -> None:
    page = rendered(make_a_run({"ttft_s_p50": 0.321, "tpot_vllm_s": 0.02}))
    assert "No acceptance length" in page
    assert "<figure" not in page
    assert "AL per step</th>" not in page


def test_a_study_without_any_row_is_still_a_page() -> None:
    empty = Summary(kind="study", title="nothing", estimates=[])
    assert "nothing" in rendered(empty)


def test_the_file_is_the_page(run: Summary, run_page: str, tmp_path: Path) -> None:
    write_report(run, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text("utf-8") == run_page
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_run_in_which_everything_failed_is_still_a_page(make_a_run: Any) -> None:
    counts = {"planned": 24, "finished": 0, "failed": 24, "failures": {"connection": 24}}
    page = rendered(make_a_run({}, counts=counts))
    assert "0 of 24 requests finished, 24 failed (24 connection)" in page
