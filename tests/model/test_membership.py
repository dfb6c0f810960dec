"""Which rows are pool and which are long-term: laws of the view."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.membership import ViewChunk, drop_priorities, kept_places, log_membership, pool_sizes, without
from model.released import ReleasedMemory, released_membership
from tests.model.tiny import tiny_config


def view(*lengths: int) -> list[ViewChunk]:
    return [ViewChunk(f"book{number}", chunk) for number, length in enumerate(lengths) for chunk in range(length)]


def forwards(chunks: list[ViewChunk], layers: int, rows: int, pool: int, background: int, offset: int) -> np.ndarray:
    """The same membership the slow way: write after write, from the first."""
    state = [np.arange(background) for _ in range(layers)]
    for step, chunk in enumerate(chunks):
        drop = max(0, len(state[0]) + rows - pool)
        kept = kept_places(chunk.document, chunk.number, layers, len(state[0]), drop)
        new = offset + step * rows + np.arange(rows)
        state = [np.concatenate([places[keep], new]) for places, keep in zip(state, kept, strict=True)]
    return np.stack(state)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=3),
    st.sampled_from([(4, 16, 0), (4, 16, 16), (3, 10, 5), (8, 8, 0)]),
)
def test_tracing_places_backwards_equals_writing_forwards(lengths, sizes):
    rows, pool, background = sizes
    chunks = view(*lengths)
    found = log_membership(chunks, 3, rows, pool, background, background + 7)
    assert np.array_equal(np.stack(found.pool), forwards(chunks, 3, rows, pool, background, background + 7))


def test_a_view_without_a_book_is_as_if_the_book_had_never_been_read():
    everything, alone = view(9, 7, 8), view(9, 0, 8)
    left_out = without(everything, {"book1"})
    assert [chunk for chunk in left_out if chunk.document == "book0"] == alone[:9]
    assert torch.equal(
        torch.stack(log_membership(left_out, 2, 4, 16).pool),
        torch.stack(log_membership([c for c in everything if c.document != "book1"], 2, 4, 16).pool),
    )


def test_an_earlier_reading_position_sees_no_later_row():
    for chunks in range(1, 30):
        found = log_membership(view(chunks), 3, 4, 16)
        assert int(torch.stack(found.pool).max()) < chunks * 4


def test_the_pool_keeps_the_newest_chunk_whole_and_in_order_of_birth():
    found = log_membership(view(40), 4, 4, 16)
    for pool in found.pool:
        assert pool[-4:].tolist() == [156, 157, 158, 159]
        assert pool.tolist() == sorted(pool.tolist())


def test_a_pool_that_is_not_full_drops_nothing():
    found = log_membership(view(3), 2, 4, 16)
    assert all(pool.tolist() == list(range(12)) for pool in found.pool)
    assert pool_sizes(6, 0, 4, 16).tolist() == [0, 4, 8, 12, 16, 16, 16]


def test_a_cap_leaves_the_newest_chunks_to_be_recalled():
    assert log_membership(view(40), 2, 4, 16, cap=10).oldest == 120
    assert log_membership(view(5), 2, 4, 16, cap=10).oldest == 0


def test_draws_do_not_change_between_versions():
    assert drop_priorities("book", 3, 1, 3).tolist() == [
        [16037189115958461672, 6878014147696004659, 8659344669620061026]
    ]


def test_survival_halves_in_the_time_that_the_paper_gives():
    """(1 - K / N) ** t: with N = 8 K the half-life is 5.2 writes."""
    found = torch.stack(log_membership(view(400), 8, 8, 64).pool)
    ages = 399 - found // 8
    share = float(((ages >= 5) & (ages < 6)).sum()) / (8 * 8)
    assert abs(share - (7 / 8) ** 5) < 0.17


def test_released_pool_and_log_pool_agree_where_nothing_else_differs():
    config = tiny_config()
    chunks = view(12)
    memory = ReleasedMemory(config, 0, 0, None, None)
    released = released_membership(memory, chunks)
    log = log_membership(chunks, config.layers, config.memory_rows, config.pool_rows)
    assert torch.equal(torch.stack(released.pool), torch.stack(log.pool))


def test_the_released_policy_forgets_what_the_log_keeps():
    config = tiny_config(merge_every=2, initial_frequency=2.0)
    memory = ReleasedMemory(config, 0, 0, None, None)
    released = released_membership(memory, view(60))
    assert all(int(rows.min()) > 8 * 8 for rows in released.candidates)
