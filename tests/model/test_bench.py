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
