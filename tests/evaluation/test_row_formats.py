"""What a row format costs is told by pairs: the same writing, the same questions."""

import pytest
import torch

from model.evaluation import row_formats as measured
from model.memory import CodedRows, ReadRows, to_bytes


def test_a_document_kept_in_another_format_has_the_bytes_that_are_told(subject):
    document = subject.write("a", list(range(1, 4 * subject.config.chunk_tokens)))
    for row_format in ("bf16", "int8", "int5", "int4"):
        rows = measured.kept_in(document, row_format).rows
        held = sum(part.nbytes for part in rows.tensors().values())
        assert held / len(document.lengths) / subject.config.chunk_tokens == measured.token_bytes(subject, row_format)
    assert to_bytes(measured.kept_in(document, "bf16").rows) == to_bytes(document.rows)


def test_the_error_is_told_against_what_varies():
    wanted = ReadRows(*(torch.randn(2, 64, 8) for _ in range(3)))
    shifted = ReadRows(wanted.keys + 100, wanted.values, wanted.retrieval)
    noise = 0.1 * torch.randn(2, 64, 8)
    plain = measured.relative_errors(wanted, ReadRows(wanted.keys + noise, wanted.values, wanted.retrieval))
    moved = measured.relative_errors(shifted, ReadRows(shifted.keys + noise, shifted.values, shifted.retrieval))
    assert plain["values"] == moved["values"] == 0
    assert plain["keys"] == pytest.approx(moved["keys"], rel=1e-3)
    assert 0.05 < plain["keys"] < 0.2


def test_answers_are_compared_in_pairs():
    assert measured.change([True, False, True], [True, True, False]).value == 0
    assert measured.change([True, True], [True, False]).value == -0.5


def test_a_subject_writes_in_the_format_that_it_was_made_with(subject, monkeypatch):
    monkeypatch.setattr(subject, "row_format", "int4")
    document = subject.write("a", list(range(1, 3 * subject.config.chunk_tokens)))
    assert isinstance(document.rows, CodedRows)
    _, trace = subject.answer(subject.reader([document]), subject.question("Where is it?"), most=2)
    assert len(trace.recalled) == subject.config.layers
