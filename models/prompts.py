"""Prompts for `models.evaluate`: written for it, not part of the training corpus."""

from __future__ import annotations

PROMPTS: dict[str, tuple[str, ...]] = {
    "coding": (
        "Write a Python function that returns the invoices whose total is above a limit.",
        "Write a Python class `Account` with a deposit and a withdraw method.",
        "Implement the Python function `read_config` for this description: Read options from a file.",
        "Please write a Python function that counts how often each word occurs in a text.",
        "Write a Python function `close` for this description: Close the connection and the socket.",
        "I need a Python function that sorts books by author and then by year.",
        "Write a Python function `parse_header` for this description: Parse one line of a header.",
        "Show me a Python function that checks whether a list is sorted.",
    ),
    "humanities": (
        "What is meant by “gothic arch”?",
        "Explain the term “sonnet”.",
        "What does the constitution say? Quote Section 4.",
        "Define heresy.",
        "What does chivalry mean?",
        "Explain the term “metaphor”.",
        "What is a fugue in music?",
        "Define rhetoric.",
    ),
    "math": (
        "Marta buys 6 melons at 3 euros each and 4 pears at 2 euros each, and pays with 50 euros. "
        "How much change does Marta get?",
        "Solve 7x + 12 = 61.",
        "What is the mean of 14, 9, 22 and 15?",
        "A hall is 18 metres long and 11 metres wide. Find its area and its perimeter.",
        "A coat costs 240 euros and is sold at 15 percent off. What is the new price?",
        "Pia takes a bus that travels at 60 km per hour for 4 hours, then walks the last 2 km. "
        "How long is the journey?",
        "Find the solution of 3y + 5 = 44.",
        "A box of oranges costs 80 euros and is sold at 25 percent off. What is the new price?",
    ),
    "multilingual": (
        "Erkläre auf Deutsch: Paketverwaltung",
        "Was weißt du über Dateirechte?",
        "Explique en français : la sauvegarde",
        "Que sais-tu de la sécurité du réseau ?",
        "Explica en español: el correo electrónico",
        "¿Qué sabes de los discos duros?",
        "Spiega in italiano: il server web",
        "O que você sabe sobre o núcleo Linux?",
    ),
    "qa": (
        "What is a compiler?",
        "What does packet switching mean?",
        "Can you explain garbage collection?",
        "What does the program tar do?",
        "What is a semaphore?",
        "How does a hash table work?",
        "Who or what is a hacker?",
        "What is an operating system?",
    ),
    "rag": (
        "Use the passage to answer the question.\n\nPassage: The harbour was built in 1874. It has two basins and a "
        "small shipyard. Most boats bring fish in the morning and leave before noon.\n\n"
        "Question: What does it say about boats?",
        "Context:\nThe scheduler keeps a list of waiting jobs. Each job has a priority. A job with a higher priority "
        "is started first, unless its files are locked.\n\nUsing only the context, what can you tell me about priority?",
        "Document: A backup should be stored on another machine. It must be tested, because a backup that cannot be "
        "restored is worth nothing.\n\nAccording to the document, what about restored?",
        "Use the passage to answer the question.\n\nPassage: Sockets are opened by the server when it starts. They are "
        "closed when the last client has gone away, or when the administrator stops the service.\n\n"
        "Question: What does it say about clients?",
        "Context:\nThe function returns a list of names. If no name is found, the list is empty. The order of the "
        "names is not defined.\n\nUsing only the context, what can you tell me about the order?",
        "Document: The valley is known for its apples. In autumn the villages hold a market, and visitors come from "
        "the city by train.\n\nAccording to the document, what about visitors?",
        "Use the passage to answer the question.\n\nPassage: The kernel loads a driver for each device. Drivers are "
        "modules that can be removed at run time.\n\nQuestion: What does it say about modules?",
        "Context:\nAn exception is raised when the file does not exist. The caller may catch it and create the file."
        "\n\nUsing only the context, what can you tell me about the caller?",
    ),
    "reasoning": (
        "Zara is older than Milo. Milo is older than Pete. Who is the oldest?",
        'All foxes are painters. All painters are curious. Lena says: "All foxes are curious." Is Lena right?',
        "Today is Friday. In 23 days the fair begins. Which day of the week is that?",
        "There are three boxes: red, blue, green. One holds keys, one nails and one rings. The keys are in the red "
        "box. The nails are not in the green box. Where are the rings?",
        "Omar is taller than Rita. Rita is taller than Sven. Sven is taller than Ida. Who is the tallest?",
        "Today is Tuesday. In 40 days the ship sails. Which day of the week is that?",
        'All drums are clouds. No clouds are warm. Tom says: "All drums are warm." Is Tom right?',
        "Kurt is faster than Nora. Bea is faster than Kurt. Who is the fastest?",
    ),
    "roleplay": (
        "You are a lonely knight. Stay in character. I say: Why do you guard this bridge?",
        "Pretend to be a proud young lady. Will you dance with me tonight?",
        "Play an old innkeeper and answer me: Have you seen a stranger with a red cloak?",
        "You are a captain on leave. Stay in character. I say: I hear that you will marry soon.",
        "Role-play: you are a ghost, and your visitor says: I am not afraid of you.",
        "Play the role of a travelling merchant and answer me: What is in that box?",
        "Pretend to be a shy governess. How do you like the house?",
        "Let us play. You are a grumpy dragon, and I am a stranger who asks: May I sleep in your cave?",
    ),
    "stem": (
        "What is sulphuric acid?",
        "Tell me about the element copper.",
        "Define gravitation.",
        "In science, what does membrane mean?",
        "Explain the scientific term “parasite”.",
        "Give the facts about neon.",
        "What is a vertebrate?",
        "Define polygon.",
    ),
    "summarization": (
        "Summarize this text:\n\nThe library opens at nine. Members may borrow up to six books for a month. Late books "
        "cost a small fee, which is used to buy new ones. Children do not pay.",
        "Give a short summary.\n\nThe module offers functions to read and write archives. Archives may be compressed. "
        "A file can be extracted to any directory, but the name is checked first.",
        "What is the main point here?\n\nMany users never change the default settings. It is therefore important that "
        "defaults are safe. Options that weaken security should be off.",
        "Summarize this text:\n\nThe train to the coast was stopped by snow. Passengers were given soup and blankets. "
        "In the morning the line was cleared and the journey went on.",
        "Give a short summary.\n\nA process is a running program. It has its own memory. Several processes share the "
        "processor, and the kernel decides who runs next.",
        "What is the main point here?\n\nThe team measured the old and the new method on the same data. The new one was "
        "faster in most cases. In two cases there was no difference.",
        "Summarize this text:\n\nStrings are immutable. Methods that seem to change a string return a new one. This "
        "makes strings safe to share and to use as keys.",
        "Give a short summary.\n\nThe old mill was sold last year. The new owner wants to make electricity with it. The "
        "village has agreed, and the work begins in spring.",
    ),
    "writing": (
        "Continue this story: The carriage stopped in front of the house, and nobody came to the door.",
        "Write a short scene about Mrs. Harper.",
        "Write the next paragraph.\n\nIt had rained for a week, and the whole family was in a bad temper.",
        "How does the story go on? She opened the letter with trembling hands and read it twice.",
        "Write a letter about Mr. Lowell.",
        "Continue this story: On the morning of the ball Henrietta could not find her gloves.",
        "Write a paragraph about Miss Grey.",
        "Write the next paragraph.\n\nThe two brothers had not spoken for ten years when they met at the inn.",
    ),
}
