"""SORT (arXiv 2410.08133): which of two passages of a text came first?

Every pair is asked for in both orders, so that whoever always says A is right half of the time. `sort` ranks the
letters, as SORT does; `sort-passages` ranks the two orders of the passages themselves, which needs no letters.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Iterator
from functools import partial
from itertools import accumulate
from pathlib import Path

from model.evaluation.tasks.haystack import BOOKS, Haystack, haystack, lengths_of, nearest
from model.evaluation.tasks.task import Item, Limits, Needed, Task
from model.training.tokenizer import json_lines

APART = (10, 25, 50, 75)  # hundredths of the text between the starts of two passages
SHORT, LONG, LONG_FROM = 20, 50, 2500  # words of a passage, as SORT's; the long ones in texts from that length on
TRIES = 200
QUESTION = "Segment A: {a} Segment B: {b} Which of the two segments comes first in the text?"
ORDER = "Two passages of the text, in the order in which they stand there:"
READY = Needed(
    "qa/dev/booksort_resampled.jsonl.xz|qa/dev/booksort_resampled.jsonl",
    "github.com/bridge-ai-neuro/SORT (Book-SORT), as JSON Lines with context, segment_a, segment_b, answers (A or B) "
    "and excerpt_words",
    "of each book; those of Book-SORT are free of rights",
)


def pair(rng: random.Random, starts: list[int], length: int, apart: int) -> tuple[int, int] | None:
    """Words at which two passages start, about `apart` hundredths of the text from each other.

    Both start a sentence where the text has such a pair, else the first. None where they do not fit.
    """
    size, wanted = passage_words(length), max(passage_words(length), length * apart // 100)
    last = length - wanted - size
    usable = starts[: bisect_left(starts, last + 1)]
    if not usable:
        return None
    start = rng.choice(usable)
    other = starts[nearest(starts, start + wanted)]
    if other - start < size or other + size > length or abs(other - start - wanted) > length // 20:
        other = start + wanted
    return start, other


def passage_words(length: int) -> int:
    """Words of a passage of a text of a length."""
    return LONG if length >= LONG_FROM else SHORT


def passages(rng: random.Random, books: Haystack, length: int) -> tuple[str, dict[int, tuple[str, str]]] | None:
    """A text and, for every distance, two passages of it in their order; None where one does not stand there once."""
    sentences = books.somewhere(rng, length)
    starts = [0, *accumulate(len(one.split()) for one in sentences)][:-1]
    text, found = "".join(sentences).strip(), {}
    words, size = text.split(), passage_words(length)
    joined = f" {' '.join(words)} "
    for apart in APART:
        places = pair(rng, starts, length, apart)
        both = [" ".join(words[at : at + size]) for at in places or ()]
        if not both or both[0] == both[1] or any(joined.count(f" {one} ") != 1 for one in both):
            return None
        found[apart] = (both[0], both[1])
    return text, found


def letters(id: str, text: str, first: str, second: str, group: str, meta: dict[str, str]) -> Iterator[Item]:
    """Which letter comes first? Both orders; the letters are ranked."""
    for right, a, b in (("A", first, second), ("B", second, first)):
        yield Item(f"{id}/{right}", (text,), QUESTION.format(a=a, b=b), (right,), ("A", "B"), group, meta=meta)


def orders(id: str, text: str, first: str, second: str, group: str, meta: dict[str, str]) -> Iterator[Item]:
    """The two orders of the passages, ranked by their likelihood; the right one is each candidate once."""
    right, wrong = f" {first} … {second}", f" {second} … {first}"
    for name, options in (("A", (right, wrong)), ("B", (wrong, right))):
        yield Item(f"{id}/{name}", (text,), ORDER, (right,), options, group, plain=True, meta=meta)


def load(letter: bool, data: Path, limits: Limits) -> Iterator[Item]:
    """Texts of every length with pairs at four distances; as many items of a distance as asked for."""
    books, shaped = haystack(data), letters if letter else orders
    for length in map(books.once, lengths_of(limits)):
        for number in range(-(-limits.items // (2 if letter else 1))):
            made = _text(books, limits.seed, length, number)
            for apart, (first, second) in (made[1] if made else {}).items():
                id, meta = f"{length}/{number}/{apart}", {"apart": f"{apart} %"}
                items = list(shaped(id, made[0] if made else "", first, second, f"{length}, {apart} % apart", meta))
                yield from items[: limits.items - 2 * number] if letter else [items[number % 2]]


def _text(books: Haystack, seed: int, length: int, number: int) -> tuple[str, dict[int, tuple[str, str]]] | None:
    rng = random.Random(f"{seed}/sort/{length}/{number}")
    return next((made for _ in range(TRIES) if (made := passages(rng, books, length))), None)


def load_ready(data: Path, limits: Limits) -> Iterator[Item]:
    """A file of texts with pairs; `lengths` choose among those that it has."""
    file, taken = READY.found(data), dict[str, int]()
    assert file, "checked by Task.items"
    for raw in json_lines(file):
        if limits.lengths and raw["excerpt_words"] not in limits.lengths:
            continue
        both = [str(raw["segment_a"]), str(raw["segment_b"])]
        first, second = both if raw["answers"] == ["A"] else reversed(both)
        group = str(raw["excerpt_words"])
        items = list(letters(str(raw["id"]), str(raw["context"]), first, second, group, {}))
        yield from items[: max(0, limits.items - taken.get(group, 0))]
        taken[group] = taken.get(group, 0) + len(items)


SORT_TASKS = (
    Task("sort", "which of two passages came first: A or B", "accuracy", partial(load, True), (BOOKS,), 0.5,
         "SORT, arXiv 2410.08133"),
    Task("sort-passages", "the two passages in their order and in the other", "accuracy", partial(load, False),
         (BOOKS,), 0.5, "SORT, arXiv 2410.08133"),
    Task("sort-ready", "`sort` from a file that holds texts and passages", "accuracy", load_ready, (READY,), 0.5,
         "SORT, arXiv 2410.08133"),
)  # fmt: skip
