"""Bits per byte of held-out books, tenth by tenth: behind the memory of the book so far, or its last tokens as text.

At a place in the book the same tokens are scored three times: behind the memory of everything before the last chunk,
with that chunk as the prompt; behind the last P tokens as text and no memory; and behind both.

python -m model.evaluation.bits CHECKPOINT --data FOLDER
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from model.evaluation.common import (
    Document,
    Estimate,
    Subject,
    arguments,
    held_out_books,
    ratio,
    report,
    run,
    table,
)

BOOKS = 6
TENTHS = 10


@dataclass(frozen=True, slots=True)
class ReadBook:
    """A whole book in memory, with its tokens and where they stand in the text."""

    title: str
    text: str
    ids: list[int]
    offsets: list[tuple[int, int]]
    document: Document

    def starts(self) -> list[int]:
        """The first token of every chunk, and the number of tokens."""
        return [0, *accumulate(self.document.lengths)]


def read_book(subject: Subject, title: str, text: str) -> ReadBook:
    """Tokenise a book and write it into memory."""
    ids, offsets = subject.tokenizer.encode_with_offsets(text)
    return ReadBook(title, text, ids, offsets, subject.write(title, ids))


@dataclass(frozen=True, slots=True)
class Place:
    """Tokens [start, end) to score behind memory of `chunks` chunks and a prompt that starts at token `prompt`."""

    tenth: int
    chunks: int
    prompt: int
    start: int
    end: int


def places(rng: random.Random, book: ReadBook, each: int, scored: int) -> list[Place]:
    """Random chunks in each tenth of a book, each with the tokens behind it."""
    starts, found = book.starts(), []
    usable = [n for n in range(1, len(starts) - 1) if starts[n + 1] + scored <= len(book.ids)]
    for tenth in range(TENTHS):
        inside = [n for n in usable if starts[n + 1] * TENTHS // len(book.ids) == tenth]
        for chunk in rng.sample(inside, min(each, len(inside))):
            found.append(Place(tenth, chunk, starts[chunk], starts[chunk + 1], starts[chunk + 1] + scored))
    return found


def byte_count(book: ReadBook, place: Place) -> int:
    """Bytes of the scored tokens."""
    return len(book.text[book.offsets[place.start][0] : book.offsets[place.end - 1][1]].encode())


def arms(book: ReadBook, place: Place, text_tokens: Sequence[int]) -> dict[str, tuple[int, range]]:
    """By name: chunks in memory, and the tokens of the prompt, which all end where the scored tokens start."""
    starts = book.starts()
    found = {"memory": (place.chunks, range(place.prompt, place.start))}
    for count in text_tokens:
        first = max(0, place.start - count)
        before = sum(end <= first for end in starts[1:])
        found[f"text {count}"] = (0, range(first, place.start))
        found[f"memory + text {count}"] = (before, range(first, place.start))
    return found


def bits(subject: Subject, book: ReadBook, place: Place, chunks: int, prompt: range) -> float:
    """Bits that the scored tokens cost behind a memory of some chunks and a prompt."""
    reader = subject.reader([book.document.first(chunks)] if chunks else [])
    scored = subject.ids(book.ids[place.start : place.end])[0]
    (found,) = reader.likelihoods(subject.ids([book.ids[at] for at in prompt]), [scored])
    return -float(found.double().sum()) / math.log(2)


@dataclass(frozen=True, slots=True)
class Scored:
    """One place: its tenth, its bytes, and the bits of every arm."""

    tenth: int
    size: int
    bits: dict[str, float]


def score_book(
    subject: Subject, book: ReadBook, seed: int, each: int, scored: int, text: Sequence[int]
) -> list[Scored]:
    """All arms at some places of a book."""
    found = []
    for place in places(random.Random(f"{seed}/{book.title}"), book, each, scored):
        parts = arms(book, place, text).items()
        cost = {name: bits(subject, book, place, chunks, prompt) for name, (chunks, prompt) in parts}
        found.append(Scored(place.tenth, byte_count(book, place), cost))
    return found


def difference(scored: Sequence[Scored], one: str, other: str) -> Estimate:
    """Bits per byte of one arm minus another's, interval over places."""
    return ratio([s.bits[one] - s.bits[other] for s in scored], [s.size for s in scored])


def level(scored: Sequence[Scored], arm: str) -> Estimate:
    """Bits per byte of an arm."""
    return ratio([s.bits[arm] for s in scored], [s.size for s in scored])


def summary(scored: Sequence[Scored], text: Sequence[int]) -> dict[str, Estimate]:
    """Levels, and differences to the arms with text alone."""
    found = {name: level(scored, name) for name in ("memory", *(f"text {count}" for count in text))}
    for count in text:
        found[f"memory − text {count}"] = difference(scored, "memory", f"text {count}")
        found[f"both − text {count}"] = difference(scored, f"memory + text {count}", f"text {count}")
    return found


def measure(subject: Subject, options: argparse.Namespace) -> None:
    """Print the table by tenths, the whole, and the JSON line."""
    text = options.text_tokens or [subject.config.window - options.scored]
    each = max(1, options.limit // (TENTHS * options.books))
    scored: list[Scored] = []
    for one in held_out_books(options.data)[: options.books]:
        book = read_book(subject, one.title, one.text)
        scored += score_book(subject, book, options.seed, each, options.scored, text)
    groups = {str(tenth + 1): [s for s in scored if s.tenth == tenth] for tenth in range(TENTHS)} | {"all": scored}
    results = {name: summary(some, text) for name, some in groups.items() if some}
    head = ["tenth", "places", *results["all"]]
    print(table(head, [[name, len(groups[name]), *found.values()] for name, found in results.items()]))
    report("bits", subject, options, results)


def main(words: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = arguments(__doc__, 240)
    parser.add_argument("--books", type=int, default=BOOKS)
    parser.add_argument("--scored", type=int, default=64, help="tokens scored at each place")
    parser.add_argument("--text-tokens", type=int, nargs="*", help="P; default: what the window leaves")
    run(measure, parser.parse_args(words))


if __name__ == "__main__":
    main()
