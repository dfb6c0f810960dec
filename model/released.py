"""Policy `released`: the published memory, to the letter, as bookkeeping of row numbers (spec, 4.2 to 4.4, 5.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import from_numpy

from model.config import MPlusConfig
from model.membership import Membership, ViewChunk, kept_places

Draw = Callable[[int, int], np.ndarray]  # (write, layer's pool size) -> dropped places per layer, ascending (L, drop)


@dataclass(slots=True)
class LayerState:
    """One layer's row numbers by place; ages in tokens, frequencies as life counters."""

    pool: np.ndarray
    pool_ages: np.ndarray
    merged: np.ndarray
    ages: np.ndarray
    frequencies: np.ndarray
    pending: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    pending_ages: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))


class ReleasedMemory:
    """Replays writes; nothing but numbers moves."""

    def __init__(
        self, config: MPlusConfig, pool: int, merged: int, ages: np.ndarray | None, frequencies: np.ndarray | None
    ) -> None:
        """`pool` shipped rows are numbers 0..pool - 1, `merged` shipped long-term rows follow; (L, merged) arrays."""
        self.config = config
        self.writes_since_merge = 0
        self.next_row = pool + merged
        none = np.zeros((config.layers, merged))
        ages, frequencies = none if ages is None else ages, none if frequencies is None else frequencies
        self.layers = [
            LayerState(
                np.arange(pool),
                np.zeros(pool, np.int64),
                pool + np.arange(merged),
                ages[index].astype(np.int64),
                frequencies[index].astype(np.float64),
            )
            for index in range(config.layers)
        ]

    def write(self, dropped: np.ndarray) -> None:
        """One chunk: its rows join the pool, `dropped` places (L, drop) leave it for the pending rows."""
        rows = self.config.memory_rows
        new = self.next_row + np.arange(rows)
        for state, places in zip(self.layers, dropped, strict=True):
            state.ages += rows
            state.pending_ages += rows
            state.pending = np.concatenate([state.pending, state.pool[places]])
            state.pending_ages = np.concatenate([state.pending_ages, state.pool_ages[places]])
            state.pool = np.concatenate([np.delete(state.pool, places), new])
            state.pool_ages = np.concatenate([np.delete(state.pool_ages, places), np.arange(rows)[::-1]])
        self.next_row += rows
        self.writes_since_merge += 1
        if self.writes_since_merge >= self.config.merge_every:
            self.merge()

    def merge(self) -> None:
        """Pending rows join the long-term rows; rows whose life has run out leave, unless too few would stay."""
        for state in self.layers:
            rows = np.concatenate([state.merged, state.pending])
            ages = np.concatenate([state.ages, state.pending_ages])
            fresh = np.full(len(state.pending), self.config.initial_frequency)
            counters = np.concatenate([state.frequencies, fresh])
            alive = counters - self.config.decay > 0.01
            if alive.sum() > self.config.recall_rows:
                rows, ages, counters = rows[alive], ages[alive], counters[alive] - self.config.decay
            state.merged, state.ages, state.frequencies = rows, ages, counters
            state.pending, state.pending_ages = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self.writes_since_merge = 0

    def membership(self) -> Membership:
        """What a question sees now."""
        cyclic = tuple(len(state.merged) < self.config.recall_rows for state in self.layers)
        candidates, ages = [], []
        for state, repeats in zip(self.layers, cyclic, strict=True):
            candidates.append(state.merged if repeats else np.concatenate([state.merged, state.pending]))
            ages.append(state.ages if repeats else np.concatenate([state.ages, state.pending_ages]))
        as_tensors = [[from_numpy(array.copy()) for array in arrays] for arrays in (candidates, ages)]
        pool = [from_numpy(state.pool.copy()) for state in self.layers]
        return Membership(pool, as_tensors[0], as_tensors[1], cyclic)


def released_membership(memory: ReleasedMemory, view: Sequence[ViewChunk]) -> Membership:
    """Replay a view with its seeded draws."""
    config = memory.config
    for chunk in view:
        size = len(memory.layers[0].pool)
        drop = max(0, size + config.memory_rows - config.pool_rows)
        kept = kept_places(chunk.document, chunk.number, config.layers, size, drop)
        memory.write(np.stack([np.setdiff1d(np.arange(size), layer) for layer in kept]))
    return memory.membership()
