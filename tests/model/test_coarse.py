"""A stand-in for the score finds what scoring all rows finds, or nearly."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.coarse import best_rows, coarse_search, gathered, sample, stand_in
from model.key_formats import Int8Keys
from model.scoring import search

SOME = settings(max_examples=30, deadline=None)


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module", autouse=True)
def small_samples():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model.coarse.SAMPLE_ROWS", 512)
        patch.setattr("model.coarse.LEAST_SCORED", 2)
        yield


@SOME
@given(st.lists(st.integers(0, 90), min_size=1, max_size=4), st.integers(0, 50), st.integers(0, 99))
def test_with_all_rows_scored_coarse_equals_exact(blocks, count, seed):
    queries, keys = drawn(seed, 4, 6), drawn(seed + 1, sum(blocks), 6).split(blocks)
    found, expected = coarse_search(queries, keys, count, scored=1.0), search(queries, keys, count)
    assert found.rows.tolist() == expected.rows.tolist()
    assert torch.equal(found.values, expected.values)


@SOME
@given(st.integers(1, 9), st.floats(0.05, 0.9), st.integers(0, 99))
def test_what_is_found_has_its_exact_score_and_may_be_recalled(tokens, scored, seed):
    queries, keys, pool = drawn(seed, tokens, 6), drawn(seed + 1, 700, 6), torch.tensor([650, 3, 600, 699])
    found = coarse_search(queries, keys.split(300), 10, pool, oldest=40, scored=scored)
    values = (queries @ keys.T).sigmoid().mean(0)
    torch.testing.assert_close(found.values, values[found.rows], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found.left_out, values[pool], atol=1e-6, rtol=1e-5)
    assert len(found.rows) == 10
    assert found.rows.tolist() == sorted(set(found.rows.tolist()) - set(pool.tolist()))
    assert int(found.rows.min()) >= 40


@pytest.mark.parametrize("seed", range(4))
def test_a_tenth_of_the_rows_holds_nearly_all_of_the_best(seed):
    queries, keys = drawn(seed, 12, 16), drawn(seed + 9, 20_000, 16) / 4
    expected = search(queries, [keys], 50).rows
    found = coarse_search(queries, keys.split(4096), 50, scored=0.1).rows
    assert torch.isin(expected, found).float().mean() >= 0.98


def test_few_rows_are_compared_exactly_and_many_by_the_stand_in(monkeypatch):
    queries, keys = drawn(1, 5, 6), drawn(2, 3000, 6)
    assert torch.equal(best_rows(queries, [keys], 20).rows, search(queries, [keys], 20).rows)
    monkeypatch.setattr("model.coarse.FROM_ROWS", 3000)
    assert torch.equal(best_rows(queries, [keys], 20).rows, coarse_search(queries, [keys], 20).rows)


def test_where_too_few_rows_reach_the_floor_all_are_scored():
    """The rows that the stand-in likes are all too old to be recalled."""
    queries, keys = drawn(1, 3, 6), drawn(2, 900, 6)
    keys[:800] += 3 * queries.mean(0)
    found, expected = coarse_search(queries, [keys], 30, oldest=800), search(queries, [keys], 30, oldest=800)
    assert found.rows.tolist() == expected.rows.tolist()


def test_as_many_tokens_as_the_prompt_has_make_the_stand_in_exact():
    queries, keys = drawn(1, 4, 6), drawn(2, 400, 6)
    values, estimate = (queries @ keys.T).sigmoid().mean(0), stand_in(queries, keys, tokens=4)(keys)
    assert torch.corrcoef(torch.stack([values, estimate]))[0, 1] > 0.999


def test_eight_bit_keys_are_found_as_what_they_stand_for():
    keys = Int8Keys((drawn(2, 900, 6) * 40).round().clamp(-127, 127).to(torch.int8), torch.full((900,), 0.025).half())
    queries = drawn(1, 3, 6)
    found, expected = coarse_search(queries, [keys], 20), coarse_search(queries, [keys.decoded()], 20)
    assert found.rows.tolist() == expected.rows.tolist()


@SOME
@given(st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(any), st.data())
def test_keys_of_any_rows_come_in_the_order_in_which_they_were_named(blocks, data):
    keys = drawn(3, sum(blocks), 2)
    rows = torch.tensor(data.draw(st.lists(st.integers(0, len(keys) - 1), min_size=1, max_size=30)))
    assert torch.equal(torch.cat(gathered(keys.split(blocks), rows)), keys[rows])


@given(st.integers(1, 60), st.integers(1, 80))
def test_a_sample_is_spread_over_all_rows(total, most):
    keys = torch.arange(total, dtype=torch.float32)[:, None]
    found = sample(torch.zeros(1, 1), keys.split(7), most)[:, 0].long().tolist()
    assert len(found) == min(total, most) == len(set(found))
    assert found[0] == 0
    assert most == 1 or found[-1] == total - 1
