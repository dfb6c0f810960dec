"""From what a prompt recalled to the passages of the books: which chunks, which sentences, found how."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import exp
from typing import TYPE_CHECKING

from mplus_cli.assistant.cues import question_weights, widened_query
from mplus_cli.assistant.furniture import furniture_of
from mplus_cli.assistant.passages import Scored, Sentence, score, sentences
from mplus_cli.assistant.view import Births, View
from mplus_cli.events import FoundBy
from mplus_cli.library.library import Library

if TYPE_CHECKING:
    from model.generate import RetrievalTrace

SHARPNESS = 20.0  # scores are compared as exp(20 * score), as in the retriever's training
RANKED_CHUNKS = 256  # of the memory: what is ranked at all
BEST_CHUNKS = 16  # of the memory: what stands in them was found by memory
MEMORY_CHUNKS = 48  # of the memory: their sentences are weighed
TEXT_CHUNKS = 64  # chunks that full-text search adds
Key = tuple[str, int]


@dataclass(slots=True)
class Recollection:
    """Chunks that a prompt brought to mind.

    shares: part of the recalled rows that were born in a chunk. weights: how strongly the retriever chose it, 0 to 1
    relative to the best. places: recalled rows by their birth, with their weight.
    """

    shares: dict[Key, float] = field(default_factory=dict)
    weights: dict[Key, float] = field(default_factory=dict)
    places: dict[Key, list[tuple[int, float]]] = field(default_factory=dict)
    texts: dict[Key, float] = field(default_factory=dict)

    def chunks(self) -> set[Key]:
        """The chunks worth looking at: the memory's best, the text search's best, and their neighbours."""
        best = {*self.remembered(MEMORY_CHUNKS), *self.texts}
        return {(document, number + step) for document, number in best for step in (-1, 0, 1)}

    def remembered(self, count: int) -> list[Key]:
        """The memory's best chunks, best first."""
        return sorted(self.weights, key=lambda key: -self.weights[key])[:count]

    def found_by(self, keys: Sequence[Key]) -> FoundBy:
        """How the chunks under a passage were found; a passage beside them was found as they were."""
        near = {(document, number + step) for document, number in keys for step in (-1, 0, 1)}
        best = set(self.remembered(BEST_CHUNKS))
        memory, text = not best.isdisjoint(keys), not self.texts.keys().isdisjoint(keys)
        if not memory and not text:
            memory, text = not best.isdisjoint(near), not self.texts.keys().isdisjoint(near)
        memory = memory or not self.shares.keys().isdisjoint(keys)  # rows of it were recalled, whatever ranks chunks
        return "both" if memory and text else "text" if text else "memory"


@dataclass(frozen=True, slots=True)
class Found:
    """What stands behind an answer before it is given."""

    recollection: Recollection
    scored: tuple[Scored, ...]


def find(
    library: Library, view: View, births: Births, recollection: Recollection, question: str, text_search: bool
) -> Found:
    """The sentences that the memory, and full-text search, bring to a question, best first."""
    limits = view.until()
    if text_search:
        hits = library.search(widened_query(question), list(limits), TEXT_CHUNKS, limits)
        recollection.texts = {(hit.document, hit.chunk): hit.score for hit in hits}
    candidates = candidate_sentences(library, view, recollection)
    weights = question_weights(question, view.chunks, lambda word: library.chunks_with(word, limits))
    memory, text = memory_score(recollection, births), text_score(recollection, births)
    furniture = cache(lambda document: furniture_of(library.sections(document)))
    scored = score(question, candidates, weights, memory, text, lambda one: furniture(one.document)(one))
    return Found(recollection, tuple(scored))


def recollect(trace: RetrievalTrace, births: Births, citing: Sequence[int] = ()) -> Recollection:
    """Sum a trace over layers; pool rows count for finding sources, not for the share of recalled rows.

    Chunks are ranked by late interaction (`model.retriever.chunk_strengths`): the rows that enter a layer are few and
    often of one word, while every stored row was scored for every word. `citing`: the layers that rank chunks, all
    where none is named; what a layer recalls to answer from need not be what names the page.
    """
    shares: dict[Key, float] = defaultdict(float)
    places: dict[Key, list[tuple[int, float]]] = defaultdict(list)
    recalled = 0
    for layer, rows in enumerate(trace.recalled):
        scores = trace.recalled_scores[layer].tolist() + trace.pool_scores[layer].tolist()
        numbers = rows.tolist() + trace.pool[layer].tolist()
        highest = max(scores, default=0.0)
        relative = [exp(SHARPNESS * (score - highest)) for score in scores]
        for index, (row, weight) in enumerate(zip(numbers, relative, strict=True)):
            place = births.place(row)
            if place is None:
                continue
            key = (place.document, place.chunk)
            if index < len(rows):
                shares[key] += 1
                recalled += 1
            places[key].append((place.character, weight))
    return Recollection(
        {key: share / recalled for key, share in shares.items()}, chunk_weights(trace, births, citing), dict(places)
    )


def chunk_weights(trace: RetrievalTrace, births: Births, citing: Sequence[int] = ()) -> dict[Key, float]:
    """How strongly the retriever points at the best chunks, 0 (an average chunk) to 1 (the best one)."""
    chosen = [trace.chunks[layer] for layer in citing if layer < len(trace.chunks)] or trace.chunks
    layers = [strengths for strengths in chosen if len(strengths)]
    if not layers:
        return {}
    strengths = sum(layers[1:], layers[0])
    average, best = float(strengths.mean()), float(strengths.max())
    values, numbers = strengths.topk(min(RANKED_CHUNKS, len(strengths)))
    found = {}
    for value, number in zip(values.tolist(), numbers.tolist(), strict=True):
        extent, chunk = births.steps[number]
        found[births.documents[extent], chunk] = (value - average) / ((best - average) or 1.0)
    return found


def candidate_sentences(library: Library, view: View, recollection: Recollection) -> list[Sentence]:
    """Sentences of the chunks that were found, each once, in reading order; none reaches behind the view."""
    wanted = recollection.chunks()
    found: list[Sentence] = []
    for extent in view.extents:
        document = extent.document.id
        numbers = sorted(number for key, number in wanted if key == document and 0 <= number < extent.chunks)
        if not numbers:
            continue
        text, chunks = library.text(document)[: extent.end], library.chunks(document)
        for first, last in runs(numbers):
            some = sentences(document, text, chunks[first].start, chunks[last].end)
            reached = found[-1].end if found and found[-1].document == document else 0
            found += [sentence for sentence in some if sentence.start >= reached]
    return found


def runs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Sorted numbers as runs of neighbours, first and last of each."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def text_score(recollection: Recollection, births: Births) -> Callable[[Sentence], float]:
    """How strongly full-text search points at a sentence: its chunk's score, its neighbours' scores, 0 to 1."""
    texts = recollection.texts
    best = max(texts.values(), default=0.0) or 1.0

    def scored(sentence: Sentence) -> float:
        document, number = births.chunks_at(sentence.document, sentence.start, sentence.end)[0]
        here = texts.get((document, number), 0.0)
        beside = texts.get((document, number - 1), 0.0) + texts.get((document, number + 1), 0.0)
        return (0.5 * here + 0.25 * beside) / best

    return scored


def memory_score(recollection: Recollection, births: Births) -> Callable[[Sentence], float]:
    """How much the memory points at a sentence: the weight of its chunk, and of recalled rows born inside of it."""

    def scored(sentence: Sentence) -> float:
        keys = births.chunks_at(sentence.document, sentence.start, sentence.end)
        chunk = max((recollection.weights.get(key, 0.0) for key in keys), default=0.0)
        inside = max(
            (
                weight
                for key in keys
                for character, weight in recollection.places.get(key, ())
                if sentence.start - 4 <= character < sentence.end + 4
            ),
            default=0.0,
        )
        return min(1.0, 0.5 * chunk + 0.5 * inside)

    return scored
