"""The plan of the model in the box runs from the first stage to a checkpoint that loads and answers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from model.checkpoint import load
from model.config import from_official
from model.errors import TrainingError
from model.training import cli
from model.training.cli import FINISHED, Sources
from model.training.stages import Plan, Stage, read_plan
from tests.training.tiny import SHAPE

EMBEDDED = Path(cli.__file__).parent / "configs" / "embedded.toml"


def shortened(stage: Stage) -> Stage:
    """The stage as it is, for two steps of few short episodes."""
    return replace(
        stage, steps=min(stage.steps, 2), batch=4, long_batch=2, room=40, long_room=150, bfloat16=False, warmup=1,
        bank_rows=min(stage.bank_rows, 64), full_share=min(1.0, 2 * stage.full_share), streams=2, stream_chunks=4,
    )  # fmt: skip


def test_the_embedded_plan_runs_from_end_to_end(
    tmp_path: Path, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = read_plan(EMBEDDED)
    tiny = Plan(
        replace(SHAPE, rows=32, layers=4),
        {name: shortened(stage) for name, stage in plan.stages.items()},
        {"pattern": "*.jsonl*"},
    )
    monkeypatch.setattr(cli, "read_plan", lambda _: tiny)
    steps = list(cli.train("all", EMBEDDED, tmp_path, sources))
    assert len(steps) == sum(stage.steps for stage in tiny.stages.values())
    for name in plan.stages:
        assert (tmp_path / name / "stage.json").is_file()
    model = load(tmp_path / FINISHED, device="cpu", dtype="float32").model
    assert model.config.memory_rows == 32


def test_the_plan_has_the_shape_that_ships() -> None:
    folder = Path(cli.__file__).parents[1] / "weights" / "embedded"
    shipped = from_official(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    planned = read_plan(EMBEDDED).shape.config()
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size")
    assert [getattr(planned.llama, name) for name in names] == [getattr(shipped.llama, name) for name in names]
    for name in ("head_dim", "key_value_dim", "memory_rows", "pool_rows", "recall_rows", "retriever_dim", "neighbours"):
        assert getattr(planned, name) == getattr(shipped, name), name
    assert planned.extra == shipped.extra


def plan_of(folder: Path, stages: str) -> Plan:
    """A plan with these stages."""
    file = folder / "plan.toml"
    file.write_text(stages, encoding="utf-8")
    return read_plan(file)


def test_a_stage_takes_what_it_does_not_say_from_the_one_that_it_is_like(tmp_path: Path) -> None:
    common = "[stage.all]\nbatch = 3\n[stage.one]\nroom = 24\nseed = 5\n"
    stages = plan_of(tmp_path, f'{common}[stage.two]\nlike = "one"\nseed = 6\n[stage.three]\n').stages
    assert stages["two"] == replace(stages["one"], seed=6)
    assert stages["three"] == replace(Stage(), batch=3)


@pytest.mark.parametrize("like", ["two", "three", "none"])
def test_a_stage_is_like_one_above_it_only(tmp_path: Path, like: str) -> None:
    with pytest.raises(TrainingError, match="no stage above it"):
        plan_of(tmp_path, f'[stage.one]\n[stage.two]\nlike = "{like}"\n[stage.three]\n')
