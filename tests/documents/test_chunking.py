"""Laws of chunks: they are the text, whole and in order, and nearly equal."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mplus_cli.documents import balanced_chunks

Offsets = list[tuple[int, int]]


@st.composite
def tokenized(draw: st.DrawFn, split: bool = False) -> tuple[str, Offsets]:
    """A text and its tokens; with `split`, some characters take several tokens, as emoji do in byte-level models."""
    offsets: Offsets = []
    position = 0
    for size in draw(st.lists(st.integers(1, 4), min_size=1, max_size=300)):
        pieces = draw(st.integers(1, 3)) if split and size == 1 else 1
        offsets += [(position, position + size)] * pieces
        position += size
    return "x" * position, offsets


@given(tokenized(), st.integers(1, 64))
def test_chunk_lengths_differ_by_one_at_most(book: tuple[str, Offsets], size: int) -> None:
    text, offsets = book
    lengths = [chunk.tokens for chunk in balanced_chunks(text, offsets, size)]
    assert max(lengths) - min(lengths) <= 1
    assert max(lengths) <= size
    assert sum(lengths) == len(offsets)
    assert len(lengths) == 1 or 2 * min(lengths) >= size


@given(tokenized(split=True), st.integers(1, 64))
def test_chunks_are_the_whole_text_in_order(book: tuple[str, Offsets], size: int) -> None:
    text, offsets = book
    chunks = balanced_chunks(text, offsets, size)
    assert "".join(chunk.text for chunk in chunks) == text
    assert sum(chunk.tokens for chunk in chunks) == len(offsets)
    assert [chunk.number for chunk in chunks] == list(range(len(chunks)))
    assert all(chunk.text == text[chunk.start : chunk.end] != "" for chunk in chunks)
    assert all(before.end == after.start for before, after in pairwise(chunks))


@given(tokenized(split=True), st.integers(8, 64))
def test_no_chunk_starts_inside_a_character_or_outgrows_its_size(book: tuple[str, Offsets], size: int) -> None:
    text, offsets = book
    first = 0
    for chunk in balanced_chunks(text, offsets, size):
        assert first == 0 or offsets[first - 1][1] <= offsets[first][0]
        assert chunk.start == (offsets[first][0] if first else 0)
        assert chunk.tokens <= size
        assert (
            chunk.tokens == len(offsets) or 2 * chunk.tokens >= size - 4
        )  # a character moves a boundary by two at most
        first += chunk.tokens


def test_space_between_tokens_belongs_to_the_chunk_before() -> None:
    chunks = balanced_chunks(" ab  cd ", [(1, 2), (2, 3), (5, 6), (6, 7)], 2)
    assert [(chunk.text, chunk.tokens) for chunk in chunks] == [(" ab  ", 2), ("cd ", 2)]


@pytest.mark.parametrize(("tokens", "size", "lengths"), [(8, 8, [8]), (9, 8, [4, 5]), (17, 8, [5, 6, 6]), (1, 8, [1])])
def test_the_rest_is_spread_over_all_chunks(tokens: int, size: int, lengths: list[int]) -> None:
    chunks = balanced_chunks("x" * tokens, [(place, place + 1) for place in range(tokens)], size)
    assert [chunk.tokens for chunk in chunks] == lengths


def test_no_text_has_no_chunks() -> None:
    assert balanced_chunks("", [], 8) == []
