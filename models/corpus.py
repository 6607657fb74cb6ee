"""Turn the sources into chat samples in eleven categories.

    python -m models.corpus --sources SOURCES --work WORK

Downloads what is missing into SOURCES, then writes into WORK: `train.jsonl`, `dressed.jsonl` (the
same kinds of answers to longer prompts), `held_out.jsonl` (one sample in fifty), `long.jsonl` (documents of up to 4,096 tokens) and `corpus.json` (package versions,
sizes, SHA-256).  The same packages give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from random import Random

from models import dialogues, dressing, generators, sources
from models.generators import Sample
from models.llama import write_json
from models.sources import Paragraph

Builder = Callable[[Path, Random], Iterable[Sample]]

CHARACTERS = {
    "coding": 3_900_000,
    "humanities": 1_000_000,
    "math": 1_400_000,
    "multilingual": 2_600_000,
    "qa": 1_500_000,
    "rag": 1_500_000,
    "reasoning": 1_300_000,
    "roleplay": 1_800_000,
    "stem": 1_300_000,
    "summarization": 1_300_000,
    "writing": 1_800_000,
    "plain": 2_000_000,
}
LONG_CHARACTERS = 11_000
N_LONG = 60
SECOND_PART_SHARE = 0.2
HELD_OUT_EVERY = 50
SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "Answer in a few sentences.",
    "You are a careful expert.",
    "Be brief and precise.",
)
STEM_FIELDS = (
    "Zool. Bot. Chem. Med. Anat. Min. Biol. Physiol. Math. Astron. Geol. Mach. Geom. Elec. Mech. Paleon. Surg. "
    "Metal. Opt. Crystallog. Alg. Engin. Physics."
).split()
HUMANITIES_FIELDS = (
    "Naut. Mus. Arch. Mil. Her. Gram. Eccl. Print. Fort. Com. Rhet. Theol. Metaph. Script. Paint. Pros. "
    "Law. Hist. Logic. Myth."
).split()
LANGUAGES = {
    "de": ("de-DE", "manpages-de", r"\b(?:der|die|das|und|nicht|ist|eine?|wird|zu)\b"),
    "fr": ("fr-FR", "manpages-fr", r"\b(?:le|la|les|et|est|une?|des|pas|que)\b"),
    "es": ("es-ES", "manpages-es", r"\b(?:el|la|los|las|es|una?|que|no|por)\b"),
    "it": ("it-IT", "", r"\b(?:il|la|gli|è|una?|che|non|per|di)\b"),
    "pt": ("pt-BR", "", r"\b(?:o|os|as|é|uma?|que|não|por|do)\b"),
}
EXPLAIN = {
    "de": (
        "Erkläre auf Deutsch: {}",
        "Was weißt du über {}?",
        "Schreibe einen Absatz zum Thema „{}“.",
    ),
    "fr": ("Explique en français : {}", "Que sais-tu de {} ?", "Écris un paragraphe sur « {} »."),
    "es": ("Explica en español: {}", "¿Qué sabes de {}?", "Escribe un párrafo sobre «{}»."),
    "it": ("Spiega in italiano: {}", "Che cosa sai di {}?", "Scrivi un paragrafo su «{}»."),
    "pt": (
        "Explique em português: {}",
        "O que você sabe sobre {}?",
        "Escreva um parágrafo sobre “{}”.",
    ),
}
CONTINUE = {
    "de": "Setze diesen Text fort: {}",
    "fr": "Continue ce texte : {}",
    "es": "Continúa este texto: {}",
    "it": "Continua questo testo: {}",
    "pt": "Continue este texto: {}",
}
CAST = (
    "a country gentleman",
    "a proud young lady",
    "a curious aunt",
    "a captain on leave",
    "a clergyman's wife",
    "a shy governess",
    "an old family friend",
    "a cheerful cousin",
    "a strict father",
    "a guest at a ball",
)


def good(paragraphs: Iterable[Paragraph], low: int = 140, high: int = 700) -> list[Paragraph]:
    """Paragraphs of a length that makes a natural answer, each text once."""
    kept: dict[str, Paragraph] = {}
    for p in paragraphs:
        if p.title and low <= len(p.text) and p.text[-1] in ".!?”\"'":
            kept.setdefault(p.text, Paragraph(p.title, cut(p.text, high)))
    return list(kept.values())


def cut(text: str, high: int) -> str:
    """Whole sentences, as many as fit."""
    if len(text) <= high:
        return text
    end = max(text.rfind(mark, 0, high) for mark in (". ", "! ", "? "))
    return text[: end + 1] if end > 0 else text[:high]


def sentences(text: str) -> list[str]:
    return re.split(r"(?<=[.!?]) (?=[A-Z“\"])", text)


def lower_first(text: str) -> str:
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


def coding(root: Path, rng: Random) -> Iterator[Sample]:
    functions = [f for m in sources.python_modules(root) for f in sources.python_functions(m)]
    for f in functions:
        if not 90 <= len(f.code) <= 1000:
            continue
        kind = (
            "class"
            if "class " in f.code[:200] and f.code.lstrip().startswith("class")
            else "function"
        )
        forms = [f"Write a Python {kind} `{f.name}`", f"Implement the Python {kind} `{f.name}`"]
        doc = f" for this description: {cut(f.summary, 160)}" if f.summary else "."
        yield rng.choice(forms) + doc, generators.fenced(f.code)
        yield generators.program(rng)
    while True:
        yield generators.program(rng)


def terms(fields: list[str], forms: tuple[str, ...]) -> Builder:
    def build(root: Path, rng: Random) -> Iterator[Sample]:
        entries = [
            (f, p) for f, p in sources.webster(root) if f in fields and 110 <= len(p.text) <= 600
        ]
        rng.shuffle(entries)
        for _, p in entries:
            yield rng.choice(forms).format(p.title.lower()), f"{p.title}, {p.text}"

    return build


def stem(root: Path, rng: Random) -> Iterator[Sample]:
    forms = (
        "What is {}?",
        "Explain the scientific term “{}”.",
        "Define {}.",
        "In science, what does {} mean?",
    )
    dictionary = iter(terms(STEM_FIELDS, forms)(root, rng))
    elements = list(sources.elements(root))
    for i, sample in enumerate(dictionary):
        yield sample
        if i % 8 == 0:
            p = rng.choice(elements)
            form = rng.choice(
                ("Tell me about the element {}.", "Give the facts about {}.", "What is {}?")
            )
            yield form.format(p.title), f"{p.title.capitalize()}\n{p.text}"


def humanities(root: Path, rng: Random) -> Iterator[Sample]:
    forms = ("What is meant by “{}”?", "Explain the term “{}”.", "What does {} mean?", "Define {}.")
    dictionary = iter(terms(HUMANITIES_FIELDS, forms)(root, rng))
    law = good(sources.constitution(root))
    for sample in dictionary:
        yield sample
        if rng.random() < 0.2:
            p = rng.choice(law)
            yield f"What does the constitution say? Quote {p.title}.", p.text


def math(_root: Path, rng: Random) -> Iterator[Sample]:
    while True:
        yield rng.choice(generators.MATH)(rng)


def reasoning(_root: Path, rng: Random) -> Iterator[Sample]:
    while True:
        yield rng.choice(generators.REASONING)(rng)


def multilingual(root: Path, rng: Random) -> Iterator[Sample]:
    found: list[tuple[str, Paragraph]] = []
    for code, (book, manual, words) in LANGUAGES.items():
        paragraphs = list(sources.handbook(root, book))
        pages = list(sources.manual_pages(root, manual, code)) if manual else []
        rng.shuffle(pages)
        chosen = good(paragraphs + pages[:6000])
        found += [
            (code, p) for p in chosen if len(re.findall(words, p.text)) * 18 > len(p.text.split())
        ]
    rng.shuffle(found)
    for code, p in found:
        start = sentences(p.text)[0]
        if rng.random() < 0.4 and len(p.text) - len(start) > 140:
            yield CONTINUE[code].format(start), p.text[len(start) + 1 :]
        else:
            yield rng.choice(EXPLAIN[code]).format(p.title), p.text


def qa(root: Path, rng: Random) -> Iterator[Sample]:
    entries = good([*sources.foldoc(root), *sources.jargon(root)], high=600)
    pages = good(sources.manual_pages(root, "manpages", "."), high=600)
    rng.shuffle(entries)
    word = ("What is {}?", "What does {} mean?", "Can you explain {}?", "Who or what is {}?")
    page = ("What does {} do?", "How does {} work?", "Tell me about {} on Linux.")
    for i, p in enumerate(entries):
        yield rng.choice(word).format(p.title), p.text
        if i % 4 == 0 and pages:
            q = pages.pop(rng.randrange(len(pages)))
            yield rng.choice(page).format(q.title), q.text


def passages(root: Path, low: int, high: int) -> list[Paragraph]:
    return good([*sources.handbook(root, "en-US"), *sources.python_guide(root)], low, high)


def rag(root: Path, rng: Random) -> Iterator[Sample]:
    forms = (
        "Use the passage to answer the question.\n\nPassage: {p}\n\nQuestion: What does it say about {t}?",
        "Context:\n{p}\n\nUsing only the context, what can you tell me about {t}?",
        "Document: {p}\n\nAccording to the document, what about {t}?",
    )
    pool = passages(root, 260, 800)
    rng.shuffle(pool)
    for p in pool * 2:
        parts = sentences(p.text)
        i = rng.randrange(len(parts))
        words = re.findall(r"\b[a-z]{7,}\b", parts[i])
        if words:
            answer = "According to the text: " + " ".join(parts[i : i + 2])
            yield rng.choice(forms).format(p=p.text, t=rng.choice(words)), answer


def summarization(root: Path, rng: Random) -> Iterator[Sample]:
    forms = (
        "Summarize this text:\n\n{}",
        "Give a short summary.\n\n{}",
        "What is the main point here?\n\n{}",
    )
    pool = passages(root, 300, 900)
    rng.shuffle(pool)
    for p in pool * 2:
        parts = sentences(p.text)
        if len(parts) > 2:
            answer = f"The text is about {lower_first(p.title)}. {parts[0]}"
            yield (
                rng.choice(forms).format(p.text),
                answer if len(answer) > 160 else f"{answer} {parts[1]}",
            )


def roleplay(root: Path, rng: Random) -> Iterator[Sample]:
    lines = [p for novel in sources.novels(root) for p in pairs_of_speech(novel)]
    rng.shuffle(lines)
    forms = (
        "You are {c}. Stay in character. I say: {q}",
        "Play {c} and answer me: {q}",
        "Pretend to be {c}. {q}",
        "Role-play: you are {c}, and your visitor says: {q}",
    )
    for said, answer in lines:
        yield rng.choice(forms).format(c=rng.choice(CAST), q=said), answer
        if rng.random() < 0.6:
            yield dialogues.scene(rng)
    while True:
        yield dialogues.scene(rng)


def pairs_of_speech(novel: list[str]) -> Iterator[Sample]:
    for first, second, third in zip(novel, novel[1:], novel[2:], strict=False):
        if first.startswith('"') and second.startswith('"') and len(first) < 400:
            answer = (
                f"{second}\n\n{third}" if len(second) < 300 and third.startswith('"') else second
            )
            if len(answer) > 100:
                yield first, cut(answer, 600)


def writing(root: Path, rng: Random) -> Iterator[Sample]:
    forms = (
        "Continue this story: {}",
        "Write the next paragraph.\n\n{}",
        "How does the story go on? {}",
    )
    novels = list(sources.novels(root))
    pieces = [(a, b) for novel in novels for a, b in itertools.pairwise(novel)]
    rng.shuffle(pieces)
    for first, second in pieces:
        if len(second) < 160 or second.startswith('"'):
            continue
        names = re.findall(r"\b(?:Mr|Mrs|Miss|Sir|Lady)\.? [A-Z][a-z]+", second)
        if names and rng.random() < 0.4:
            kind = rng.choice(
                ["a paragraph", "a short scene", "the beginning of a story", "a letter"]
            )
            yield f"Write {kind} about {rng.choice(names)}.", cut(second, 700)
        else:
            yield rng.choice(forms).format(first[-250:]), cut(second, 700)


def plain(root: Path, rng: Random) -> Iterator[Sample]:
    documents = [*whole_modules(root), *whole_chapters(root)]
    rng.shuffle(documents)
    for text in documents:
        start = rng.randrange(max(1, len(text) - 4000))
        yield "", text[start : start + 4000]


def whole_modules(root: Path) -> list[str]:
    return [m for m in sources.python_modules(root) if len(m) > 3000]


def whole_chapters(root: Path) -> list[str]:
    """Novels, guides and handbooks in pieces long enough for a long context."""
    texts = ["\n\n".join(n) for n in sources.novels(root)]
    texts += ["\n\n".join(p.text for p in sources.handbook(root, v[0])) for v in LANGUAGES.values()]
    texts += ["\n\n".join(p.text for p in good(sources.python_guide(root), 60, 2000))]
    return [t[i : i + LONG_CHARACTERS] for t in texts for i in range(0, len(t), LONG_CHARACTERS)]


BUILDERS: dict[str, Builder] = {
    "coding": coding,
    "humanities": humanities,
    "math": math,
    "multilingual": multilingual,
    "qa": qa,
    "rag": rag,
    "reasoning": reasoning,
    "roleplay": roleplay,
    "stem": stem,
    "summarization": summarization,
    "writing": writing,
    "plain": plain,
}


def clean(text: str) -> str:
    """No text may look like a special token."""
    return text.replace("<|", "< |")


def turn(sample: Sample) -> str:
    user, answer = map(clean, sample)
    return f"<|user|>\n{user}<|end|>\n<|assistant|>\n{answer}<|end|>\n"


def document(samples: list[Sample], rng: Random) -> str:
    """One conversation; one in fifteen has a system prompt."""
    if not samples[0][0]:
        return f"<|bos|>{clean(samples[0][1])}<|end|>\n"
    system = f"<|system|>\n{rng.choice(SYSTEM_PROMPTS)}<|end|>\n" if rng.random() < 1 / 15 else ""
    return "<|bos|>" + system + "".join(map(turn, samples))


def translations(root: Path, rng: Random) -> Iterator[Sample]:
    """Paragraphs of the handbook in English and in another language."""
    english = list(sources.handbook(root, "en-US"))
    found = []
    for code, (book, _, words) in LANGUAGES.items():
        other = sources.handbook(root, book)
        for source, p in zip(english, other, strict=False):
            known = len(re.findall(words, p.text)) * 18 > len(p.text.split())
            if known and 140 <= len(p.text) <= 500:
                found.append((dressing.LANGUAGE_NAMES[code], source.text, p.text))
    rng.shuffle(found)
    for language, original, text in found:
        yield rng.choice(dressing.TRANSLATE).format(l=language, p=original), text


def dress(category: str, sample: Sample, rng: Random) -> Sample:
    """The same answer to a longer prompt; one in four stays as it is."""
    if category == "plain" or rng.random() < 0.25:
        return sample
    prompt = dressing.reworded(category, sample, rng) if rng.random() < 0.75 else sample[0]
    if category != "multilingual":
        return dressing.dressed(category, prompt, rng), sample[1]
    scores = {c: len(re.findall(words, sample[1])) for c, (_, _, words) in LANGUAGES.items()}
    code = max(scores, key=lambda c: scores[c])
    return f"{rng.choice(dressing.REASONS_BY_LANGUAGE[code])} {prompt}", sample[1]


def second_part(root: Path, excluded: set[str], rng: Random) -> list[dict[str, str]]:
    """Conversations with dressed prompts, in every category; `excluded` are answers held out."""
    rows = []
    for category, characters in CHARACTERS.items():
        size = 0
        samples = iter(BUILDERS[category](root, rng))
        translated = translations(root, rng)
        for sample in samples:
            if category == "multilingual" and rng.random() < 0.4:
                chosen = next(translated)
            else:
                chosen = dress(category, sample, rng)
            if clean(chosen[1]) in excluded:
                continue
            rows.append({"category": category, "text": document([chosen], rng)})
            size += len(rows[-1]["text"])
            if size > characters * SECOND_PART_SHARE:
                break
    rng.shuffle(rows)
    return rows


def answers(text: str) -> list[str]:
    return re.findall(r"<\|assistant\|>\n(.*?)<\|end\|>", text, re.S)


def build(root: Path, category: str) -> list[str]:
    """Conversations of one category, one in eight with two turns, up to its share of the corpus."""
    rng = Random(f"speedbench {category}")
    made: list[str] = []
    waiting: list[Sample] = []
    size = 0
    for sample in BUILDERS[category](root, rng):
        waiting.append(sample)
        if category != "plain" and rng.random() < 1 / 8:
            continue
        made.append(document(waiting, rng))
        waiting = []
        size += len(made[-1])
        if size > CHARACTERS[category]:
            break
    return made


def long_documents(root: Path, rng: Random) -> list[str]:
    whole = [m[:LONG_CHARACTERS] for m in whole_modules(root)]
    texts = rng.sample(whole, N_LONG // 2) + rng.sample(whole_chapters(root), N_LONG)
    found = [document([("", t)], rng) for t in texts]
    pool = passages(root, 260, 800)
    for _ in range(N_LONG // 2):
        chosen = rng.sample(pool, 14)
        asked = rng.choice(chosen)
        context = "\n\n".join(p.text for p in chosen)
        question = f"Use the documents.\n\n{context}\n\nWhat do they say about {asked.title}?"
        found.append(document([(question, f"According to the text: {asked.text}")], rng))
    return found


def write_lines(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text(
        "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the corpus of the demo pair.")
    parser.add_argument("--sources", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    versions = sources.fetch(args.sources)
    rng = Random("speedbench")
    rows = [{"category": c, "text": t} for c in BUILDERS for t in build(args.sources, c)]
    rng.shuffle(rows)
    long = [{"category": "long", "text": t} for t in long_documents(args.sources, rng)]
    mixed = long + rows[: len(long) * 6]
    rng.shuffle(mixed)
    held_out = rows[::HELD_OUT_EVERY]
    train = [r for i, r in enumerate(rows) if i % HELD_OUT_EVERY]
    second = second_part(args.sources, {a for r in held_out for a in answers(r["text"])}, rng)
    parts = {"train": train, "dressed": second, "held_out": held_out, "long": mixed}
    for name, part in parts.items():
        write_lines(args.work / f"{name}.jsonl", part)
    sizes = {c: sum(len(r["text"]) for r in rows if r["category"] == c) for c in BUILDERS}
    hashes = {n: hashlib.sha256((args.work / f"{n}.jsonl").read_bytes()).hexdigest() for n in parts}
    write_json(
        args.work / "corpus.json", {"packages": versions, "characters": sizes, "sha256": hashes}
    )
    print(json.dumps({"characters": sizes, "sha256": hashes}, indent=2))


if __name__ == "__main__":
    main()
