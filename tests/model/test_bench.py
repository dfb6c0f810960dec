"""The benchmarks are commands: they run, and end with one JSON line."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.adapters import WRITE
from model.bench import main
from model.bench_models import SHAPE_NAMES, shape_config
from model.errors import ModelError
from model.writing import write_chunks
from tests.model.tiny import tiny_model, tokens


@pytest.mark.parametrize("task", ["write", "generate"])
def test_a_benchmark_ends_with_one_json_line(task, capsys):
    assert main([task, "--random", "small", "--chunks", "3", "--threads", "1", "--dtype", "float32"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["tokens_per_second"] > 0
    assert result["peak_rss_bytes"] > 0
    assert tuple(result["shape"]) == SHAPE_NAMES


def test_tokens_of_all_documents_of_a_batch_are_counted(capsys):
    words = "write --random small --documents 3 --chunks 2 --threads 1 --dtype float32"
    assert main(words.split()) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["documents"] == 3
    assert result["tokens_per_second"] * result["seconds"] == pytest.approx(3 * 2 * result["chunk_length"], rel=0.02)
    alone = shape_config("small")
    row = 2 * alone.key_value_dim + alone.retriever_dim  # values, two bytes each
    assert result["row_bytes_per_token"] == pytest.approx(alone.layers * row * 2 / 2, rel=0.05)  # two tokens a row


@given(texts=st.lists(st.integers(0, 40), min_size=2, max_size=5), length=st.integers(1, 20))
@settings(max_examples=15, deadline=None)
def test_a_document_written_in_a_batch_has_the_rows_that_it_has_alone_whatever_the_others_are(texts, length):
    model = tiny_model()
    model.specialise(WRITE)

    def written(documents):
        chunks = [torch.cat([tokens(length, 100 * document + chunk) for document in documents]) for chunk in range(2)]
        *_, last = write_chunks(model, chunks, model.start_rows(len(documents)))
        return last

    newest, rows = written(texts)
    for place, text in enumerate(texts):
        alone, (own,) = written([text])
        torch.testing.assert_close(newest[:, place], alone[:, 0], atol=1e-4, rtol=1e-4)
        for name, tensor in own.tensors().items():  # stored in bf16: rounding may fall to the other side
            torch.testing.assert_close(rows[place].tensors()[name], tensor, atol=1e-3, rtol=1e-2)


def test_a_shape_that_is_none_is_refused():
    with pytest.raises(ModelError, match="no shape"):
        shape_config("12x3")


def test_every_part_of_the_gpu_run_works_on_a_small_shape_and_is_kept_as_it_ends(tmp_path, capsys):
    from model.bench_targets import main

    kept = tmp_path / "parts.jsonl"
    words = "--random small --device cpu --dtype float32 --chunks 4 --tokens 1k --many 4k --limits 2 1 --out"
    assert main([*words.split(), str(kept)]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    lines = [json.loads(line) for line in kept.read_text().splitlines()]
    assert [line.pop("part") for line in lines] == [name for name in result if name not in ("task", "random", "torch")]
    assert lines[0] == result["write"]
    assert result["ask within 2 MiB"]["planned_mib"] <= 2
    assert "refused" in result["ask within 1 MiB"]
    assert result["ask within 7000 MiB, 4-bit weights"]["obeyed"]
