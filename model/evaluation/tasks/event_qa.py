"""LongBook-Event-QA (M+, arXiv 2502.00592): after five past events, which of six candidates happens next?

`event-qa` reads such a set where the user has one. A line of its files is an object with

    id          unique
    context     the text, or
    book        a text file beside the file, read once for all its questions
    until       optional: characters of the text that are read before the question; all of it without
    past        past events, in order
    candidates  what may happen next
    answer      the right candidate: its text or its number, counted from 0

`event-qa-book` makes one from the held-out books: events are the sentences that follow each other, of at least 80
characters; the text that is read ends where the next event begins; the wrong ones are from elsewhere in the same book.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from model.errors import ModelError
from model.evaluation.events import CANDIDATES, cleaned, event, others
from model.evaluation.tasks.haystack import BOOKS, Haystack, haystack, lengths_of
from model.evaluation.tasks.task import Item, Limits, Needed, Task
from model.training.tokenizer import json_lines

PAST = 5
TRIES = 200
ASKED = "These events have happened:\n{events}\nWhat happens next?"
FILES = Needed(
    "eventqa/*.jsonl.xz|eventqa/*.jsonl",
    "not published by the authors of M+; its books are those of InfiniteBench (github.com/OpenBMB/InfiniteBench)",
    "of your own set",
)


def load_files(data: Path, limits: Limits) -> Iterator[Item]:
    """Event-QA from files; a group is a file."""
    for file in sorted([*data.glob("eventqa/*.jsonl"), *data.glob("eventqa/*.jsonl.xz")]):
        for number, raw in enumerate(json_lines(file), 1):
            if number <= limits.items:
                yield file_item(file, number, raw)


def file_item(file: Path, number: int, raw: dict[str, object]) -> Item:
    """One line as an item. Raises ModelError where it is not as the schema says."""
    try:
        candidates, past = (tuple(str(one) for one in raw[key]) for key in ("candidates", "past"))  # type: ignore[attr-defined]
        answer = raw["answer"]
        right = candidates[answer] if isinstance(answer, int) else str(answer)
        text = str(raw["context"]) if "context" in raw else _book(file.parent / str(raw["book"]))
        assert right in candidates, "the answer is no candidate"
    except (KeyError, TypeError, IndexError, AssertionError, OSError) as fault:
        raise ModelError(
            f"{file.name}, line {number}: not an Event-QA question ({fault!r})",
            "a line needs context or book, past, candidates and answer",
        ) from fault
    events = "\n".join(f"{place}. {cleaned(one)}" for place, one in enumerate(past, 1))
    until = raw.get("until")
    read = text[:until] if isinstance(until, int) else text
    return Item(f"{file.name}/{raw.get('id', number)}", (read,), ASKED.format(events=events), (right,), candidates,
                group=file.name.split(".")[0], prompt="{question}")  # fmt: skip


@lru_cache(maxsize=8)
def _book(file: Path) -> str:
    return file.read_text("utf-8")


def chain(text: str, starts: Sequence[int], number: int, count: int) -> list[tuple[int, int]]:
    """Characters of events that follow each other, from a sentence on; fewer where the book ends."""
    found: list[tuple[int, int]] = []
    while len(found) < count and number < len(starts) - 1:
        found.append(event(text, starts, number))
        number = bisect_left(starts, found[-1][1])
    return found


def book_item(seed: int, books: Haystack, length: int, number: int) -> Item | None:
    """A place in one of the books, taken in turn; None where it has too few other events."""
    rng, book = random.Random(f"{seed}/event-qa-book/{length}/{number}"), number % len(books.books)
    text, starts = books.books[book].text, books.starts[book]
    for _ in range(TRIES if len(starts) >= 40 else 0):
        *past, (start, end) = chain(text, starts, rng.randrange(len(starts) // 10, len(starts) - 20), PAST + 1)
        at = books.first[book] + bisect_left(starts, start)
        if len(past) < PAST or not books.starts_at(at):
            continue
        true = cleaned(text[start:end])
        wrong = others(rng, text, starts, start, true, shorter=(number + number // CANDIDATES) % CANDIDATES)
        if len(wrong) < CANDIDATES - 1:
            continue
        options = [f" {one}" for one in wrong]
        options.insert(number % CANDIDATES, f" {true}")
        question = " ".join(cleaned(text[a:b]) for a, b in past)
        meta = {"book": books.books[book].title, "at": str(start)}
        return Item(f"{length}/{number}", (books.behind(at, length),), question, (f" {true}",), tuple(options),
                    str(length), plain=True, meta=meta)  # fmt: skip
    return None


def load_book(data: Path, limits: Limits) -> Iterator[Item]:
    """Places of the held-out books."""
    books = haystack(data)
    for length in map(books.once, lengths_of(limits)):
        made = (book_item(limits.seed, books, length, number) for number in range(limits.items))
        yield from (one for one in made if one)


EVENT_TASKS = (
    Task("event-qa", "after five past events, the next of six: a set of your own", "accuracy", load_files, (FILES,),
         1 / CANDIDATES, "M+, arXiv 2502.00592"),
    Task("event-qa-book", "the same, made from any book", "accuracy", load_book, (BOOKS,), 1 / CANDIDATES,
         "after M+, arXiv 2502.00592"),
)  # fmt: skip
