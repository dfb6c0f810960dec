"""A recalled row brings the rows beside it."""

from __future__ import annotations

from dataclasses import replace

import torch
from hypothesis import given
from hypothesis import strategies as st

from model.config import from_official, to_dict
from model.generate import Memory, Reader
from model.membership import Membership
from model.memory import ReadRows, RowTable
from model.neighbours import Places, with_neighbours
from model.scoring import Best
from tests.model.tiny import tiny_model

NOTHING = torch.zeros(0)


def found(rows: list[int], values: list[float]) -> Best:
    """What a search found."""
    order = sorted(range(len(rows)), key=rows.__getitem__)
    return Best(torch.tensor([rows[n] for n in order]), torch.tensor([values[n] for n in order]), NOTHING, [])


def one_by_one(best: Best, reach: int, places: Places, pool: set[int], oldest: int) -> list[int]:
    """The same, a row at a time."""
    taken: list[int] = []
    strongest = sorted(zip(best.rows.tolist(), best.values.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0]))
    for peak, _ in strongest:
        chunk = (peak - places.first) // places.chunk_rows if peak >= places.first else -1
        for distance in range(reach + 1):
            for row in dict.fromkeys((peak - distance, peak + distance)):
                where = (row - places.first) // places.chunk_rows if row >= places.first else -1
                if oldest <= row < places.total and row >= 0 and where == chunk and row not in pool | set(taken):
                    taken.append(row)
    return sorted(taken[: len(best.rows)])


@given(st.data())
def test_the_strongest_rows_bring_their_neighbours_until_all_places_are_taken(data: st.DataObject) -> None:
    first, chunk_rows = data.draw(st.integers(0, 3)), data.draw(st.integers(1, 6))
    total = first + chunk_rows * data.draw(st.integers(1, 5))
    places, reach = Places(first, chunk_rows, total), data.draw(st.integers(0, 4))
    oldest = data.draw(st.integers(0, total - 1))
    rows = data.draw(st.lists(st.integers(oldest, total - 1), min_size=1, max_size=8, unique=True))
    values = data.draw(st.lists(st.sampled_from([0.1, 0.5, 0.9]), min_size=len(rows), max_size=len(rows)))
    pool = data.draw(st.sets(st.integers(0, total - 1).filter(lambda row: row not in rows), max_size=6))
    best = found(rows, values)
    brought = with_neighbours(best, reach, places, torch.tensor(sorted(pool), dtype=torch.long), oldest)
    assert brought.rows.tolist() == one_by_one(best, reach, places, pool, oldest)
    assert len(brought.rows) == len(brought.values) == len(rows)


def test_a_neighbour_has_the_score_of_the_row_that_brought_it() -> None:
    best = found([5, 14, 15, 20], [0.9, 0.2, 0.3, 0.1])
    brought = with_neighbours(best, 1, Places(0, 8, 24), torch.zeros(0, dtype=torch.long))
    assert brought.rows.tolist() == [4, 5, 6, 15]
    assert torch.equal(brought.values, torch.tensor([0.9, 0.9, 0.9, 0.3]))


def test_a_model_without_neighbours_recalls_what_the_search_found() -> None:
    best = found([3, 9], [0.5, 0.6])
    assert with_neighbours(best, 0, Places(0, 4, 16), torch.zeros(0, dtype=torch.long)) is best


def test_the_reach_is_part_of_a_checkpoint() -> None:
    config = tiny_model().config
    assert config.neighbours == 0
    assert from_official(to_dict(replace(config, neighbours=5))).neighbours == 5


def test_layers_that_rank_chunks_by_words_bring_no_neighbours() -> None:
    config = replace(tiny_model().config, neighbours=3, extra={"citing_layers": [1]})
    assert [config.reach(layer) for layer in range(config.layers)] == [3, 0, 3]


def test_a_reader_puts_neighbours_into_the_memory() -> None:
    model = tiny_model(neighbours=2)
    layers, width, chunks = model.config.layers, model.config.key_value_dim, 6
    count = chunks * model.config.memory_rows
    generator = torch.Generator().manual_seed(0)
    parts = (
        torch.randn(layers, count, size, generator=generator) for size in (width, width, model.config.retriever_dim)
    )
    pool = torch.arange(count - model.config.memory_rows, count)
    reader = Reader(model, Memory(RowTable([ReadRows(*parts)]), Membership([pool] * layers)))
    trace = reader.prefill(torch.tensor([[1, 2, 3]])).trace
    for rows in trace.recalled:
        assert len(rows) == min(model.config.recall_rows, count - len(pool))
        assert (rows.diff() > 0).all()
        alone = [row for row in rows.tolist() if not {row - 1, row + 1} & set(rows.tolist())]
        assert len(alone) <= 1  # the last place may go to a row without its neighbours
