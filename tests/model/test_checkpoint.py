"""Checkpoint folders: ours, the published layout, and what is refused."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from model.bare import BareLlama, plain_sizes
from model.checkpoint import build, fingerprint, load, named_tensors, read_config, resolve, save
from model.errors import CheckpointError, DeviceError
from tests.model.tiny import tiny_model, tokens

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture
def folder(tmp_path):
    save(tiny_model(), tmp_path / "ours", torch.float32)
    return tmp_path / "ours"


def test_a_saved_model_computes_the_same_after_loading(folder):
    before = tiny_model()
    after = load(folder, device="cpu", dtype="float32").model
    for model in (before, after):
        model.eval()
    ours, theirs = (model.write(tokens(9), model.start_rows(1))[0] for model in (after, before))
    torch.testing.assert_close(ours, theirs)
    assert after.config.window == 64


@pytest.mark.parametrize("role", ["write", "read"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_bare_llama_computes_what_the_stock_one_does(folder, role, dtype):
    bare = load(folder, role, "cpu", dtype).model
    stock = build(read_config(folder), named_tensors(folder), torch.device("cpu"), bare.dtype)
    stock.specialise(role)
    assert isinstance(bare.llama, BareLlama)
    assert not isinstance(stock.llama, BareLlama)
    assert torch.equal(bare.llama.model.rotary_emb.inv_freq, stock.llama.model.rotary_emb.inv_freq)
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if dtype == "float32" else {"rtol": 0.05, "atol": 0.05}
    rows, hidden = bare.write(tokens(9), bare.start_rows(1))
    torch.testing.assert_close((rows, hidden), stock.write(tokens(9), stock.start_rows(1)), **tolerance)
    torch.testing.assert_close(bare.logits(hidden), stock.logits(hidden), **tolerance)
    for layer in range(bare.config.layers):
        torch.testing.assert_close(bare.query(layer, hidden), stock.query(layer, hidden), **tolerance)


@pytest.mark.parametrize(
    "change",
    [
        {"hidden_act": "gelu"},
        {"attention_bias": True},
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}},
        {"rope_parameters": None},
        {"head_dim": None},
        {"lora_config": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}},
    ],
)
def test_what_a_bare_llama_does_not_know_is_left_to_the_stock_one(folder, change):
    raw = json.loads((folder / "config.json").read_text())
    assert plain_sizes(raw) is not None
    assert plain_sizes(raw | change) is None


def test_a_plain_model_is_loaded_and_asked_without_importing_transformers(folder):
    program = f"""
import sys
from pathlib import Path
import torch
from model.checkpoint import load
from model.generate import Reader, Sampling, Memory
from model.membership import log_membership
from model.memory import RowTable
model = load(Path({str(folder)!r}), "read", "cpu", "float32").model
memory = Memory(RowTable([]), log_membership([], model.config.layers, 8, 32))
assert len(list(Reader(model, memory).generate(torch.ones(1, 3, dtype=torch.long), Sampling(4)))) == 4
heavy = {{"transformers", "peft", "sympy", "torch._dynamo"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("adapters", [True, False])
def test_the_published_layout_survives_a_round_trip(tmp_path, adapters):
    save(tiny_model(adapters), tmp_path / "a", torch.float32)
    again = load(tmp_path / "a", device="cpu", dtype="float32").model
    save(again, tmp_path / "b", torch.float32)
    assert (tmp_path / "a/model.safetensors").read_bytes() == (tmp_path / "b/model.safetensors").read_bytes()
    assert json.loads((tmp_path / "a/config.json").read_text()) == json.loads((tmp_path / "b/config.json").read_text())


def test_shipped_memory_becomes_background_rows():
    checkpoint = load(GOLDEN / "model_main", "read", "cpu", "float32")
    assert checkpoint.background is not None
    rows = checkpoint.background_rows()
    assert rows is not None
    assert len(rows) == len(checkpoint.background) == 64 + 48
    assert torch.equal(rows.retrieval[:, 64:], checkpoint.background.keys)
    assert torch.equal(checkpoint.first_rows(), checkpoint.background.pool[:, -16:])


def test_rotary_frequencies_of_a_bf16_checkpoint_are_rounded(tmp_path):
    shutil.copytree(GOLDEN / "model_main", tmp_path / "m")
    raw = json.loads((tmp_path / "m/config.json").read_text())
    (tmp_path / "m/config.json").write_text(json.dumps(raw | {"torch_dtype": "bfloat16"}))
    for folder, dtype in (
        (tmp_path / "m", "bfloat16"),
        (tmp_path / "m", "float32"),
        (GOLDEN / "model_main", "bfloat16"),
    ):
        frequencies = load(folder, device="cpu", dtype=dtype).model.llama.model.rotary_emb.inv_freq
        assert frequencies.dtype == torch.float32
        assert torch.equal(frequencies, frequencies.bfloat16().float())
    exact = load(GOLDEN / "model_main", device="cpu", dtype="float32").model.llama.model.rotary_emb.inv_freq
    assert not torch.equal(exact, exact.bfloat16().float())


def test_a_memoryllm_checkpoint_loads_without_long_term_memory(tmp_path):
    from safetensors.torch import load_file, save_file

    tensors = load_file(GOLDEN / "model_main/model.safetensors")
    kept = {
        name: tensor
        for name, tensor in tensors.items()
        if not name.startswith("ltm") and "_proj.0" not in name and "_proj.2" not in name and "decoder" not in name
    }
    (tmp_path / "m").mkdir()
    save_file(kept, tmp_path / "m/model.safetensors")
    raw = json.loads((GOLDEN / "model_main/config.json").read_text())
    raw |= {"model_type": "memoryllm", "num_blocks": 4, "add_selector": False, "add_decoder_lora": False}
    raw.pop("num_ltm_blocks")
    (tmp_path / "m/config.json").write_text(json.dumps(raw))
    checkpoint = load(tmp_path / "m", "read", "cpu", "float32")
    assert checkpoint.model.config.recall_rows == 0
    assert checkpoint.model.config.pool_rows == 64


def test_a_plain_llama_is_refused_with_what_it_lacks(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_size": 64}))
    with pytest.raises(CheckpointError, match="without M\\+ training: it lacks the memory pool"):
        read_config(tmp_path)


def test_pickled_weights_are_refused_unopened(tmp_path, folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch /tmp/never'\ntR.")
    with pytest.raises(CheckpointError, match="pickled"):
        load(folder, device="cpu")


@pytest.mark.parametrize("cut", [0, 7, 100, -1])
def test_truncated_weights_are_refused(folder, cut):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(CheckpointError):
        load(folder, device="cpu")


def test_weights_of_another_shape_are_refused(folder):
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(raw | {"intermediate_size": 96}))
    with pytest.raises(CheckpointError, match="do not fit"):
        load(folder, device="cpu")


def test_the_fingerprint_names_weights_and_configuration(folder, tmp_path):
    same = fingerprint(folder)
    assert fingerprint(folder) == same
    save(tiny_model(seed=1), tmp_path / "other", torch.float32)
    assert fingerprint(tmp_path / "other") != same


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_no_silent_fall_back():
    with pytest.raises(DeviceError):
        resolve("cuda", "auto")


@pytest.mark.cuda
def test_the_gpu_computes_what_the_processor_does(folder):
    ours, theirs = (
        load(folder, "write", device, "float32").model.write(tokens(9).to(device), model_start)[0].cpu()
        for device in ("cuda", "cpu")
        for model_start in [load(folder, "write", device, "float32").model.start_rows(1)]
    )
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)
