"""Laws of what all measurements share: intervals, documents in memory, views."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.errors import ModelError
from model.evaluation.common import (
    Subject,
    background_texts,
    behind,
    held_out_books,
    jsonable,
    pool_only,
    ratio,
    table,
    wilson,
)
from model.generate import Reader

FLOATS = st.floats(-100, 100)


@given(st.integers(1, 500), st.data())
def test_wilson_interval_contains_the_share_and_stays_between_0_and_1(total: int, draw: st.DataObject) -> None:
    found = wilson(draw.draw(st.integers(0, total)), total)
    assert -1e-9 <= found.low <= found.value <= found.high <= 1 + 1e-9


@pytest.mark.parametrize(("hits", "low", "high"), [(0, 0.0, 0.2775), (5, 0.2366, 0.7634), (10, 0.7225, 1.0)])
def test_wilson_interval_of_ten(hits: int, low: float, high: float) -> None:
    found = wilson(hits, 10)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


@given(st.lists(FLOATS, min_size=1, max_size=40), st.integers(0, 9))
def test_bootstrap_interval_contains_the_mean(values: list[float], seed: int) -> None:
    found = ratio(values, seed=seed)
    assert found.low <= found.value <= found.high
    assert found.value == pytest.approx(sum(values) / len(values), abs=1e-9)


def test_bootstrap_of_one_value_again_and_again_has_no_width() -> None:
    found = ratio([2.0] * 8, [4.0] * 8)
    assert (found.low, found.value, found.high) == (0.5, 0.5, 0.5)


def test_nothing_measured_is_no_number() -> None:
    assert math.isnan(wilson(0, 0).value)
    assert jsonable(ratio([]))["value"] is None
    assert math.isnan(ratio([1.0], [0.0]).value)


@given(st.integers(1, 500))
def test_chunks_cover_a_document_and_are_nearly_equal(tokens: int) -> None:
    lengths = Subject.lengths(_Sizes(), tokens)  # type: ignore[arg-type]
    assert sum(lengths) == tokens
    assert max(lengths) <= 64
    assert max(lengths) - min(lengths) <= 1


class _Sizes:
    class config:
        chunk_tokens = 64


def test_documents_written_together_are_the_documents_written_alone(subject: Subject, data: Path) -> None:
    texts = background_texts(subject, held_out_books(data), 80)
    for (name, ids), together in zip(texts, subject.write_all(texts), strict=True):
        alone = subject.write(name, ids)
        assert alone.lengths == together.lengths
        for one, other in zip(alone.rows.__slots__, together.rows.__slots__, strict=True):
            torch.testing.assert_close(getattr(alone.rows, one), getattr(together.rows, other), atol=0.05, rtol=0.05)


def test_rows_are_stored_as_a_library_stores_them(subject: Subject) -> None:
    document = subject.write("one", list(range(5, 45)))
    assert document.rows.keys.dtype == torch.bfloat16
    assert len(document.rows) == len(document.lengths) * subject.config.memory_rows


@pytest.mark.parametrize("chunks", [0, 1, 39, 40, 55])
def test_a_view_has_as_many_other_chunks_as_asked_for(subject: Subject, data: Path, chunks: int) -> None:
    others = subject.write_all(background_texts(subject, held_out_books(data), 80))
    first = subject.write("first", list(range(5, 25)))
    for turn in range(3):
        view = behind(first, others, chunks, turn)
        assert view[0] is first
        assert sum(len(one.lengths) for one in view[1:]) == chunks


def test_without_long_term_memory_nothing_is_recalled_and_the_pool_is_the_same(subject: Subject, data: Path) -> None:
    others = subject.write_all(background_texts(subject, held_out_books(data), 40))
    whole = subject.memory(others)
    small = pool_only(whole)
    one, other = Reader(subject.model, whole), Reader(subject.model, small)
    for reader, expected in ((one, subject.config.recall_rows), (other, 0)):
        _, _, trace = reader.prefill(subject.ids([5, 6, 7]))
        assert [len(rows) for rows in trace.recalled] == [expected] * subject.config.layers
    for layer in range(subject.config.layers):
        assert torch.equal(one.pool[layer].keys, other.pool[layer].keys)
        assert torch.equal(one.pool[layer].values, other.pool[layer].values)


def test_rows_of_a_span_hold_its_tokens(subject: Subject) -> None:
    ids = list(range(20, 61))
    document, span = subject.write("one", ids), (9, 16)
    rows, count = subject.rows_of(document, span), subject.config.memory_rows
    ends = [sum(document.lengths[: n + 1]) for n in range(len(document.lengths))]
    assert [ends[row // count] - count + row % count for row in rows] == list(range(*span))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="valid_books"):
        held_out_books(tmp_path)


def test_a_table_has_a_line_for_every_row() -> None:
    assert table(["a", "b"], [[1, 2]]).splitlines() == ["| a | b |", "| --- | --- |", "| 1 | 2 |"]
