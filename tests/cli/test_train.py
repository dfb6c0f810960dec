"""`mplus train`: what a person sees of a training, and of one that cannot be."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from model.training import loop

PLAN = """
[model]
vocabulary = 300
width = 32
layers = 2
heads = 2
key_value_heads = 1
feed_forward = 48
rows = 8
pool_chunks = 3
recall_chunks = 2
retriever = 8
[stage.pool]
steps = 3
batch = 2
chunks = [1]
room = 24
bfloat16 = false
mixture = { repeat = 1.0 }
"""


@pytest.fixture
def command(mplus, tmp_path: Path):
    """`mplus train STAGE` with folders of its own: text, a plan, a tokenizer."""
    (tmp_path / "text").mkdir()
    lines = [{"title": "Tale", "text": f"The king saw the fox near the river {n}. " * 30} for n in range(4)]
    (tmp_path / "text" / "books.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    (tmp_path / "plan.toml").write_text(PLAN, encoding="utf-8")
    folders = [f"--{name}={tmp_path / name}" for name in ("text", "work", "out")]

    def call(stage: str, *more: str):
        return mplus("train", stage, *folders, "--config", str(tmp_path / "plan.toml"), "--threads", "1", *more)

    assert call("tokenizer").code == 0
    return call


def test_a_stage_is_trained_and_its_steps_are_lines_of_json(command, tmp_path: Path) -> None:
    ran = command("pool", "--json")
    assert ran.code == 0
    assert [json.loads(line)["step"] for line in ran.out.splitlines()] == [1, 2, 3]
    assert (tmp_path / "out" / "state" / "step.json").is_file()


def test_people_see_how_far_a_training_is(command) -> None:
    ran = command("pool")
    assert (ran.code, ran.out) == (0, "")
    assert "step 1 of 3" in ran.err
    assert "left" in ran.err


@pytest.mark.parametrize(
    ("stage", "more", "words"),
    [
        ("pol", (), "no stage"),
        ("pool", ("--text", "nowhere"), "no text"),
        ("pool", ("--start", "nowhere"), "no saved run"),
        ("1", ("--plan", "8b"), "no base"),
        ("1", ("--plan", "8b", "--base", "nowhere"), "nowhere"),
    ],
)
def test_what_cannot_be_trained_is_said_in_one_line_with_a_remedy(command, stage, more, words) -> None:
    ran = command(stage, *more)
    message, remedy, *_ = ran.err.splitlines()
    assert ran.code not in (0, 1)
    assert words in message
    assert remedy.startswith("  ")


def test_a_run_that_is_there_is_gone_on_with_only_when_asked(command) -> None:
    assert command("pool").code == 0
    ran = command("pool")
    assert (ran.code, "--resume" in ran.err) == (2, True)
    assert command("pool", "--resume").code == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_training_that_is_stopped_saves_its_step_and_goes_on(command, monkeypatch, tmp_path, number, code) -> None:
    one = loop.Run._one

    def stopped(run: loop.Run) -> loop.Step:
        os.kill(os.getpid(), number)
        return one(run)

    with monkeypatch.context() as patched:
        patched.setattr(loop.Run, "_one", stopped)
        ran = command("pool")
    assert (ran.code, "--resume" in ran.err) == (code, True)
    assert json.loads((tmp_path / "out" / "state" / "step.json").read_text())["step"] == 1
    ran = command("pool", "--resume", "--json")
    assert [json.loads(line)["step"] for line in ran.out.splitlines()] == [2, 3]
