"""Sentences, and how well one supports an answer: word overlap weighted by rarity, and the memory's own scores.

The scorer is called `overlap`; docs/memory.md states what it measures and how precise it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import log

from mplus_cli.assistant.cues import EMPTY, WORD, Quest, quest, terms
from mplus_cli.assistant.stems import stem
from mplus_cli.library.stopwords import content_words

SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’»)\]]*\s+(?=[\"'“‘«(\[]?[A-ZÀ-ÞА-Я0-9—])|\n{2,}|(?<=[。！？])")
ABBREVIATION = re.compile(
    r"\b(?:Mr|Mrs|Ms|Dr|St|Prof|Capt|Col|Gen|Lt|Sgt|Rev|Hon|Esq|Messrs|vs|etc|No|Vol|Fig|Figs|Eq|Sec|cf|viz|pp|[A-Z])\.$"
)
PARENTHESIS = 200  # characters on both sides in which one that is open must begin and end
LONGEST_SENTENCE = 600  # characters; longer ones are cut at the next clause or word
WORTH = (1.0, 0.55, 0.35, 0.35, 0.2, 0.2, 0.2, 0.2, 0.2)  # of a question word that many sentences away
WIDEST_BREAK = 40  # characters between two sentences that follow each other
PAIRS = 0.15  # question words that follow each other here too
LENGTH = 0.1  # long sentences hold more
MEMORY = 0.35  # the memory's score
TEXT = 0.3  # full-text search's score of the chunks here
KIND = 0.3  # the most that the kind of word which is asked for can add
NOTHING_NEW = 0.2  # taken from questions, headings, and sentences that only repeat the question
TITLE = 0.5  # taken from headings and lines of contents, which are never first
APPARATUS = 0.4  # taken from what stands on a copyright page or in an index
TOTAL = 1 + PAIRS + LENGTH + MEMORY + TEXT + KIND
PAIR_DISTANCE = 3  # words
LONG = 40  # words of a long sentence
QUOTED = 300  # characters that a quote has where the paragraph of its sentence has them
LONGEST_QUOTE = 600  # characters, unless one sentence is longer
ALONE = 120  # characters of a paragraph, such as a line of dialogue, that does not stand for itself
FINISHED = re.compile(r"[.!?…。！？:;,—-][\"'”’»)\]]*$")  # the end of running text


@dataclass(frozen=True, slots=True)
class Sentence:
    """Characters [start, end) of a document's text, and the words there as they are compared."""

    document: str
    start: int
    end: int
    text: str
    order: tuple[str, ...] = field(repr=False)
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


def in_context(text: str, sentence: Sentence, low: int, high: int) -> tuple[int, int]:
    """Where a quote of a sentence begins and ends within [low, high): with sentences beside it, the next one first.

    They are of its paragraph, until there are `QUOTED` characters; around a paragraph of less than `ALONE`, such as a
    line of dialogue, of others until there are so many.
    """
    window = max(low, sentence.start - LONGEST_QUOTE), min(high, sentence.end + LONGEST_QUOTE)
    near = [one for one in sentences(sentence.document, text, *window) if low <= one.start and one.end <= high]
    at = next((number for number, one in enumerate(near) if one.start == sentence.start), None)
    if at is None:
        return sentence.start, sentence.end
    first = last = at
    for least, across in ((QUOTED, False), (ALONE, True)):
        while near[last].end - near[first].start < least:
            sides = [(first, last + 1), (first - 1, last)]
            sides = sides if last - at <= at - first else sides[::-1]
            fitting = next((side for side in sides if _quotable(text, near, side, (first, last), across)), None)
            if fitting is None:
                break
            first, last = fitting
    return near[first].start, near[last].end


def _quotable(
    text: str, near: Sequence[Sentence], wider: tuple[int, int], quote: tuple[int, int], across: bool
) -> bool:
    """Whether a quote may grow by the sentence that `wider`, its first and last number, has more than the quote."""
    first, last = wider
    if first < 0 or last >= len(near) or near[last].end - near[first].start > LONGEST_QUOTE:
        return False
    added, gap = (near[first], near[first : first + 2]) if first < quote[0] else (near[last], near[last - 1 : last + 1])
    if across:
        return FINISHED.search(added.text) is not None  # headings end otherwise
    return "\n\n" not in text[gap[0].end : gap[1].start]


def _sentence(document: str, text: str, start: int, end: int) -> Sentence:
    words = tuple(terms(text[start:end]))
    return Sentence(document, start, end, text[start:end], words, frozenset(words))


def _bounds(text: str, start: int, end: int) -> Iterable[tuple[int, int]]:
    """Sentence boundaries in a window that reaches one longest sentence beyond [start, end)."""
    low, high = max(0, start - LONGEST_SENTENCE), min(len(text), end + LONGEST_SENTENCE)
    cuts = [match.end() for match in SENTENCE_END.finditer(text, low, high) if _ends(text, match)]
    points = [low, *cuts, high]
    return pairwise(points)


def _ends(text: str, match: re.Match[str]) -> bool:
    """Whether a sentence ends at a mark: always before an empty line, never behind "Mr." or within a parenthesis."""
    at = match.start()
    if "\n\n" in match[0]:
        return True
    return ABBREVIATION.search(text, max(0, at - 8), at) is None and not _parenthesised(text, at)


def _parenthesised(text: str, at: int) -> bool:
    before = text[max(0, at - PARENTHESIS) : at].rpartition("\n\n")[2]
    after = text[at : at + PARENTHESIS].partition("\n\n")[0].partition("(")[0]
    return before.rfind("(") > before.rfind(")") and ")" in after


def _shortened(text: str, start: int, end: int) -> Iterable[tuple[int, int]]:
    while end - start > LONGEST_SENTENCE:
        window = text[start : start + LONGEST_SENTENCE]
        cut = max(window.rfind("; "), window.rfind(": "), window.rfind(", ") if len(window) > 200 else -1)
        cut = cut + 2 if cut > LONGEST_SENTENCE // 3 else (window.rfind(" ") + 1 or LONGEST_SENTENCE)
        yield start, start + len(window[:cut].rstrip())
        start += cut
    yield start, end


def score(
    question: str,
    candidates: Sequence[Sentence],
    weights: dict[str, float],
    memory: Callable[[Sentence], float],
    text: Callable[[Sentence], float] = lambda _: 0.0,
    furniture: Callable[[Sentence], float] = lambda _: 0.0,
) -> list[Scored]:
    """Candidates with their support, best first; candidates of one document stand in reading order.

    `memory` and `text` say how strongly the memory, and full-text search, point at a sentence, 0 to 1. `furniture`:
    what is taken from a sentence that helps to find the way in a book and is no part of what it says; TITLE, and it
    is not the first.
    """
    asked = quest(question, weights)
    scored = []
    for sentence, overlap in zip(candidates, overlaps(candidates, weights), strict=True):
        recalled = memory(sentence)
        support = overlap + MEMORY * recalled + TEXT * text(sentence)
        if overlap > 0:
            support += _shape(sentence, asked) - furniture(sentence)
        scored.append(Scored(sentence, max(0.0, support) / TOTAL, overlap, recalled))
    ranked = sorted(scored, key=lambda one: (-one.support, one.sentence.document, one.sentence.start))
    first = next((number for number, one in enumerate(ranked) if furniture(one.sentence) < TITLE), 0)
    return [*ranked[first : first + 1], *ranked[:first], *ranked[first + 1 :]]


def overlaps(candidates: Sequence[Sentence], weights: dict[str, float]) -> list[float]:
    """For every candidate the share of the question's words, by weight, that stand in it or, for less, near it."""
    places, total = _places(candidates), sum(weights.values()) or 1.0
    found = [0.0] * len(candidates)
    for word, weight in weights.items():
        for number, distance in enumerate(_distances(candidates, places, word)):
            if distance < len(WORTH):
                found[number] += weight * WORTH[distance] / total
    return found


def _places(candidates: Sequence[Sentence]) -> list[int]:
    """Numbers of sentences in their text; a gap between two candidates is wider than any reach."""
    places = [0] * len(candidates)
    for number, (one, other) in enumerate(pairwise(candidates), 1):
        adjacent = one.document == other.document and other.start - one.end < WIDEST_BREAK
        places[number] = places[number - 1] + (1 if adjacent else len(WORTH))
    return places


def _distances(candidates: Sequence[Sentence], places: Sequence[int], word: str) -> list[int]:
    """For every candidate how many sentences away the nearest one is that holds a word."""
    holding = [place for place, sentence in zip(places, candidates, strict=True) if word in sentence.words]
    distances, index = [], 0
    for place in places:
        while index + 1 < len(holding) and abs(holding[index + 1] - place) <= abs(holding[index] - place):
            index += 1
        distances.append(abs(holding[index] - place) if holding else len(WORTH))
    return distances


def _shape(sentence: Sentence, asked: Quest) -> float:
    """What a sentence's order of words, kind, length and novelty add to its overlap."""
    words = sentence.order
    added = asked.bonus(sentence.text) + LENGTH * min(1.0, log(1 + len(words)) / log(1 + LONG))
    if asked.pairs:
        added += PAIRS * sum(_follow(words, *pair) for pair in asked.pairs) / len(asked.pairs)
    return added - (NOTHING_NEW if _says_nothing(sentence, asked) else 0.0)


def _follow(words: Sequence[str], first: str, second: str) -> bool:
    return any(second in words[at + 1 : at + 1 + PAIR_DISTANCE] for at, word in enumerate(words) if word == first)


def _says_nothing(sentence: Sentence, asked: Quest) -> bool:
    """Whether it is a question, very short, or holds no word of content that the question does not hold."""
    return sentence.text.rstrip("\"'”’»)] ").endswith("?") or sentence.words <= (asked.known | EMPTY)


def supported(answer: str, question: str, passages: Iterable[Sentence]) -> Sentence | None:
    """The first sentence that holds all words of an answer that says something the question did not; else None."""
    asked = set(terms(question))
    said = [word for word in terms(answer) if word not in asked and len(word) > 1]
    content = [stem(word.casefold()) for word in content_words(WORD.findall(answer))]
    new = [word for word in content if word not in asked] or [word for word in said if word.isdigit()]
    if not new:
        return None
    return next((sentence for sentence in passages if all(word in sentence.words for word in new)), None)
