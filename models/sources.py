"""Fetch the packages the corpus is made of, and read plain text out of them."""

from __future__ import annotations

import ast
import gzip
import html
import re
import subprocess
import textwrap
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PACKAGES = {
    "debian-handbook": "GPL-2.0-or-later or CC-BY-SA-3.0",
    "dict-elements": "public domain",
    "dict-foldoc": "GFDL-1.1-or-later",
    "dict-gcide": "GPL-2.0-or-later (text of 1913: public domain)",
    "dict-jargon": "public domain",
    "libpython3.11-stdlib": "PSF-2.0",
    "manpages": "Linux-man-pages-copyleft, GPL, BSD, per page",
    "manpages-de": "GPL-3.0-or-later",
    "manpages-es": "GPL-3.0-or-later",
    "manpages-fr": "GPL-3.0-or-later",
    "miscfiles": "public domain (the constitution; nothing else is read)",
    "python3.11-doc": "PSF-2.0",
    "r-cran-janeaustenr": "MIT (the novels: public domain)",
}

SKIPPED_SECTIONS = re.compile(
    r"SYN|ÜBERS|AUTO|AUTH|AUTEUR|COPY|COLOPH|SEE|SIEHE|VOIR|VÉASE|TRAD|ÜBERSETZ|FEHLER|BUGS|SIGNAL"
)
INLINE_MACROS = ("B", "I", "BR", "IR", "RB", "RI", "BI", "IB", "SM", "SB")


class Paragraph(NamedTuple):
    """A piece of prose, with the heading it stands under."""

    title: str
    text: str


class Function(NamedTuple):
    name: str
    summary: str
    code: str


def fetch(folder: Path) -> list[str]:
    """Download and unpack every package; returns `name version`, sorted."""
    debs = folder / "debs"
    debs.mkdir(parents=True, exist_ok=True)
    for name in PACKAGES:
        if not list(debs.glob(f"{name}_*.deb")):
            subprocess.run(["apt-get", "download", name], cwd=debs, check=True)
        if not (folder / name).exists():
            (deb,) = debs.glob(f"{name}_*.deb")
            subprocess.run(["dpkg", "-x", deb, folder / name], check=True)
    return sorted(" ".join(p.name.split("_")[:2]).replace("%3a", ":") for p in debs.glob("*.deb"))


def squeeze(text: str) -> str:
    return " ".join(text.split())


def dictionary(root: Path, name: str) -> str:
    packed = root / f"dict-{name}" / "usr/share/dictd" / f"{name}.dict.dz"
    return gzip.decompress(packed.read_bytes()).decode("utf-8", "replace")


def dictionary_entries(text: str) -> Iterator[tuple[str, str]]:
    """Entries of a dictd file: a head at column 0, then indented lines."""
    for block in re.split(r"\n(?=\S)", text):
        head, _, body = block.partition("\n")
        if body.strip():
            yield head.strip(), body


def foldoc(root: Path) -> Iterator[Paragraph]:
    for head, body in dictionary_entries(dictionary(root, "foldoc")):
        body = re.sub(r"[{}]|\(\d{4}-\d\d-\d\d\)|\(http[^)]*\)|<[^>]*>", "", body)
        parts = [squeeze(p) for p in body.split("\n\n")]
        yield Paragraph(head, squeeze(" ".join(parts[:2])))


def jargon(root: Path) -> Iterator[Paragraph]:
    for head, body in dictionary_entries(dictionary(root, "jargon")):
        parts = [squeeze(re.sub(r"[{}]", "", p)) for p in body.split("\n\n")]
        parts = [p for p in parts if len(p) > 60]
        yield Paragraph(head, " ".join(parts[:2]))


def webster(root: Path) -> Iterator[tuple[str, Paragraph]]:
    """(field, entry) of entries marked with a field of knowledge, such as `Chem.`."""
    for head, body in dictionary_entries(dictionary(root, "gcide")):
        entry = re.sub(r"\\[^\\]*\\", "", head + "\n" + body)
        entry = re.sub(r"\[[^\w\s](\w)\]", r"\1", entry)
        entry = re.sub(r"\[[^\]]*\]", "", entry)
        entry = re.sub(r"\n +--[A-Z].*|[{}|]", "", entry)
        field = re.search(r"\(([A-Z][a-z]+\.)\)", entry)
        word = re.match(r"[A-Z][A-Za-z -]+", entry)
        if field and word:
            definition = squeeze(entry.split("\n\n")[0][word.end() :]).lstrip(" ,.")
            yield field.group(1), Paragraph(word.group().strip(), definition)


def elements(root: Path) -> Iterator[Paragraph]:
    for block in dictionary(root, "elements").split("\n\n"):
        head, _, body = block.strip().partition("\n")
        if body.startswith("Symbol"):
            yield Paragraph(head, body.strip())


def constitution(root: Path) -> Iterator[Paragraph]:
    packed = root / "miscfiles/usr/share/state/us-constitution.gz"
    title = "Preamble"
    for block in gzip.decompress(packed.read_bytes()).decode("utf-8", "replace").split("\n\n"):
        if re.match(r"(Article|Section|Amendment)\b", block.strip()):
            title = squeeze(block)[:40]
        elif len(block) > 100:
            yield Paragraph(title, squeeze(block))


def handbook(root: Path, language: str) -> Iterator[Paragraph]:
    folder = root / "debian-handbook/usr/share/doc/debian-handbook/html" / language
    for page in sorted(folder.glob("*.html")):
        title = ""
        source = page.read_text(encoding="utf-8")
        for kind, inner in re.findall(
            r'class="(title|para)">\s*(.*?)\s*</(?:h\d|div|p)>', source, re.S
        ):
            text = squeeze(html.unescape(re.sub(r"<[^>]+>", "", inner)))
            if kind == "title":
                title = re.sub(r"^[\d.]+ ", "", text)
            else:
                yield Paragraph(title, text)


def manual_pages(root: Path, package: str, language: str) -> Iterator[Paragraph]:
    folder = root / package / "usr/share/man" / language
    for page in sorted(folder.glob("man[1578]/*.gz")):
        yield from roff_paragraphs(gzip.decompress(page.read_bytes()).decode("utf-8", "replace"))


def roff_paragraphs(source: str) -> Iterator[Paragraph]:
    """Prose of a manual page; tables, examples and options are left out."""
    name = (re.search(r"^\.TH +\"?([^\s\"]+)", source, re.M) or ["", ""])[1].lower()
    blocks = re.split(r"^\.(?=SH|SS|PP|P\b|LP|TP|IP|nf|EX|TS|\\\")", source, flags=re.M)
    skipped = True
    for block in blocks:
        head, _, rest = block.partition("\n")
        if head.startswith("SH"):
            skipped = bool(SKIPPED_SECTIONS.search(head))
        if not skipped and head[:2] in ("SH", "PP", "LP", "P"):
            yield Paragraph(name, unroff(rest))


def unroff(text: str) -> str:
    lines = []
    for line in text.splitlines():
        macro, _, rest = line[1:].partition(" ")
        if not line.startswith((".", "'")):
            lines.append(line)
        elif macro in INLINE_MACROS:
            joined = re.findall(r'"[^"]*"|\S+', rest)
            parts = [p.strip('"') for p in joined]
            lines.append((" " if len(macro) == 1 else "").join(parts))
    text = re.sub(r"\\f(\(..|\[[^\]]*\]|.)|\\[,/&:%|^]|\\s[-+]?\d", "", "\n".join(lines))
    text = text.replace("\\-", "-").replace("\\ ", " ").replace("\\~", " ").replace("\\e", "\\")
    text = re.sub(r"\\\((lq|rq)|\\\[(lq|rq)\]", '"', text)
    return squeeze(re.sub(r"\\\(..|\\\[[^\]]*\]|\\.", "", text))


def novels(root: Path) -> Iterator[list[str]]:
    """Paragraphs of each novel, from R's serialised line vectors."""
    packed = (
        root / "r-cran-janeaustenr/usr/lib/R/site-library/janeaustenr/data/Rdata.rdb"
    ).read_bytes()
    while packed:
        stream = zlib.decompressobj()
        data = stream.decompress(packed[4:])
        packed = stream.unused_data
        lines = r_strings(data)
        if len(lines) > 1000:
            blocks = "\n".join(lines).split("\n\n")
            yield [squeeze(b) for b in blocks if len(b) > 20]


def r_strings(data: bytes) -> list[str]:
    """Character strings of an XDR serialisation: flags with type 9, a length, the bytes."""
    found, at = [], data.find(b"\x00\x00\x00\x10")
    while (at := data.find(b"\x00\x09\x00\x00", at)) >= 0 and at + 6 <= len(data):
        size = int.from_bytes(data[at + 2 : at + 6], "big")
        found.append(data[at + 6 : at + 6 + size].decode("utf-8", "replace"))
        at += 6 + size
    return found


def python_modules(root: Path) -> Iterator[str]:
    folder = root / "libpython3.11-stdlib/usr/lib/python3.11"
    for path in sorted(folder.rglob("*.py")):
        inside = path.relative_to(folder).parts[0]
        if path.is_file() and inside not in ("encodings", "pydoc_data", "lib2to3", "test"):
            yield path.read_text(encoding="utf-8", errors="replace")


def python_functions(source: str) -> Iterator[Function]:
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            code = textwrap.dedent("\n".join(lines[first - 1 : node.end_lineno]))
            summary = (ast.get_docstring(node) or "").strip().split("\n\n")[0]
            yield Function(node.name, squeeze(summary), code)


def python_guide(root: Path) -> Iterator[Paragraph]:
    """Prose of the tutorial, the how-tos, the FAQ and the library reference."""
    folder = root / "python3.11-doc/usr/share/doc/python3.11/html/_sources"
    for page in sorted(
        p for part in ("tutorial", "howto", "faq", "library") for p in (folder / part).glob("*")
    ):
        title = ""
        for block in page.read_text(encoding="utf-8").split("\n\n"):
            heading = re.match(r"(?:\*+\n|=+\n)?([^\n]+)\n[=*\-~^]{4,}", block)
            if heading:
                title = unmark(heading.group(1))
            elif re.match(r"[A-Z]", block) and "::" not in block:
                yield Paragraph(title, unmark(block))


def unmark(text: str) -> str:
    """Drop reStructuredText roles and emphasis."""
    text = re.sub(r":[a-z:]+:`[!~]?([^`<]*?)\s*(?:<[^`]*)?`", r"\1", text)
    return squeeze(re.sub(r"``|\*\*?(?=\w)|(?<=\w)\*\*?|`_*", "", text))
