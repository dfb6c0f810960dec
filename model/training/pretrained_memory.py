"""The memory that a training on a pretrained base lives with: state of a process, never trained by gradient.

Pool rows carry the document that they were written from, through every drop, so that the retriever can be told what
it should have found. Dropped rows become long-term rows by the published policy (spec, 4.2 to 4.4).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from model.adapters import WRITE, using
from model.checkpoint import Background
from model.config import MPlusConfig
from model.mplus import MPlus
from model.retriever import oldest_first, top_rows

NOBODY = -1  # document of rows that no document wrote


@dataclass(slots=True)
class Segment:
    """Long-term rows of one age class. rows (L, m, d) in host memory, keys (L, m, h), ages (L, m) in tokens."""

    rows: Tensor
    keys: Tensor
    ages: Tensor
    life: float
    merged: bool

    def __len__(self) -> int:
        return self.rows.shape[1]


@dataclass(slots=True)
class MemoryState:
    """Pool and long-term rows of all layers. rows (L, N, d), oldest first; owners and ages (L, N) in host memory."""

    rows: Tensor
    owners: Tensor
    ages: Tensor
    segments: list[Segment] = field(default_factory=list)  # merged ones before pending ones, oldest first
    writes: int = 0  # since the last merge

    def newest(self, count: int) -> Tensor:
        """The context of the next write: (L, 1, count, d); a copy, since the pool changes in place."""
        return self.rows[:, None, -count:].clone()

    def merged(self) -> list[Segment]:
        """Segments that have been through a merge."""
        return [segment for segment in self.segments if segment.merged]


def first_state(
    config: MPlusConfig, generator: torch.Generator, device: torch.device, dtype: torch.dtype
) -> MemoryState:
    """A pool of random rows that no document wrote, and no long-term row (spec, 7.1)."""
    shape = config.layers, config.pool_rows
    width = config.llama.hidden_size
    layers = [torch.randn(shape[1], width, generator=generator).to(device, dtype) for _ in range(shape[0])]
    return MemoryState(torch.stack(layers), torch.full(shape, NOBODY), torch.zeros(shape, dtype=torch.long))


@torch.no_grad()
def keep_written(model: MPlus, state: MemoryState, new: Tensor, owner: int, generator: torch.Generator) -> None:
    """Put the rows (L, K, d) of a chunk into the pool; as many leave it, by an own draw in every layer."""
    config = model.config
    layers, count = config.layers, config.memory_rows
    keep, drop = [], []
    for _ in range(layers):
        order = torch.randperm(config.pool_rows, generator=generator)
        keep.append(order[: config.pool_rows - count].sort().values)
        drop.append(order[config.pool_rows - count :].sort().values)
    kept, dropped = torch.stack(keep), torch.stack(drop)
    if config.recall_rows:
        _remember(model, state, picked(state.rows, dropped), state.ages.gather(1, dropped))
    for layer, places in enumerate(kept.to(state.rows.device)):
        state.rows[layer] = torch.cat([state.rows[layer][places], new[layer].detach().to(state.rows)])
    state.owners = torch.cat([state.owners.gather(1, kept), torch.full((layers, count), owner)], 1)
    ages = torch.arange(count - 1, -1, -1).expand(layers, -1)
    state.ages = torch.cat([state.ages.gather(1, kept), ages], 1)


def picked(rows: Tensor, places: Tensor) -> Tensor:
    """Rows (L, N, d) at places (L, m) of each layer: (L, m, d)."""
    index = places.to(rows.device)[:, :, None].expand(-1, -1, rows.shape[2])
    return rows.gather(1, index)


def _remember(model: MPlus, state: MemoryState, rows: Tensor, ages: Tensor) -> None:
    """Dropped rows become pending ones; with every so many writes the pending ones are merged."""
    config = model.config
    for segment in state.segments:
        segment.ages += config.memory_rows
    state.segments.append(as_segment(model, rows, ages, merged=False))
    state.writes += 1
    if state.writes >= config.merge_every:
        merge(config, state)


def as_segment(model: MPlus, rows: Tensor, ages: Tensor, merged: bool) -> Segment:
    """Rows with their retrieval keys, which stay as they are now for good."""
    with torch.no_grad():
        keys = [model.key(layer, one.to(model.dtype)[None])[0] for layer, one in enumerate(rows)]
    return Segment(rows.cpu(), torch.stack(keys).to(rows.dtype), ages, model.config.initial_frequency, merged)


def merge(config: MPlusConfig, state: MemoryState) -> None:
    """Pending rows join the merged ones; rows whose life has run out leave, unless too few would stay."""
    pending = [segment for segment in state.segments if not segment.merged]
    together = state.merged()
    if pending:
        parts = {name: torch.cat([getattr(one, name) for one in pending], 1) for name in ("rows", "keys", "ages")}
        together.append(Segment(**parts, life=config.initial_frequency, merged=True))
    alive = [segment for segment in together if segment.life - config.decay > 0.01]
    if sum(map(len, alive)) > config.recall_rows:
        for segment in alive:
            segment.life -= config.decay
        together = alive
    state.segments, state.writes = together, 0


@torch.no_grad()
def recall(model: MPlus, state: MemoryState, layer: int, hidden: Tensor) -> Tensor:
    """Long-term rows that hidden states (1, n, d) entering a layer recall, oldest first: (<= R, d) (spec, 5.2)."""
    count, merged = model.config.recall_rows, state.merged()
    stored = sum(map(len, merged))
    if not count or not stored:
        return state.rows[layer, :0]
    searched = state.segments if stored >= count else merged
    ages = torch.cat([segment.ages[layer] for segment in searched])
    if stored >= count:
        queries = model.query(layer, hidden)[0]
        found = torch.cat([mean_score(queries, segment.keys[layer]) for segment in searched])
        chosen = top_rows(found.cpu(), count)
    else:
        chosen = torch.arange(stored).repeat(-(-count // stored))[-count:]  # too few: all of them, again and again
    return gathered(searched, layer, oldest_first(chosen, ages)).to(state.rows)


def mean_score(queries: Tensor, keys: Tensor) -> Tensor:
    """Mean over query tokens of sigmoid(q . k), in float32: (n, h), (m, h) -> (m,)."""
    return (queries.to(keys.dtype) @ keys.T).float().sigmoid().mean(0)


def gathered(segments: list[Segment], layer: int, numbers: Tensor) -> Tensor:
    """Rows by their number through the segments: (len(numbers), d)."""
    ends = torch.tensor([len(segment) for segment in segments]).cumsum(0)
    owner = torch.bucketize(numbers, ends, right=True)
    found = segments[0].rows.new_empty(len(numbers), segments[0].rows.shape[2])
    for number in owner.unique().tolist():
        here = (owner == number).nonzero()[:, 0]
        first = int(ends[number]) - len(segments[number])
        found[here] = segments[number].rows[layer][numbers[here] - first]
    return found


@torch.no_grad()
def refitted(model: MPlus, state: MemoryState, generator: torch.Generator) -> MemoryState:
    """A stage's memory from the stage before: rows beyond the smaller pool, the oldest, become long-term rows."""
    config, size = model.config, state.rows.shape[1]
    if size < config.pool_rows:
        first = first_state(config, generator, state.rows.device, state.rows.dtype)
        own = config.pool_rows - size
        parts = ((first.rows, state.rows), (first.owners, state.owners), (first.ages, state.ages))
        rows, owners, ages = (torch.cat([new[:, :own], old], 1) for new, old in parts)
        return MemoryState(rows, owners, ages, state.segments, state.writes)
    extra = size - config.pool_rows
    segments = state.segments if config.recall_rows else []
    if extra and config.recall_rows and not segments:
        segments = [as_segment(model, state.rows[:, :extra], state.ages[:, :extra], merged=True)]
    parts = (state.rows[:, extra:], state.owners[:, extra:], state.ages[:, extra:])
    return MemoryState(*(part.clone() for part in parts), segments, state.writes)


def background(state: MemoryState) -> Background:
    """The memory as a checkpoint ships it: pending rows are merged ones there."""
    layers, _, width = state.rows.shape
    none = Segment(torch.zeros(layers, 0, width), torch.zeros(layers, 0, 0), torch.zeros(layers, 0), 0.0, True)
    some = state.segments or [none]
    rows, keys, ages = (torch.cat([getattr(one, part).cpu() for one in some], 1) for part in ("rows", "keys", "ages"))
    lives = torch.cat([torch.full((layers, len(one)), one.life) for one in some], 1)
    return Background(state.rows.cpu(), rows, keys, ages, lives)


def state_tensors(state: MemoryState) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A state as named tensors and plain values."""
    tensors = {"memory": state.rows, "owners": state.owners, "ages": state.ages}
    for number, segment in enumerate(state.segments):
        tensors |= {f"segments.{number}.{part}": getattr(segment, part) for part in ("rows", "keys", "ages")}
    lives = [(segment.life, segment.merged) for segment in state.segments]
    return {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, {
        "segments": lives,
        "writes": state.writes,
    }


def state_from(tensors: dict[str, Tensor], values: dict[str, Any], device: torch.device) -> MemoryState:
    """The inverse of `state_tensors`; the pool and the keys on `device`."""
    segments = [
        Segment(
            tensors[f"segments.{number}.rows"],
            tensors[f"segments.{number}.keys"].to(device),
            tensors[f"segments.{number}.ages"],
            float(life),
            bool(merged),
        )
        for number, (life, merged) in enumerate(values["segments"])
    ]
    return MemoryState(tensors["memory"].to(device), tensors["owners"], tensors["ages"], segments, values["writes"])


@torch.no_grad()
def write_without_gradient(
    model: MPlus,
    state: MemoryState,
    chunks: tuple[tuple[int, ...], ...],
    owner: int,
    generator: torch.Generator,
    pace: int = 0,
) -> None:
    """Write chunks of one document in turn, as a reader of it would: no gradient, no dropout.

    `pace` more writes are computed and let go: with a sharded base all processes call every matrix equally often.
    """
    was_training = model.training
    model.eval()
    with using(model, WRITE):
        for number, chunk in enumerate((*chunks, *chunks[-1:] * pace)):
            ids = torch.tensor([chunk], device=model.device)
            new, _ = model.write(ids, state.newest(model.config.memory_rows))
            if number < len(chunks):
                keep_written(model, state, new[:, 0], owner, generator)
    model.train(was_training)
