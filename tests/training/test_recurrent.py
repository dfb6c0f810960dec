"""Laws of recurrent memory tokens: what they carry, that they learn, and that a training goes on where it stopped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from model.checkpoint import save
from model.errors import CheckpointError
from model.mplus import MPlus
from model.recurrent import load_tokens, read_behind, write_segment
from model.training.data import Corpus, Words
from model.training.mixture import Mixture
from model.training.recurrent import Recipe, Training, batch_loss
from model.training.start import initialise
from tests.training.tiny import SHAPE, tiny_stage


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    torch.manual_seed(0)
    save(initialise(MPlus(SHAPE.config())), folder)
    return folder


def training(
    checkpoint: Path, out: Path, words: Words, corpus: Corpus, rank: int = 4, seed: int = 0, **changes: object
) -> Training:
    stage = tiny_stage(searches=0, full_share=0.0, seed=seed, **changes)
    return Training(checkpoint, out, Recipe(8, rank, 4, stage), lambda chunk: Mixture(stage, words, corpus, [], chunk))


def test_training_lowers_the_loss_on_repeats_and_leaves_the_llama_alone(
    checkpoint: Path, tmp_path: Path, words: Words, corpus: Corpus
) -> None:
    repeats = {"mixture": {"text repeat": 1.0}, "steps": 60, "learning_rate": 1e-2, "batch": 8}
    run = training(checkpoint, tmp_path / "run", words, corpus, rank=8, **repeats)
    frozen = {name: one.clone() for name, one in run.model.named_parameters() if "lora_" not in name}
    losses = [step.losses["text repeat"] for step in run.train() if "text repeat" in step.losses]
    assert sum(losses[-10:]) < sum(losses[:10]) * 0.95
    assert all(torch.equal(one, dict(run.model.named_parameters())[name]) for name, one in frozen.items())


def test_the_memory_depends_on_a_segment_before_the_last_and_learns_through_it(
    checkpoint: Path, tmp_path: Path, words: Words, corpus: Corpus
) -> None:
    run = training(checkpoint, tmp_path / "run", words, corpus)
    one, other, last = torch.arange(20, 28)[None], torch.arange(40, 48)[None], torch.arange(60, 68)[None]
    seen = []
    for first in (one, other):
        carried = write_segment(run.model, run.tokens, first, run.tokens.first())
        carried = write_segment(run.model, run.tokens, last, carried)
        seen.append(read_behind(run.model, last, carried))
    assert not torch.allclose(*seen, atol=1e-4)
    seen[0].sum().backward()
    assert run.tokens.start.grad is not None
    assert run.tokens.start.grad.abs().sum() > 0


def test_the_gradient_ends_where_the_recipe_says(
    checkpoint: Path, tmp_path: Path, words: Words, corpus: Corpus
) -> None:
    run = training(checkpoint, tmp_path / "run", words, corpus, rank=0, chunks=(3,))
    batch = run.mixture.batch(0)
    for segments, reached in ((3, True), (2, False)):
        run.tokens.zero_grad()
        loss, _ = batch_loss(run.model, run.tokens, batch, segments)
        loss.backward()
        assert bool(run.tokens.start.grad is not None and run.tokens.start.grad.abs().sum() > 0) == reached
        assert run.tokens.writing.grad is not None


def test_a_resumed_training_equals_an_unbroken_one_bit_for_bit(
    checkpoint: Path, tmp_path: Path, words: Words, corpus: Corpus
) -> None:
    list(training(checkpoint, tmp_path / "one", words, corpus).train())
    steps = training(checkpoint, tmp_path / "two", words, corpus).train()
    for _ in range(3):
        next(steps)
    steps.close()
    taken_up = training(checkpoint, tmp_path / "two", words, corpus, seed=0)
    assert taken_up.resume()
    assert taken_up.step == 3
    list(taken_up.train())
    for name in ("rmt.safetensors", "state.safetensors"):
        one, two = (load_file(tmp_path / folder / name) for folder in ("one", "two"))
        assert all(torch.equal(tensor, two[key]) for key, tensor in one.items()), name
        assert len(one) == len(two)


@pytest.mark.parametrize("rank", [0, 4])
def test_a_loaded_file_computes_what_was_trained(
    checkpoint: Path, tmp_path: Path, words: Words, corpus: Corpus, rank: int
) -> None:
    run = training(checkpoint, tmp_path / "run", words, corpus, rank=rank, learning_rate=1e-2)
    list(run.train())
    model, tokens = load_tokens(checkpoint, tmp_path / "run" / "rmt.safetensors", "cpu", "float32")
    ids = torch.arange(20, 28)[None]
    with torch.no_grad():
        wanted = write_segment(run.model, run.tokens, ids, run.tokens.first())
        found = write_segment(model, tokens, ids, tokens.first())
    torch.testing.assert_close(found, wanted, atol=0.05, rtol=0.05)  # the file is in bf16


def test_tokens_of_other_weights_and_files_that_are_none_are_refused(
    checkpoint: Path, tmp_path: Path, words: Words, corpus: Corpus
) -> None:
    run = training(checkpoint, tmp_path / "run", words, corpus, steps=1)
    list(run.train())
    torch.manual_seed(1)
    save(MPlus(replace(SHAPE, name="other").config()), tmp_path / "other")
    for folder, file in ((tmp_path / "other", run.out / "rmt.safetensors"), (checkpoint, tmp_path / "none")):
        with pytest.raises(CheckpointError) as refused:
            load_tokens(folder, file, "cpu", "float32")
        assert "model.training.recurrent" in refused.value.remedy
