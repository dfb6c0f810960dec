"""BABILong (arXiv 2406.10149): the facts of a bAbI story, in their order, spread through book text.

Scored by `match any`. BABILong itself looks at the answer's first sentence only, and counts it wrong where it names
another answer of the task beside the right one.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import permutations
from pathlib import Path

from model.evaluation.tasks.haystack import BOOKS, haystack, lengths_of, plant
from model.evaluation.tasks.task import Item, Limits, Needed, Task
from model.training.tokenizer import json_lines

STORIES = Needed(
    "qa/dev/babi.jsonl.xz|qa/dev/babi.jsonl",
    "bAbI tasks 1.2, research.facebook.com/downloads/babi; as JSON Lines with title (qa1 to qa20), context (a fact a "
    "line), question and answers",
    "CC BY 3.0",
)
READY = Needed(
    "qa/dev/babilong_resampled.jsonl.xz|qa/dev/babilong_resampled.jsonl",
    "as `babilong` makes it, or huggingface.co/datasets/RMT-team/babilong as JSON Lines with task, target_words, "
    "context, question and answers",
    "Apache-2.0; bAbI CC BY 3.0",
)
# how many answers the questions of a task have, qa1 to qa20
ANSWERS = (6, 6, 6, 6, 7, 2, 4, 8, 2, 3, 6, 6, 6, 6, 4, 4, 2, 2, 12, 7)
CHANCE = sum(1 / count for count in ANSWERS) / len(ANSWERS)


def stories(file: Path) -> dict[str, list[dict[str, object]]]:
    """Questions by task, qa1 to qa20, in the order of the file."""
    found: dict[str, list[dict[str, object]]] = {}
    for raw in json_lines(file):
        found.setdefault(str(raw["title"]), []).append(raw)
    return dict(sorted(found.items(), key=lambda one: int(one[0].removeprefix("qa"))))


def facts_of(raw: dict[str, object]) -> list[str]:
    """The sentences of a story."""
    return [line.strip() for line in str(raw["context"]).splitlines() if line.strip()]


def spread(rng: random.Random, background: Sequence[str], facts: Sequence[str]) -> tuple[str, list[float]]:
    """Facts at random places of the background, in their order."""
    return plant(background, facts, sorted(rng.random() for _ in facts))


def make(data: Path, limits: Limits, task: str, length: int, raw: dict[str, object]) -> Item:
    """One story in book text of a length."""
    rng, facts, books = random.Random(f"{limits.seed}/babilong/{length}/{raw['id']}"), facts_of(raw), haystack(data)
    background = books.somewhere(rng, length - sum(len(one.split()) for one in facts))
    text, found = spread(rng, background, facts)
    support = raw.get("support")
    needed = [f"{depth:.4f}" for one, depth in zip(facts, found, strict=True) if one in (support or [])]
    meta = {"facts": "\n".join(facts), "depth": " ".join(needed)} | books.note(length)
    return Item(f"{length}/{raw['id']}", (text,), str(raw["question"]), answers_of(raw, task), group=f"{task} {length}",
                longest=12, meta=meta)  # fmt: skip


def answers_of(raw: dict[str, object], task: str) -> tuple[str, ...]:
    """Accepted answers; what somebody carries (qa8) may be listed in any order, a path (qa19) may not."""
    answers = raw["answers"]
    assert isinstance(answers, list), "answers are a list"
    parts = [[part.strip() for part in str(one).split(",")] for one in answers]
    return tuple(", ".join(order) for some in parts for order in (permutations(some) if task == "qa8" else [some]))


def load(data: Path, limits: Limits) -> Iterator[Item]:
    """Of every task and length as many stories as asked for; those are left out that fill more than half a length."""
    file = STORIES.found(data)
    assert file, "checked by Task.items"
    by_task = stories(file)
    for length in lengths_of(limits):
        for task, some in by_task.items():
            mixed = random.Random(f"{limits.seed}/babilong/{task}").sample(some, len(some))
            fitting = [raw for raw in mixed if 2 * len(str(raw["context"]).split()) <= length]
            yield from (make(data, limits, task, length, raw) for raw in fitting[: limits.items])


def load_ready(data: Path, limits: Limits) -> Iterator[Item]:
    """A file of stories that are in book text already; `lengths` choose among those that it has."""
    file, taken = READY.found(data), dict[str, int]()
    assert file, "checked by Task.items"
    for raw in json_lines(file):
        task, length = str(raw["task"]), raw["target_words"]
        group = f"{task} {length}"
        taken[group] = taken.get(group, 0) + 1
        if taken[group] <= limits.items and (not limits.lengths or length in limits.lengths):
            yield Item(str(raw["id"]), (str(raw["context"]),), str(raw["question"]), answers_of(raw, task), group=group,
                       longest=12)  # fmt: skip


BABILONG_TASKS = (
    Task("babilong", "bAbI's stories, their facts spread through book text", "match any", load, (STORIES, BOOKS),
         CHANCE, "BABILong, arXiv 2406.10149"),
    Task("babilong-ready", "the same from a file that holds the texts", "match any", load_ready, (READY,), CHANCE,
         "BABILong, arXiv 2406.10149"),
)  # fmt: skip
