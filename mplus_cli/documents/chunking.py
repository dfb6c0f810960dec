"""A document's text in pieces of nearly equal length, for the model to read one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Chunk:
    """Chunk `number` (from 0): characters [start, end) of the document's text, and how many tokens they are."""

    number: int
    start: int
    end: int
    tokens: int
    text: str


def balanced_chunks(text: str, offsets: Sequence[tuple[int, int]], chunk_tokens: int) -> list[Chunk]:
    """Cut a text into chunks of at most `chunk_tokens` tokens whose lengths differ by one at most.

    `offsets` holds each token's characters [start, end), in order. Chunks follow each other without gaps and cover the
    whole text: the joined chunk texts are the text. No chunk is under half of `chunk_tokens` unless the document is.
    A boundary is never inside a character that takes several tokens; it moves to the nearest place that is free.
    """
    assert chunk_tokens > 0
    if not offsets:
        return [Chunk(0, 0, len(text), 0, text)] if text else []
    count = -(-len(offsets) // chunk_tokens)
    free = free_boundaries(offsets)
    bounds = boundaries(len(offsets), count, free)
    if longest(bounds) > chunk_tokens:  # a moved boundary overfilled its neighbour: one more chunk leaves room
        roomier = boundaries(len(offsets), count + 1, free)
        bounds = roomier if longest(roomier) <= chunk_tokens <= 2 * shortest(roomier) else bounds
    starts = [0, *(offsets[token][0] for token in bounds[1:-1]), len(text)]
    return [
        Chunk(number, start, end, last - first, text[start:end])
        for number, ((start, end), (first, last)) in enumerate(zip(pairwise(starts), pairwise(bounds), strict=True))
    ]


def free_boundaries(offsets: Sequence[tuple[int, int]]) -> list[bool]:
    """Whether a chunk may start at each token: not when it shares a character with one before it, or has none."""
    free, reached = [], 0
    for start, end in offsets:
        free.append(reached <= start < end)
        reached = max(reached, end)
    return free


def boundaries(total: int, count: int, free: Sequence[bool]) -> list[int]:
    """Token numbers where chunks start, and `total`; each as near to its even place as free boundaries allow."""
    bounds = [0]
    for part in range(1, count):
        at = nearest_free(total * part // count, bounds[-1], total, free)
        if at is not None:
            bounds.append(at)
    return [*bounds, total]


def nearest_free(wanted: int, low: int, high: int, free: Sequence[bool]) -> int | None:
    """The free boundary next to `wanted` strictly between `low` and `high`."""
    for distance in range(max(wanted - low, high - wanted)):
        for at in (wanted - distance, wanted + distance):
            if low < at < high and free[at]:
                return at
    return None


def longest(bounds: Sequence[int]) -> int:
    return max(last - first for first, last in pairwise(bounds))


def shortest(bounds: Sequence[int]) -> int:
    return min(last - first for first, last in pairwise(bounds))
