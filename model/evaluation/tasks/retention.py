"""Knowledge retention (MemoryLLM, arXiv 2402.04624; M+, arXiv 2502.00592): is what was read first still known after
n unrelated passages?

The published protocol: 100 questions with answers of at most 3 tokens (SQuAD) or 4 (Natural Questions) that a strong
model can answer from the passage; the passage is read first, then n passages of 300 to 500 tokens from SQuAD's training
set; right is an answer that contains an accepted one. What differs here:

- No tokenizer is at hand when a task is loaded, so words are counted: answers of at most 3 and 4 words, passages of 225
  to 375 words (a token is about three quarters of a word).
- The questions are drawn with the seed, not the first ones, and no other model filters them; `no-context` shows what is
  known without reading, `full-context` what can be answered.
- The memory is emptied before every question. The released script of M+ empties the short-term memory only, so that its
  long-term memory holds the passages of earlier questions too.

A group is a number of passages. Those of a smaller number are the first of those of a larger one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from model.errors import ModelError
from model.evaluation.tasks.haystack import BOOKS, haystack
from model.evaluation.tasks.records import document, drawn, present, records
from model.evaluation.tasks.task import Item, Limits, Needed, Task

COUNTS = (0, 1, 2, 5, 10, 20, 40)  # unrelated passages, where no lengths are asked for
WORDS = (225, 375)  # of an unrelated passage: about 300 to 500 tokens
MIDDLE = sum(WORDS) // 2
SHORT_SQUAD, SHORT_NATURAL = 3, 4  # words of an answer
SOURCE = "MemoryLLM, arXiv 2402.04624, and M+, arXiv 2502.00592"
SQUAD_SITE = "rajpurkar.github.io/SQuAD-explorer (version 1.1)"
SQUAD = Needed("squad/dev-v1.1.json|squad/train-v1.1.json", SQUAD_SITE, "CC BY-SA 4.0")
SQUAD_PASSAGES = Needed("squad/train-v1.1.json|squad/dev-v1.1.json", SQUAD_SITE, "CC BY-SA 4.0")
NATURAL = Needed(
    "nq/*.jsonl.xz|nq/*.jsonl",
    "ai.google.com/research/NaturalQuestions, as JSON Lines with question, answers and context (the passage that holds "
    "the answer), optional id and title",
    "CC BY-SA 3.0",
)
XQUAD = Needed(
    "qa/dev/xquad_en.jsonl.xz|qa/dev/xquad_en.jsonl",
    "github.com/google-deepmind/xquad (xquad.en.json), as JSON Lines with id, title, context, question and answers",
    "CC BY-SA 4.0",
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question about a passage of an article."""

    id: str
    title: str
    passage: str
    question: str
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage that may come after another: of an article, or of a book (no title)."""

    title: str
    text: str


def squad(file: Path) -> list[Asked]:
    """The questions of SQuAD 1.1's own file; those without an answer are left out."""
    found = []
    for article in document(file).parts("data"):
        for paragraph in article.parts("paragraphs"):
            for one in paragraph.parts("qas"):
                answers = tuple(answer.text("text") for answer in one.parts("answers"))
                if answers:
                    found.append(Asked(one.text("id"), article.text("title"), paragraph.text("context"),
                                       one.text("question"), answers))  # fmt: skip
    return found


def lines(file: Path) -> list[Asked]:
    """Questions of a JSON Lines file with question, answers, context, optional id and title."""
    return [
        Asked(one.id(), str(one.raw.get("title", "")), one.text("context"), one.text("question"), one.texts("answers"))
        for one in records(file)
    ]


def fits(text: str) -> bool:
    """Whether a text has the length of an unrelated passage."""
    return WORDS[0] <= len(text.split()) <= WORDS[1]


def of_articles(asked: Sequence[Asked]) -> list[Passage]:
    """Passages of the right length, each once."""
    found = {one.passage: Passage(one.title, one.passage) for one in asked}
    return [one for one in found.values() if fits(one.text)]


def joined(asked: Sequence[Asked]) -> list[Passage]:
    """Neighbouring passages of an article put together until they have the right length."""
    found, titles = [], dict[str, list[str]]()
    for one in {one.passage: one for one in asked}.values():
        titles.setdefault(one.title, []).append(one.passage)
    for title, some in titles.items():
        text = ""
        for passage in some:
            text = f"{text}\n\n{passage}".strip()
            if len(text.split()) >= WORDS[0]:
                found, text = [*found, Passage(title, text)] if fits(text) else found, ""
    return found


def of_books(data: Path, seed: int, count: int) -> list[Passage]:
    """Pieces of the held-out books."""
    rng, books = random.Random(f"{seed}/retention-books"), haystack(data)
    return [Passage("", "".join(books.somewhere(rng, rng.randint(*WORDS))).strip()) for _ in range(count)]


def counts(limits: Limits) -> tuple[int, ...]:
    """Numbers of unrelated passages; `lengths` are the words of all of them."""
    return tuple(dict.fromkeys(round(length / MIDDLE) for length in limits.lengths)) or COUNTS


def unrelated(rng: random.Random, pool: Sequence[Passage], title: str, count: int) -> list[str]:
    """Passages of other articles, each once. Raises ModelError where there are too few."""
    others = [one for one in pool if not title or one.title != title]
    if len(others) < count:
        raise ModelError(
            f"only {len(others)} unrelated passages of {WORDS[0]} to {WORDS[1]} words, {count} are needed",
            f"ask for smaller --lengths, or put {SQUAD_PASSAGES.path.split('|')[0]} into the data folder",
        )
    return [one.text for one in rng.sample(others, count)]


def items(name: str, asked: Sequence[Asked], pool: Sequence[Passage], longest: int, limits: Limits) -> Iterator[Item]:
    """Questions with short answers, each behind every number of passages."""
    short = [one for one in asked if len(one.answers[0].split()) <= longest]
    numbers = counts(limits)
    for one in drawn(short, limits, name):
        rng = random.Random(f"{limits.seed}/{name}/{one.id}")
        behind = unrelated(rng, pool, one.title, max(numbers))
        for count in numbers:
            yield Item(f"{one.id}/{count}", (one.passage, *behind[:count]), one.question, one.answers,
                       group=str(count), longest=16, meta={"passages": str(count)})  # fmt: skip


def load_squad(data: Path, limits: Limits) -> Iterator[Item]:
    """SQuAD's development questions, passages of its training set."""
    pool = of_articles(squad(present(SQUAD_PASSAGES, data)))
    yield from items("retention-squad", squad(present(SQUAD, data)), pool, SHORT_SQUAD, limits)


def load_natural(data: Path, limits: Limits) -> Iterator[Item]:
    """Natural Questions, passages of SQuAD's training set."""
    pool = of_articles(squad(present(SQUAD_PASSAGES, data)))
    yield from items("retention-nq", lines(present(NATURAL, data)), pool, SHORT_NATURAL, limits)


def load_xquad(data: Path, limits: Limits) -> Iterator[Item]:
    """XQuAD's questions; passages of its other articles and, as they are few, as many pieces of books as are needed."""
    asked, most = lines(present(XQUAD, data)), max(counts(limits))
    pool = [*joined(asked), *of_books(data, limits.seed, most)]
    yield from items("retention-xquad", asked, pool, SHORT_SQUAD, limits)


def _task(name: str, about: str, load: Callable[[Path, Limits], Iterator[Item]], *needs: Needed) -> Task:
    return Task(name, about, "match any", load, needs, 0.0, SOURCE)


RETENTION_TASKS = (
    _task("retention-squad", "a SQuAD passage, then n others: is it still known?", load_squad, SQUAD, SQUAD_PASSAGES),
    _task("retention-nq", "a passage of Natural Questions, then n others", load_natural, NATURAL, SQUAD_PASSAGES),
    _task("retention-xquad", "an XQuAD passage, then n of other articles and of books", load_xquad, XQUAD, BOOKS),
)
