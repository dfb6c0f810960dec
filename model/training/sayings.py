"""What books say of people: short sentences with the person and one word left out, as statements of facts without end.

A list of wordings is learnt by heart: a fact told in words outside of it is not found. Here the words are those of the
books, and the question is one about the words ("What was it that Anna looked at?") or one of the fact's kind.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass

from model.training.fact_words import TEMPLATES

ABOUT_HIM = re.compile(r"\b(?:[Hh]e|[Ss]he|[Tt]hey|I) ([a-z]+(?: [a-z]+){0,4}) ([a-z]{3,10}|[A-Z][a-z]{2,9})[.,;]")
NEAR_HIM = re.compile(r"\b(The|A|An|His|Her|One) ([a-z]{3,10})((?: [a-z]+){1,6}) [A-Z][a-z]{2,9}[.,;]")
LOOSE = ("and", "or", "but", "if", "as", "why", "that", "which", "who", "when", "where", "while", "so", "not", "then")
PLACES = ("in", "at", "to", "into", "from", "near", "under", "on", "behind", "through")
IRREGULAR = {
    "took": "take", "had": "have", "went": "go", "saw": "see", "gave": "give", "found": "find", "ate": "eat",
    "drank": "drink", "bought": "buy", "brought": "bring", "kept": "keep", "left": "leave", "lost": "lose",
    "made": "make", "sold": "sell", "sent": "send", "wore": "wear", "wrote": "write", "held": "hold", "heard": "hear",
    "knew": "know", "met": "meet", "said": "say", "sat": "sit", "stood": "stand", "thought": "think", "told": "tell",
    "felt": "feel", "threw": "throw", "drew": "draw", "came": "come", "got": "get", "ran": "run", "spoke": "speak",
    "broke": "break", "stole": "steal", "taught": "teach", "fell": "fall", "built": "build", "spent": "spend",
}  # fmt: skip
MUTE = ("ar", "ir", "ur", "as", "is", "os", "us", "ag", "at", "ak", "ik", "ok")  # cared, fired, raked: care, fire, rake
GENERAL = (
    "What has to do with {n}?", "What is told of {n}?", "What do we know of {n}?", "What was it with {n}?",
    "What is said about {n}?", "Which word belongs to {n}?",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Saying:
    """A statement with {n} for a name and {v} for a value, and the questions that ask for the value in its words."""

    statement: str
    questions: tuple[str, ...]


def sayings_of(text: str, nouns: Iterable[str]) -> tuple[Saying, ...]:
    """The sayings of a text, sorted: those whose value is one of `nouns` or a name; none in held-out words."""
    known = set(nouns)
    found = {about(said) for said, value in ABOUT_HIM.findall(text) if fits(said, value, known)}
    found |= {near(article, rest) for article, value, rest in NEAR_HIM.findall(text) if fits(rest, value, known)}
    return tuple(sorted((one for one in found if not in_held_out_words(one.statement)), key=lambda one: one.statement))


def fits(said: str, value: str, nouns: set[str]) -> bool:
    """Whether a word may be the value of a saying: a noun or a name, not one that a conjunction ties to the rest."""
    return (value in nouns or value[0].isupper()) and not {*said.split()[1:], said.split()[-1]} & {*LOOSE}


def about(said: str) -> Saying:
    """«He looked at the [sea].»: the value behind the name."""
    first, *rest = said.split()
    asked = [f"What was it that {{n}} {said}?", f"{{n}} {said} what?", f"What {{n}} {said}?"]
    if base := base_form(first):
        asked += [f"What did {{n}} {' '.join([base, *without_article(rest)])}?"] * 2
    place = next((word for word in reversed(without_article(rest))), "")
    if place in PLACES:
        asked += ["Where was {n}?", f"Where was it that {{n}} {said.rsplit(place, 1)[0].rstrip()}?"]
    return Saying(f"{{n}} {said} {{v}}.", tuple(asked))


def near(article: str, rest: str) -> Saying:
    """«The [letter] had come from Anna.»: the value before the name."""
    return Saying(f"{article} {{v}}{rest} {{n}}.", (f"What{rest} {{n}}?", f"Which thing{rest} {{n}}?"))


def base_form(verb: str) -> str:
    """The form of a past tense behind "did"; empty where the word does not look like one."""
    if verb in IRREGULAR:
        return IRREGULAR[verb]
    stem = verb.removesuffix("ed")
    if stem == verb or len(stem) < 3:
        return ""
    if stem[-1] == stem[-2] and stem[-1] not in "lsoe":
        return stem[:-1]  # tapped, tap
    return stem + "e" * (stem[-1] in "vczu" or (stem[-2:] in MUTE and stem[-3] not in "aeiou"))


def without_article(words: list[str]) -> list[str]:
    """Words without the article that stood before the value."""
    return words[:-1] if words and words[-1] in ("the", "a", "an", "his", "her") else words


def in_held_out_words(statement: str) -> bool:
    """Whether a statement has the words of one that is held out for measuring."""
    words = (re.split(r"\{.\}", statements[-1]) for statements, _ in TEMPLATES.values())
    return any(part.strip(" .") in statement for parts in words for part in parts if len(part.split()) > 1)


def say(rng: random.Random, sayings: tuple[Saying, ...], questions: tuple[str, ...], free: bool) -> tuple[str, str]:
    """A statement and a question of the fact's kind; where it may be about anything (`free`), also in its own words.

    Asked in words that fit any value, a model stops to look for the kind of value that a question wants, and takes
    what stands beside a name in the text around.
    """
    one = rng.choice(sayings)
    asked = rng.choice((questions, one.questions, one.questions, GENERAL)) if free else questions
    return one.statement, rng.choice(asked)
