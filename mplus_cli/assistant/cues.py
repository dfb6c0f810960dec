"""What a question looks for: its words with their weights, and the kind of words that an answer has.

English cues; a question in another language has none of them and is weighed by its words alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import log

from mplus_cli.assistant.stems import other_forms, stem
from mplus_cli.library.stopwords import STOP_WORDS, content_words

WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
NAME_WEIGHT = 0.75  # of a name in a question: prose says "he" where the question says "Jim"
NUMBER = re.compile(
    r"\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen|(?:twen|thir|for|fif|six|seven|"
    r"eigh|nine)ty(?:-\w+)?|hundred|thousand|million|once|twice|dozen)\b",
    re.IGNORECASE,
)
TIME = re.compile(
    r"\d|\b(?:(?:Jan|Febr)uary|March|April|May|June|July|August|(?:Sept|Nov|Dec)ember|October|\w+day|days?|weeks?|"
    r"months?|years?|hours?|minutes?|century|spring|summer|autumn|winter|morning|noon|evening|night|midnight|o['’]clock|"
    r"after|before|when|while|until|till)\b"
)
NAME = re.compile(r"(?<=[\w,;:\"“”’'] )[A-Z][\w’']+")
PLACE = re.compile(r"\b(?:in|at|to|from|into|near|on|upon|under|behind|by|inside|through)\b")
CAUSE = re.compile(r"\b(?:because|since|for|therefore|in order|so|lest|to)\b", re.IGNORECASE)
COLOUR = re.compile(
    r"\b(?:black|white|red|green|blue|yellow|brown|gr[ea]y|gold(?:en)?|silver|purple|pink|scarlet|crimson)\b",
    re.IGNORECASE,
)
FEELING = re.compile(
    r"\b(?:happy|glad|joy\w*|delight\w*|pleas\w+|proud|grateful|thankful|relieved|content\w*|surpris\w+|astonish\w+|"
    r"amaze\w*|wonder\w*|curious|puzzled|confus\w+|asham\w+|guilt\w*|sorry|sad\w*|sorrow\w*|grie\w+|miserable|"
    r"unhappy|wretched|despair\w*|lonely|disappoint\w+|jealous\w*|env\w+|ang(?:ry|er)|furious|fury|rage|annoyed|"
    r"vexed|afraid|fear\w*|fright\w*|terr(?:or|ified)|scared|alarm\w*|anxi\w+|worried|uneasy|nervous|excit\w+|"
    r"wept|cried|trembl\w+|weary|tired|love\w*|hat(?:e|ed|red))\b",
    re.IGNORECASE,
)
BESIDE = 30  # characters
KINDS: tuple[tuple[re.Pattern[str], re.Pattern[str], float], ...] = (  # asked, expected, how telling
    (re.compile(r"\bhow (?:many|much|old|long|far|tall|often)\b|\bwhat (?:number|age)\b"), NUMBER, 0.3),
    (re.compile(r"\bwhen\b|\bwhat (?:year|day|month|time|date)\b"), TIME, 0.1),
    (re.compile(r"\bwho(?:m|se)?\b|\bname[ds]?\b|\bcalled\b"), NAME, 0.2),
    (re.compile(r"\b(?:what|which) (?:city|town|village|country|state|nationality|character|month)\b"), NAME, 0.3),
    (re.compile(r"\bwhere\b"), NAME, 0.1),
    (re.compile(r"\bwhere\b"), PLACE, 0.05),
    (re.compile(r"\bhow (?:did|do|does|is|was|were|will|would) .*\bfeel"), FEELING, 0.3),
    (re.compile(r"\bwhy\b|\breason\b"), CAUSE, 0.05),
    (re.compile(r"\bcolou?rs?\b"), COLOUR, 0.2),
)


ABOUT = re.compile(  # what is asked about, and nothing else
    r"(?:what|who)(?:['’]s|\s+(?:is|are|was|were))\s+(?:an?\s+|the\s+)?([\w’'. -]{2,40}?)[\s?.]*", re.IGNORECASE
)
DEFINED = 0.3  # how telling a sentence is that says what a thing, or who a person, is


@dataclass(frozen=True, slots=True)
class Quest:
    """A question as sentences are compared with it.

    weights: content words, stemmed, and how much each counts. pairs: content words that follow each other. known: all
    its words. bonus: what a sentence of the kind that is asked for adds, 0 for others.
    """

    weights: dict[str, float]
    pairs: tuple[tuple[str, str], ...]
    known: frozenset[str]
    bonus: Callable[[str], float]


def terms(text: str) -> list[str]:
    """Words of a text as they are compared: case folded, endings cut."""
    return [stem(word) for word in WORD.findall(text.casefold())]


EMPTY = frozenset(stem(word) for word in STOP_WORDS["en"])


def topic(question: str) -> list[str]:
    """The words of a question that carry its topic."""
    words = WORD.findall(question)
    return content_words(words) or words


def question_weights(question: str, chunks: int, frequency: Callable[[str], int]) -> dict[str, float]:
    """How much each content word of a question counts: log of its rarity over the library's chunks, names less.

    `frequency` says in how many chunks a word stands.
    """
    names = set(NAME.findall(question))
    weights: dict[str, float] = {}
    for word in topic(question):
        held = min(chunks, frequency(word))
        weights[stem(word.casefold())] = log(1 + (chunks - held + 0.5) / (held + 0.5)) * (
            NAME_WEIGHT if word in names else 1.0
        )
    return weights


def widened_query(question: str) -> str:
    """A question with other forms of its irregular words, for full-text search."""
    return " ".join([question, *(form for word in topic(question) for form in other_forms(word))])


def quest(question: str, weights: dict[str, float]) -> Quest:
    """A question taken apart; `weights` of its words as `question_weights` gives them."""
    order = [stem(word.casefold()) for word in topic(question)]
    known = frozenset(terms(question))
    return Quest(weights, tuple(pairwise(order)), known, _bonus(question.casefold(), known))


def _bonus(asked: str, known: frozenset[str]) -> Callable[[str], float]:
    kinds = [(expected, telling) for pattern, expected, telling in KINDS if pattern.search(asked)]
    about = ABOUT.fullmatch(asked.strip())
    if about:
        kinds.append((saying_what_is(about[1]), DEFINED))
    content = known - EMPTY

    def bonus(text: str) -> float:
        return max((telling * _telling(text, expected, content) for expected, telling in kinds), default=0.0)

    return bonus


def saying_what_is(thing: str) -> re.Pattern[str]:
    """Words that say what a thing is: "a THING is a", "called the THING", "THING means", "THING, a", "THING (an".

    Not "and the THING is", whose subject is longer, nor "the dog, the THING, a", where it stands in a list.
    """
    words = r"\s+".join(map(re.escape, thing.split()))
    named = rf"[“‘\"']?{words}(?:e?s)?[”’\"']?"
    article = r"(?:an?\s+|the\s+)?"
    kind = r"(?:an?|the|any|one|simply|defined|what|that|those|my|his|her|our|their)\b"
    return re.compile(
        rf"\b(?:called|named|termed|known\s+as|(?:we|i|they)\s+call(?:\s+(?:it|this|them|these))?)\s+{article}{named}(?!\w)"
        rf"(?!\s+(?:for|to|of)\b)|(?:^|[;:—“\"(]\s*){article}{named}\s+(?:\([^)]*\)\s+)?(?:is|are|was|were)\s+{kind}"
        rf"|\b{named}\s+(?:means?|refers?\s+to|denotes?|consists?\s+of)\b"
        rf"|(?<!,\s)\b{named}(?:,|—|\s\()\s*(?:an?\s|which\s+(?:is|are|was)\b|who\s+(?:is|was)\b|meaning\b)",
        re.IGNORECASE,
    )


def _telling(text: str, expected: re.Pattern[str], content: frozenset[str]) -> float:
    """1 where a word of the kind stands; names and numbers tell half when no word of the question is beside them."""
    if expected not in (NAME, NUMBER):
        return float(expected.search(text) is not None)
    found = 0.0
    for match in expected.finditer(text):
        if match.group() == "I" or (expected is NAME and stem(match.group().casefold()) in content):
            continue
        beside = text[max(0, match.start() - BESIDE) : match.end() + BESIDE]
        if not content.isdisjoint(terms(beside)):
            return 1.0
        found = 0.5
    return found
