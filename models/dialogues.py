"""Role-play written for this corpus: a persona, a visitor's line, and an answer in character.

Lines are put together from many small parts, so that what comes next is hard to guess: that is what
dialogue is like, and why drafting helps it less than it helps code.
"""

from __future__ import annotations

from random import Random

PERSONAS = {
    "a lighthouse keeper": (
        "the lamp",
        "the fog",
        "the rocks",
        "my logbook",
        "the gulls",
        "the winter boat",
    ),
    "a retired pirate": (
        "the old map",
        "my parrot",
        "the governor",
        "a cask of rum",
        "the reef",
        "my crew",
    ),
    "a grumpy dragon": (
        "my hoard",
        "the knights",
        "the village",
        "my left wing",
        "the cave",
        "cold soup",
    ),
    "a village baker": (
        "the oven",
        "the dough",
        "the miller",
        "rye bread",
        "the fair",
        "my apprentice",
    ),
    "a ship's computer": (
        "the reactor",
        "deck nine",
        "the captain",
        "my memory",
        "the airlock",
        "the stars",
    ),
    "a medieval monk": (
        "the manuscript",
        "the bell",
        "the abbot",
        "the herb garden",
        "my ink",
        "the winter",
    ),
    "a tired detective": (
        "the case",
        "the rain",
        "the widow",
        "a broken watch",
        "the docks",
        "my hat",
    ),
    "a travelling merchant": (
        "the silk",
        "the mules",
        "the toll",
        "the desert",
        "the bazaar",
        "my scales",
    ),
    "a garden gnome": (
        "the roses",
        "the snails",
        "the cat",
        "my red cap",
        "the pond",
        "the neighbours",
    ),
    "an old wizard": (
        "my staff",
        "the tower",
        "the potion",
        "the stars",
        "a careless spell",
        "the owl",
    ),
    "a young queen": (
        "the crown",
        "the council",
        "the treaty",
        "my brother",
        "the northern lords",
        "the ball",
    ),
    "a night train conductor": (
        "the tickets",
        "the tunnel",
        "car four",
        "the timetable",
        "the snow",
        "my lamp",
    ),
    "a talking cat": (
        "the sofa",
        "the mice",
        "the moon",
        "my whiskers",
        "the fishmonger",
        "the rain",
    ),
    "a theatre prompter": (
        "the script",
        "the curtain",
        "the tenor",
        "the understudy",
        "the box",
        "the applause",
    ),
    "a deep-sea diver": (
        "the wreck",
        "the pressure",
        "the squid",
        "my helmet",
        "the tide",
        "the anchor",
    ),
    "a clockmaker": (
        "the spring",
        "the tower clock",
        "the mayor",
        "the cuckoo",
        "my glasses",
        "lost minutes",
    ),
}
VISITOR = (
    "Tell me about {0}.",
    "What happened with {0} last night?",
    "Is it true what they say about {0}?",
    "I have come a long way because of {0}.",
    "May I ask you something about {0} and {1}?",
    "Why do you never speak of {0}?",
    "They say that you lost {0}. Is that so?",
    "Good evening! How is {0} today?",
    "I need your help with {0}.",
    "Who told you about {0}?",
)
OPENINGS = (
    "Ah, {0}!",
    "Sit down, friend.",
    "You ask the wrong question.",
    "Hush, not so loud.",
    "Well, well, a visitor.",
    "Ha! {0}, of all things.",
    "I was hoping that nobody would ask.",
    "Let me think.",
    "Close the door first.",
    "You have sharp eyes.",
    "Not a day goes by without that question.",
    "By all the saints, no!",
    "Come nearer, I do not hear well.",
    "You are late, but never mind.",
)
MIDDLES = (
    "I have kept {0} for {k} years, and {1} has never been the same since.",
    "Once, in {season}, {0} came loose and nearly took {1} along.",
    "Some say {0} is cursed; I say it is merely {mood}.",
    "My grandmother used to {deed} whenever she saw {0}.",
    "If you touch {0}, I will {deed}, and you will be sorry.",
    "Between you and me, {1} worries me more than {0}.",
    "You would not believe how {mood} a night with {1} can be.",
    "There were {k} of us then, and only one knew the truth about {0}.",
    "I would give {1} for one quiet hour without {0}.",
    "Every {season} I promise to {deed}, and every {season} I forget.",
    "They offered me gold for {0}, but I wanted {1}.",
    "It smelled of {smell}, and I knew at once that {0} was to blame.",
)
CLOSINGS = (
    "Now, will you help me or not?",
    "But that is a story for another night.",
    "Do not tell anyone that I said so.",
    "Take it, or leave before dawn.",
    "And what brings you here, if I may ask?",
    "So drink your tea and be glad.",
    "You may laugh, I do not mind.",
    "I have said too much already.",
    "Mark my words.",
    "There, now you know.",
    "Hand me that lantern, would you?",
    "Listen! Did you hear that too?",
)
SEASONS = ("spring", "summer", "autumn", "winter", "a storm", "the dry months", "carnival week")
MOODS = "lonely bitter splendid dull merry dreadful peculiar gentle stubborn foggy restless golden".split()
SMELLS = (
    "tar",
    "lavender",
    "smoke",
    "burnt sugar",
    "wet wool",
    "old paper",
    "salt",
    "pepper",
    "bread",
)
DEEDS = (
    "sing to the cellar rats",
    "paint the door green",
    "burn my letters",
    "learn to dance",
    "count every stone in the yard",
    "hide beneath the stairs",
    "write to my sister",
    "sail at midnight",
    "bake a cake of ashes",
    "ring the bell three times",
    "sell the furniture",
    "sleep until noon",
)


def fill(template: str, subjects: list[str], rng: Random) -> str:
    return template.format(
        *subjects,
        k=rng.choice(["two", "three", "seven", "nine", "thirty", "forty"]),
        season=rng.choice(SEASONS),
        mood=rng.choice(MOODS),
        smell=rng.choice(SMELLS),
        deed=rng.choice(DEEDS),
    )


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def scene(rng: Random) -> tuple[str, str]:
    """One visitor's line and one answer in character."""
    persona = rng.choice(sorted(PERSONAS))
    topics = PERSONAS[persona]
    asked = fill(rng.choice(VISITOR), rng.sample(topics, 2), rng)
    parts = [rng.choice(OPENINGS), *rng.sample(MIDDLES, rng.randint(2, 4)), rng.choice(CLOSINGS)]
    answer = " ".join(capital(fill(p, rng.sample(topics, 2), rng)) for p in parts)
    order = rng.choice(
        [
            "You are {p}. Stay in character. {q}",
            "Play the role of {p} and answer me: {q}",
            "Pretend to be {p}. I say: {q}",
            "Let us play. You are {p}, and I am a stranger who asks: {q}",
        ]
    )
    return order.format(p=persona, q=asked), answer
