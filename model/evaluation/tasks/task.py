"""What is measured: items with texts to read, a question, and answers that count as right."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from model.errors import ModelError


@dataclass(frozen=True, slots=True)
class Item:
    """One question. With `options` the candidates are ranked by likelihood and nothing is generated."""

    id: str
    texts: tuple[str, ...]  # read one behind the other, each a document of its own
    question: str
    answers: tuple[str, ...]  # accepted answers; of options: the right one
    options: tuple[str, ...] = ()
    group: str = ""  # what a curve is drawn over: a length, a distance, a category
    plain: bool = False  # the question is text to go on from, not to be put into the model's question form
    longest: int = 24  # tokens of an answer
    prompt: str = ""  # the benchmark's own wording around the question, with {question}; empty: the model's
    meta: dict[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Needed:
    """A file of a task in the data folder, where it is published, and under which licence."""

    path: str  # relative to the data folder; may hold * and several alternatives separated by |
    published: str
    licence: str

    def found(self, data: Path) -> Path | None:
        """The file, None where it is missing."""
        for pattern in self.path.split("|"):
            for file in sorted(data.glob(pattern)):
                return file
        return None


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a task is run: at most so many items, of every group where it has groups; lengths in words."""

    items: int = 100
    seed: int = 0
    lengths: tuple[int, ...] = ()  # of synthetic contexts, in words; empty: the task's own


@dataclass(frozen=True, slots=True)
class Task:
    """A named task. `load` yields its items: deterministic for the same files and limits."""

    name: str
    about: str
    metric: str  # a key of model.evaluation.metrics.METRICS
    load: Callable[[Path, Limits], Iterator[Item]]
    needs: tuple[Needed, ...] = ()
    chance: float | None = None  # what guessing scores
    source: str = ""  # paper or benchmark

    def missing(self, data: Path) -> list[Needed]:
        """Files that the data folder lacks."""
        return [one for one in self.needs if one.found(data) is None]

    def items(self, data: Path, limits: Limits) -> list[Item]:
        """All items. Raises ModelError where a file is missing."""
        lacking = self.missing(data)
        if lacking:
            names = ", ".join(one.path for one in lacking)
            raise ModelError(f"{self.name} needs {names} in {data}", "`mplus eval data` says where it is published")
        return list(self.load(data, limits))


def by_texts(items: Sequence[Item]) -> list[Item]:
    """Items in an order in which those about the same texts stand together, so that a text is read once."""
    first: dict[tuple[str, ...], int] = {}
    for number, one in enumerate(items):
        first.setdefault(one.texts, number)
    return sorted(items, key=lambda one: first[one.texts])
