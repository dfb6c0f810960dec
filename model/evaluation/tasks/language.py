"""Bits per byte of what follows in a book, behind a context of a given length: the memory model against its base.

The last words of the context are the prompt, everything before them is read. `no-context` then shows what the prompt
alone is worth, `full-context` what the base model makes of the same text.
"""

from __future__ import annotations

import random
import re
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

from model.evaluation.tasks.haystack import BOOKS, Haystack, haystack, lengths_of
from model.evaluation.tasks.task import Item, Limits, Task

PROMPT = 40  # words of the context that are the prompt; half of a short context
SCORED = 300  # characters that are scored, about 64 tokens
WORDS_LEFT = 100  # words that a book must still have behind the context


def split_at(text: str, words: int) -> tuple[str, str]:
    """A text without its last words, and those with the white space before them."""
    at = [word.start() for word in re.finditer(r"\S+", text)][-words]
    head = text[:at].rstrip()
    return head, text[len(head) :]


def book_of(books: Haystack, sentence: int) -> int:
    """The book that a sentence of the ring belongs to."""
    return bisect_right(books.first, sentence) - 1


def place(rng: random.Random, books: Haystack, words: int = WORDS_LEFT) -> int:
    """A sentence of the ring, drawn at random; its book goes on for at least so many words from its start."""
    while True:
        sentence = rng.randrange(len(books.sentences))
        last = sentence + len(books.ahead(sentence, words)) - 1
        same = last < len(books.sentences) and book_of(books, sentence) == book_of(books, last)
        if same and books.starts_at(sentence):
            return sentence


def continuation(books: Haystack, sentence: int) -> str:
    """The next 300 characters at most, to the end of a word, with the white space before them."""
    text = "".join(books.ahead(sentence, WORDS_LEFT))
    return text[:SCORED] if text[SCORED : SCORED + 1].isspace() else text[:SCORED].rsplit(maxsplit=1)[0]


def perplexity_item(data: Path, limits: Limits, length: int, number: int) -> Item:
    """One place: the text before it, and what follows."""
    rng, books = random.Random(f"{limits.seed}/perplexity/{length}/{number}"), haystack(data)
    sentence = place(rng, books)
    read, prompt = split_at(books.behind(sentence, length), min(PROMPT, length // 2))
    meta = {"book": books.books[book_of(books, sentence)].title}
    scored = continuation(books, sentence)
    return Item(f"{length}/{number}", (read,), prompt, (scored,), (scored,), str(length), plain=True, meta=meta)


def load_perplexity(data: Path, limits: Limits) -> Iterator[Item]:
    """Places of the held-out books."""
    for length in map(haystack(data).once, lengths_of(limits)):
        yield from (perplexity_item(data, limits, length, number) for number in range(limits.items))


LANGUAGE_TASKS = (
    Task("perplexity", "the next 300 characters of a book behind a context", "bits per byte", load_perplexity, (BOOKS,),
         None, "M+, arXiv 2502.00592"),
)  # fmt: skip
