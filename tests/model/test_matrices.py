"""Laws of weights in few bits: fewer bytes, nearly the same layer; without bitsandbytes, a sentence."""

import builtins
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from model.errors import ModelError
from model.matrices import AUTO, FEW, Dense, EightBit, FourBit, suited
from tests.model.tiny import tiny_model, tokens, write_chunks

ROOT = Path(__file__).parents[2]


def test_a_dense_matrix_gives_the_outputs_from_a_number_on() -> None:
    weight, rows = torch.randn(6, 4), torch.randn(3, 4)
    matrix = Dense(weight)
    assert torch.allclose(matrix(rows, 2), matrix(rows)[:, 2:], atol=1e-6)
    assert torch.allclose(matrix(rows, 0, 2), matrix(rows)[:, :2], atol=1e-6)
    assert matrix.nbytes == weight.nbytes


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_eight_bits_are_near_the_weights_and_take_a_byte_each(dtype: torch.dtype) -> None:
    weight, rows = torch.randn(128, 256, dtype=dtype), torch.randn(3 * FEW, 256, dtype=dtype)
    dense, small = Dense(weight), EightBit(weight)
    assert (small(rows) - dense(rows)).float().norm() < 0.01 * dense(rows).float().norm()
    assert small(rows).dtype == dtype
    assert small.nbytes == 128 * (256 + dtype.itemsize)


@pytest.mark.parametrize("count", [0, 1, FEW, FEW + 1])
def test_a_row_alone_is_multiplied_as_it_is_among_many(count: int) -> None:
    matrix, rows = EightBit(torch.randn(96, 64).t().contiguous().t()), torch.randn(1, 2 * FEW, 64)
    torch.testing.assert_close(matrix(rows[:, :count]), matrix(rows)[:, :count], atol=0.15, rtol=0.01)
    assert torch.equal(matrix(rows[:, :count], 40, 60), matrix(rows[:, :count])[..., 40:60])


def test_a_matrix_of_nothing_is_nothing_in_eight_bits() -> None:
    assert torch.equal(EightBit(torch.zeros(8, 16))(torch.randn(1, 16)), torch.zeros(1, 8))


@pytest.mark.parametrize("wide", [True, False])
def test_only_what_answers_on_a_wide_cpu_is_kept_in_eight_bits_unasked(monkeypatch, wide: bool) -> None:
    here, there = torch.device("cpu"), torch.device("cuda")
    monkeypatch.setattr("model.matrices.cpu_is_wide", lambda: wide)
    assert suited(AUTO, True, here) == ("int8" if wide else "dense")
    assert {suited(AUTO, False, here), suited(AUTO, True, there)} == {"dense"}
    assert suited("nf4", True, here) == "nf4"
    with pytest.raises(ModelError, match="int3"):
        suited("int3", True, here)


def test_four_bits_are_near_the_weights_and_take_an_eighth_of_float32() -> None:
    weight, rows = torch.randn(128, 256), torch.randn(3, 256)
    dense, small = Dense(weight), FourBit(weight)
    assert (small(rows) - dense(rows)).norm() < 0.15 * dense(rows).norm()
    assert torch.equal(small(rows, 100), small(rows)[:, 100:])
    assert small.nbytes <= dense.nbytes * (1 / 8 + 1 / 64)


@pytest.mark.parametrize("width", [24, 96, 160])
def test_four_bits_are_near_weights_whose_rows_are_no_whole_blocks(width: int) -> None:
    weight, rows = torch.randn(64, width), torch.randn(3, width)
    assert (FourBit(weight)(rows) - Dense(weight)(rows)).norm() < 0.15 * Dense(weight)(rows).norm()


def widened(matrix: FourBit, width: int) -> torch.Tensor:
    """What the four bits stand for: (out, width)."""
    import bitsandbytes

    return bitsandbytes.functional.dequantize_4bit(matrix.packed, matrix.state)[:, :width].float()


def test_a_model_in_four_bits_keeps_no_wide_matrix_and_writes_the_rows_of_what_its_bits_stand_for() -> None:
    dense, small = tiny_model(), tiny_model()
    dense.specialise("write")
    small.specialise("write", "nf4")
    assert small.weight_bytes() < dense.weight_bytes()
    assert not any(part.numel() for layer in small.llama.model.layers for part in layer.parameters() if part.ndim == 2)
    before = torch.stack(write_chunks(dense, [8, 8]))
    for wide, four in zip(dense.fused, small.fused, strict=True):
        for name in ("qkv", "gate_up", "out", "down"):
            matrix = getattr(wide, name)
            matrix.weight = widened(getattr(four, name), matrix.weight.shape[1])
    dense.bos_prefix = [dense.project_layer(layer, row[None]) for layer, row in enumerate(dense.bos_embedding)]
    one, other = (torch.stack(write_chunks(model, [8, 8])) for model in (dense, small))
    assert (one - other).norm() < 0.02 * one.norm()
    assert (one - before).norm() > 0.02 * one.norm()


def test_a_model_in_eight_bits_keeps_no_wide_matrix_and_says_nearly_the_same() -> None:
    dense, small = tiny_model(adapters=True), tiny_model(adapters=True)
    dense.specialise("read")
    small.specialise("read", "int8")
    assert small.weights == "int8"
    inside = [part for layer in small.llama.model.layers for part in layer.parameters() if part.ndim == 2]
    assert not any(part.numel() for part in [*inside, small.llama.lm_head.weight])
    assert small.weight_bytes() < 0.6 * dense.weight_bytes()
    one, other = (
        model.logits(model.read(tokens(12), lambda layer, hidden, model=model: model.project_layer(layer, hidden)))
        for model in (dense, small)
    )
    assert (one - other).norm() < 0.06 * one.norm()
    entering = torch.randn(1, 12, 32)
    wanted = tiny_model(adapters=True).layer(1).self_attn.q_proj
    assert dense.attention_query(1, entering).shape == (1, 12, wanted.out_features)
    one, other = (model.attention_query(1, entering) for model in (dense, small))
    assert (one - other).norm() < 0.03 * one.norm()


def test_weight_bytes_are_those_of_the_parameters_fused_or_not() -> None:
    model = tiny_model()
    whole = sum(part.nbytes for part in model.parameters())
    assert model.weight_bytes() == whole
    model.specialise("read")
    assert model.weight_bytes() == whole
    with torch.no_grad():
        assert model.read(tokens(4), lambda layer, hidden: model.project_layer(layer, hidden[:, :0])).isfinite().all()


def test_without_bitsandbytes_four_bits_are_refused_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: object, **more: object) -> object:
        if name == "bitsandbytes":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ModelError, match="bitsandbytes") as refused:
        FourBit(torch.randn(4, 64))
    assert "nf4" in refused.value.remedy


KERNELS = """
def get_kernel(*names, **more):
    raise SystemExit("code is downloaded")
"""


def test_adapters_and_four_bits_download_no_code_and_say_nothing(tmp_path: Path) -> None:
    (tmp_path / "kernels.py").write_text(KERNELS)
    code = (
        "import torch\nfrom model.matrices import FourBit\nfrom tests.model.tiny import tiny_model\n"
        "tiny_model(adapters=True)\nFourBit(torch.randn(4, 64))\nimport kernels"
    )
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
