"""Rows on disk and in the table."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import CheckpointError
from model.memory import ReadRows, RowTable, from_bytes, join, map_rows, to_bytes
from model.retriever import chunk_strengths, oldest_first, top_rows


def rows(count: int, seed: int = 0, dtype=torch.bfloat16) -> ReadRows:
    generator = torch.Generator().manual_seed(seed)
    return ReadRows(*(torch.randn(2, count, size, generator=generator).to(dtype) for size in (4, 4, 3)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_rows_come_back_from_disk_as_they_were(tmp_path, dtype):
    block = rows(10, dtype=dtype)
    path = tmp_path / "shard.safetensors"
    path.write_bytes(to_bytes(block))
    for back in (map_rows(path), from_bytes(to_bytes(block))):
        assert all(torch.equal(getattr(back, name), getattr(block, name)) for name in ReadRows.__slots__)


def test_equal_rows_give_equal_bytes_however_they_were_joined():
    block = rows(12)
    assert to_bytes(block) == to_bytes(join([block.part(0, 5), block.part(5, 12)]))


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 600))
def test_a_damaged_shard_is_refused_and_nothing_else_happens(tmp_path_factory, noise, cut):
    path = tmp_path_factory.mktemp("shards") / "shard.safetensors"
    data = to_bytes(rows(6))
    path.write_bytes(noise + data[cut:] if noise else data[: min(cut, len(data) - 1)])
    with pytest.raises(CheckpointError):
        map_rows(path)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 7), min_size=1, max_size=6), st.data())
def test_gathering_from_blocks_equals_gathering_from_one_table(sizes, data):
    blocks = [rows(size, seed) for seed, size in enumerate(sizes)]
    total = sum(sizes)
    if not total:
        return
    wanted = torch.tensor(data.draw(st.lists(st.integers(0, total - 1), min_size=1, max_size=20)))
    keys, values = RowTable(blocks).gather(1, wanted)
    whole = join([block for block in blocks if len(block)])
    assert torch.equal(keys, whole.keys[1][wanted])
    assert torch.equal(values, whole.values[1][wanted])


def test_what_few_chunks_hold_counts_more():
    best = torch.tensor([[0.9, 0.9, 0.9, 0.0], [0.0, 0.0, 0.0, 0.9]])
    assert int(chunk_strengths(best).argmax()) == 3


def test_of_two_equal_chunks_the_one_beside_a_strong_one_is_stronger():
    strengths = chunk_strengths(torch.tensor([[0.2, 0.2, 0.9, 0.2], [0.3, 0.3, 0.3, 0.3]]))
    assert strengths[0] < strengths[1] == strengths[3] < strengths[2]


@given(st.integers(1, 4), st.integers(0, 6), st.randoms(use_true_random=False))
def test_a_chunk_is_as_strong_as_0_to_1(words, chunks, rng):
    best = torch.tensor([[rng.random() for _ in range(chunks)] for _ in range(words)]).reshape(words, chunks)
    strengths = chunk_strengths(best)
    assert strengths.shape == (chunks,)
    assert ((strengths >= 0) & (strengths <= 1)).all()


def test_ties_in_age_put_the_higher_index_first():
    chosen, ages = torch.tensor([1, 3, 4, 6]), torch.tensor([0, 5, 0, 9, 5, 0, 5])
    assert oldest_first(chosen, ages).tolist() == [3, 6, 4, 1]


def test_fewer_rows_than_are_wanted_are_all_recalled():
    assert top_rows(torch.tensor([0.1, 0.9, 0.5]), 8).tolist() == [0, 1, 2]
