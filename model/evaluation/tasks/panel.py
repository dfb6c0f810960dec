"""A short panel of language-model tasks made from the books themselves: likelihood of the right one of a few texts.

Every item is a text that is read, then a prompt that goes on where the text ends. Behind `no-context` it is a plain
language-model task; behind a memory it shows whether what was read helps or harms.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from model.evaluation.events import cleaned, event, others
from model.evaluation.tasks.haystack import BOOKS, Haystack, haystack, lengths_of
from model.evaluation.tasks.language import book_of, place, split_at
from model.evaluation.tasks.task import Item, Limits, Task
from model.training.searches import content_words

READ = 200  # words of a context, where no length is asked for
PASSAGE = 80  # words of the passage of a last word, which are the prompt
PROMPT = 40  # words of the context that are the prompt of the others
WORDS, PAIR, SENTENCES = 5, 2, 4  # candidates
TRIES = 3000
LAST = re.compile(r"(?s)(.*\s)([A-Za-z]{4,})[.!?][\"”’']*$")
# subject, its verb, a verb of another person
VERBS = (
    *((subject, right, wrong) for subject in ("he", "she", "it")
      for right, wrong in (("was", "were"), ("is", "are"), ("has", "have"))),
    *((subject, right, wrong) for subject in ("they", "we", "you")
      for right, wrong in (("were", "was"), ("are", "is"), ("have", "has"))),
)  # fmt: skip
SUBJUNCTIVE = "".join(f"(?<!{word} )" for word in ("if", "though", "as", "unless", "whether", "wish", "that", "than"))
ARTICLE = re.compile(r"(?<=[a-z] )(the|a|an|my|their) ([a-z]{3,})(?= [a-z])")


@dataclass(frozen=True, slots=True)
class Made:
    """What stands behind a context: the rest of the prompt, and the candidates."""

    right: str
    wrong: tuple[str, ...]
    rest: str = ""
    prompt: int = PROMPT  # words of the context that are the prompt
    group: str = ""


def last_word(rng: random.Random, books: Haystack, sentence: int, number: int) -> Made | None:
    """The last word of a sentence, which stood in the passage before, among other words of that passage.

    After LAMBADA (arXiv 1606.06031).
    """
    found, prompt = LAST.match(books.sentences[sentence]), PASSAGE - books.words[sentence]
    if not found or prompt < PASSAGE // 2 or not content_words(found[2]):
        return None
    word, known = found[2], set(re.findall(r"[A-Za-z]+", books.behind(sentence, prompt)))
    if word not in known:
        return None
    wrong = [one for one in sorted(known) if alike(one, word)]
    rng.shuffle(wrong)
    nearest = sorted(wrong, key=lambda one: abs(len(one) - len(word)))[: WORDS - 1]
    return Made(f" {word}", tuple(f" {one}" for one in nearest), found[1].rstrip(), prompt)


def alike(one: str, word: str) -> bool:
    """Whether a word can stand for another as a candidate: as full of meaning, as capital, and of another stem."""
    return len(one) >= 4 and bool(content_words(one)) and one[:4].lower() != word[:4].lower() and (
        one[0].isupper() == word[0].isupper()
    )  # fmt: skip


def agreement(sentence: str, shorter: bool) -> str | None:
    """The sentence with the verb of another person; `shorter`: the right verb is the shorter one of the two."""
    for subject, right, wrong in VERBS:
        found = re.search(rf"(?i){SUBJUNCTIVE}\b{subject} {right}\b", sentence)
        if found and (len(right) < len(wrong)) == shorter:
            return f"{sentence[: found.end() - len(right)]}{wrong}{sentence[found.end() :]}"
    return None


def swapped(sentence: str) -> str | None:
    """The sentence with an article or possessive behind the word that it stands before."""
    found = ARTICLE.search(sentence)
    return f"{sentence[: found.start()]}{found[2]} {found[1]}{sentence[found.end() :]}" if found else None


def grammar(rng: random.Random, books: Haystack, sentence: int, number: int) -> Made | None:
    """A sentence and the same with one mistake, by rule: for half of the items the verb, for half the order of words.

    Minimal pairs after BLiMP (arXiv 1912.00582). The right verb is the shorter one as often as not.
    """
    text = cleaned(books.sentences[sentence])
    verb = number // 2 % 2 == 0
    wrong = agreement(text, number // 4 % 2 == 0) if verb else swapped(text)
    return Made(f" {text}", (f" {wrong}",), group="agreement" if verb else "word order") if wrong else None


def next_sentences(rng: random.Random, books: Haystack, sentence: int, number: int) -> Made | None:
    """What follows a place, against three pieces of like length from elsewhere in the book.

    After HellaSwag (arXiv 1905.07830).
    """
    book = book_of(books, sentence)
    text, starts, inside = books.books[book].text, books.starts[book], sentence - books.first[book]
    if len(starts) < 40 or inside > len(starts) - 5:
        return None
    start, end = event(text, starts, inside)
    true = cleaned(text[start:end])
    wrong = others(rng, text, starts, start, true, SENTENCES - 1, (number + number // SENTENCES) % SENTENCES)
    return Made(f" {true}", tuple(f" {one}" for one in wrong))


Maker = Callable[[random.Random, Haystack, int, int], "Made | None"]


def find(rng: random.Random, make: Maker, books: Haystack, count: int, number: int) -> tuple[int, Made] | None:
    """A place, drawn again until an item with all its candidates can be made there; None where there is none."""
    for _ in range(TRIES):
        sentence = place(rng, books)
        made = make(rng, books, sentence, number)
        if made and len({made.right, *made.wrong}) == count:
            return sentence, made
    return None


def load(name: str, make: Maker, count: int, data: Path, limits: Limits) -> Iterator[Item]:
    """Items of one of the panel's tasks; the right candidate takes every place in turn."""
    books = haystack(data)
    for length in map(books.once, lengths_of(limits, (READ,))):
        for number in range(limits.items):
            found = find(random.Random(f"{limits.seed}/{name}/{length}/{number}"), make, books, count, number)
            if not found:
                continue
            sentence, made = found
            read, prompt = split_at(books.behind(sentence, length), min(made.prompt, length // 2))
            options = list(made.wrong)
            options.insert(number % count, made.right)
            group = f"{length} {made.group}".strip()
            yield Item(f"{length}/{number}", (read,), prompt + made.rest, (made.right,), tuple(options), group,
                       plain=True)  # fmt: skip


def _task(name: str, about: str, make: Maker, count: int, source: str) -> Task:
    return Task(name, about, "accuracy", partial(load, name, make, count), (BOOKS,), 1 / count, source)


PANEL_TASKS = (
    _task("panel-last-word", "the last word of a sentence, said before, among five words of the passage", last_word,
          WORDS, "after LAMBADA, arXiv 1606.06031"),
    _task("panel-grammar", "a sentence, and the same with one mistake", grammar, PAIR, "after BLiMP, arXiv 1912.00582"),
    _task("panel-continuation", "what follows, among pieces from elsewhere in the book", next_sentences, SENTENCES,
          "after HellaSwag, arXiv 1905.07830"),
)  # fmt: skip
