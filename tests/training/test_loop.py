"""Laws of the training loop."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.errors import ModelError, TrainingError
from model.training.cli import Sources, prepare, train
from model.training.loop import Run, batch_loss
from model.training.memory import Searcher, gathered, write_chunks
from model.training.stages import Plan, read_plan
from tests.training.tiny import SHAPE, new_run, tiny_stage


def weights(run: Run) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in run.model.state_dict().items()}


def test_loss_falls_on_repeats(tmp_path: Path, sources: Sources) -> None:
    run = new_run(tmp_path / "run", sources, steps=40, learning_rate=3e-3, language_weight=0.0, searches=0)
    losses = [step.losses["repeat"] for step in run.train() if "repeat" in step.losses]
    assert sum(losses[-8:]) < sum(losses[:8]) * 0.95


@pytest.mark.parametrize("muon", [0.0, 1.0])
def test_resumed_run_equals_an_unbroken_one_bit_for_bit(tmp_path: Path, sources: Sources, muon: float) -> None:
    mixture = {"repeat": 0.4, "needle": 0.3, "continuation": 0.3}
    how = {"mixture": mixture, "full_share": 0.5, "bank_rows": 100, "muon": muon}
    unbroken = new_run(tmp_path / "one", sources, **how)
    list(unbroken.train())
    assert unbroken.bank.filled == 100
    broken = new_run(tmp_path / "two", sources, **how)
    steps = broken.train()
    for _ in range(3):
        next(steps)
    steps.close()  # an interruption: the generator is closed and saves
    taken_up = new_run(tmp_path / "two", sources, resume=True, **how)
    assert taken_up.step == 3
    list(taken_up.train())
    for name, tensor in weights(unbroken).items():
        assert torch.equal(tensor, weights(taken_up)[name]), name


def test_same_seed_gives_the_same_batches(tmp_path: Path, sources: Sources) -> None:
    one, two = (new_run(tmp_path / name, sources).mixture.batch(5) for name in "ab")
    assert torch.equal(one.prompt, two.prompt)
    assert all(torch.equal(a, b) for a, b in zip(one.chunks, two.chunks, strict=True))


def test_retriever_loss_touches_only_projections(tmp_path: Path, sources: Sources) -> None:
    run = new_run(tmp_path / "run", sources, through=False, mixture={"needle": 1.0}, full_share=1.0, batch=6)
    from model.training.loop import learn_searches

    batch = next(b for step in range(20) if (b := run.mixture.batch(step)).searches)
    searcher = Searcher(run.model, write_chunks(run.model, batch.chunks), through=False)
    learn_searches(run.model, batch, searcher, torch.Generator().manual_seed(0))
    searcher.loss().backward()
    touched = {name for name, p in run.model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert touched
    assert all(name.startswith("retrievers.") for name in touched)


def test_rows_gathered_in_read_form_are_the_projected_rows(tmp_path: Path, sources: Sources) -> None:
    model = new_run(tmp_path / "run", sources).model
    rows = torch.randn(30, model.config.llama.hidden_size)
    index = torch.tensor([[3, 3, 29], [0, 7, 1]])
    found = gathered(model.project_layer(1, rows[None]), index)
    for one, other in zip(found, model.project_layer(1, rows[index]), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_rows_of_the_bank_are_recalled_and_count_as_wrong(tmp_path: Path, sources: Sources) -> None:
    run = new_run(tmp_path / "run", sources, mixture={"needle": 1.0}, full_share=1.0, batch=6, bank_rows=200)
    step = next(s for s in range(30) if len(run.mixture.batch(s).lengths) == 2)
    batch = run.mixture.batch(step)
    alone, parts = batch_loss(run.model, batch, run.mixture, step)
    run.bank.add(torch.randn(run.model.config.layers, 200, run.model.config.llama.hidden_size))
    crowded, more = batch_loss(run.model, batch, run.mixture, step, run.bank)
    assert more["search"] > parts["search"]
    assert crowded != alone


def test_training_recalls_rows_with_their_neighbours(tmp_path: Path, sources: Sources) -> None:
    """With neighbours as far as a chunk is long, what is recalled of a bank comes in whole chunks."""
    shape = replace(SHAPE, neighbours=SHAPE.rows)
    stage = tiny_stage(mixture={"needle": 1.0}, full_share=1.0, batch=6, bank_rows=200)
    run = prepare(Plan(shape, {"tiny": stage}, {}), stage, tmp_path / "run", sources, False, None)
    model, batch = run.model, run.mixture.batch(0)
    others = torch.randn(model.config.layers, 200, model.config.llama.hidden_size)
    searcher = Searcher(model, write_chunks(model, batch.chunks), False, others)
    rows, scores = searcher.score(1, model.embed(batch.prompt), torch.ones(batch.prompt.shape)).recalled
    assert rows.shape == scores.shape == (len(batch.prompt), model.config.recall_rows)
    assert all(len(run) > 1 for one in rows for run in torch.tensor_split(one, (one.diff() > 1).nonzero()[:, 0] + 1))


def test_keys_of_the_batch_learn_beside_those_of_the_bank(tmp_path: Path, sources: Sources) -> None:
    run = new_run(tmp_path / "run", sources, mixture={"needle": 1.0}, full_share=1.0, batch=6, bank_rows=200)
    step = next(s for s in range(30) if len(run.mixture.batch(s).lengths) == 2)
    run.bank.add(torch.randn(run.model.config.layers, 200, run.model.config.llama.hidden_size))
    _, parts = batch_loss(run.model, run.mixture.batch(step), run.mixture, step, run.bank)
    parts["search"].backward()
    learning = {name for name, p in run.model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert {f"retrievers.{layer}.{part}.0.weight" for layer in (0, 1) for part in ("query", "key")} <= learning


def test_the_bank_holds_book_text_beside_the_facts_where_a_stage_wants_it(tmp_path: Path, sources: Sources) -> None:
    filled = []
    for texts in (0, 3):
        run = new_run(tmp_path / str(texts), sources, mixture={"needle": 1.0}, bank_rows=10_000, bank_texts=texts)
        batch_loss(run.model, run.mixture.batch(0), run.mixture, 0, run.bank)
        filled.append(run.bank.filled)
    assert filled[1] - filled[0] == 3 * 2 * run.model.config.memory_rows
    assert not run.bank.valid.requires_grad


def test_every_parameter_learns_in_a_full_step(tmp_path: Path, sources: Sources) -> None:
    run = new_run(tmp_path / "run", sources, mixture={"needle": 0.5, "continuation": 0.5}, full_share=1.0, batch=6)
    step = next(s for s in range(30) if (b := run.mixture.batch(s)).searches and len(b.lengths) == 2)
    loss, _ = batch_loss(run.model, run.mixture.batch(step), run.mixture, step)
    loss.backward()
    idle = [name for name, p in run.model.named_parameters() if p.grad is None]
    assert idle == []


def test_folder_without_text_is_named(tmp_path: Path, sources: Sources) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "tokenizer.json").write_bytes((sources.work / "tokenizer.json").read_bytes())
    with pytest.raises(ModelError, match="no text in"):
        new_run(tmp_path / "run", replace(sources, text=tmp_path / "empty", work=tmp_path / "work"))


def test_checkpoint_of_another_shape_is_refused(tmp_path: Path, sources: Sources) -> None:
    list(new_run(tmp_path / "small", sources, steps=1).train())
    stage = tiny_stage(steps=1)
    wide = Plan(replace(SHAPE, feed_forward=64), {"tiny": stage}, {})
    with pytest.raises(TrainingError, match="another shape"):
        prepare(wide, stage, tmp_path / "wide", sources, False, tmp_path / "small")


def test_heads_of_another_size_are_another_shape(tmp_path: Path, sources: Sources) -> None:
    list(new_run(tmp_path / "one", sources, steps=1).train())
    stage = tiny_stage(steps=1)
    other = Plan(replace(SHAPE, heads=4, key_value_heads=2, head=8), {"tiny": stage}, {})
    with pytest.raises(TrainingError, match=r"another shape.*num_attention_heads"):
        prepare(other, stage, tmp_path / "other", sources, False, tmp_path / "one")


def test_a_run_that_is_there_is_not_begun_anew(tmp_path: Path, sources: Sources) -> None:
    list(new_run(tmp_path / "run", sources, steps=1).train())
    with pytest.raises(TrainingError, match="holds a run already") as refused:
        new_run(tmp_path / "run", sources, steps=1)
    assert "--resume" in refused.value.remedy
    assert new_run(tmp_path / "run", sources, resume=True, steps=1).step == 1


def test_a_fault_within_a_step_keeps_the_save_before(
    tmp_path: Path, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run(tmp_path / "run", sources, save_every=2)
    steps = run.train()
    for _ in range(3):
        next(steps)
    before = (tmp_path / "run" / "state" / "model.safetensors").read_bytes()

    def half(*_: object) -> None:
        with torch.no_grad():
            run.model.bos_embedding.fill_(7.0)
        raise KeyboardInterrupt

    monkeypatch.setattr(run.optimizer, "step", half)
    with pytest.raises(KeyboardInterrupt):
        next(steps)
    assert (tmp_path / "run" / "state" / "model.safetensors").read_bytes() == before
    assert new_run(tmp_path / "run", sources, resume=True).step == 2


def test_another_tokenizer_than_that_of_the_stage_before_is_refused(tmp_path: Path, sources: Sources) -> None:
    list(new_run(tmp_path / "one", sources, steps=1).train())
    file = tmp_path / "one" / "tokenizer.json"
    file.write_text(file.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    stage = tiny_stage(steps=1)
    with pytest.raises(TrainingError, match="another tokenizer"):
        prepare(Plan(SHAPE, {"tiny": stage}, {}), stage, tmp_path / "two", sources, False, tmp_path / "one")


def test_questions_are_wanted_before_anything_is_trained(tmp_path: Path, sources: Sources) -> None:
    (tmp_path / "plan.toml").write_text(
        "[stage.one]\nsteps = 2\nmixture = { repeat = 1.0 }\n[stage.two]\nmixture = { 'memory question' = 1.0 }\n",
        encoding="utf-8",
    )
    with pytest.raises(TrainingError, match="asks questions") as refused:
        next(train("all", tmp_path / "plan.toml", tmp_path / "out", replace(sources, questions=None)))
    assert "--questions" in refused.value.remedy
    assert not (tmp_path / "out").exists()


def test_a_log_holds_numbers_and_a_validation_of_the_last_step(tmp_path: Path, sources: Sources) -> None:
    run = new_run(tmp_path / "run", sources, mixture={"needle": 1.0}, full_share=1.0, searches=0)
    list(run.train(lambda model: {"exact": 0.5}))
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert all(math.isfinite(value) for line in lines for value in line.values())
    assert [line["step"] for line in lines if "exact" in line] == [6]


def test_a_stage_with_fewer_rows_starts_from_one_with_more(tmp_path: Path, sources: Sources) -> None:
    whole = new_run(tmp_path / "whole", sources, steps=1, mixture={"needle": 1.0})
    list(whole.train())
    stage = tiny_stage(steps=2, mixture={"needle": 0.5, "continuation": 0.5}, full_share=1.0, pointing=0.5, batch=6)
    fewer = Plan(replace(SHAPE, rows=6, chunk=8), {"tiny": stage}, {})
    run = prepare(fewer, stage, tmp_path / "fewer", sources, False, tmp_path / "whole")
    assert torch.equal(run.model.start_memory, whole.model.start_memory[:, -6:])
    assert run.model.config.chunk_tokens == 8
    assert all(step.losses["loss"] > 0 for step in run.train())


def test_full_disk_keeps_the_save_before(tmp_path: Path, sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    from model.training import saves

    run = new_run(tmp_path / "run", sources, steps=2)
    next(run.train())
    run.save()
    before = (tmp_path / "run" / "state" / "model.safetensors").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saves, "save_file", full)
    with pytest.raises(TrainingError, match="could not be saved"):
        run.save()
    assert (tmp_path / "run" / "state" / "model.safetensors").read_bytes() == before
    assert not (tmp_path / "run" / "state.new").exists()


def test_a_disk_that_is_full_of_tokens_or_weights_is_said_so(
    tmp_path: Path, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    from model.training import export

    list(new_run(tmp_path / "run", sources, steps=1).train())

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "save", full)
    with pytest.raises(TrainingError, match="the checkpoint could not be saved"):
        export.export(tmp_path / "run", tmp_path / "model")
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "tokenizer.json").write_bytes((sources.work / "tokenizer.json").read_bytes())
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(TrainingError, match="the tokens could not be saved"):
        new_run(tmp_path / "other", replace(sources, work=tmp_path / "work"))


def test_unknown_setting_is_named(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text("[stage.pool]\nstepps = 3\n", encoding="utf-8")
    with pytest.raises(TrainingError, match=r"stage\.pool\.stepps"):
        read_plan(tmp_path / "plan.toml")


def test_unknown_stage_lists_those_there_are(tmp_path: Path, sources: Sources) -> None:
    (tmp_path / "plan.toml").write_text("[stage.pool]\nsteps = 3\n", encoding="utf-8")
    with pytest.raises(TrainingError, match="no stage «pol»"):
        list(train("pol", tmp_path / "plan.toml", tmp_path / "out", sources))


def test_retriever_alone_leaves_everything_else_as_it_was(tmp_path: Path, sources: Sources) -> None:
    run = new_run(tmp_path / "run", sources, alone=True, steps=2, streams=2, stream_chunks=6, others=40, batch=3)
    before = weights(run)
    list(run.train())
    changed = {name for name, tensor in weights(run).items() if not torch.equal(tensor, before[name])}
    assert changed
    assert all(name.startswith("retrievers.") for name in changed)


def test_lexical_start_finds_rows_by_shared_words(tmp_path: Path, sources: Sources) -> None:
    from model.training.lexical import begin_searching, states

    run = new_run(tmp_path / "run", sources)
    begin_searching(run.model, run.mixture.corpus, passages=20)
    ids = torch.tensor([run.mixture.corpus.passage(run.mixture.random(0), 8)])
    entering, rows = states(run.model, ids)
    retriever = run.model.retrievers[0]
    products = retriever.query(entering[0])[0] @ retriever.key(rows[0])[0].T
    same = ids[0][:, None] == ids[0]
    assert products[same].mean() > products[~same].mean()


def test_first_weights_copy_better_than_chance(tmp_path: Path, sources: Sources) -> None:
    """The copying circuit of a new model: random tokens are repeated from memory without any training."""
    wide = replace(SHAPE, width=96, heads=3, feed_forward=96, rows=16)
    stage = tiny_stage(chunks=(1,), searches=0, language_weight=0.0, full_share=0.0, batch=8)
    run = prepare(Plan(wide, {"tiny": stage}, {}), stage, tmp_path / "run", sources, False, None)
    with torch.no_grad():
        found = [
            batch_loss(run.model, run.mixture.batch(step), run.mixture, step)[1].get("repeat") for step in range(6)
        ]
    losses = [loss.item() for loss in found if loss is not None]
    assert sum(losses) / len(losses) < torch.log(torch.tensor(float(wide.vocabulary))).item() - 0.1


def test_all_stages_leave_a_checkpoint(tmp_path: Path, sources: Sources) -> None:
    from model.checkpoint import load

    plan = tmp_path / "plan.toml"
    shape = "vocabulary = 320\nwidth = 32\nlayers = 2\nheads = 2\nkey_value_heads = 1\nfeed_forward = 48\nrows = 8\n"
    stages = "[stage.all]\nbatch = 3\nroom = 24\nbfloat16 = false\nmixture = { repeat = 1.0 }\n[stage.one]\nsteps = 2\n"
    plan.write_text(
        f"[model]\n{shape}pool_chunks = 3\nrecall_chunks = 2\nretriever = 8\n{stages}[stage.two]\nsteps = 0\n",
        encoding="utf-8",
    )
    steps = list(train("all", plan, tmp_path / "runs", sources))
    assert [step.number for step in steps] == [1, 2]
    made = load(tmp_path / "runs" / "model", device="cpu")
    assert made.model.config.memory_rows == 8
    assert (tmp_path / "runs" / "model" / "tokenizer.json").is_file()
