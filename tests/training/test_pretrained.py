"""M+ on a pretrained base: what learns from what, the memory's bookkeeping, and the sentence that comes back."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaForCausalLM

from model.training import lora
from model.training.lora import BIAS, BOS_ROWS, ENCODER_QUERY, GROUPS, KEY, QUERY, READ_ADAPTER, WRITE_ADAPTER
from model.training.pretrained_data import Lesson, lesson
from model.training.pretrained_memory import NOBODY, first_state, keep_written, merge, picked, recall
from model.training.pretrained_stages import STAGES
from model.training.pretrained_tasks import AGAIN, CAT, FULL, ONE_CHUNK, Recurrence, Seeker, Teacher, draw_task
from tests.training.pretrained_base import awake, learner_of, make_base, make_text, plan_of, run_of

FOUND = {QUERY, KEY}
LEARNS = [
    # stage, task, groups with a gradient: all others have none
    ("1", FULL, {READ_ADAPTER, BOS_ROWS}),
    ("1", CAT, {READ_ADAPTER, BOS_ROWS}),
    ("1", ONE_CHUNK, {WRITE_ADAPTER, BOS_ROWS, BIAS}),
    ("1", AGAIN, {READ_ADAPTER, BOS_ROWS}),
    ("2", FULL, {READ_ADAPTER, BOS_ROWS}),
    ("2", CAT, {READ_ADAPTER, BOS_ROWS, *FOUND, ENCODER_QUERY}),
    ("2", ONE_CHUNK, {WRITE_ADAPTER, BOS_ROWS, BIAS}),
    ("2", AGAIN, {READ_ADAPTER, BOS_ROWS, *FOUND}),
    ("3", FULL, {READ_ADAPTER, BOS_ROWS}),
    ("3", CAT, {READ_ADAPTER, BOS_ROWS, *FOUND, ENCODER_QUERY}),
    ("3", ONE_CHUNK, {WRITE_ADAPTER, BOS_ROWS, BIAS}),
    ("3", AGAIN, {READ_ADAPTER, BOS_ROWS, *FOUND}),
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pretrained")
    make_base(folder / "base")
    make_text(folder / "text")
    return folder


def teacher_of(folders: Path, stage: str, **changes) -> Teacher:
    plan = plan_of(folders / "base", **changes)
    run = run_of(plan, plan.stages[stage], folders)
    awake(run.learner)
    return run.teacher


def losses_of(teacher: Teacher, task: str) -> dict[str, torch.Tensor]:
    """One step of a given task, after a document was written."""
    generator, rng = torch.Generator().manual_seed(1), random.Random(1)
    teacher.cat(teacher.lesson(CAT, rng, 0), rng, generator)
    given_lesson = teacher.lesson(task, rng, 0)
    if task == AGAIN:
        teacher.recurrence.passed(given_lesson)
        return teacher.again(rng)
    return {FULL: teacher.full, CAT: teacher.cat, ONE_CHUNK: teacher.one_chunk}[task](given_lesson, rng, generator)


def touched(learner: lora.Learner) -> set[str]:
    def has_gradient(parameters) -> bool:
        return any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in parameters.values())

    return {name for name, parameters in learner.groups().items() if has_gradient(parameters)}


@pytest.mark.parametrize(("stage", "task", "groups"), LEARNS)
def test_what_learns_from_what(folders, stage, task, groups):
    teacher = teacher_of(folders, stage)
    torch.stack(list(losses_of(teacher, task).values())).sum().backward()
    assert touched(teacher.learner) == groups


@pytest.mark.parametrize("task", [CAT, AGAIN])
def test_the_retrievers_loss_touches_only_projectors_and_nothing_else_touches_them(folders, task):
    teacher = teacher_of(folders, "3")
    parts = losses_of(teacher, task)
    parts["language"].backward(retain_graph=True)
    assert touched(teacher.learner) == {READ_ADAPTER, BOS_ROWS}
    teacher.learner.zero_grad()
    torch.stack([loss for name, loss in parts.items() if name != "language"]).sum().backward()
    assert touched(teacher.learner) == ({QUERY, KEY, ENCODER_QUERY} if task == CAT else {QUERY, KEY})


def test_every_matrix_of_a_learning_adapter_learns(folders):
    teacher = teacher_of(folders, "1")
    losses_of(teacher, ONE_CHUNK)["language"].backward()
    layers = teacher.learner.config.layers
    silent = [name for name, p in teacher.learner.groups()[WRITE_ADAPTER].items() if p.grad is None or not p.grad.any()]
    assert not silent
    assert len(teacher.learner.groups()[WRITE_ADAPTER]) == 2 * 6 * layers


def test_every_parameter_belongs_to_one_group_and_the_base_is_frozen(folders):
    learner = learner_of(plan_of(folders / "base"), "3")
    groups = learner.groups()
    assert set(groups) == set(GROUPS)
    assert sum(map(len, groups.values())) == len(list(learner.parameters()))
    assert not any(p.requires_grad for p in groups[lora.BASE].values())
    assert all(p.requires_grad for name in GROUPS if name != lora.BASE for p in groups[name].values())


@pytest.mark.parametrize("tied", [False, True])
def test_fresh_adapters_compute_what_the_base_computes(tmp_path, tied):
    base = make_base(tmp_path / "base", tied=tied)
    plan = plan_of(base)
    learner = lora.build(base, plan.config(plan.stages["2"]), torch.float32, 0).eval()
    config = lora.base_config(base)
    reference = LlamaForCausalLM.from_pretrained(base).eval()
    ids = torch.tensor([[1, 9, 20, 33, 5]])
    model = learner.model
    empty = torch.zeros(1, 0, config.hidden_size)
    hidden = model.read(ids[:, 1:], lambda layer, _: model.project_layer(layer, empty))
    with torch.no_grad():
        torch.testing.assert_close(model.embed(ids[:, 1:]), reference.model.embed_tokens(ids[:, 1:]))
        bos = reference.model.embed_tokens.weight[1]
        assert all(torch.equal(row, bos) for row in model.bos_embedding[:, 0])
        # at layer 0 the bos row is the bos token; with a single layer the whole read is the base's
        single = make_base(tmp_path / "single", layers=1, tied=tied)
        short = lora.build(single, plan_of(single).config(plan.stages["1"]), torch.float32, 0).eval().model
        read = short.read(ids[:, 1:], lambda layer, _: short.project_layer(layer, empty))
        expected = LlamaForCausalLM.from_pretrained(single).eval()(ids).logits[:, 1:]
        torch.testing.assert_close(short.logits(read), expected, rtol=1e-4, atol=1e-4)
    assert hidden.isfinite().all()


# ---------------------------------------------------------------------------------------------------------- memory


def numbered_rows(teacher: Teacher, number: int) -> torch.Tensor:
    """Rows that say which chunk wrote them: all values are its number."""
    config = teacher.learner.config
    return torch.full((config.layers, config.memory_rows, config.llama.hidden_size), float(number))


def test_pool_rows_know_their_document_through_every_drop(folders):
    teacher = teacher_of(folders, "3")
    model, generator = teacher.learner.model, torch.Generator().manual_seed(5)
    state = first_state(model.config, generator, torch.device("cpu"), torch.float32)
    for number in range(12):
        keep_written(model, state, numbered_rows(teacher, number), number, generator)
        written = state.owners != NOBODY
        assert torch.equal(state.rows[..., 0][written], state.owners[written].float())
        assert torch.equal(state.rows[:, -1, 0], torch.full((model.config.layers,), float(number)))
        assert (state.owners.diff(dim=1) >= 0).all(), "survivors keep their order"


def test_dropped_rows_become_long_term_rows_and_each_layer_forgets_by_itself(folders):
    teacher = teacher_of(folders, "3")
    model, generator = teacher.learner.model, torch.Generator().manual_seed(5)
    config = model.config
    state = first_state(config, generator, torch.device("cpu"), torch.float32)
    for number in range(5):
        keep_written(model, state, numbered_rows(teacher, number), number, generator)
        stored = sum(map(len, state.segments))
        assert stored == config.memory_rows * (number + 1), "nothing is lost between pool and long-term memory"
    assert not torch.equal(state.owners[0], state.owners[1])
    assert [segment.merged for segment in state.segments] == [True, True, False]


def test_the_memory_of_training_is_the_published_memory(folders):
    """The same drops give the same rows, ages and lives as the policy that answers questions."""
    from model.released import ReleasedMemory

    teacher = teacher_of(folders, "3")
    model = teacher.learner.model
    config = replace(model.config, initial_frequency=3.0)
    model.config = config
    generator = torch.Generator().manual_seed(9)
    state = first_state(config, generator, torch.device("cpu"), torch.float32)
    size = config.pool_rows
    state.rows = torch.arange(size).float()[None, :, None].expand(config.layers, -1, config.llama.hidden_size).clone()
    published, rows = ReleasedMemory(config, size, 0, None, None), config.memory_rows
    for number in range(14):
        before = state.rows.clone()
        new = (
            (size + number * rows + torch.arange(rows))
            .float()[None, :, None]
            .expand(config.layers, -1, before.shape[2])
        )
        keep_written(model, state, new, number, generator)
        left = [
            [
                i
                for i, row in enumerate(before[layer, :, 0].tolist())
                if row not in set(state.rows[layer, :, 0].tolist())
            ]
            for layer in range(config.layers)
        ]
        published.write(torch.tensor(left).numpy())
        for layer, theirs in enumerate(published.layers):
            ours = [int(row) for segment in state.segments for row in segment.rows[layer, :, 0]]
            assert ours == [*theirs.merged.tolist(), *theirs.pending.tolist()]
            ages = [int(age) for segment in state.segments for age in segment.ages[layer]]
            assert ages == [*theirs.ages.tolist(), *theirs.pending_ages.tolist()]


def test_rows_whose_life_has_run_out_leave_unless_too_few_would_stay(folders):
    teacher = teacher_of(folders, "3")
    model, generator = teacher.learner.model, torch.Generator().manual_seed(5)
    config = replace(model.config, initial_frequency=1.0, merge_every=1)
    model.config = config
    state = first_state(config, generator, torch.device("cpu"), torch.float32)
    keep_written(model, state, numbered_rows(teacher, 0), 0, generator)
    assert sum(map(len, state.segments)) == config.memory_rows, "all are kept while they are not more than R"
    merge(replace(config, recall_rows=-1), state)
    assert not state.segments


def test_recalled_rows_come_oldest_first_and_are_the_best_ones(folders):
    teacher = teacher_of(folders, "3")
    model, generator = teacher.learner.model, torch.Generator().manual_seed(5)
    state = first_state(model.config, generator, torch.device("cpu"), torch.float32)
    hidden = torch.randn(1, 5, model.config.llama.hidden_size, generator=generator)
    assert recall(model, state, 0, hidden).shape[0] == 0
    for number in range(9):
        new = torch.randn(model.config.layers, model.config.memory_rows, 16, generator=generator)
        keep_written(model, state, new, number, generator)
    with torch.no_grad():
        keys = torch.cat([segment.keys[0] for segment in state.segments])
        found = (model.query(0, hidden)[0] @ keys.T).sigmoid().mean(0)
    rows = torch.cat([segment.rows[0] for segment in state.segments])
    ages = torch.cat([segment.ages[0] for segment in state.segments])
    best = found.topk(model.config.recall_rows).indices
    recalled = recall(model, state, 0, hidden)
    assert {tuple(row.tolist()) for row in recalled} == {tuple(row.tolist()) for row in rows[best]}
    by_row = {tuple(row.tolist()): int(age) for row, age in zip(rows, ages, strict=True)}
    order = [by_row[tuple(row.tolist())] for row in recalled]
    assert order == sorted(order, reverse=True)


def test_the_retriever_is_told_the_rows_of_the_sentences_document(folders):
    teacher = teacher_of(folders, "2")
    learner, generator = teacher.learner, torch.Generator().manual_seed(5)
    for number in (3, 8):
        keep_written(learner.model, teacher.state, numbered_rows(teacher, number), number, generator)
    seeker = Seeker(learner, teacher.state, 3, 2, written=False)
    hidden = torch.randn(1, 4, 16, generator=generator)
    seeker.learn(0, hidden)
    model = learner.model
    rows = model.normed(0, teacher.state.rows[0])
    found = (model.query(0, hidden[:, :2])[0] @ model.retrievers[0].key(rows).T).sigmoid().mean(0)
    own = teacher.state.owners[0] == 3
    assert 0 < int(own.sum()) <= 4
    expected = (-(found[own] + 1e-5).log().mean() - (1 - found[~own] + 1e-5).log().mean()) / 2
    torch.testing.assert_close(seeker.losses[0], expected)


def test_picked_rows_are_those_of_each_layers_own_places():
    rows = torch.arange(24.0).view(2, 6, 2)
    places = torch.tensor([[0, 5], [1, 2]])
    assert torch.equal(picked(rows, places), torch.stack([rows[0, [0, 5]], rows[1, [1, 2]]]))


# ----------------------------------------------------------------------------------------------- lessons and tasks


@given(st.integers(0, 10_000), st.sampled_from(["1", "2", "3"]), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_a_lesson_is_a_piece_of_its_document_in_order(folders, seed, stage, most):
    if stage not in LESSON_TEACHERS:
        LESSON_TEACHERS[stage] = teacher_of(folders, stage)
    teacher = LESSON_TEACHERS[stage]
    made = lesson(random.Random(seed), teacher.source, teacher.stage, most, teacher.instruction)
    tokens, sizes = teacher.source.read(made.document), teacher.stage
    chunks = [token for chunk in made.contexts for token in chunk]
    assert 1 <= len(made.contexts) <= most
    assert all(len(chunk) <= sizes.chunk_most for chunk in made.contexts)
    if made.label == "repeat":
        assert list(made.sentence) == [2, *chunks][: sizes.sentence_most]
        assert made.learn_from == 1 + 5
        assert any(tokens[i : i + len(chunks)] == chunks for i in range(len(tokens)))
    else:
        both = chunks + list(made.sentence)
        assert both == tokens[len(tokens) - len(both) :]
        assert made.label == "short"


LESSON_TEACHERS: dict[str, Teacher] = {}


@pytest.mark.parametrize(("name", "tokens"), [("long", 5000), ("short", 700)])
def test_long_documents_end_in_a_sentence_and_short_ones_in_their_last_chunk(folders, name, tokens):
    import numpy as np

    from model.training.pretrained_data import Documents

    source = Documents(np.arange(tokens, dtype=np.uint32), np.array([0, tokens]))
    for seed in range(30):
        stage = replace(STAGES["2"], documents=STAGES["1"].documents)
        made = lesson(random.Random(seed), source, stage, 50, ())
        assert made.label == ("continuation" if name == "long" else "short")
        assert len(made.sentence) <= (2048 if name == "long" else 512)
        assert all(len(chunk) >= (384 if name == "long" else 16) for chunk in made.contexts[1:])
        assert sum(map(len, made.contexts)) > tokens - len(made.sentence) - (384 if name == "long" else 16)


def test_tasks_are_drawn_as_often_as_the_paper_says():
    rng = random.Random(0)
    for stage in STAGES.values():
        drawn = [draw_task(rng, stage, may_ask_again=False) for _ in range(20_000)]
        share = {task: drawn.count(task) / len(drawn) for task in (FULL, CAT, ONE_CHUNK, AGAIN)}
        expected = {FULL: stage.full, CAT: (1 - stage.full) * stage.cat, AGAIN: 0.0}
        assert all(abs(share[task] - value) < 0.015 for task, value in expected.items())
    again = [draw_task(rng, STAGES["1"], may_ask_again=True) for _ in range(20_000)].count(AGAIN)
    assert abs(again / 20_000 - 0.2) < 0.015


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), max_size=60))
def test_a_kept_sentence_never_comes_twice_in_a_row_nor_before_something_else_was_written(events):
    recurrence, asked, writes = Recurrence(), [], 0
    for number, (ask, is_written, let_go) in enumerate(events):
        if ask and recurrence.ready():
            assert not asked or asked[-1] < number - 1
            assert writes > 0
            asked.append(number)
            recurrence.asked(let_go)
        else:
            fresh = recurrence.kept is None
            recurrence.passed(Lesson(((1,),), (1, 2), 1, "short", number) if is_written else None)
            writes = 0 if fresh else writes + int(is_written)
        assert Recurrence.from_dict(recurrence.as_dict()) == recurrence


def test_a_sentence_that_is_not_let_go_grows_old():
    recurrence = Recurrence()
    first = Lesson(((1,),), (5, 6), 1, "short", 42)
    for number in range(8):
        recurrence.passed(first if number == 0 else replace(first, document=number))
        if recurrence.ready():
            recurrence.asked(let_go=False)
    assert recurrence.kept is not None
    assert recurrence.kept.document == 42
    assert recurrence.kept.writes_since == 7
