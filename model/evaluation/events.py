"""The next event in held-out books: the sentences that follow, among five others of the same book.

The memory holds the book so far, the prompt is its last text, and candidates are ranked by their mean log-likelihood
per token, with the candidate's likelihood behind nothing taken off, as `mplus next` does it, and left on. Candidates
are of nearly equal length. The same is measured without memory.

python -m model.evaluation.events CHECKPOINT --data FOLDER
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass

from model.evaluation.bits import ReadBook, read_book
from model.evaluation.common import Subject, arguments, held_out_books, ratio, report, run, table, wilson
from model.generate import Reader
from model.training.questions import sentence_spans

BOOKS = 6
CANDIDATES = 6
CONTEXT = 640  # characters, as `mplus next` takes them
LEAST = 80  # characters of an event
APART = 5_000  # characters between the true event and the others
DRAWN = 60  # places from which the others are chosen, by length
WAYS = ("memory", "text alone", "memory, prior off", "text alone, prior off")


@dataclass(frozen=True, slots=True)
class Choice:
    """What happened up to a character of a book, and candidates for what happens next, the true one first."""

    at: int
    context: str
    candidates: tuple[str, ...]


def event(text: str, starts: Sequence[int], number: int) -> tuple[int, int]:
    """Characters of the sentences from a sentence on, until they are long enough to be an event."""
    last = number + 1
    while last < len(starts) - 1 and len(text[starts[number] : starts[last]].strip()) < LEAST:
        last += 1
    return starts[number], starts[last]


def cleaned(text: str) -> str:
    """One line, single spaces."""
    return " ".join(text.split())


def others(
    rng: random.Random,
    text: str,
    starts: Sequence[int],
    at: int,
    true: str,
    count: int = CANDIDATES - 1,
    shorter: int | None = None,
) -> list[str]:
    """Other events of the book, away from a character, of nearly the length of the true one; fewer where it has few.

    `shorter`: how many of them are shorter than the true one, so that its length does not tell it among them; without,
    the nearest, of which it is the middle.
    """
    drawn = (event(text, starts, rng.randrange(len(starts) - 5)) for _ in range(DRAWN))
    found = {cleaned(text[a:b]) for a, b in drawn if abs(a - at) > APART}
    nearest = sorted(found - {true}, key=lambda other: (abs(len(other) - len(true)), other))
    if shorter is None:
        return nearest[:count]
    sides: tuple[list[str], list[str]] = ([], [])
    for one in nearest:  # of equal length: either side
        sides[len(one) > len(true) if len(one) != len(true) else rng.random() < 0.5].append(one)
    return [*sides[0][:shorter], *sides[1][: count - shorter]]


def make_choice(rng: random.Random, text: str, starts: Sequence[int]) -> Choice:
    """A place in the book with its next event and five others of nearly the same length."""
    number = rng.randrange(len(starts) // 10, len(starts) - 10)
    start, end = event(text, starts, number)
    true = cleaned(text[start:end])
    nearest = others(rng, text, starts, start, true)
    context = text[max(0, start - CONTEXT) : start].partition(" ")[2].strip()
    return Choice(start, context, (true, *nearest))


def make_choices(rng: random.Random, text: str, count: int) -> list[Choice]:
    """Places of a book, in reading order; a book without enough other events has none."""
    starts = [start for start, _ in sentence_spans(text)]
    if len(starts) < 40:
        return []
    made = (make_choice(rng, text, starts) for _ in range(count))
    return sorted((one for one in made if len(one.candidates) == CANDIDATES), key=lambda one: one.at)


def chunks_before(book: ReadBook, character: int) -> int:
    """Chunks of a book that end at a character or before."""
    return sum(book.offsets[start - 1][1] <= character for start in book.starts()[1:])


def means(subject: Subject, reader: Reader, context: str, candidates: Sequence[str]) -> list[float]:
    """Mean log-likelihood per token of every candidate behind a context."""
    ids = [subject.ids(subject.tokenizer.encode(f" {text}"))[0] for text in candidates]
    found = reader.likelihoods(subject.ids(subject.tokenizer.encode(context)), ids)
    return [float(one.mean()) for one in found]


def judge(subject: Subject, book: ReadBook, choice: Choice, nothing: Reader) -> dict[str, bool]:
    """Whether the true event comes first, in every way of ranking."""
    before = chunks_before(book, choice.at)
    remembering = subject.reader([book.document.first(before)] if before else [])
    prior = means(subject, nothing, "\n", choice.candidates)
    memory = means(subject, remembering, choice.context, choice.candidates)
    alone = means(subject, nothing, choice.context, choice.candidates)
    scores = (memory, alone, less(memory, prior), less(alone, prior))
    return {way: true_first(score) for way, score in zip(WAYS, scores, strict=True)}


def less(scores: Sequence[float], prior: Sequence[float]) -> list[float]:
    """Scores with what a candidate is worth by itself taken off."""
    return [score - base for score, base in zip(scores, prior, strict=True)]


def true_first(scores: Sequence[float]) -> bool:
    """Whether the first candidate is the likeliest; a tie is not enough."""
    return scores[0] > max(scores[1:])


def measure(subject: Subject, options: argparse.Namespace) -> None:
    """Print the table and the JSON line."""
    nothing, right = subject.reader([]), []
    for one in held_out_books(options.data)[: options.books]:
        rng = random.Random(f"{options.seed}/{one.title}")
        choices = make_choices(rng, one.text, -(-options.limit // options.books))
        book = read_book(subject, one.title, one.text)
        right += [judge(subject, book, choice, nothing) for choice in choices]
    shares = {way: wilson(sum(one[way] for one in right), len(right)) for way in WAYS}
    gains = {
        f"{a} − {b}": ratio([float(one[a]) - float(one[b]) for one in right])
        for a, b in ((WAYS[0], WAYS[1]), (WAYS[2], WAYS[3]))
    }
    print(table(["ranked by", "true event first", "places"], [[w, s, s.count] for w, s in (shares | gains).items()]))
    print(f"\nby guessing: {1 / CANDIDATES:.3f}")
    report("events", subject, options, {**shares, **gains, "chance": 1 / CANDIDATES})


def main(words: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = arguments(__doc__, 300)
    parser.add_argument("--books", type=int, default=BOOKS)
    run(measure, parser.parse_args(words))


if __name__ == "__main__":
    main()
