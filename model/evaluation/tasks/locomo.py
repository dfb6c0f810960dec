"""LoCoMo (arXiv 2402.17753): how its categories of questions are asked and answered.

As in the benchmark, a temporal question asks for the date of the conversation, only the first part of an open-domain
answer counts, and an adversarial question (about what was never said) is put as a choice between a trap and "Not
mentioned in the conversation", in drawn order; right is an answer that says so. The choice has no letters here: the
benchmark translates the letter that a model says back into the words. F1 is the one of the other sets: the benchmark
stems the words, and scores the parts of a multi-hop answer one by one.
"""

from __future__ import annotations

import random

from model.evaluation.tasks.records import Record

NAMES = {1: "multi-hop", 2: "temporal", 3: "open-domain", 4: "single-hop", 5: "adversarial"}
DATED = " Use DATE of CONVERSATION to answer with an approximate date."
NOT_MENTIONED = "Not mentioned in the conversation"
NOT_SAID = ("not mentioned", "no information available")


def category(one: Record) -> str:
    """The category of a question by name. Raises ModelError where it has none."""
    found = one.raw.get("category")
    if not isinstance(found, int) or found not in NAMES:
        raise one.lacks("category", "a number from 1 to 5")
    return NAMES[found]


def dated(one: Record, seed: str) -> str:
    """A question of one of the first four categories."""
    return one.text("question") + (DATED if category(one) == "temporal" else "")


def undecided(one: Record, seed: str) -> str:
    """A question of the fifth category, with its trap and the right answer in drawn order."""
    choices = [NOT_MENTIONED, one.text("adversarial_answer")]
    random.Random(seed).shuffle(choices)
    return f"{one.text('question')} Select the correct answer: {choices[0]} or {choices[1]}."


def first_answer(one: Record) -> tuple[str, ...]:
    """Accepted answers; of an open-domain answer what stands before the semicolon."""
    cut = category(one) == "open-domain"
    return tuple(answer.split(";")[0].strip() if cut else answer for answer in one.texts("answers"))


def not_said(one: Record) -> tuple[str, ...]:
    """What an answer to an adversarial question must contain."""
    return NOT_SAID
