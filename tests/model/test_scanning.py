"""Every key is walked through once, in order, and threads change nothing."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.coarse import coarse_search
from model.row_formats import encode
from model.scanning import each, shares, tiles
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


@SOME
@given(st.integers(0, 60), st.integers(1, 30), st.integers(1, 7), st.sampled_from([1, 2, 4]))
def test_tiles_are_whole_units_of_nearly_one_size(rows, most, unit, group):
    keys = encode(torch.zeros(1, rows // group * group, 2), "int8", group).layer(0) if rows >= group else Tensor()
    found = list(tiles(keys, most, unit))
    assert [start for start, _ in found[1:]] == [stop for _, stop in found[:-1]]
    assert (found[0][0], found[-1][1]) == (0, len(keys)) if len(keys) else not found
    whole = [stop - start for start, stop in found[:-1]]
    assert all(size % unit == size % group == 0 for size in whole)
    assert all(0 < stop - start <= max(most, unit * group) for start, stop in found)
    assert not whole or max(whole) - min(whole) <= unit * group


@SOME
@given(st.lists(st.integers(0, 40), max_size=12), st.integers(1, 50))
def test_shares_hold_every_block_once_and_enough_rows(sizes, least):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model.scanning.THREADED_ROWS", least)
        found = shares([torch.zeros(size, 1) for size in sizes])
    assert [number for share in found for number in share] == list(range(len(sizes)))
    assert all(sum(sizes[number] for number in share) >= least for share in found[:-1])


def test_what_workers_find_comes_in_the_order_of_the_blocks(threads):
    blocks, made = [torch.full((10, 1), float(number)) for number in range(20)], []

    def worker():
        made.append(1)
        return lambda number, keys: (number, float(keys.sum()), torch.get_num_threads())

    assert list(each(blocks, worker, CPU)) == [(number, 10.0 * number, 1) for number in range(20)]
    assert 1 <= len(made) <= 2
    assert torch.get_num_threads() == 2


def test_what_goes_wrong_in_a_thread_is_raised_and_threads_are_many_again(threads):
    def fail(number, keys):
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        list(each([torch.zeros(40, 1)] * 4, lambda: fail, CPU))
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("inference", [True, False])
@pytest.mark.parametrize("coded", [True, False])
def test_threads_find_what_one_finds(threads, monkeypatch, inference, coded):
    monkeypatch.setattr("model.coarse.SAMPLE_ROWS", 64)
    keys = drawn(1, 1, 320, 6)
    edges = [0, 32, 48, 160, 320]
    blocks = [encode(keys[:, a:b], "pairs", 16).layer(0) if coded else keys[0, a:b] for a, b in pairwise(edges)]
    found = {}
    with torch.inference_mode(inference):
        queries, pool = drawn(2, 5, 6), torch.tensor([3, 300])
        for count in (1, 2):
            torch.set_num_threads(count)
            ranked, near = search(queries, blocks, 9, pool, 2, 16, 16), coarse_search(queries, blocks, 2, pool, 2, 0.3)
            found[count] = [*ranked[:3], *ranked.chunks, *near[:3]]
    assert len(found[1]) == 3 + len(blocks) + 3
    assert all(torch.equal(one, two) for one, two in zip(found[1], found[2], strict=True))
