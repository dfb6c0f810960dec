"""Laws of methods that recall in another way than M+, and of what may stand in the place of recalled rows."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from model.adapters import READ, using
from model.checkpoint import save
from model.errors import ModelError
from model.evaluation.common import Subject
from model.evaluation.methods.ablations import Ablation, Drawn, Noise, Padding, ReplacingReader, Shuffled, Zeros
from model.evaluation.methods.attention_recall import MemoryAttention, mean_query
from model.evaluation.methods.knn import Nearest
from model.evaluation.methods.latent import Latent
from model.evaluation.methods.method import Budget
from model.generate import Reader, RetrievalTrace
from model.mplus import KeysValues, MPlus
from model.training.tokenizer import train_tokenizer
from tests.training.tiny import Shape, story

EVERYTHING = Budget(rows=100_000)
QUESTION = "What did the fox find?"


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """A model with two key-value heads of two query heads each, whose weights are large enough to tell rows apart."""
    folder = tmp_path_factory.mktemp("grouped")
    shape = Shape(vocabulary=320, width=32, layers=2, heads=4, key_value_heads=2, feed_forward=48, rows=8,
                  pool_chunks=3, recall_chunks=2, retriever=8, window=128, name="grouped")  # fmt: skip
    torch.manual_seed(1)
    model = MPlus(shape.config())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2 + float("norm" in name))
    save(model, folder)
    train_tokenizer((story(number) for number in range(4)), shape.vocabulary, folder / "tokenizer.json")
    return Subject(folder, "cpu", "float32")


def having_read(method: Latent, texts: int = 2) -> Latent:
    for number in range(texts):
        method.read(story(number, 8))
    return method


def entering(method: Latent, layer: int = 0) -> torch.Tensor:
    """Hidden states of a question that enter a layer."""
    seen: dict[int, torch.Tensor] = {}
    reader, ids = method.reader(), method.subject.ids(method.subject.question(QUESTION))
    inner = reader._recalled

    def recalled(index: int, hidden: torch.Tensor, trace: RetrievalTrace) -> KeysValues:
        seen[index] = hidden
        return inner(index, hidden, trace)

    reader._recalled = recalled  # type: ignore[method-assign]
    reader.prefill(ids)
    reader._recalled = inner  # type: ignore[method-assign]
    return seen[layer]


def recalled(method: Latent, layer: int, hidden: torch.Tensor) -> tuple[KeysValues, RetrievalTrace]:
    """What stands in front of the pool, and the trace."""
    trace = RetrievalTrace()
    with torch.inference_mode(), using(method.model, READ):
        return method.reader()._recalled(layer, hidden, trace), trace


@pytest.mark.parametrize("kind", [MemoryAttention, Nearest, Latent])
def test_recalling_everything_is_attention_over_all_rows(grouped: Subject, kind: type[Latent]) -> None:
    prompt = grouped.question(QUESTION)
    method = having_read(kind(grouped, EVERYTHING))
    ours, _ = method.prefill(prompt, 4)
    memory = grouped.memory(method.documents)
    everything = RetrievalTrace()
    for pool in memory.membership.pool:
        rows = torch.arange(len(memory.table))
        everything.recalled.append(rows[~torch.isin(rows, pool)])
    wanted = Reader(grouped.model, memory).prefill(grouped.ids(prompt), 4, everything).hidden
    torch.testing.assert_close(grouped.model.logits(ours), grouped.model.logits(wanted), atol=1e-5, rtol=1e-5)
    few, _ = having_read(kind(grouped)).prefill(prompt, 4)
    assert not torch.allclose(few, wanted, atol=1e-3)  # R rows are less than all


@pytest.mark.parametrize("kind", [MemoryAttention, Nearest])
def test_nothing_read_and_little_read_can_be_asked(grouped: Subject, kind: type[Latent]) -> None:
    method = kind(grouped)
    nothing, _ = method.prefill(grouped.question(QUESTION), 2)
    wanted, _ = Latent(grouped).prefill(grouped.question(QUESTION), 2)
    torch.testing.assert_close(nothing, wanted)
    method.read("The fox hid.")
    assert isinstance(method.answer(grouped.question(QUESTION), 3), str)


def test_attention_recalls_the_rows_of_the_largest_scores_for_every_head(grouped: Subject) -> None:
    method = having_read(MemoryAttention(grouped))
    hidden, count = entering(method), grouped.config.recall_rows
    memory, layer = method.reader().memory, 0
    (keys, values), trace = recalled(method, layer, hidden)
    attention = grouped.model.layer(layer).self_attn
    queries = attention.q_proj(grouped.model.normed(layer, hidden))[0].unflatten(-1, (4, -1))  # (n, H, hd)
    stored = torch.cat([block.keys[layer] for block in memory.table.blocks]).float().unflatten(-1, (2, -1))
    stored_values = torch.cat([block.values[layer] for block in memory.table.blocks]).float().unflatten(-1, (2, -1))
    union = set()
    for head in range(2):
        group = queries[:, 2 * head : 2 * head + 2].flatten(0, 1)  # every query that this head serves
        scores = (group @ stored[:, head].T).mean(0)
        scores[memory.membership.pool[layer]] = -torch.inf
        rows = scores.topk(count).indices.sort().values
        torch.testing.assert_close(keys[0, head], stored[rows, head])
        torch.testing.assert_close(values[0, head], stored_values[rows, head])
        union |= set(rows.tolist())
    assert set(trace.recalled[0].tolist()) == union
    assert len(union) > count  # the heads recall rows of their own


def test_the_mean_query_serves_all_query_heads_of_a_group(grouped: Subject) -> None:
    hidden = torch.randn(1, 5, 32)
    queries = grouped.model.layer(1).self_attn.q_proj(grouped.model.normed(1, hidden))[0].view(5, 2, 2, 8)
    torch.testing.assert_close(mean_query(grouped.model, 1, hidden), queries.mean((0, 2)))


def test_nearness_recalls_the_rows_whose_hidden_states_are_nearest(grouped: Subject) -> None:
    method = having_read(Nearest(grouped))
    hidden, count = entering(method, 1), grouped.config.recall_rows
    _, trace = recalled(method, 1, hidden)
    rows = torch.cat([one.hidden[1] for one in method.documents]).float()  # type: ignore[index]
    prompt = grouped.model.normed(1, hidden)[0].mean(0)
    near = torch.cosine_similarity(grouped.model.normed(1, rows), prompt, dim=-1)
    near[method.reader().memory.membership.pool[1]] = -torch.inf
    assert trace.recalled[0].tolist() == near.topk(count).indices.sort().values.tolist()


def test_hidden_states_are_those_that_the_rows_were_projected_from(grouped: Subject) -> None:
    ids = grouped.tokenizer.encode(story(3, 4))
    plain, kept = grouped.write("one", ids), grouped.write("one", ids, keep_hidden=True)
    assert plain.hidden is None
    assert torch.equal(plain.rows.keys, kept.rows.keys)
    assert kept.hidden is not None
    keys = grouped.model.layer(1).self_attn.k_proj(grouped.model.normed(1, kept.hidden[1].float()))
    torch.testing.assert_close(keys, kept.rows.keys[1].float(), atol=0.05, rtol=0.05)
    assert kept.first(1).hidden.shape[1] == len(kept.first(1).rows) == grouped.config.memory_rows  # type: ignore[union-attr]
    method, latent = having_read(Nearest(grouped)), having_read(Latent(grouped))
    more = sum(one.hidden.nbytes for one in method.documents)  # type: ignore[union-attr]
    assert method.bytes_held()["host"] == latent.bytes_held()["host"] + more


@pytest.mark.parametrize("kind", [Zeros, Noise, Padding, Drawn, Shuffled])
def test_an_ablation_changes_the_recalled_rows_alone(grouped: Subject, kind: type[Ablation]) -> None:
    method, whole = having_read(kind(grouped)), having_read(Latent(grouped))
    for layer in range(grouped.config.layers):
        hidden = entering(whole, layer)
        (ours, trace), (wanted, same) = recalled(method, layer, hidden), recalled(whole, layer, hidden)
        assert torch.equal(trace.recalled[0], same.recalled[0])  # the retriever ran as always
        assert ours.keys.shape == wanted.keys.shape
        assert ours.values.shape == wanted.values.shape
        assert not torch.equal(ours.keys, wanted.keys)
        assert torch.equal(method.reader().pool[layer].keys, whole.reader().pool[layer].keys)
        assert torch.equal(method.reader().pool[layer].values, whole.reader().pool[layer].values)
    prompt = grouped.question(QUESTION)
    lengths = [one.prefill(prompt, 2)[1].layers[0].length for one in (method, whole)]
    assert lengths[0] == lengths[1]


@pytest.mark.parametrize("kind", [Zeros, Noise, Padding, Drawn, Shuffled])
def test_an_ablation_draws_the_same_whenever_it_is_asked(grouped: Subject, kind: type[Ablation]) -> None:
    prompt = grouped.question(QUESTION)
    first, _ = having_read(kind(grouped)).prefill(prompt, 2)
    other = having_read(kind(grouped))
    other.prefill(grouped.question("Who?"), 2)
    again, _ = other.prefill(prompt, 2)
    assert torch.equal(first, again)
    seeded = having_read(kind(grouped))
    seeded.seed = 1
    assert torch.equal(first, seeded.prefill(prompt, 2)[0]) == (kind in (Zeros, Padding))


def test_with_nothing_to_recall_an_ablation_is_the_method_itself(grouped: Subject) -> None:
    prompt = grouped.question(QUESTION)
    methods = [kind(grouped) for kind in (Latent, Zeros, Noise, Padding, Drawn, Shuffled)]
    for method in methods:
        method.read("The fox hid.")
    wanted, *others = (method.prefill(prompt, 2)[0] for method in methods)
    assert all(torch.equal(one, wanted) for one in others)


def sorted_rows(one: KeysValues) -> list[list[float]]:
    return sorted(torch.cat([one.keys, one.values], -1)[0].transpose(0, 1).flatten(1).tolist())


def test_shuffled_rows_are_the_recalled_rows_and_random_rows_are_others(grouped: Subject) -> None:
    whole, shuffled, drawn = (having_read(kind(grouped)) for kind in (Latent, Shuffled, Drawn))
    hidden = entering(whole)
    (wanted, _), (mixed, _), (others, trace) = (recalled(one, 0, hidden) for one in (whole, shuffled, drawn))
    assert sorted_rows(mixed) == sorted_rows(wanted)
    assert sorted_rows(others) != sorted_rows(wanted)
    reader, generator = drawn.reader(), torch.Generator().manual_seed(0)
    assert isinstance(reader, ReplacingReader)
    rows = reader.drawn_rows(0, len(trace.recalled[0]), generator)
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert not torch.isin(rows, reader.memory.membership.pool[0]).any()


def test_zeros_are_zeros_padding_is_the_bos_row_and_noise_has_the_moments_of_the_rows(grouped: Subject) -> None:
    whole, zeros, noise, padding = (having_read(kind(grouped), 6) for kind in (Latent, Zeros, Noise, Padding))
    hidden = entering(whole)
    for method in (whole, noise):
        method.reader().recall_rows = 4000
    wanted, none, drawn, bos = (recalled(one, 0, hidden)[0] for one in (whole, zeros, noise, padding))
    assert not none.keys.any()
    assert not none.values.any()
    assert torch.equal(bos.keys, grouped.model.bos_prefix[0].keys.expand_as(bos.keys))
    assert torch.equal(bos.values, grouped.model.bos_prefix[0].values.expand_as(bos.values))
    count = wanted.keys.shape[2]
    for ours, theirs in zip(drawn, wanted, strict=True):
        spread = theirs.std(2)
        assert ((ours.mean(2) - theirs.mean(2)).abs() < 5 * spread / count**0.5).all()
        torch.testing.assert_close(ours.std(2), spread, rtol=5 / count**0.5, atol=0)


def test_padding_needs_a_bos_row(grouped: Subject) -> None:
    method = having_read(Padding(grouped))
    reader = method.reader()
    assert isinstance(reader, ReplacingReader)
    method.model = type("NoBos", (), {"config": type("Config", (), {"bos_row": False})})()
    with pytest.raises(ModelError, match="no bos rows"):
        method.replaced(reader, 0, torch.arange(2))


@pytest.mark.parametrize("kind", [MemoryAttention, Nearest])
def test_rows_that_came_with_a_checkpoint_are_recalled_too(tmp_path: Path, kind: type[Latent]) -> None:
    for name in ("config.json", "model.safetensors"):
        shutil.copy(Path(__file__).parents[2] / "golden" / "model_main" / name, tmp_path / name)
    train_tokenizer((story(number) for number in range(4)), 256, tmp_path / "tokenizer.json")
    subject = Subject(tmp_path, "cpu", "float32")
    method = having_read(kind(subject, EVERYTHING))
    _, trace = recalled(method, 0, entering(method))
    memory = method.reader().memory
    assert len(memory.table) == 64 + 48 + sum(len(one.rows) for one in method.documents)
    both = torch.cat([trace.recalled[0], memory.membership.pool[0]])
    assert sorted(both.tolist()) == list(range(len(memory.table)))
