"""Recall is measured on what was written and on moved copies of it."""

import json

import pytest
import torch

from model.bench import main
from model.bench_recall import many_keys, plain_best, recall
from model.errors import ModelError
from model.key_formats import widened
from model.memory import ReadRows, to_bytes
from model.scoring import search

SHAPE = "32x2x4x2x64x128x4x16x8"


def test_recall_is_measured_and_the_last_line_is_one_json_object(tmp_path, capsys):
    words = ["recall", "--random", SHAPE, "--lengths", "40,300", "--folder", str(tmp_path)]
    assert main(words) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [row["rows"] for row in result["rows"]] == [40, 300]
    assert all(row["found"] >= 0.99 for row in result["rows"])
    assert result["rows"][1]["copies"] == 300 - result["written_rows"]
    assert not list(tmp_path.iterdir())


def test_the_keys_of_a_folder_of_shards_are_searched(tmp_path):
    drawn = [torch.randn(2, 24, size).bfloat16() for size in (16, 16, 16)]
    (tmp_path / "one.safetensors").write_bytes(to_bytes(ReadRows(*drawn)))
    found = recall(random=SHAPE, lengths="24", shards=tmp_path, layer=0, keys="int8", dtype="float32")
    assert found["written_rows"] == 24
    assert found["rows"][0]["copies"] == 0
    assert found["rows"][0]["bytes"] == 24 * (16 + 2)
    with pytest.raises(ModelError, match="no shards"):
        recall(random=SHAPE, shards=tmp_path / "nothing")


@pytest.mark.parametrize("wrong", [{"layer": 2}, {"keys": "int3"}])
def test_a_layer_or_format_that_is_not_there_is_refused(wrong):
    with pytest.raises(ModelError, match="no such"):
        recall(random=SHAPE, **wrong)


@pytest.mark.parametrize("keys", ["bf16", "int8", "int5"])
def test_the_real_keys_come_first_and_no_copy_equals_another(tmp_path, keys):
    real = torch.randn(10, 6).bfloat16()
    blocks = many_keys(tmp_path, real, 35, keys)
    assert sum(map(len, blocks)) == 35
    whole = torch.cat([widened(block, torch.device("cpu")).float() for block in blocks])
    torch.testing.assert_close(whole[:10], real.float(), atol=0.2 if keys == "int5" else 0.02, rtol=0.01)
    assert len(whole.unique(dim=0)) == 35


@pytest.mark.parametrize("keys", ["bf16", "int8", "int5"])
def test_recall_finds_the_rows_of_the_plain_formula(tmp_path, keys):
    drawn = torch.Generator().manual_seed(1)
    real, queries = torch.randn(3000, 16, generator=drawn).bfloat16(), torch.randn(9, 16, generator=drawn)
    blocks = many_keys(tmp_path, real, 9000, keys)
    found, best = search(queries, blocks, 100).rows, plain_best(queries, blocks, 100)
    assert (
        torch.isin(best, found).float().mean() >= 0.98
    )  # products of bf16 keys are rounded where the processor has them
