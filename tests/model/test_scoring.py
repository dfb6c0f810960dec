"""Scoring by tiles finds what the plain formula finds."""

import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.key_formats import Int8Keys, encode_keys, widened
from model.scoring import TopRows, scores, search
from model.scripted import score_blocks, scripted

SOME = settings(max_examples=40, deadline=None)
sizes = st.lists(st.integers(0, 40), min_size=1, max_size=4)


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def plain_scores(queries: Tensor, keys: Tensor) -> Tensor:
    return (queries @ keys.float().T).sigmoid().mean(0)


def eight_bits(keys: Tensor) -> Int8Keys:
    scales = (keys.abs().amax(1) / 127).clamp_min(1e-3).half()
    return Int8Keys((keys / scales.float()[:, None]).round().to(torch.int8), scales)


def plain_best(values: Tensor, count: int, barred: Tensor) -> list[int]:
    """Row numbers by a stable sort of all scores, which puts the older of two equals first."""
    order = values.index_fill(0, barred, -torch.inf).argsort(descending=True, stable=True)
    return sorted(order[: min(count, len(values) - len(barred))].tolist())


@SOME
@given(sizes, st.integers(1, 50), st.integers(1, 9), st.integers(0, 99))
def test_tiled_scores_equal_the_plain_formula_for_any_tile(blocks, tile, tokens, seed):
    queries, keys = drawn(seed, tokens, 6), drawn(seed + 1, sum(blocks), 6)
    found = scores(queries, keys.split(blocks), tile_rows=tile)
    torch.testing.assert_close(found.rows, plain_scores(queries, keys), atol=1e-6, rtol=1e-5)


@SOME
@given(st.integers(1, 70), st.integers(0, 99))
def test_tiles_of_queries_change_nothing(tokens, seed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model.scoring.TILE_QUERIES", 5)
        queries, keys = drawn(seed, tokens, 6), drawn(seed + 1, 24, 6)
        found = scores(queries, [keys], chunk_rows=4, tile_rows=9)
    products = (queries @ keys.T).sigmoid()
    torch.testing.assert_close(found.rows, products.mean(0), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found.chunks[0], products.view(tokens, 6, 4).amax(2), atol=1e-6, rtol=1e-5)


@SOME
@given(sizes, st.integers(1, 50), st.integers(0, 60), st.integers(1, 80), st.data())
def test_the_best_rows_equal_a_sort_of_all_scores(blocks, tile, count, waiting, data):
    total = sum(blocks)
    left_out = data.draw(st.lists(st.integers(0, total - 1), unique=True, max_size=9) if total else st.just([]))
    oldest, seed = data.draw(st.integers(0, total)), data.draw(st.integers(0, 99))
    queries, keys = drawn(seed, 3, 6), drawn(seed + 1, total, 6)
    barred = torch.tensor(sorted({*left_out, *range(oldest)}), dtype=torch.long)
    named = torch.tensor(left_out, dtype=torch.long)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model.scoring.WAITING_ROWS", waiting)
        found = search(queries, keys.split(blocks), count, named, oldest, tile_rows=tile)
    values = plain_scores(queries, keys)
    assert found.rows.tolist() == plain_best(values, count, barred)
    torch.testing.assert_close(found.values, values[found.rows], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found.left_out, values[named], atol=1e-6, rtol=1e-5)


@SOME
@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(1, 20), st.integers(1, 12), st.integers(1, 40))
def test_of_equal_scores_the_older_row_wins(levels, count, tile, waiting):
    values = torch.tensor(levels) / 4
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model.scoring.WAITING_ROWS", waiting)
        top = TopRows(count)
        for part in values.split(tile):
            top.add(part)
    assert top.found()[0].tolist() == plain_best(values, count, torch.zeros(0, dtype=torch.long))


@SOME
@given(sizes, st.integers(1, 50), st.integers(0, 99))
def test_eight_bit_keys_score_as_what_they_stand_for(blocks, tile, seed):
    queries, keys = drawn(seed, 4, 6), eight_bits(drawn(seed + 1, sum(blocks), 6))
    ends = torch.tensor(blocks).cumsum(0).tolist()
    parts = [keys.part(end - size, end) for end, size in zip(ends, blocks, strict=True)]
    assert [len(part) for part in parts] == blocks
    found, expected = search(queries, parts, 5, tile_rows=tile), search(queries, [keys.decoded()], 5, tile_rows=tile)
    assert found.rows.tolist() == expected.rows.tolist()
    torch.testing.assert_close(found.values, expected.values)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_keys_in_half_precision_score_as_what_they_stand_for(dtype):
    queries, keys = drawn(1, 4, 6), drawn(2, 50, 6).to(dtype)
    expected = plain_scores(queries.to(dtype).float(), keys)
    torch.testing.assert_close(scores(queries, [keys]).rows, expected, atol=0.01, rtol=0.01)


def test_a_chunk_is_as_strong_as_its_best_rows_for_each_token():
    queries, keys = drawn(1, 3, 5), drawn(2, 24, 5)
    found = search(queries, [keys[:8], keys[8:]], 2, chunk_rows=4, tile_rows=10)
    expected = (queries @ keys.T).sigmoid().view(3, 6, 4).amax(2)
    torch.testing.assert_close(torch.cat(found.chunks, 1), expected, atol=1e-6, rtol=1e-5)


def test_nothing_is_found_where_nothing_may_be_recalled():
    found = search(drawn(1, 3, 5), [drawn(2, 7, 5)], 4, oldest=7)
    assert not len(found.rows)
    assert not len(search(drawn(1, 3, 5), [], 4).rows)


@SOME
@given(
    st.lists(st.tuples(st.integers(1, 5), st.sampled_from(["pairs", "int8", "int4", "float", "bf16"])), max_size=5),
    st.integers(1, 40),
    st.integers(0, 99),
)
def test_the_compiled_loop_scores_keys_of_all_kinds_as_the_same_loop_in_python(sizes, tile, seed):
    queries, blocks = drawn(seed, 3, 6), []
    for number, (groups, code) in enumerate(sizes):
        keys = drawn(seed + number, 1, 8 * groups, 6)
        plain = keys[0].bfloat16() if code == "bf16" else keys[0]
        blocks.append(plain if code in ("float", "bf16") else encode_keys(keys, code, 8).layer(0))
    python = search(queries, blocks, 5, chunk_rows=4, tile_rows=tile)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model.scoring.threaded", lambda *given: True)
        compiled = search(queries, blocks, 5, chunk_rows=4, tile_rows=tile)
    assert compiled.rows.tolist() == python.rows.tolist()
    torch.testing.assert_close(compiled.values, python.values)
    for one, other, keys in zip(compiled.chunks, python.chunks, blocks, strict=True):
        assert torch.equal(one, other)
        wide = widened(keys, torch.device("cpu"))
        strongest = (queries @ wide.T).sigmoid().view(3, -1, 4).amax(2)
        torch.testing.assert_close(one, strongest, atol=0.01, rtol=0.01)


def test_where_torch_compiles_no_scripts_the_loop_runs_in_python(monkeypatch):
    def refuse(function):
        raise RuntimeError("not supported in this Python")

    monkeypatch.setattr(torch.jit, "script", refuse)
    assert scripted.__wrapped__() is score_blocks


def test_the_loop_is_compiled_only_for_threads_and_before_they_start(monkeypatch):
    calls = []
    monkeypatch.setattr("model.scoring.scripted", lambda: calls.append(threading.current_thread()) or score_blocks)
    search(drawn(1, 3, 5), [drawn(2, 40, 5)], 4)
    assert not calls
    monkeypatch.setattr("model.scanning.THREADED_ROWS", 10)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        search(drawn(1, 3, 5), drawn(2, 40, 5).split(10), 4)
    finally:
        torch.set_num_threads(before)
    assert calls == [threading.main_thread()]


def test_a_prompt_without_tokens_likes_no_row():
    assert scores(drawn(1, 0, 5), [drawn(2, 7, 5)]).rows.tolist() == [0.0] * 7
