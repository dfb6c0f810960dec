"""Which rows of a view are short-term pool and which are long-term memory: a pure function of the view.

Nothing is moved when a row changes place. A view is the sequence of chunks that a question may know; membership is
replayed from draws that are seeded by (document, chunk number), so leaving a book out changes nobody else's draws, and
a view is as if only it had been read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor, from_numpy

GOLDEN_RATIO = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class ViewChunk:
    """One chunk of a view: the document's name (its seed) and the chunk's number in it."""

    document: str
    number: int


@dataclass(frozen=True, slots=True)
class Membership:
    """Places of row numbers, per layer.

    pool: (n_pool,) row numbers, oldest first. candidates: long-term rows in the order of retrieval indices; None where
    every row outside of the pool is long-term. ages: (len(candidates),), None where birth order is the order.
    cyclic: fewer long-term rows than are recalled, so they repeat unscored (released behaviour). oldest: the first row
    number that may be recalled, 0 without a cap.
    """

    pool: list[Tensor]
    candidates: list[Tensor] | None = None
    ages: list[Tensor] | None = None
    cyclic: tuple[bool, ...] = ()
    oldest: int = 0


def drop_priorities(document: str, number: int, layers: int, size: int) -> np.ndarray:
    """The draw of one write: a 64-bit number for every pool place and layer, (L, size); the lowest are dropped.

    SplitMix64 over a hash of document and chunk number: the same on every machine and version.
    """
    digest = hashlib.sha256(f"{document}/{number}".encode()).digest()
    seed = np.frombuffer(digest[:8], "<u8")[0]
    with np.errstate(over="ignore"):
        mixed = seed + GOLDEN_RATIO * np.arange(1, layers * size + 1, dtype=np.uint64)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return mixed.reshape(layers, size)


def kept_places(document: str, number: int, layers: int, size: int, drop: int) -> np.ndarray:
    """Places that survive one write, ascending: (L, size - drop)."""
    priorities = drop_priorities(document, number, layers, size)
    kept = np.argpartition(priorities, drop - 1, axis=1)[:, drop:] if drop else np.tile(np.arange(size), (layers, 1))
    return np.sort(kept, axis=1)


def pool_sizes(chunks: int, background: int, rows: int, pool: int) -> np.ndarray:
    """Rows in the pool after 0..chunks writes: (chunks + 1,)."""
    return np.minimum(pool, background + rows * np.arange(chunks + 1)).clip(min=min(background, pool))


def log_membership(
    view: Sequence[ViewChunk], layers: int, rows: int, pool: int, background: int = 0, offset: int = 0, cap: int = 0
) -> Membership:
    """Policy `log`: the pool is what the seeded drops left, everything else is long-term, in order of birth.

    `background` shipped pool rows are row numbers 0..background - 1; chunk t's rows start at offset + t * rows. With a
    `cap` only the newest so many chunks may be recalled.
    Places are traced backwards from the newest chunk, so the cost follows the pool's half-life, not the library.
    """
    assert rows <= pool, "a pool holds at least one chunk"
    sizes = pool_sizes(len(view), background, rows, pool)
    places = np.tile(np.arange(sizes[-1]), (layers, 1))
    found = np.full((layers, int(sizes[-1])), -1)
    for step in range(len(view) - 1, -1, -1):
        size = int(sizes[step])
        survivors = int(sizes[step + 1]) - rows
        open_ = found < 0
        born = open_ & (places >= survivors)
        found[born] = offset + step * rows + (places - survivors)[born]
        open_ &= ~born
        if not open_.any():
            break
        if survivors < size:
            kept = kept_places(view[step].document, view[step].number, layers, size, size - survivors)
            places = np.where(open_, np.take_along_axis(kept, np.where(open_, places, 0), 1), places)
    found = np.where(found < 0, places, found)
    oldest = max(0, offset + (len(view) - cap) * rows) if cap else 0
    return Membership([from_numpy(layer.copy()) for layer in found], oldest=oldest)


def without(view: Sequence[ViewChunk], documents: set[str]) -> list[ViewChunk]:
    """The view as if these documents had never been read."""
    return [chunk for chunk in view if chunk.document not in documents]
