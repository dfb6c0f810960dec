"""The benchmarks are commands: they run, and end with one JSON line."""

import json

import pytest

from model.bench import SHAPE_NAMES, main, shape_config
from model.errors import ModelError


@pytest.mark.parametrize("task", ["write", "generate"])
def test_a_benchmark_ends_with_one_json_line(task, capsys):
    assert main([task, "--random", "small", "--chunks", "3", "--threads", "1", "--dtype", "float32"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["tokens_per_second"] > 0
    assert result["peak_rss_bytes"] > 0
    assert tuple(result["shape"]) == SHAPE_NAMES


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
    assert result["ask, 4-bit weights"]["first_token_ms"] > 0
