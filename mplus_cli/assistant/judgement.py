"""What a sentence looks like beside a question, in numbers, and how well such a sentence answers, as learnt.

The weights were fitted on questions whose answers are known (`python -m mplus_cli.fit`); docs/memory.md names the data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from math import log

from mplus_cli.assistant.cues import CAUSE, COLOUR, EMPTY, FEELING, NAME, NUMBER, PLACE, TIME, quest, told
from mplus_cli.assistant.passages import LONG, Scored, Sentence, follow, overlaps, says_nothing, score

Look = dict[str, float]
ASKED: tuple[tuple[str, re.Pattern[str]], ...] = (  # the first that fits names the class of a question
    ("many", re.compile(r"\bhow (?:many|much|old|long|far|tall|often)\b|\bwhat (?:number|age)\b")),
    ("feel", re.compile(r"\bhow (?:did|do|does|is|was|were|will|would) .*\bfeel")),
    ("colour", re.compile(r"\bcolou?rs?\b")),
    ("name", re.compile(r"\bnamed?\b|\bcalled?\b")),
    ("who", re.compile(r"\bwho(?:m|se)?\b")),
    ("where", re.compile(r"\bwhere\b|\b(?:what|which) (?:city|town|village|country|place)\b")),
    ("when", re.compile(r"\bwhen\b|\bwhat (?:year|day|month|time|date)\b")),
    ("why", re.compile(r"\bwhy\b|\breason\b")),
    ("how", re.compile(r"\bhow\b")),
    ("which", re.compile(r"\bwhich\b")),
    ("what", re.compile(r"\bwhat\b")),
)
SIGNS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("time", TIME), ("place", PLACE), ("cause", CAUSE), ("colour", COLOUR), ("feeling", FEELING),
    ("speech", re.compile(r"[\"“”]")), ("pronoun", re.compile(r"^\W*(?:He|She|They|It|I|We|You)\b")),
)  # fmt: skip
SHORTLIST = 120  # candidates that are looked at closely
NAMED = (("name", NAME), ("number", NUMBER))


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each number counts, for all questions and for each class of them."""

    values: dict[str, float]

    def worth(self, look: Look) -> float:
        """The learnt score of a sentence: higher is better, no unit."""
        return sum(self.values.get(name, 0.0) * value for name, value in look.items())


@cache
def learnt() -> Weights:
    """The weights that ship."""
    return Weights(json.loads(resources.files("mplus_cli.assistant").joinpath("judgement.json").read_text("utf-8")))


@dataclass(frozen=True, slots=True)
class Sight:
    """A question beside its candidates, which stand in reading order.

    weights: its content words, stemmed, and how much each counts. `memory` and `text` say how strongly the memory, and
    full-text search, point at a sentence, 0 to 1.
    """

    question: str
    candidates: Sequence[Sentence]
    weights: dict[str, float]
    memory: Callable[[Sentence], float]
    text: Callable[[Sentence], float] = lambda _: 0.0


def ranked(sight: Sight, by: Weights) -> list[Scored]:
    """The candidates with their support, best first: the shortlist by what they are worth, the others by support."""
    scored = score(sight.question, sight.candidates, sight.weights, sight.memory, sight.text)
    order = sorted(range(len(scored)), key=lambda at: -scored[at].support)
    chosen = order[:SHORTLIST]
    worth = {at: by.worth(look) for at, look in zip(chosen, looks(sight, chosen), strict=True)}
    chosen.sort(key=lambda at: (-worth[at], -scored[at].support))
    return [scored[at] for at in (*chosen, *order[SHORTLIST:])]


def class_of(question: str) -> str:
    """The class of a question."""
    asked = question.casefold()
    return next((name for name, pattern in ASKED if pattern.search(asked)), "other")


def looks(sight: Sight, chosen: Sequence[int]) -> list[Look]:
    """The numbers of some candidates, given by their places."""
    question, candidates, memory, text = sight.question, sight.candidates, sight.memory, sight.text
    asked = quest(question, sight.weights)
    near, weights = overlaps(candidates, sight.weights), sight.weights
    total = sum(weights.values()) or 1.0
    rarest = max(weights, key=lambda word: weights[word], default="")
    here = [sum(weight for word, weight in weights.items() if word in one.words) / total for one in candidates]
    best = max(near, default=0.0)
    kind, content = class_of(question), asked.known - EMPTY
    found = []
    for number in chosen:
        sentence = candidates[number]
        look = {
            "near": near[number],
            "behind best": best - near[number],
            "here": here[number],
            "before": here[number - 1] if number else 0.0,
            "after": here[number + 1] if number + 1 < len(here) else 0.0,
            "rarest": float(rarest in sentence.words),
            "pairs": sum(follow(sentence.order, *pair) for pair in asked.pairs) / max(1, len(asked.pairs)),
            "length": min(1.0, log(1 + len(sentence.order)) / log(1 + LONG)),
            "new": log(1 + len(sentence.words - asked.known - EMPTY)) / 3,
            "nothing": float(says_nothing(sentence, asked)),
            "memory": memory(sentence),
            "text": text(sentence),
        }
        signs = {name: float(pattern.search(sentence.text) is not None) for name, pattern in SIGNS}
        signs |= {name: told(sentence.text, pattern, content) for name, pattern in NAMED}
        for name in ("here", "before", "after", "length", "new"):
            signs[name] = look[name]
        look |= {f"{kind}: {name}": value for name, value in signs.items()}
        found.append(look)
    return found
