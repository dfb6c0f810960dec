"""Sentences, and how well one supports an answer: word overlap weighted by rarity, and the memory's own scores.

The scorer is called `overlap`; docs/memory.md states what it measures and how precise it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import log

from mplus_cli.library.stopwords import content_words

SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’»)\]]*\s+(?=[\"'“‘«(\[]?[A-ZÀ-ÞА-Я0-9—])|\n{2,}|(?<=[。！？])")
ABBREVIATION = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|St|Prof|Capt|Col|Gen|Lt|Sgt|Rev|Hon|Esq|Messrs|vs|etc|No|Vol|[A-Z])\.$")
WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
LONGEST_SENTENCE = 600  # characters; longer ones are cut at the next clause or word
NEIGHBOURS = 0.4  # weight of question words that stand only in the sentence before or after
MEMORY = 0.35  # weight of the memory's score
EXPECTED = 0.15  # bonus for the kind of word that the question asks for
HOW_MUCH = re.compile(r"\bhow (?:many|much|old|long|far|tall)\b|\bwhat (?:year|age|number)\b|\bwhen\b")
WHO_OR_WHERE = re.compile(r"\bwho(?:m|se)?\b|\bname\b|\bcalled\b|\bwhere\b")
NUMBER = re.compile(
    r"\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty|fifty|hundred|thousand)\b"
)
SUFFIXES = ("ingly", "edly", "ing", "ies", "ied", "ed", "es", "ly", "s", "e")


@dataclass(frozen=True, slots=True)
class Sentence:
    """Characters [start, end) of a document's text, and the words there as they are compared."""

    document: str
    start: int
    end: int
    text: str
    words: frozenset[str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Scored:
    """A sentence with its support (0 to 1) and the part of it that the memory gave (0 to 1)."""

    sentence: Sentence
    support: float
    overlap: float
    memory: float


def sentences(document: str, text: str, start: int, end: int) -> list[Sentence]:
    """The sentences that touch characters [start, end) of a text, whole, in order."""
    found = []
    for first, last in _bounds(text, start, end):
        piece = text[first:last]
        left = first + len(piece) - len(piece.lstrip())
        right = last - (len(piece) - len(piece.rstrip()))
        if left < right and right > start and left < end:
            found += [_sentence(document, text, *cut) for cut in _shortened(text, left, right)]
    return found


def _sentence(document: str, text: str, start: int, end: int) -> Sentence:
    return Sentence(document, start, end, text[start:end], frozenset(terms(text[start:end])))


def _bounds(text: str, start: int, end: int) -> Iterable[tuple[int, int]]:
    """Sentence boundaries in a window that reaches one longest sentence beyond [start, end)."""
    low, high = max(0, start - LONGEST_SENTENCE), min(len(text), end + LONGEST_SENTENCE)
    cuts = [match.end() for match in SENTENCE_END.finditer(text, low, high) if not _abbreviated(text, match.start())]
    points = [low, *cuts, high]
    return pairwise(points)


def _abbreviated(text: str, at: int) -> bool:
    return ABBREVIATION.search(text, max(0, at - 8), at) is not None


def _shortened(text: str, start: int, end: int) -> Iterable[tuple[int, int]]:
    while end - start > LONGEST_SENTENCE:
        window = text[start : start + LONGEST_SENTENCE]
        cut = max(window.rfind("; "), window.rfind(": "), window.rfind(", ") if len(window) > 200 else -1)
        cut = cut + 2 if cut > LONGEST_SENTENCE // 3 else (window.rfind(" ") + 1 or LONGEST_SENTENCE)
        yield start, start + len(window[:cut].rstrip())
        start += cut
    yield start, end


def terms(text: str) -> list[str]:
    """Words of a text as they are compared: case folded, endings cut."""
    return [stem(word) for word in WORD.findall(text.casefold())]


def stem(word: str) -> str:
    """A word without its commonest English endings: "betrayed" and "betrays" are one."""
    word = re.sub(r"['’]s?$", "", word)
    for suffix in SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3:
            return word[: -len(suffix)]
    return word


def question_weights(question: str, chunks: int, frequency: Callable[[str], int]) -> dict[str, float]:
    """How much each content word of a question counts: log of its rarity over the library's chunks.

    `frequency` says in how many chunks a word stands.
    """
    words = content_words(WORD.findall(question)) or WORD.findall(question)
    return {stem(word.casefold()): log(1 + chunks / (1 + frequency(word))) for word in words}


def expects(question: str) -> Callable[[Sentence], bool]:
    """Whether a sentence holds the kind of word that a question asks for: a name for "who", a number for "how many"."""
    asked = question.casefold()
    known = set(terms(question))
    if HOW_MUCH.search(asked):
        return lambda sentence: bool(NUMBER.search(sentence.text))
    if WHO_OR_WHERE.search(asked):
        return lambda sentence: any(stem(name.casefold()) not in known for name in _names(sentence.text))
    return lambda sentence: False


def _names(text: str) -> list[str]:
    """Capitalised words that do not begin the text."""
    return [match.group() for match in re.finditer(r"(?<=[\w,;:\"“”’'] )[A-Z][\w’']+", text) if match.group() != "I"]


def score(
    question: str,
    candidates: Sequence[Sentence],
    weights: dict[str, float],
    memory: Callable[[Sentence], float],
) -> list[Scored]:
    """Candidates with their support, best first; candidates of one document stand in reading order."""
    total = sum(weights.values()) or 1.0
    fits = expects(question)
    scored = []
    for number, sentence in enumerate(candidates):
        near: set[str] = set()
        for other in candidates[max(0, number - 1) : number + 2]:
            if other.document == sentence.document and abs(other.start - sentence.start) < 2 * LONGEST_SENTENCE:
                near |= other.words
        inside = sum(weight for word, weight in weights.items() if word in sentence.words)
        around = sum(weight for word, weight in weights.items() if word in near and word not in sentence.words)
        overlap = (inside + NEIGHBOURS * around) / total
        recalled = memory(sentence)
        bonus = EXPECTED if overlap > 0 and fits(sentence) else 0.0
        support = (overlap + MEMORY * recalled + bonus) / (1 + MEMORY + EXPECTED)
        scored.append(Scored(sentence, support, overlap, recalled))
    return sorted(scored, key=lambda one: (-one.support, one.sentence.document, one.sentence.start))


def supported(answer: str, question: str, passages: Iterable[Sentence]) -> Sentence | None:
    """The first sentence that holds all words of an answer that says something the question did not; else None."""
    asked = set(terms(question))
    said = [word for word in terms(answer) if word not in asked and len(word) > 1]
    content = [stem(word.casefold()) for word in content_words(WORD.findall(answer))]
    new = [word for word in content if word not in asked] or [word for word in said if word.isdigit()]
    if not new:
        return None
    return next((sentence for sentence in passages if all(word in sentence.words for word in new)), None)
