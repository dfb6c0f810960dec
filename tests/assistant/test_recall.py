"""From a trace to chunks: which layers may say where an answer comes from."""

from dataclasses import dataclass

import pytest
import torch

from model.generate import RetrievalTrace
from mplus_cli.assistant.recall import chunk_weights


@dataclass
class Born:
    """Two chunks of one book."""

    steps: tuple[tuple[int, int], ...] = ((0, 0), (0, 1))
    documents: tuple[str, ...] = ("book",)


TRACE = RetrievalTrace(chunks=[torch.tensor([0.1, 0.2]), torch.tensor([0.9, 0.1])])


def test_all_layers_rank_chunks_together_where_none_is_named() -> None:
    assert chunk_weights(TRACE, Born()) == pytest.approx({("book", 0): 1.0, ("book", 1): -1.0})  # type: ignore[arg-type]


def test_named_layers_alone_rank_chunks() -> None:
    assert chunk_weights(TRACE, Born(), (0,)) == pytest.approx({("book", 0): -1.0, ("book", 1): 1.0})  # type: ignore[arg-type]


def test_layers_that_a_trace_lacks_are_left_out() -> None:
    assert chunk_weights(TRACE, Born(), (7,)) == chunk_weights(TRACE, Born())  # type: ignore[arg-type]
