"""Held-out books as contexts of any length: a ring of sentences, cut to the word, and needles planted in it."""

from __future__ import annotations

import random
import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise
from pathlib import Path

from model.errors import ModelError
from model.evaluation.common import Book, held_out_books
from model.evaluation.tasks.task import Limits, Needed
from model.training.questions import sentence_spans

LENGTHS = (200, 1000, 4000)  # words of a context, where none are asked for
SPARE = 200  # words that a context leaves of all books, so that what comes next is never in it
ABBREVIATION = re.compile(r"\b(Mr|Mrs|Ms|Dr|St|Capt|Prof|[A-Z])\.$")
GOLDEN = 0.618034  # steps of the golden ratio spread any number of depths evenly
BOOKS = Needed(
    "text/valid_books.jsonl.xz|text/valid_books.jsonl",
    "your own books: JSON Lines with title and text; English books without rights are at gutenberg.org",
    "of each book",
)


@dataclass(frozen=True, slots=True)
class Haystack:
    """Books one behind the other as a ring of sentences, each with the white space before it.

    `starts`: for every book the characters at which its sentences start; `first`: the number of a book's first sentence
    in the ring. Contexts that go beyond the last book go on with the first.
    """

    books: tuple[Book, ...]
    starts: tuple[tuple[int, ...], ...]
    first: tuple[int, ...]
    sentences: tuple[str, ...]
    words: tuple[int, ...]

    def ahead(self, start: int, words: int) -> list[str]:
        """Sentences from a number on, `words` words in all: the last one is cut."""
        found = []
        while words > 0:
            sentence, count = self.sentences[start % len(self.words)], self.words[start % len(self.words)]
            found.append(sentence if count <= words else first_words(sentence, words))
            words, start = words - count, start + 1
        return found

    def behind(self, end: int, words: int) -> str:
        """The last `words` words before the sentence of a number: the first sentence is cut."""
        found = []
        while words > 0:
            end -= 1
            sentence, count = self.sentences[end % len(self.words)], self.words[end % len(self.words)]
            found.append(sentence if count <= words else last_words(sentence, words))
            words -= count
        return "".join(reversed(found)).strip()

    def somewhere(self, rng: random.Random, words: int) -> list[str]:
        """`words` words from a sentence drawn at random."""
        return self.ahead(rng.randrange(len(self.sentences)), words)

    def starts_at(self, sentence: int) -> bool:
        """Whether a sentence begins there: not behind `Mr.` or an initial, where a sentence only seems to end."""
        return not ABBREVIATION.search(self.sentences[sentence - 1])

    def once(self, words: int) -> int:
        """A length, where the books reach for it without being repeated. Raises ModelError where they do not."""
        if words > (most := sum(self.words) - SPARE):
            raise ModelError(f"the held-out books have no {words} words without repetition", f"ask for at most {most}")
        return words

    def note(self, words: int) -> dict[str, str]:
        """For the meta of an item: how often the books were used, where there are too few for a length."""
        turns = -(-words // sum(self.words))
        return {"books repeated": f"{turns} times"} if turns > 1 else {}


def first_words(text: str, count: int) -> str:
    """The text up to the end of its word of a number, counted from 1."""
    return text[: [word.end() for word in re.finditer(r"\S+", text)][count - 1]]


def last_words(text: str, count: int) -> str:
    """The text from the start of its last `count` words."""
    return text[[word.start() for word in re.finditer(r"\S+", text)][-count] :]


def with_space(text: str, spans: Sequence[tuple[int, int]]) -> list[str]:
    """Sentences of a book, each with the white space before it, none with any behind; a blank line before the first."""
    ends = [0, *(end - len(text[start:end]) + len(text[start:end].rstrip()) for start, end in spans)]
    pieces = [text[before:end] for before, end in pairwise(ends)]
    return [f"\n\n{pieces[0].strip()}", *pieces[1:]] if pieces else []


def ring(books: Sequence[Book]) -> Haystack:
    """A ring of books. Raises ModelError where they have no sentence."""
    spans = [sentence_spans(book.text) for book in books]
    parts = [with_space(book.text, found) for book, found in zip(books, spans, strict=True)]
    sentences = tuple(sentence for part in parts for sentence in part)
    if not sentences:
        raise ModelError("the held-out books are empty", "name the data folder with --data")
    starts = tuple(tuple(start for start, _ in found) for found in spans)
    first = tuple(accumulate(map(len, parts), initial=0))[:-1]
    return Haystack(tuple(books), starts, first, sentences, tuple(len(one.split()) for one in sentences))


@lru_cache(maxsize=1)
def haystack(data: Path) -> Haystack:
    """The held-out books of a data folder, in a fixed order."""
    return ring(held_out_books(data))


def lengths_of(limits: Limits, default: tuple[int, ...] = LENGTHS) -> tuple[int, ...]:
    """The context lengths of a run, in words."""
    return limits.lengths or default


def depths(rng: random.Random, first: int, count: int) -> list[float]:
    """Depths of the needles of a number and on, in [0, 1): spread evenly however many there are."""
    offset = rng.random()
    return [(offset + number * GOLDEN) % 1 for number in range(first, first + count)]


def plant(sentences: Sequence[str], needles: Sequence[str], at: Sequence[float]) -> tuple[str, list[float]]:
    """Needles between sentences, each where the share of the text's words before it is nearest to its depth.

    Returns the text and, for each needle, the share of the whole text's words that stand before it.
    """
    ends = [0, *accumulate(len(one.split()) for one in sentences)]
    places = [nearest(ends, depth * ends[-1]) for depth in at]
    total = ends[-1] + sum(len(one.split()) for one in needles)
    pieces: list[str] = []
    found, done, planted = [0.0] * len(needles), 0, 0
    for number in sorted(range(len(needles)), key=lambda n: (places[n], at[n])):
        pieces += sentences[done : places[number]]
        done = places[number]
        found[number] = (ends[done] + planted) / total
        pieces.append(f" {needles[number]}")
        planted += len(needles[number].split())
    return "".join([*pieces, *sentences[done:]]).strip(), found


def nearest(values: Sequence[int], wanted: float) -> int:
    """The index of the value of a rising sequence that is nearest to a number."""
    above = min(bisect_left(values, wanted), len(values) - 1)
    return above - 1 if above and wanted - values[above - 1] < values[above] - wanted else above


def room_for(needles: Sequence[str], length: int) -> int:
    """Words that a text of a length has beside its needles. Raises ModelError where they fill more than half of it."""
    taken = sum(len(one.split()) for one in needles)
    if 2 * taken > length:
        raise ModelError(f"a text of {length} words has no room for {taken} words of needles", "ask for more --lengths")
    return length - taken
