"""A data folder of invented books, stories and ready-made sets, for the makers of synthetic tasks."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

from model.evaluation.tasks.task import Item, Limits, Task
from tests.training.tiny import NOUNS, VERBS

LIMITS = Limits(8, 0, (200, 600))
ROOMS = ("bathroom", "bedroom", "garden", "hallway", "kitchen", "office")


def novel(seed: int, sentences: int) -> str:
    """Paragraphs with people, agreement, and words that come back."""
    rng, made = random.Random(seed), []
    for number in range(sentences):
        one, two, three = rng.sample(NOUNS, 3)
        pronoun = rng.choice(("He was", "She is", "They were", "We are"))
        made.append(f"The {rng.choice(('old', 'quiet', 'young'))} {one} {rng.choice(VERBS)} the {two} near my {three}.")
        made.append(f"{pronoun} with the {two} of chapter {number}, and then came the {one}.")
    return "\n\n".join(" ".join(made[start : start + 5]) for start in range(0, len(made), 5))


def write(file: Path, lines: Sequence[object]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(map(json.dumps, lines)), "utf-8")


def babi(task: str, number: int) -> dict[str, object]:
    rng = random.Random(f"{task}/{number}")
    rooms = rng.sample(ROOMS, 3)
    facts = [f"{name} moved to the {room}." for name, room in zip(("Mary", "John", "Sandra"), rooms, strict=True)]
    asked = {"title": task, "question": "Where is John?", "answers": [rooms[1]], "support": [facts[1]]}
    return asked | {"id": f"{task}-{number}", "context": "\n".join(facts)}


def event_line(number: int) -> dict[str, object]:
    candidates = [f"It {word}." for word in ("ran", "sang", "flew", "swam", "died", "wept")]
    return {"id": f"e{number}", "book": "tale.txt", "until": 24, "past": ["The fox slept.", "It woke."],
            "candidates": candidates, "answer": 0 if number % 2 else "It ran."}  # fmt: skip


def made(task: Task, data: Path, limits: Limits = LIMITS) -> list[Item]:
    items = task.items(data, limits)
    assert items
    return items


def plain_text(text: str) -> str:
    """Single spaces."""
    return " ".join(text.split())


def likely(one: Item, chosen: str) -> list[list[float]]:
    return [[-1.0 if option == chosen else -2.0] for option in one.options]


def fill(folder: Path) -> Path:
    """Books, stories, and the ready-made sets, all of our own."""
    write(folder / "text/valid_books.jsonl", [{"title": f"Tale {n}", "text": novel(n, 400)} for n in range(3)])
    stories = [babi(task, number) for task in ("qa1", "qa10", "qa2") for number in range(8)]
    write(folder / "qa/dev/babi.jsonl", stories)
    ready = [
        {**one, "task": one["title"], "target_words": 200, "context": f"It rained. {one['context']}"} for one in stories
    ]
    write(folder / "qa/dev/babilong_resampled.jsonl", ready)
    segments = {
        "context": "One fox came. Two birds went.",
        "excerpt_words": 200,
        "segment_a": "Two birds",
        "segment_b": "One fox",
    }
    write(
        folder / "qa/dev/booksort_resampled.jsonl",
        [{"id": f"pair {n}", "answers": ["B"], **segments} for n in range(4)],
    )
    (folder / "eventqa").mkdir()
    (folder / "eventqa/tale.txt").write_text("The fox slept. It woke. It ran.", "utf-8")
    write(folder / "eventqa/tale.jsonl", [event_line(number) for number in range(6)])
    return folder
