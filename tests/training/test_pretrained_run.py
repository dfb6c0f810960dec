"""Runs on a pretrained base: resumed ones equal unbroken ones, the checkpoint can be asked, bad input is refused."""

import json
import random
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig

from model.adapters import READ, using
from model.checkpoint import load
from model.config import AdapterConfig, MPlusConfig
from model.errors import TrainingError
from model.generate import Memory, Reader, Sampling
from model.memory import RowTable
from model.released import ReleasedMemory
from model.training.lora import BASE, KEY, QUERY, Learner, build, set_learning
from model.training.pretrained import Interruption, main, prepare, train_pretrained
from model.training.pretrained_data import tokenise_documents
from model.training.pretrained_distributed import Together
from model.training.pretrained_memory import first_state
from model.training.pretrained_plan import Machine, estimate, read_activations, retriever_activations
from model.training.pretrained_run import PretrainedRun, half_precision
from model.training.pretrained_saves import export, saved
from model.training.pretrained_stages import STAGES, PretrainedPlan, Text, read_pretrained_plan
from model.training.pretrained_tasks import Seeker, memory_prefix
from tests.training.pretrained_base import awake, make_base, make_text, plan_of, run_of


@pytest.fixture
def folders(tmp_path) -> Path:
    make_base(tmp_path / "base")
    make_text(tmp_path / "text")
    return tmp_path


def trained(plan: PretrainedPlan, folders: Path, stage: str, name: str, **options) -> list:
    return list(train_pretrained(stage, plan, folders / "text", folders / "work", folders / name, **options))


def state_files(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((run / "state").iterdir())}


@pytest.mark.parametrize("stage", ["2", "3"])
def test_a_resumed_run_equals_an_unbroken_one_bit_for_bit(folders, stage):
    plan = plan_of(folders / "base", dropout=0.1, steps=12, pass_ratio=0.5)
    whole = trained(plan, folders, stage, "whole")
    broken = train_pretrained(stage, plan, folders / "text", folders / "work", folders / "broken")
    first = list(islice(broken, 5))
    broken.close()
    rest = trained(plan, folders, stage, "broken", resume=True)
    assert [step.losses for step in first + rest] == [step.losses for step in whole]
    assert state_files(folders / "broken") == state_files(folders / "whole")
    tasks = {name.split(":")[0] for step in whole for name in step.losses if ":" in name}
    assert tasks >= {"cat", "again"}, "the law is about runs in which a sentence comes back"
    for name in ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"):
        assert (folders / "broken/model" / name).read_bytes() == (folders / "whole/model" / name).read_bytes()


def test_a_run_validates_every_so_often_and_at_its_last_step(folders):
    plan = plan_of(folders / "base", steps=5, validate_every=2)
    steps = trained(plan, folders, "1", "run", validate=lambda model: {"right": 1.0})
    assert [step.number for step in steps if "right" in step.losses] == [2, 4, 5]


def test_another_seed_trains_differently(folders):
    plan = plan_of(folders / "base", steps=3)
    trained(plan, folders, "2", "a")
    trained(plan_of(folders / "base", steps=3, seed=1), folders, "2", "b")
    assert state_files(folders / "a") != state_files(folders / "b")


def test_training_changes_what_learns_and_leaves_the_base_alone(folders):
    plan = plan_of(folders / "base", steps=10)
    run = run_of(plan, plan.stages["3"], folders)
    before = {name: tensor.clone() for name, tensor in run.learner.state_dict().items()}
    list(run.train())
    changed = {name for name, p in run.learner.named_parameters() if not torch.equal(p, before[name])}
    base = set(run.learner.groups()[BASE])
    assert changed
    assert not changed & base


def test_reading_behind_memory_gets_better_on_documents_that_repeat(folders):
    text = make_text(folders / "few", count=2)
    plan = plan_of(folders / "base", steps=60, pass_ratio=1.0, cat=1.0, full=0.0, repeat=0.0)
    steps = list(train_pretrained("1", plan, text, folders / "work", folders / "learning"))
    losses = [step.losses["cat: language"] for step in steps]
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])


def test_the_retriever_learns_to_tell_documents_apart(folders):
    text = make_text(folders / "own", count=3, own_words=True)
    changes = {"pass_ratio": 1.0, "cat": 1.0, "full": 0.0, "repeat": 0.0, "pool_blocks": 6, "steps": 100}
    plan = plan_of(folders / "base", projector_rate=5e-3, learning_rate=1e-4, contexts=((0, 1),), **changes)
    steps = list(train_pretrained("2", plan, text, folders / "work", folders / "learning"))
    for part in ("cat: retriever", "cat: encoder retriever"):
        losses = [step.losses[part] for step in steps]
        assert sum(losses[-25:]) < 0.85 * sum(losses[:25]), part


def reader_of(folder: Path) -> Reader:
    checkpoint = load(folder, "read", "cpu", "float32")
    shipped, rows = checkpoint.background, checkpoint.background_rows()
    assert shipped is not None
    assert rows is not None
    ages, lives = shipped.ages.numpy(), shipped.frequencies.numpy()
    memory = ReleasedMemory(checkpoint.model.config, shipped.pool.shape[1], shipped.long_term.shape[1], ages, lives)
    return Reader(checkpoint.model, Memory(RowTable([rows]), memory.membership()))


@pytest.mark.parametrize("stage", ["1", "2", "3"])
def test_the_result_loads_in_both_roles_and_can_be_asked(folders, stage):
    plan = plan_of(folders / "base", steps=8)
    trained(plan, folders, stage, "run")
    folder = folders / "run/model"
    reader = reader_of(folder)
    answer = list(reader.generate(torch.tensor([[5, 6, 7]]), Sampling(max_tokens=4)))
    assert len(answer) == 4
    writer = load(folder, "write", "cpu", "float32")
    rows, _ = writer.model.write(torch.tensor([[4, 5, 6, 7, 8]]), writer.first_rows()[:, None])
    assert rows.shape == (2, 1, 4, 16)
    assert rows.isfinite().all()
    assert (folder / "tokenizer.json").is_file()


def test_the_checkpoint_reads_as_the_learner_reads(folders):
    """Merged adapters, shipped pool and recalled rows give the hidden states that training saw."""
    plan = plan_of(folders / "base", steps=9)
    stage = plan.stages["3"]
    run = run_of(plan, stage, folders)
    awake(run.learner)
    list(run.train())
    run.teacher.state.segments[-1].merged = True  # a checkpoint ships pending rows as merged ones
    run.save()
    export(folders / "base", saved(run.folder), plan.config(stage), folders / "model")
    ids = torch.tensor([[9, 8, 7, 6]])
    run.learner.eval()
    with using(run.learner.model, READ), torch.no_grad():
        expected = run.learner.model.read(ids, memory_prefix(run.learner, run.teacher.state, None))
    hidden, _, _ = reader_of(folders / "model").prefill(ids)
    torch.testing.assert_close(hidden, expected, rtol=1e-3, atol=1e-4)


def test_names_and_shapes_of_the_result_are_the_published_ones(folders):
    plan = plan_of(folders / "base", steps=6)
    trained(plan, folders, "3", "run")
    index = json.loads((folders / "run/model/model.safetensors.index.json").read_text())["weight_map"]
    for name in (
        "memory", "bos_embedding", "new_memory_positional_emb", "ltm.0", "ltm_keys.1", "ltm_ages.0",
        "ltm_recall_frequencies.1", "model.layers.0.self_attn.q_proj.base_layer.weight",
        "model.layers.0.self_attn.o_proj.weight", "model.layers.1.mlp.up_proj.lora_A.default.weight",
        "model.layers.1.mlp.up_proj.lora_B.decoder_adapter.weight", "model.layers.0.self_attn.query_proj.0.weight",
        "model.layers.0.self_attn.encoder_query_proj.2.weight", "lm_head.weight",
    ):  # fmt: skip
        assert name in index
    assert not any(name.startswith(("llama", "start_memory", "retrievers")) for name in index)


def test_a_stage_goes_on_from_the_stage_before_with_its_memory(folders):
    plan = plan_of(folders / "base", steps=5)
    trained(plan, folders, "1", "one")
    trained(plan, folders, "2", "two", start=folders / "one")
    two = load_file(folders / "two/state/memory-0.safetensors")
    run = run_of(plan, plan.stages["3"], folders, "three")
    run.begin(folders / "two")
    learned = load_file(folders / "two/state/learned.safetensors")
    assert all(torch.equal(p.detach(), learned[name]) for name, p in run.learner.learning().items())
    state, moved = run.teacher.state, two["memory"].shape[1] - run.learner.config.pool_rows
    assert torch.equal(state.rows, two["memory"][:, moved:])
    assert torch.equal(state.segments[0].rows, two["memory"][:, :moved])
    assert run.step == 0
    list(run.train())


def test_a_memory_offered_to_a_larger_pool_keeps_all_its_rows(folders):
    plan = plan_of(folders / "base", steps=3)
    trained(plan, folders, "1", "one")
    larger = plan_of(folders / "base", steps=3, pool_blocks=6)
    run = run_of(larger, larger.stages["2"], folders, "two")
    run.begin(folders / "one")
    before = load_file(folders / "one/state/memory-0.safetensors")["memory"]
    assert torch.equal(run.teacher.state.rows[:, -before.shape[1] :], before)


def test_without_all_memories_every_process_goes_on_from_the_first_ones(folders):
    plan = plan_of(folders / "base", steps=3, save_all_memories=False)
    trained(plan, folders, "2", "run")
    stage = plan.stages["2"]
    second = prepare(plan, stage, folders / "text", folders / "work", folders / "run", Together(rank=1))
    first = run_of(plan, stage, folders)
    assert not torch.equal(first.teacher.state.rows, second.teacher.state.rows)
    assert first.resume()
    assert second.resume()
    assert torch.equal(first.teacher.state.rows, second.teacher.state.rows)
    whole = replace(stage, save_all_memories=True)
    lost = prepare(plan, whole, folders / "text", folders / "work", folders / "run", Together(rank=1))
    with pytest.raises(TrainingError, match="fewer processes"):
        lost.resume()


def test_bfloat16_bases_train_their_adapters_in_float32(folders):
    plan = plan_of(folders / "base", steps=4)
    plan = replace(plan, base=replace(plan.base, dtype="bfloat16"))
    run = run_of(plan, plan.stages["3"], folders)
    assert run.learner.model.dtype == run.teacher.state.rows.dtype == torch.bfloat16
    assert all(p.dtype == torch.float32 for p in run.learner.learning().values())
    assert all(torch.tensor(list(step.losses.values())).isfinite().all() for step in run.train())


def test_casts_made_without_gradient_do_not_cost_the_projectors_theirs(folders):
    """Writing casts the key projectors while nothing is recorded; reading casts them again, with gradient."""
    plan = plan_of(folders / "base")
    plan = replace(plan, base=replace(plan.base, dtype="bfloat16"))
    run = run_of(plan, plan.stages["3"], folders)
    rng, generator = random.Random(1), torch.Generator().manual_seed(1)
    with half_precision(run.learner):
        parts = run.teacher.cat(run.teacher.lesson("cat", rng, 0), rng, generator)
    parts["retriever"].backward()
    for group in (QUERY, KEY):
        assert all(p.grad is not None and p.grad.any() for p in run.learner.groups()[group].values()), group


# ------------------------------------------------------------------------------------------------------- bad input


@contextmanager
def no_more_than(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond `size` bytes: writing more fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_save_before_whole(folders):
    plan = plan_of(folders / "base", steps=2)
    run = run_of(plan, plan.stages["2"], folders)
    list(run.train())
    before = state_files(run.folder)
    with no_more_than(1000), pytest.raises(TrainingError, match="could not be saved") as caught:
        run.save()
    assert "disk space" in caught.value.remedy
    assert state_files(run.folder) == before
    assert not (run.folder / "state.new").exists()


def test_a_save_that_was_cut_off_costs_only_itself(folders):
    """Killed between the two renames: the save before lies in state.old, the new one is not in place."""
    plan = plan_of(folders / "base", steps=4)
    trained(plan, folders, "2", "whole")
    broken = train_pretrained("2", plan, folders / "text", folders / "work", folders / "broken")
    list(islice(broken, 2))
    broken.close()
    (folders / "broken/state").rename(folders / "broken/state.old")
    (folders / "broken/state.new").mkdir()
    (folders / "broken/state.new/learned.safetensors").write_bytes(b"half")
    trained(plan, folders, "2", "broken", resume=True)
    assert state_files(folders / "broken") == state_files(folders / "whole")
    assert not (folders / "broken/state.old").exists()


def test_the_first_interruption_waits_for_the_step_and_the_second_does_not():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    try:
        interruption = Interruption()
        assert not interruption.wanted()
        signal.raise_signal(signal.SIGTERM)
        assert interruption.wanted()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])


def test_a_full_disk_while_tokenising_leaves_no_half_of_the_tokens(folders):
    with no_more_than(100), pytest.raises(TrainingError, match="could not be saved"):
        tokenise_documents(folders / "text", folders / "base", Text(), folders / "work")
    assert not list((folders / "work").iterdir())


def test_a_folder_without_text_is_named(folders):
    (folders / "empty").mkdir()
    plan = plan_of(folders / "base")
    with pytest.raises(TrainingError, match="no text in") as caught:
        next(train_pretrained("1", plan, folders / "empty", folders / "work", folders / "run"))
    assert "jsonl" in caught.value.remedy
    (folders / "empty/a.jsonl").write_text('{"text": ""}\n')
    with pytest.raises(TrainingError, match="are empty"):
        next(train_pretrained("1", plan, folders / "empty", folders / "work", folders / "run"))
    (folders / "empty/a.jsonl").write_text('{"text": "w1 w2"}\n')
    with pytest.raises(TrainingError, match="none of the 1 documents has the length"):
        next(train_pretrained("1", plan, folders / "empty", folders / "work2", folders / "run"))


def refused(plan: PretrainedPlan, stage: str = "1") -> TrainingError:
    with pytest.raises(TrainingError) as caught:
        build(Path(plan.base.checkpoint), plan.config(plan.stages[stage]), torch.float32, 0)
    assert caught.value.remedy
    return caught.value


def test_a_base_without_tokenizer_is_refused(folders):
    (folders / "base/tokenizer.json").unlink()
    with pytest.raises(TrainingError, match="tokenizer") as caught:
        next(train_pretrained("1", plan_of(folders / "base"), folders / "text", folders / "work", folders / "run"))
    assert caught.value.remedy


def test_bases_that_are_none_are_refused(folders):
    config = folders / "base/config.json"
    raw = json.loads(config.read_text())
    config.write_text(json.dumps(raw | {"intermediate_size": 48}))
    assert "does not know" in refused(plan_of(folders / "base")).message
    config.write_text(json.dumps(raw | {"num_hidden_layers": 3}))
    assert "lack" in refused(plan_of(folders / "base")).message
    config.write_text(json.dumps(raw | {"model_type": "gpt2"}))
    assert "not a Llama" in refused(plan_of(folders / "base")).message
    config.write_text(json.dumps(raw | {"num_tokens": 4}))
    assert "M+ already" in refused(plan_of(folders / "base")).message
    config.write_text(json.dumps(raw))
    (folders / "base/model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0 not a header")
    assert "damaged" in refused(plan_of(folders / "base")).message
    (folders / "base/model.safetensors").rename(folders / "base/pytorch_model.bin")
    assert "pickled" in refused(plan_of(folders / "base")).message
    config.unlink()
    assert "config.json" in refused(plan_of(folders / "base")).message


def test_a_run_of_another_shape_is_refused(folders):
    plan = plan_of(folders / "base", steps=2)
    trained(plan, folders, "1", "one")
    wider = replace(plan, adapters=replace(plan.adapters, rank=3))
    with pytest.raises(TrainingError, match="another shape") as caught:
        run_of(wider, wider.stages["1"], folders, "two").begin(folders / "one")
    assert caught.value.remedy
    with pytest.raises(TrainingError, match="no saved run"):
        run_of(plan, plan.stages["1"], folders, "two").begin(folders / "base")
    with pytest.raises(TrainingError, match="with seed 0, not 5"):
        trained(plan_of(folders / "base", steps=2, seed=5), folders, "1", "one", resume=True)


def test_a_gradient_that_is_no_number_changes_nothing(folders):
    plan = plan_of(folders / "base", steps=1)
    run: PretrainedRun = run_of(plan, plan.stages["1"], folders)
    run.teacher.state.rows.fill_(float("nan"))
    before = {name: p.detach().clone() for name, p in run.learner.learning().items()}
    list(run.train())
    assert all(torch.equal(p, before[name]) for name, p in run.learner.learning().items())


# -------------------------------------------------------------------------------------------------- plan and commands

CONFIG = """
[base]
checkpoint = "base"
[memory]
rows = 4
retriever_dim = 6
[adapters]
rank = 2
alpha = 4
[stage.all]
steps = 3
pool_blocks = 4
chunk_least = 4
chunk_most = 12
sentence_least = 4
sentence_most = 24
documents = [[0, 999, 1.0]]
[stage.mine]
like = "2"
cat = 0.5
"""


def test_configurations_change_the_papers_stages_and_unknown_keys_are_named(folders):
    file = folders / "plan.toml"
    file.write_text(CONFIG)
    plan = read_pretrained_plan(file)
    assert plan.stages["mine"] == replace(plan.stages["2"], cat=0.5)
    assert plan.stages["3"].empty_prob == STAGES["3"].empty_prob
    assert plan.stages["3"].steps == 3
    assert Path(plan.base.checkpoint) == folders / "base"
    file.write_text(CONFIG + "speed = 3\n")
    with pytest.raises(TrainingError, match=r"stage\.mine\.speed"):
        read_pretrained_plan(file)
    file.write_text(CONFIG.replace('like = "2"', 'like = "9"'))
    with pytest.raises(TrainingError, match="none of the paper's"):
        read_pretrained_plan(file)
    file.write_text("[base]\n")
    with pytest.raises(TrainingError, match="no base"):
        read_pretrained_plan(file)


def test_the_command_trains_plans_and_refuses(folders, capsys):
    (folders / "plan.toml").write_text(CONFIG)
    common = ["--config", str(folders / "plan.toml")]
    places = [*common, "--text", str(folders / "text"), "--work", str(folders / "work"), "--out", str(folders / "run")]
    assert run_main(["mine", *places]) == 0
    steps = [json.loads(line)["step"] for line in capsys.readouterr().out.splitlines()]
    assert steps == [1, 2, 3]
    assert (folders / "run/model/config.json").is_file()
    assert run_main(["3", *common, "--plan"]) == 0
    assert "GiB" in capsys.readouterr().out
    assert run_main(["nine", *places]) == 1
    message, remedy = capsys.readouterr().err.splitlines()
    assert "no stage «nine»" in message
    assert "mine" in remedy


def run_main(words: list[str]) -> int:
    before = sys.argv, signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    sys.argv = ["pretrained", *words]
    try:
        return main()
    finally:
        sys.argv = before[0]
        signal.signal(signal.SIGINT, before[1])
        signal.signal(signal.SIGTERM, before[2])


def test_sizes_in_the_plan_are_those_of_the_model(folders):
    plan = plan_of(folders / "base")
    for name, stage in plan.stages.items():
        config = plan.config(stage)
        learner = build(folders / "base", config, torch.float32, 0)
        found = estimate(config, stage, Machine())
        assert found.learned == sum(p.numel() for p in learner.learning().values()), name
        assert found.base == sum(p.numel() for p in learner.groups()[BASE].values()), name
        assert abs(sum(found.shares.values()) - 1) < 1e-9


def test_damaged_states_are_refused(folders):
    plan = plan_of(folders / "base", steps=2)
    trained(plan, folders, "1", "one")
    save_file({}, folders / "one/state/learned.safetensors")
    with pytest.raises(TrainingError, match="another shape"):
        trained(plan, folders, "1", "one", resume=True)
    (folders / "one/state/learned.safetensors").write_bytes(b"")
    with pytest.raises(TrainingError, match="damaged"):
        trained(plan, folders, "1", "one", resume=True)


def kept_bytes(learner: Learner, work: Callable[[], object]) -> int:
    """Bytes that autograd keeps for the backward pass of some work, each storage once, weights not counted."""
    seen: dict[int, int] = {}
    weights = {parameter.untyped_storage().data_ptr() for parameter in learner.parameters()}
    kept: list[torch.Tensor] = []  # held, so that no storage is used twice meanwhile

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            seen[storage.data_ptr()] = storage.nbytes()
            kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        work()
    return sum(seen.values())


@pytest.mark.parametrize(("pool", "tokens", "dim"), [(128, 32, 8), (256, 32, 8), (128, 64, 16)])
def test_activations_of_the_plan_are_near_what_autograd_keeps(pool, tokens, dim):
    llama = LlamaConfig(
        hidden_size=64, intermediate_size=224, num_hidden_layers=3, num_attention_heads=8, num_key_value_heads=2,
        vocab_size=64, attn_implementation="sdpa",
    )  # fmt: skip
    config = MPlusConfig(llama, 16, pool, 0, retriever_dim=dim, adapters=AdapterConfig(rank=2))
    learner = Learner(config)
    for name, parameter in learner.named_parameters():
        parameter.requires_grad_(False)
        if name not in learner.learning():
            parameter.data = parameter.data.bfloat16()
    set_learning(learner)
    state = first_state(config, torch.Generator(), torch.device("cpu"), torch.bfloat16)

    def read(is_sought: bool) -> None:
        seeker = Seeker(learner, state, -1, tokens, True) if is_sought else None
        with half_precision(learner), using(learner.model, READ):
            learner.model.read(torch.zeros(1, tokens, dtype=torch.long), memory_prefix(learner, state, seeker))
            results.append(seeker)  # what a step adds up afterwards is alive until then

    results: list[Seeker | None] = []
    plain, sought = kept_bytes(learner, lambda: read(False)), kept_bytes(learner, lambda: read(True))
    assert 0.9 < plain / read_activations(config, tokens) < 1.1
    assert 0.8 < (sought - plain) / retriever_activations(config, tokens) < 1.2


def test_a_configuration_with_a_base_is_trained_by_the_general_command_too(folders):
    from model.training.cli import Sources, train

    (folders / "plan.toml").write_text(CONFIG)
    sources = Sources(folders / "text", None, folders / "work")
    steps = list(train("mine", folders / "plan.toml", folders / "run", sources, threads=1))
    assert [step.number for step in steps] == [1, 2, 3]
    assert load(folders / "run/model", "read", "cpu", "float32").background is not None
