"""Laws of the benchmark against length: a row a length; a disk too small is said; lengths as people write them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from model.bench import flops, main
from model.bench_length import Shards, length, parse_lengths
from model.bench_models import shape_config
from model.errors import ModelError
from model.row_sizes import FORMATS, MOST_CHUNKS_PER_SHARD, chunk_bytes, chunks_per_shard

SHAPE = "32x2x4x2x64x128x4x16x8"  # chunks of 8 tokens, 4 rows


def test_every_length_has_times_and_bytes(tmp_path: Path) -> None:
    found = length(random=SHAPE, lengths="100,1000", prompt=4, new=4, device="cpu", dtype="float32", threads=1,
                   folder=tmp_path)  # fmt: skip
    short, long = found["lengths"]
    assert (short["chunks"], long["chunks"]) == (13, 125)
    for row in (short, long):
        assert row["fits"]
        assert min(row[name] for name in ("write_tokens_per_second", "decode_s_per_token", "load_s")) > 0
        assert 0 < row["recall_s"] < row["first_token_s"]
        assert row["save_bytes_per_second"] > 0
    shard = short["disk_bytes"]
    assert long["disk_bytes"] == shard * -(-125 // MOST_CHUNKS_PER_SHARD)
    assert "copies" in found["filled"]
    assert list(tmp_path.iterdir()) == []


def test_a_plain_llama_is_measured_in_raw_kv_mode(tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
                         intermediate_size=48, vocab_size=320, max_position_embeddings=512)  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(tmp_path / "llama")
    found = length(tmp_path / "llama", lengths="100,9000", prompt=4, new=4, device="cpu", dtype="float32", threads=1)
    short, long = found["lengths"]
    assert found["mode"] == "raw-kv"
    assert (short["chunks"], long["chunks"]) == (2, 141)
    assert short["disk_bytes"] * 3 == long["disk_bytes"]
    assert all(0 < row["recall_s"] < row["first_token_s"] for row in (short, long))
    counted = flops(tmp_path / "llama", lengths="1k")
    assert counted["paper"] == []
    assert {"raw-kv", "full-context"} <= set(counted["lengths"][0]["methods"])
    assert "mplus-latent" not in counted["lengths"][0]["methods"]


@pytest.mark.parametrize("row_format", FORMATS)
def test_shards_are_in_the_format_that_is_asked_for(row_format: str) -> None:
    given = {"random": SHAPE, "lengths": "600", "prompt": 4, "new": 2, "dtype": "float32", "threads": 1}
    found = length(**given, memory_dtype=row_format)
    (row,) = found["lengths"]
    config = shape_config(SHAPE)
    chunk = sum(chunk_bytes(row_format, config.layers, 4, config.key_value_dim, config.retriever_dim))
    heads = row["disk_bytes"] - 2 * MOST_CHUNKS_PER_SHARD * chunk  # two shards' headers
    assert found["memory_dtype"] == row_format
    assert 0 < heads < 4096


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ModelError, match="int3"):
        length(random=SHAPE, lengths="100", memory_dtype="int3")


def test_a_length_that_the_disk_cannot_take_is_said_and_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = length(random=SHAPE, lengths="100", prompt=4, new=2, device="cpu", dtype="float32", threads=1)
    room = whole["lengths"][0]["disk_bytes"] * 2
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=room))
    found = length(random=SHAPE, lengths="100,2000", prompt=4, new=2, device="cpu", dtype="float32", threads=1)
    assert [row["fits"] for row in found["lengths"]] == [True, False]


def test_a_memory_holds_exactly_its_chunks(tmp_path: Path) -> None:
    import torch

    from model.memory import ReadRows

    rows = ReadRows(*(torch.randn(2, 16 * 4, 6).bfloat16() for _ in range(3)))
    shards = Shards(tmp_path, rows, 4)
    chunks = 2 * 16 + 3
    assert shards.save(chunks) == 3 * len(shards.data)
    assert shards.save(chunks) == 0
    blocks = shards.load(chunks)
    assert sum(map(len, blocks)) == chunks * 4
    assert torch.equal(blocks[1].keys, rows.keys)


def test_shards_are_as_large_as_those_of_a_library() -> None:
    sizes = {1: 64, 2**17: 64, 2**18: 64, 3 * 2**18: 16, 2**24: 1, 2**26: 1}
    assert {size: chunks_per_shard(size) for size in sizes} == sizes


def test_lengths_are_read_as_people_write_them() -> None:
    assert parse_lengths("2M, 2k,500") == (500, 2048, 2 * 1024**2)
    assert parse_lengths("2k,0", kilo=1000, least=0) == (0, 2000)
    for text in ("", "k", "2x", "-3", "0", "1.5k"):
        with pytest.raises(ModelError):
            parse_lengths(text)


@pytest.mark.parametrize("task", ["length", "flops"])
def test_the_benchmark_is_a_command_without_the_rest_of_the_program(
    task: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([task, "--random", SHAPE, "--lengths", "64,256", "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [row["tokens"] for row in found["lengths"]] == [64, 256]


def test_the_papers_figures_stand_beside_the_8b_shape_alone(capsys: pytest.CaptureFixture[str]) -> None:
    for shape, known in (("8b", True), ("reference", False)):
        assert main(["flops", "--random", shape, "--lengths", "2k", "--json"]) == 0
        row = json.loads(capsys.readouterr().out)["paper"][0]
        assert ("paper_mplus" in row) == known


def test_an_option_of_another_benchmark_is_refused() -> None:
    with pytest.raises(SystemExit):
        main(["flops", "--chunks", "3"])
