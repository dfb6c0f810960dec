"""From what a prompt recalled to the passages of the books: which chunks, which sentences, found how."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import exp
from typing import TYPE_CHECKING

from mplus_cli.assistant.passages import Scored, Sentence, question_weights, score, sentences
from mplus_cli.assistant.view import Births, View
from mplus_cli.events import FoundBy
from mplus_cli.library.library import Library

if TYPE_CHECKING:
    from model.generate import RetrievalTrace

SHARPNESS = 20.0  # scores are compared as exp(20 * score), as in the retriever's training
MOST_CHUNKS = 16  # chunks whose sentences are weighed, from memory and from text each
TEXT_CHUNKS = 12  # chunks that full-text search adds
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

    def chunks(self) -> list[Key]:
        """The chunks worth looking at, the memory's best and the text search's best."""
        remembered = sorted(self.weights, key=lambda key: -self.weights[key])[:MOST_CHUNKS]
        return list(dict.fromkeys([*remembered, *list(self.texts)[:MOST_CHUNKS]]))

    def found_by(self, keys: Sequence[Key]) -> FoundBy:
        """How the chunks under a passage were found."""
        best = set(sorted(self.weights, key=lambda key: -self.weights[key])[:MOST_CHUNKS])
        memory, text = any(key in best for key in keys), any(key in self.texts for key in keys)
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
    if text_search:
        limits = view.until()
        hits = library.search(question, list(limits), TEXT_CHUNKS, limits)
        recollection.texts = {(hit.document, hit.chunk): hit.score for hit in hits}
    candidates = candidate_sentences(library, view, recollection)
    weights = question_weights(question, view.chunks, library.chunks_with)
    return Found(recollection, tuple(score(question, candidates, weights, memory_score(recollection, births))))


def recollect(trace: RetrievalTrace, births: Births) -> Recollection:
    """Sum a trace over layers; pool rows count for finding sources, not for the share of recalled rows."""
    shares: dict[Key, float] = defaultdict(float)
    weights: dict[Key, float] = defaultdict(float)
    places: dict[Key, list[tuple[int, float]]] = defaultdict(list)
    recalled = 0
    for layer, rows in enumerate(trace.recalled):
        scores = trace.recalled_scores[layer].tolist() + trace.pool_scores[layer].tolist()
        numbers = rows.tolist() + trace.pool[layer].tolist()
        highest = max(scores, default=0.0)
        relative = [exp(SHARPNESS * (score - highest)) for score in scores]
        total = sum(relative) or 1.0
        for index, (row, weight) in enumerate(zip(numbers, relative, strict=True)):
            place = births.place(row)
            if place is None:
                continue
            key = (place.document, place.chunk)
            if index < len(rows):
                shares[key] += 1
                recalled += 1
            weights[key] += weight / total
            places[key].append((place.character, weight))
    best = max(weights.values(), default=1.0)
    return Recollection(
        {key: share / recalled for key, share in shares.items()},
        {key: weight / best for key, weight in weights.items()},
        dict(places),
    )


def candidate_sentences(library: Library, view: View, recollection: Recollection) -> list[Sentence]:
    """Sentences of the chunks that were found, each once, in reading order; none reaches behind the view."""
    ends = {extent.document.id: extent.end for extent in view.extents}
    found: dict[tuple[str, int], Sentence] = {}
    for document in ends:
        keys = [key for key in recollection.chunks() if key[0] == document]
        if not keys:
            continue
        text, chunks = library.text(document)[: ends[document]], library.chunks(document)
        for _, number in keys:
            chunk = chunks[number]
            for sentence in sentences(document, text, chunk.start, chunk.end):
                found[document, sentence.start] = sentence
    return [found[key] for key in sorted(found)]


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
