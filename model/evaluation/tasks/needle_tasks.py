"""Needles in a haystack of book text: RULER's four (arXiv 2404.06654, section 3), and facts about invented people.

RULER's wording of needle, question and start of the answer; its instruction in front of the text is left out: a text is
read before anybody knows what will be asked.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from model.evaluation.needles import value_count
from model.evaluation.tasks.haystack import BOOKS, depths, haystack, lengths_of, plant, room_for
from model.evaluation.tasks.task import Item, Limits, Task
from model.training.fact_words import KINDS, many
from model.training.needles import Fact, fact

NEEDLE = "One of the special magic numbers for {key} is: {value}."
ASKED = {
    False: ("What is the special magic number for {keys} mentioned in the provided text?",
            "{question} The special magic number for {keys} mentioned in the provided text is"),
    True: ("What are all the special magic numbers for {keys} mentioned in the provided text?",
           "{question} The special magic numbers for {keys} mentioned in the provided text are"),
}  # fmt: skip
ANSWER_TOKENS = 32  # of every wanted number; RULER's 128 for four
ADJECTIVES = many(
    """
    amber ancient brisk bitter clever crooked dusty eager faded fierce gentle hollow humble icy jolly keen lively
    lonely mellow misty narrow noisy patient polite quiet rapid rugged salty shiny sleepy solemn sturdy sudden tidy
    timid velvet weary wicked windy zesty
    """
)
NOUNS = many(
    """
    anchor basket beacon blanket bottle bridge candle canyon carpet compass cradle curtain desert engine feather fence
    fountain glacier hammer island jacket kettle ladder lantern marble meadow mirror needle orchard pebble pillow
    puzzle ribbon saddle shovel teapot thimble tunnel violin whistle
    """
)


@dataclass(frozen=True, slots=True)
class Kind:
    """One of RULER's: keys in the text, values of each, and how many of the keys are asked for."""

    name: str
    about: str
    keys: int = 1
    values: int = 1
    asked: int = 1


RULER = (
    Kind("needle-single", "one number for one key, hidden in book text"),
    Kind("needle-multi-key", "the number of one key, among numbers of three others", keys=4),
    Kind("needle-multi-value", "all four numbers of one key", values=4),
    Kind("needle-multi-query", "the numbers of four keys, asked for at once", keys=4, asked=4),
)


def listed(words: Sequence[str]) -> str:
    """`a`, or `a, b, and c`, as RULER joins keys."""
    return f"{', '.join(words[:-1])}, and {words[-1]}" if len(words) > 1 else words[0]


def number_item(kind: Kind, data: Path, limits: Limits, length: int, number: int) -> Item:
    """One text with its needles, and the question."""
    rng = random.Random(f"{limits.seed}/{kind.name}/{length}/{number}")
    keys = [f"{ADJECTIVES[n // len(NOUNS)]}-{NOUNS[n % len(NOUNS)]}" for n in _draw(rng, kind.keys)]
    numbers = [str(n) for n in rng.sample(range(10**6, 10**7), kind.keys * kind.values)]
    values = [numbers[n * kind.values : (n + 1) * kind.values] for n in range(kind.keys)]
    needles = [NEEDLE.format(key=key, value=one) for key, some in zip(keys, values, strict=True) for one in some]
    books = haystack(data)
    even = depths(random.Random(f"{limits.seed}/{kind.name}/{length}"), number * len(needles), len(needles))
    text, found = plant(books.somewhere(rng, room_for(needles, length)), needles, even)
    wanted = tuple(one for some in values[: kind.asked] for one in some)
    question, prompt = (part.replace("{keys}", listed(keys[: kind.asked])) for part in ASKED[len(wanted) > 1])
    meta = {"depth": " ".join(f"{one:.4f}" for one in found[: len(wanted)]), "needle": needles[0]}
    return Item(f"{length}/{number}", (text,), question, wanted, group=str(length), longest=ANSWER_TOKENS * len(wanted),
                prompt=prompt, meta=meta | books.note(length))  # fmt: skip


def _draw(rng: random.Random, count: int) -> list[int]:
    return rng.sample(range(len(ADJECTIVES) * len(NOUNS)), count)


def load_numbers(kind: Kind, data: Path, limits: Limits) -> Iterator[Item]:
    """Items of one of RULER's kinds."""
    for length in lengths_of(limits):
        for number in range(limits.items):
            yield number_item(kind, data, limits, length, number)


def facts_of_a_text(length: int) -> int:
    """How many facts a text holds, each asked for by an item of its own: a long text is read once for ten questions."""
    return min(10, max(4, length // 100))


def different_facts(rng: random.Random, kind: str, count: int) -> list[Fact]:
    """Facts of one kind in held-out names and words, with different questions and different values."""
    found: list[Fact] = []
    while len(found) < count:
        one = fact(rng, kind, held=True)
        if all(one.question != other.question and one.answer != other.answer for other in found):
            found.append(one)
    return found


def fact_items(data: Path, limits: Limits, length: int, number: int) -> Iterator[Item]:
    """A text with facts of one kind, so that only the name tells which value is asked for; an item for each."""
    rng, count, kind = _fact_rng(limits, length, number), facts_of_a_text(length), KINDS[number % len(KINDS)]
    made, books = different_facts(rng, kind, count), haystack(data)
    sentences = [one.sentence for one in made]
    even = depths(random.Random(f"{limits.seed}/needle-fact/{length}"), number * count, count)
    text, found = plant(books.somewhere(rng, room_for(sentences, length)), sentences, even)
    for asked, (one, depth) in enumerate(zip(made, found, strict=True)):
        meta = {"depth": f"{depth:.4f}", "needle": one.sentence, "kind": kind} | books.note(length)
        yield Item(f"{length}/{number}/{asked}", (text,), one.question, (one.answer,), group=str(length), longest=16,
                   meta=meta)  # fmt: skip


def _fact_rng(limits: Limits, length: int, number: int) -> random.Random:
    return random.Random(f"{limits.seed}/needle-fact/{length}/{number}")


def load_facts(data: Path, limits: Limits) -> Iterator[Item]:
    """Facts about invented people."""
    for length in lengths_of(limits):
        texts = -(-limits.items // facts_of_a_text(length))
        items = [one for number in range(texts) for one in fact_items(data, limits, length, number)]
        yield from items[: limits.items]


NEEDLE_TASKS = (
    *(
        Task(kind.name, kind.about, "match all", partial(load_numbers, kind), (BOOKS,), 0.0, "RULER, arXiv 2404.06654")
        for kind in RULER
    ),
    Task(
        "needle-fact",
        "a fact about an invented person, among others of the same kind, in the words of the embedded model's training",
        "exact match",
        load_facts,
        (BOOKS,),
        sum(1 / value_count(kind) for kind in KINDS) / len(KINDS),
        "this project",
    ),
)
