"""A model with more room computes what it computed before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from model.errors import TrainingError
from model.mplus import MPlus
from model.training.cli import Sources, prepare
from model.training.grow import grow, grow_run, main
from model.training.stages import Plan
from tests.model.tiny import tiny_config, tokens
from tests.training.tiny import SHAPE, new_run, tiny_stage


def model_with(rope_theta: float) -> MPlus:
    torch.manual_seed(0)
    config = tiny_config()
    config.llama.rope_parameters = {"rope_type": "default", "rope_theta": rope_theta}
    return MPlus(config).eval().requires_grad_(False)


def logits(model: MPlus, ids: Tensor) -> Tensor:
    with torch.no_grad():
        rows, _ = model.write(ids[:, :8], model.start_rows(1))
        hidden = model.read(ids[:, 8:], lambda layer, _: model.project_layer(layer, rows[layer]))
        return model.logits(hidden)


def test_a_grown_model_computes_the_same_where_all_pairs_turn_alike() -> None:
    model = model_with(1.0)
    large = grow(model, heads=8, feed_forward=80).eval()
    assert large.config.llama.num_key_value_heads == 1
    assert large.config.key_value_dim == model.config.key_value_dim
    assert torch.allclose(logits(large, tokens(20)), logits(model, tokens(20)), atol=1e-4)


def test_the_first_key_value_head_turns_as_before() -> None:
    model = model_with(10_000.0)
    with torch.no_grad():
        for layer in range(model.config.layers):  # the heads of the second group write nothing
            model.layer(layer).self_attn.o_proj.weight[:, model.config.llama.hidden_size // 2 :] = 0
    assert torch.allclose(logits(grow(model, 4, 64).eval(), tokens(20)), logits(model, tokens(20)), atol=1e-4)


def test_what_is_new_can_learn() -> None:
    large = grow(model_with(10_000.0), heads=8, feed_forward=80).requires_grad_(True)
    rows, _ = large.write(tokens(8), large.start_rows(1))
    hidden = large.read(tokens(12), lambda layer, _: large.project_layer(layer, rows[layer]))
    large.logits(hidden).logsumexp(-1).sum().backward()
    attention, mlp = large.layer(1).self_attn, large.layer(1).mlp
    assert attention.o_proj.weight.grad[:, -attention.head_dim :].abs().sum() > 0
    assert mlp.down_proj.weight.grad[:, 64:].abs().sum() > 0


def test_a_stage_of_the_larger_shape_starts_from_a_grown_run(tmp_path: Path, sources: Sources) -> None:
    list(new_run(tmp_path / "small", sources, steps=1).train())
    main([str(tmp_path / "small"), str(tmp_path / "large"), "--heads", "4", "--feed-forward", "64"])
    shape = replace(SHAPE, heads=4, head=16, key_value_heads=1, feed_forward=64)
    stage = tiny_stage(steps=1)
    run = prepare(Plan(shape, {"tiny": stage}, {}), stage, tmp_path / "run", sources, False, tmp_path / "large")
    assert len(list(run.train())) == 1


def test_a_model_does_not_shrink(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="only grow"):
        grow(model_with(1.0), heads=3, feed_forward=80)
    with pytest.raises(TrainingError, match="no saved run"):
        grow_run(tmp_path, tmp_path / "out", 4, 64)
