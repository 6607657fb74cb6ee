"""Samples written by rule: worked arithmetic, logic puzzles, small programs.

Each generator takes a random number source and returns a question and its answer.
"""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Callable
from random import Random

Sample = tuple[str, str]
Generator = Callable[[Random], Sample]

NAMES = (
    "Ada Ben Clara David Elena Farid Greta Hugo Ines Jonas Kira Leo Mara Nils Olga Paul Rosa Samir Tara Uwe "
    "Vera Wanda Yusuf Zoe Anton Bruno Carla Dina Emil Frida"
).split()
THINGS = (
    "apples pencils books tickets stamps shells marbles lemons candles buttons postcards cups tiles bricks "
    "flowers loaves eggs coins ropes lamps"
).split()
TRAITS = "tall old fast heavy loud bright careful rich brave busy".split()
SUPERLATIVES = {
    "tall": "tallest",
    "old": "oldest",
    "fast": "fastest",
    "heavy": "heaviest",
    "loud": "loudest",
    "bright": "brightest",
    "careful": "most careful",
    "rich": "richest",
    "brave": "bravest",
    "busy": "busiest",
}
KINDS = "cats birds sailors poets bakers violins engines clouds stones rivers robots gardens letters maps".split()
PROPERTIES = (
    "blue quiet useful heavy round curious warm honest fragile famous hungry ancient".split()
)
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()


def shopping(rng: Random) -> Sample:
    name, thing, other = rng.choice(NAMES), *rng.sample(THINGS, 2)
    n, m, p, q = rng.randint(2, 12), rng.randint(2, 9), rng.randint(2, 15), rng.randint(2, 15)
    paid = (n * p + m * q) // 10 * 10 + rng.choice([10, 20, 50])
    question = (
        f"{name} buys {n} {thing} at {p} euros each and {m} {other} at {q} euros each, and pays with "
        f"{paid} euros. How much change does {name} get?"
    )
    answer = (
        f"First, the {thing} cost {n} * {p} = {n * p} euros.\n"
        f"Then the {other} cost {m} * {q} = {m * q} euros.\n"
        f"Together that is {n * p} + {m * q} = {n * p + m * q} euros.\n"
        f"The change is {paid} - {n * p + m * q} = {paid - n * p - m * q} euros.\n"
        f"So {name} gets {paid - n * p - m * q} euros back."
    )
    return question, answer


def linear_equation(rng: Random) -> Sample:
    a, x, b = rng.randint(2, 12), rng.randint(1, 20), rng.randint(1, 40)
    letter = rng.choice("xyznt")
    verb = rng.choice(["Solve", "Find the solution of", "Work out"])
    answer = (
        f"We start with {a}{letter} + {b} = {a * x + b}.\n"
        f"Subtract {b} from both sides: {a}{letter} = {a * x + b} - {b} = {a * x}.\n"
        f"Divide both sides by {a}: {letter} = {a * x} / {a} = {x}.\n"
        f"Check: {a} * {x} + {b} = {a * x} + {b} = {a * x + b}, which is right.\n"
        f"The answer is {letter} = {x}."
    )
    return f"{verb} {a}{letter} + {b} = {a * x + b}.", answer


def journey(rng: Random) -> Sample:
    name, speed, hours = rng.choice(NAMES), rng.randint(3, 24) * 5, rng.randint(2, 9)
    vehicle = rng.choice(["train", "bus", "ship", "bicycle", "car", "tram"])
    rest = rng.randint(1, 9) * 10
    question = (
        f"{name} takes a {vehicle} that travels at {speed} km per hour for {hours} hours, then walks the "
        f"last {rest // 10} km. How long is the journey?"
    )
    ride = speed * hours
    answer = (
        f"Distance is speed times time.\nThe {vehicle} covers {speed} * {hours} = {ride} km.\n"
        f"Then {name} walks {rest // 10} km.\nIn total that is {ride} + {rest // 10} = {ride + rest // 10} km.\n"
        f"The journey is {ride + rest // 10} km long."
    )
    return question, answer


def percentage(rng: Random) -> Sample:
    thing, price = rng.choice(THINGS), rng.randint(2, 40) * 20
    off = rng.choice([5, 10, 15, 20, 25, 30, 40, 50])
    cut = price * off // 100
    question = f"A box of {thing} costs {price} euros and is sold at {off} percent off. What is the new price?"
    answer = (
        f"{off} percent of {price} is {price} * {off} / 100 = {cut}.\n"
        f"The price falls by {cut} euros: {price} - {cut} = {price - cut}.\n"
        f"The new price is {price - cut} euros."
    )
    return question, answer


def rectangle(rng: Random) -> Sample:
    a, b = rng.randint(3, 40), rng.randint(3, 40)
    place = rng.choice(["garden", "room", "field", "table", "wall", "sheet of paper", "yard"])
    unit = rng.choice(["metres", "feet", "steps", "centimetres"])
    answer = (
        f"The area of a rectangle is length times width: {a} * {b} = {a * b}.\n"
        f"The perimeter is twice the sum of the sides: 2 * ({a} + {b}) = 2 * {a + b} = {2 * (a + b)}.\n"
        f"So the area is {a * b} square {unit} and the perimeter is {2 * (a + b)} {unit}."
    )
    return (
        f"A {place} is {a} {unit} long and {b} {unit} wide. Find its area and its perimeter.",
        answer,
    )


def mean_of_numbers(rng: Random) -> Sample:
    numbers = [rng.randint(1, 60) for _ in range(rng.randint(3, 6))]
    numbers[-1] += -sum(numbers) % len(numbers)
    listed, total, n = ", ".join(map(str, numbers)), sum(numbers), len(numbers)
    lines, running = [], numbers[0]
    for value in numbers[1:]:
        lines.append(f"{running} + {value} = {running + value}")
        running += value
    answer = (
        "Add the numbers step by step:\n"
        + "\n".join(lines)
        + f"\nThere are {n} numbers, so the mean is "
        f"{total} / {n} = {total // n}.\nThe mean is {total // n}."
    )
    return f"What is the mean of {listed}?", answer


def ordering(rng: Random) -> Sample:
    people, trait = rng.sample(NAMES, rng.randint(3, 5)), rng.choice(TRAITS)
    more = f"more {trait}" if trait == "careful" else SUPERLATIVES[trait][:-2] + "r"
    facts = [f"{a} is {more} than {b}." for a, b in itertools.pairwise(people)]
    shuffled = rng.sample(facts, len(facts))
    top = SUPERLATIVES[trait]
    chain = " > ".join(people)
    answer = (
        "Let us put the facts in order.\n" + "\n".join(facts) + f"\nSo the order is {chain}.\n"
        f"{people[0]} is the {top}, and {people[-1]} comes last."
    )
    return f"{' '.join(shuffled)} Who is the {top}?", answer


def syllogism(rng: Random) -> Sample:
    kind, prop, name = rng.choice(KINDS), rng.choice(PROPERTIES), rng.choice(NAMES)
    middle = rng.choice([k for k in KINDS if k != kind])
    negative = rng.random() < 0.4
    rule = f"No {middle} are {prop}." if negative else f"All {middle} are {prop}."
    verdict = "No" if negative else "Yes"
    word = "are not" if negative else "are"
    answer = (
        f"Step 1: all {kind} are {middle}.\nStep 2: {rule.lower()}\n"
        f"Step 3: every one of the {kind} is among the {middle}, and {middle} {word} {prop}.\n"
        f"Therefore {kind} {word} {prop}. {verdict}, {name} {'is wrong' if negative else 'is right'}."
    )
    return (
        f'All {kind} are {middle}. {rule} {name} says: "All {kind} are {prop}." Is {name} right?',
        answer,
    )


def weekday(rng: Random) -> Sample:
    start, n = rng.randrange(7), rng.randint(8, 60)
    weeks, rest = divmod(n, 7)
    end = DAYS[(start + rest) % 7]
    event = rng.choice(
        ["the market opens", "the ship sails", "the concert takes place", "the test is written"]
    )
    answer = (
        f"A week has 7 days.\n{n} days are {weeks} weeks and {rest} days, because {weeks} * 7 = {weeks * 7} "
        f"and {n} - {weeks * 7} = {rest}.\nAfter {weeks} weeks it is {DAYS[start]} again.\n"
        f"{rest} days after {DAYS[start]} comes {end}.\nThe answer is {end}."
    )
    return f"Today is {DAYS[start]}. In {n} days {event}. Which day of the week is that?", answer


def boxes(rng: Random) -> Sample:
    colours = rng.sample("red blue green yellow white black".split(), 3)
    things = rng.sample(THINGS, 3)
    clues = f"The {things[0]} are in the {colours[0]} box. The {things[1]} are not in the {colours[2]} box."
    answer = (
        f"The {things[0]} are in the {colours[0]} box, so that box is taken.\n"
        f"For the {things[1]} the {colours[1]} box and the {colours[2]} box are left.\n"
        f"They are not in the {colours[2]} box, so they are in the {colours[1]} box.\n"
        f"Only the {colours[2]} box is left for the {things[2]}.\n"
        f"Answer: the {things[2]} are in the {colours[2]} box."
    )
    question = (
        f"There are three boxes: {', '.join(rng.sample(colours, 3))}. One holds {things[0]}, one {things[1]} "
        f"and one {things[2]}. {clues} Where are the {things[2]}?"
    )
    return question, answer


NOUNS = "user order item node record message event product task file image word customer ticket sensor".split()
FIELDS = "name price size count title weight score date owner level colour length index label total".split()
ACTIONS = (
    "load save parse update remove find count check merge filter sort print collect convert".split()
)

# (what is asked, code); {n} a noun, {f} and {g} fields, {k} a number.
PROGRAMS = (
    (
        "returns the {n}s whose {f} is above a limit",
        'def filter_{n}s({n}s, limit):\n    """Return the {n}s whose {f} is above the limit."""\n    result = []\n'
        "    for {n} in {n}s:\n        if {n}.{f} > limit:\n            result.append({n})\n    return result",
    ),
    (
        "counts how often each {f} occurs in a list of {n}s",
        'def count_{f}s({n}s):\n    """Count how often each {f} occurs."""\n    counts = {{}}\n'
        "    for {n} in {n}s:\n        key = {n}.{f}\n        counts[key] = counts.get(key, 0) + 1\n"
        "    return counts",
    ),
    (
        "groups {n}s by their {f}",
        'def group_by_{f}({n}s):\n    """Group the {n}s by their {f}."""\n    groups = {{}}\n'
        "    for {n} in {n}s:\n        groups.setdefault({n}.{f}, []).append({n})\n    return groups",
    ),
    (
        "finds the {n} with the largest {f}",
        'def largest_{n}({n}s):\n    """Return the {n} with the largest {f}, or None."""\n    best = None\n'
        "    for {n} in {n}s:\n        if best is None or {n}.{f} > best.{f}:\n            best = {n}\n    return best",
    ),
    (
        "computes the mean {f} of a list of {n}s",
        'def mean_{f}({n}s):\n    """Return the mean {f} of the {n}s."""\n    if not {n}s:\n'
        '        raise ValueError("no {n}s given")\n    total = sum({n}.{f} for {n} in {n}s)\n    return total / len({n}s)',
    ),
    (
        "reads {n}s from a file, one per line",
        'def read_{n}s(path):\n    """Read {n}s from a file, one per line."""\n    {n}s = []\n'
        '    with open(path, encoding="utf-8") as stream:\n        for line in stream:\n            line = line.strip()\n'
        "            if line:\n                {n}s.append(line)\n    return {n}s",
    ),
    (
        "writes {n}s to a file with their {f} and {g}",
        'def write_{n}s(path, {n}s):\n    """Write the {f} and the {g} of each {n}."""\n'
        '    with open(path, "w", encoding="utf-8") as stream:\n        for {n} in {n}s:\n'
        '            stream.write(f"{{{n}.{f}}},{{{n}.{g}}}\\n")',
    ),
    (
        "sorts {n}s by {f} and then by {g}",
        'def sort_{n}s({n}s):\n    """Sort the {n}s by {f} and then by {g}."""\n'
        "    return sorted({n}s, key=lambda {n}: ({n}.{f}, {n}.{g}))",
    ),
    (
        "checks that a {n} has a {f} of at most {k}",
        'def check_{n}({n}):\n    """Raise ValueError if the {f} is above {k}."""\n    if {n} is None:\n'
        '        raise ValueError("{n} is missing")\n    if {n}.{f} > {k}:\n'
        '        raise ValueError(f"{f} of {{{n}}} is above {k}")\n    return True',
    ),
    (
        "removes {n}s with the same {f}",
        'def unique_{n}s({n}s):\n    """Return the {n}s without those whose {f} was seen before."""\n'
        "    seen = set()\n    result = []\n    for {n} in {n}s:\n        if {n}.{f} not in seen:\n"
        "            seen.add({n}.{f})\n            result.append({n})\n    return result",
    ),
    (
        "is a class for a {n} with {f} and {g}",
        'class {N}:\n    """A {n} with its {f} and its {g}."""\n\n    def __init__(self, {f}, {g}):\n'
        "        self.{f} = {f}\n        self.{g} = {g}\n\n    def __repr__(self):\n"
        '        return f"{N}({{self.{f}!r}}, {{self.{g}!r}})"\n\n    def __eq__(self, other):\n'
        "        if not isinstance(other, {N}):\n            return NotImplemented\n"
        "        return self.{f} == other.{f} and self.{g} == other.{g}",
    ),
    (
        "is a queue of {n}s that holds at most {k}",
        'class {N}Queue:\n    """A queue that holds at most {k} {n}s."""\n\n    def __init__(self):\n'
        "        self.{n}s = []\n\n    def push(self, {n}):\n        if len(self.{n}s) >= {k}:\n"
        '            raise OverflowError("the queue is full")\n        self.{n}s.append({n})\n\n'
        '    def pop(self):\n        if not self.{n}s:\n            raise IndexError("the queue is empty")\n'
        "        return self.{n}s.pop(0)\n\n    def __len__(self):\n        return len(self.{n}s)",
    ),
    (
        "{a}s every {n} and returns how many succeeded",
        'def {a}_all({n}s):\n    """{A} every {n}; return how many succeeded."""\n    done = 0\n'
        "    for {n} in {n}s:\n        try:\n            {a}_{n}({n})\n        except ValueError as error:\n"
        '            print(f"cannot {a} {{{n}}}: {{error}}")\n        else:\n            done += 1\n    return done',
    ),
    (
        "searches a sorted list of {n}s for a {f} by halving",
        'def search_{n}s({n}s, {f}):\n    """Return the index of the {n} with this {f}, or -1."""\n    low = 0\n'
        "    high = len({n}s) - 1\n    while low <= high:\n        middle = (low + high) // 2\n"
        "        if {n}s[middle].{f} == {f}:\n            return middle\n        if {n}s[middle].{f} < {f}:\n"
        "            low = middle + 1\n        else:\n            high = middle - 1\n    return -1",
    ),
    (
        "splits a list of {n}s into parts of {k}",
        'def split_{n}s({n}s):\n    """Yield parts of at most {k} {n}s."""\n'
        "    for start in range(0, len({n}s), {k}):\n        yield {n}s[start : start + {k}]",
    ),
)


def program(rng: Random) -> Sample:
    noun, (field, other), action = rng.choice(NOUNS), rng.sample(FIELDS, 2), rng.choice(ACTIONS)
    words = {
        "n": noun,
        "N": noun.capitalize(),
        "f": field,
        "g": other,
        "a": action,
        "A": action.capitalize(),
        "k": rng.choice([2, 3, 4, 5, 8, 10, 16, 20, 50, 100]),
    }
    asked, code = rng.choice(PROGRAMS)
    kind = "Python code that" if asked.startswith("is a") else "a Python function that"
    verb = rng.choice(["Write", "Please write", "Show me", "Give me", "I need"])
    question = f"{verb} {kind} {asked.format(**words)}."
    return question, fenced(code.format(**words))


def fenced(code: str) -> str:
    return f"```python\n{textwrap.dedent(code).strip()}\n```"


MATH: tuple[Generator, ...] = (
    shopping,
    linear_equation,
    journey,
    percentage,
    rectangle,
    mean_of_numbers,
)
REASONING: tuple[Generator, ...] = (ordering, syllogism, weekday, boxes)
