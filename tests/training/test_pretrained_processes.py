"""Two processes under `accelerate launch`, the base sharded by FSDP over gloo on the CPU."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from model.checkpoint import load
from tests.training.pretrained_base import make_base, make_text
from tests.training.test_pretrained_run import CONFIG

pytest.importorskip("accelerate")
ROOT = Path(__file__).parents[2]


def launch(*words: str) -> subprocess.CompletedProcess[str]:
    """`accelerate launch` with two processes and FSDP."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [
        sys.executable, "-m", "accelerate.commands.launch", "--use_fsdp", "--fsdp_version", "2", "--num_processes", "2",
        "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", port,
        "-m", *words,
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200, check=False)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_sharded_base_trains_as_a_replicated_one_and_resumes_to_the_bit(tmp_path):
    make_base(tmp_path / "base")
    make_text(tmp_path / "text")
    done = launch("tests.training.pretrained_processes", str(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    said = [json.loads((tmp_path / f"said-{rank}.json").read_text()) for rank in range(2)]
    assert [one["processes"] for one in said] == [2, 2]
    assert sum(one["local"] for one in said) == said[0]["whole"], "each process holds its part of every matrix"
    assert said[0]["local"] == said[1]["local"]
    sharded, resumed = files(tmp_path / "sharded/state"), files(tmp_path / "resumed/state")
    learned, expected = (load_file(tmp_path / name / "state/learned.safetensors") for name in ("sharded", "replicated"))
    for name, tensor in learned.items():  # gathered matrices lie elsewhere in memory, so sums round differently
        torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=1e-4)
    assert sharded == resumed, "a resumed run equals an unbroken one in several processes too"
    assert sharded["memory-0.safetensors"] != sharded["memory-1.safetensors"], "each process lives its own life"
    assert load(tmp_path / "sharded/model", "read", "cpu", "float32").background is not None


@pytest.mark.slow
def test_the_command_runs_under_accelerate_launch(tmp_path):
    make_base(tmp_path / "base")
    make_text(tmp_path / "text")
    (tmp_path / "plan.toml").write_text(CONFIG)
    places = [word for name in ("text", "work", "out") for word in (f"--{name}", str(tmp_path / name))]
    done = launch("model.training.pretrained", "mine", "--config", str(tmp_path / "plan.toml"), *places)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [json.loads(line)["step"] for line in done.stdout.splitlines()] == [1, 2, 3], "only the first one speaks"
    assert load(tmp_path / "out/model", "write", "cpu", "float32").model.config.pool_rows == 16
