"""Prompts as people write them: with a reason, with wishes, with material to work on.

The samples of `models.corpus` have short prompts in a few forms.  Here they get sentences before and
after, other ways to ask, code to look at, and longer parts to play, so that a long prompt of an
unknown form still leads to an answer of its own kind.
"""

from __future__ import annotations

import re
from random import Random

from models.generators import Sample

REASONS = (
    "I am preparing a talk for our club.",
    "My daughter asked me this at breakfast.",
    "We argued about this at work yesterday.",
    "I have an exam on Thursday and feel lost.",
    "This is for a small newspaper in our valley.",
    "I am new here, so please be patient.",
    "My colleague left and nobody else knows.",
    "We have three guests on Sunday and little time.",
    "Last winter we had the same trouble.",
    "I read about it, but the book was not clear.",
    "Two friends of mine disagree.",
    "The shop is closed, so I have to do it myself.",
    "I teach a class of twelve-year-olds.",
    "My English is not very good.",
    "For a letter to the town council I need this.",
    "It has to be ready before noon.",
)
WISHES = (
    "Keep it short.",
    "Explain each step.",
    "Give one example.",
    "Use no more than 120 words.",
    "List the reasons, one line each.",
    "Say so if you are not sure.",
    "Please be precise.",
    "Two or three sentences are enough.",
    "Compare both sides and then decide.",
    "No introduction, please.",
    "Tell me also what could go wrong.",
    "Use simple words.",
    "Name three things, the most important first.",
    "Check the result at the end.",
    "Do not use any jargon.",
    "And what follows from that?",
)
WISHES_BY_CATEGORY = {
    "coding": (
        "Reply with code only.",
        "Add type hints and a docstring.",
        "Show how to call it.",
        "It must not load everything into memory.",
        "Handle an empty list too.",
        "No library, please.",
        "Explain every bug that you see, then show the code.",
        "Add two asserts.",
    ),
    "roleplay": (
        "Stay in character.",
        "Answer in two or three sentences.",
        "Do not break the scene.",
        "Ask me one question at a time.",
        "Never say that you are a machine.",
        "Dialogue only, please.",
        "Describe what I see, then wait for me.",
    ),
    "writing": (
        "It should sound light at first and sad at the end.",
        "About 200 words.",
        "Begin in the middle of a scene.",
        "No adverbs, please.",
        "It should be friendly but firm.",
        "Four stanzas would be nice.",
        "The reader is five years old.",
    ),
    "math": (
        "Show the calculation.",
        "Check the result with a second method.",
        "Give the answer as a number.",
    ),
    "reasoning": (
        "Explain how you got there.",
        "Show each step before the answer.",
        "Only one answer is possible.",
    ),
    "rag": ("Quote the text.", "If the text does not say it, say so.", "Cite the passage."),
    "summarization": (
        "Two sentences, please.",
        "As a list.",
        "At most 40 words.",
        "For a reader without training.",
    ),
}
REASONS_BY_LANGUAGE = {
    "de": (
        "Meine Nachbarin hat mich danach gefragt.",
        "Wir haben am Samstag Gäste.",
        "Bitte nur drei Sätze.",
    ),
    "fr": (
        "Ma voisine me l'a demandé.",
        "Nous avons des invités samedi.",
        "Trois phrases suffisent.",
    ),
    "es": ("Mi vecina me lo ha preguntado.", "El sábado tenemos invitados.", "Bastan tres frases."),
    "it": ("Me lo ha chiesto la mia vicina.", "Sabato abbiamo ospiti.", "Bastano tre frasi."),
    "pt": ("Minha vizinha me perguntou isso.", "No sábado temos visitas.", "Bastam três frases."),
}
LANGUAGE_NAMES = {
    "de": "German",
    "fr": "French",
    "es": "Spanish",
    "it": "Italian",
    "pt": "Portuguese",
}
TRANSLATE = (
    "Translate into {l}:\n\n{p}",
    "Translate this e-mail into polite, natural {l}. Keep the line breaks.\n\n{p}",
    "How would you say this in {l}?\n\n{p}",
    "Put the following into {l}, not word for word.\n\n{p}",
)
LANGUAGES_OF_CODE = (
    "Python Rust Go JavaScript TypeScript Java C C++ SQL shell Ruby Kotlin Perl Bash".split()
)
CODE_TASKS = (
    "What is wrong with this code, and what is the smallest fix?\n\n{c}",
    "Please tidy up this function without changing what it does.\n\n{c}",
    "Complete the body of this class or function.\n\n{c}",
    "Port this to {l}.\n\n{c}",
    "This {l} program hangs. Explain why, then show a correct version.\n\n{c}",
    "Here is my {l} code. It is too slow. Make it faster.\n\n{c}",
    "Write tests for this.\n\n{c}",
    "Review this change: is it safe?\n\n{c}",
)
CODE_WISHES = (
    "I need a {l} function that reads a log file, skips bad lines and counts the rest.",
    "Write a {l} query for the three largest customers of each month.",
    "A one-liner for {l} that finds the largest files changed this week.",
    "Write a regular expression in {l} that accepts a postcode and nothing else.",
    "Write a class in {l} that limits calls per second.",
    "How do I parse dates such as 2031-04-07 in {l}?",
    "Show a {l} program that merges overlapping intervals.",
    "Implement a cache with a size limit in {l}.",
    "Table: `orders(id, customer, price, day)`. I want the sum per customer in {l}.",
    "Refactor my {l} script so that it can be tested.",
)
BACKGROUNDS = (
    "You have worked here for forty years and trust nobody.",
    "You are vain, kind and rather deaf.",
    "You mix up proverbs and never admit it.",
    "It is raining, and the last train has gone.",
    "You know a secret that you must not tell.",
    "You have not spoken to a stranger for months.",
    "I have just come in and want to buy something.",
    "I am a child who asks too many questions.",
    "You want at least eleven a bottle, but do not tell me that.",
    "We are stuck in a lift, and it is your last day.",
    "You are patient, and I am in a hurry.",
    "You are to be replaced by a machine tomorrow.",
    "You have lost the receipt, and you are angry.",
    "The year is 1860, and the first lamps are lit at the quay.",
)
PARTS = (
    "a lamplighter",
    "a chess coach",
    "a difficult customer",
    "the owner of a vineyard",
    "a game master",
    "a librarian who interviews me",
    "an old telephone box",
    "a ship's captain",
    "a very old owl",
    "a nurse on the night shift",
    "a customs officer",
    "the ghost of a bridge builder",
    "a taxi driver",
    "an actor who forgot his lines",
)
PART_ORDERS = (
    "You are {p}. {b} I say: {q}",
    "Be {p}. {b} My first words are: {q}",
    "Play {p} for me. {b} {q}",
    "Act as {p}. {b} Start with this: {q}",
    "Let us practise. You are {p}. {b} {q}",
    "Write a scene between {p} and me. {b} {q}",
    "Answer as {p}. {b} {q}",
)
TEXT_KINDS = (
    "an e-mail to my landlord",
    "a poem about a lost glove",
    "a short story about a wedding",
    "a speech for a bus driver",
    "a column for a newspaper",
    "a fairy tale for a child",
    "the opening page of a screenplay",
    "a cover letter",
    "a product description",
    "an announcement for the village",
    "a letter to an old friend",
    "a toast for my aunt",
)
SUBJECTS = (
    "the sea",
    "a broken clock",
    "the first snow",
    "two brothers",
    "a long journey",
    "the old mill",
    "a quiet evening",
    "a mistake",
)
QUESTIONS = (
    "Why is {t} important, and how does it work?",
    "How would you explain {t} to a child?",
    "what is {t} and why should i care",
    "Compare {t} with something from everyday life.",
    "What exactly is the difference between {t} and its opposite?",
    "Discuss {t}: what speaks for it, what against it?",
    "Where does the word {t} come from?",
    "State what is known about {t} and derive one consequence.",
)
PASSAGE_ORDERS = (
    "Answer from these notes only.\n\n[1] {p}\n\n[2] {q}\n\nWhat do they say about {t}?",
    "You are the help desk. Use the text below.\n\n{p}\n\n{q}\n\nMy question is about {t}.",
    "Documents retrieved for your question:\n\n(a) {p}\n\n(b) {q}\n\nQuestion: {t}?",
    "Source A: {p}\n\nSource B: {q}\n\nWho says what about {t}?",
)
FILLERS = (
    "The office is open from nine to four. On Friday it closes at noon.",
    "Members pay 40 a year. Guests pay 5 for each visit, children nothing.",
    "The red lamp means that the tank is full. Empty it and press the button.",
    "Nobody was hurt. The bridge stays closed until the inspection is over.",
    "Default: 3. The value 1 switches it off.",
    "Bookings can be moved once, free of charge, up to a day before.",
)
SUMMARY_ORDERS = (
    "Summarise the article in two sentences.\n\n{p}",
    "List decisions and open points.\n\n{p}",
    "Retell this in at most 50 words.\n\n{p}",
    "I was on holiday. What happened here?\n\n{p}",
    "Pick out the main claims.\n\n{p}",
    "Give me the gist of this.\n\n{p}",
    "Condense these instructions.\n\n{p}",
)


def subject(prompt: str) -> str:
    """What a short question asks about: the words after its usual beginning."""
    match = re.search(
        r"(?:is|does|explain|about|Define|term|element|meant by) “?(.+?)”?(?: mean| do| work)?[?.]$",
        prompt,
    )
    return match.group(1) if match else ""


def reworded(category: str, sample: Sample, rng: Random) -> str:
    """Another way to ask for the same answer."""
    prompt = sample[0]
    title = subject(prompt)
    if category == "coding":
        language = rng.choice(LANGUAGES_OF_CODE)
        form = rng.choice(CODE_TASKS + CODE_WISHES)
        return form.format(c=broken(sample[1], rng), l=language)
    if category == "roleplay":
        said = prompt[prompt.rfind(": ") + 1 :].strip() if ": " in prompt else prompt
        backgrounds = " ".join(rng.sample(BACKGROUNDS, rng.randint(1, 3)))
        return rng.choice(PART_ORDERS).format(p=rng.choice(PARTS), b=backgrounds, q=said)
    if category == "writing":
        about = rng.choice([f" about {rng.choice(SUBJECTS)}", ""])
        return f"Write {rng.choice(TEXT_KINDS)}{about}."
    if category in ("qa", "stem", "humanities") and title:
        return rng.choice(QUESTIONS).format(t=title)
    if category == "rag":
        passage = max(prompt.split("\n\n"), key=len)
        term = prompt.rstrip("?.").split()[-1]
        return rng.choice(PASSAGE_ORDERS).format(p=passage, q=rng.choice(FILLERS), t=term)
    if category == "summarization":
        return rng.choice(SUMMARY_ORDERS).format(p=prompt.split("\n\n", 1)[-1])
    return prompt


def broken(code: str, rng: Random) -> str:
    """The code with its last lines missing, as material of a question."""
    lines = code.splitlines()
    kept = lines[: max(3, round(len(lines) * rng.uniform(0.5, 0.9)))]
    return "\n".join([*kept, "```"]) if kept[-1] != "```" else "\n".join(kept)


def dressed(category: str, prompt: str, rng: Random) -> str:
    """The prompt with sentences around it."""
    reasons = rng.sample(REASONS, rng.choice([0, 0, 1, 2]))
    own = WISHES_BY_CATEGORY.get(category, WISHES)
    wishes = rng.sample(own, rng.choice([0, 1, 2])) + rng.sample(WISHES, rng.choice([0, 0, 1]))
    joint = "\n\n" if "\n\n" in prompt else " "
    return joint.join(part for part in (" ".join(reasons), prompt, " ".join(wishes)) if part)
