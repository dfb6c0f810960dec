"""Every key is walked through once, in order, and threads change nothing."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.row_formats import encode
from model.scanning import each, numbers, pieces, runs, shares
from model.scoring import search

CPU = torch.device("cpu")
SOME = settings(max_examples=60, deadline=None)


@pytest.fixture
def threads(monkeypatch):
    """Two threads, from 30 rows on."""
    monkeypatch.setattr("model.scanning.THREADED_ROWS", 15)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


blocks_of = st.lists(st.tuples(st.integers(0, 40), st.sampled_from([torch.float32, torch.bfloat16])), max_size=12)


def zeros(sizes):
    return [torch.zeros(size, 1, dtype=kind) for size, kind in sizes]


@SOME
@given(blocks_of, st.integers(1, 5), st.integers(0, 100))
def test_runs_hold_every_block_once_and_may_be_joined(sizes, unit, most):
    blocks = zeros(sizes)
    found = runs(blocks, unit, most)
    assert [number for run in found for number in run] == list(range(len(blocks)))
    for run in found:
        rows = [len(blocks[number]) for number in run]
        assert len(run) == 1 or sum(rows) <= most
        assert all(sum(rows[:count]) % unit == 0 for count in range(1, len(rows)))
        assert [len(keys) for piece in pieces(blocks, [run]) for keys in piece] == [sum(rows)]
        assert len({blocks[number].dtype for number in run}) == 1


@SOME
@given(blocks_of, st.integers(1, 50))
def test_shares_hold_every_run_once_and_enough_rows(sizes, least):
    blocks = zeros(sizes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model.scanning.THREADED_ROWS", least)
        found = shares(blocks, runs(blocks, 1, 0))
        assert [number for share in found for number in numbers(share)] == list(range(len(blocks)))
    assert [number for share in found for run in share for number in run] == list(range(len(blocks)))
    assert all(sum(len(blocks[number]) for run in share for number in run) >= least for share in found[:-1])


@pytest.mark.parametrize("most", [0, 25])
def test_what_workers_find_comes_in_the_order_of_the_blocks(threads, monkeypatch, most):
    monkeypatch.setattr("model.scanning.RUN_ROWS", most)
    blocks, made = [torch.full((10, 1), float(number)) for number in range(20)], []

    def worker():
        made.append(1)
        return lambda some, pieces: (
            sum(float(keys.sum()) for piece in pieces for keys in piece),
            torch.get_num_threads(),
        )

    found = list(each(blocks, worker, CPU))
    assert [number for some, _ in found for number in some] == list(range(20))
    assert [one for _, one in found] == [(10.0 * sum(some), 1) for some, _ in found]
    assert len(found) == 10  # of 15 rows or more each
    assert 1 <= len(made) <= 2
    assert torch.get_num_threads() == 2


def test_what_goes_wrong_in_a_thread_is_raised_and_threads_are_many_again(threads):
    def fail(some, pieces):
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        list(each([torch.zeros(40, 1)] * 4, lambda: fail, CPU))
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("inference", [True, False])
@pytest.mark.parametrize("coded", [True, False])
def test_threads_find_what_one_finds(threads, inference, coded):
    keys = drawn(1, 1, 320, 6)
    edges = [0, 32, 48, 160, 320]
    blocks = [encode(keys[:, a:b], "pairs", 16).layer(0) if coded else keys[0, a:b] for a, b in pairwise(edges)]
    found = {}
    with torch.inference_mode(inference):
        queries, pool = drawn(2, 5, 6), torch.tensor([3, 300])
        for count in (1, 2):
            torch.set_num_threads(count)
            ranked = search(queries, blocks, 9, pool, 2, 16, 16)
            found[count] = [*ranked[:3], *ranked.chunks]
    assert len(found[1]) == 3 + len(blocks)
    assert all(torch.equal(one, two) for one, two in zip(found[1], found[2], strict=True))


@SOME
@given(blocks_of, st.integers(0, 100))
def test_pieces_hold_all_keys_in_order_each_of_one_kind(sizes, most):
    blocks = [block + number for number, block in enumerate(zeros(sizes))]
    found = list(pieces(blocks, runs(blocks, 1, most)))
    for piece in found:
        assert len({keys.dtype for keys in piece}) == 1
    whole = [keys.float() for piece in found for keys in piece]
    assert torch.equal(
        torch.cat([torch.zeros(0, 1), *whole]), torch.cat([torch.zeros(0, 1), *map(torch.Tensor.float, blocks)])
    )
