"""Laws of compressed caches: with room for everything they change nothing; what they drop is as if it were hidden."""

from __future__ import annotations

import pytest
import torch

from model.adapters import READ, using
from model.cache import RoomyLayer
from model.evaluation.common import Subject
from model.evaluation.methods import compressed, context
from model.evaluation.methods.compressed import H2O, Compressed, SnapKV, attention_votes
from model.evaluation.methods.context import FullContext, read_long
from model.evaluation.methods.method import Budget, DoesNotFit
from model.generate import decode
from model.mplus import MPlus
from tests.evaluation.methods.text_fakes import QUESTION, saved, strong_model
from tests.model.tiny import tiny_model, tokens
from tests.training.tiny import story

BOTH = [SnapKV, H2O]
OPTIONS = ("the king", "a river near the tower", "queen")


@pytest.fixture(scope="module")
def strong(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """Two key-value heads of two query heads each, with a bos row."""
    return saved(tmp_path_factory.mktemp("strong"), bos_row=True)


def having_read(kind: type[FullContext], subject: Subject, rows: int | None = None) -> FullContext:
    method = kind(subject, Budget(rows))
    method.read(story(1, 8))
    return method


def probabilities(model: MPlus, layer: int, entering: torch.Tensor, front: int) -> torch.Tensor:
    """Attention weights of a stock layer in one piece: (H, n, front + n) without those of a prefix's queries."""
    attention, rows = model.layer(layer).self_attn, model.normed(layer, entering)
    positions = torch.arange(front, front + entering.shape[1])
    cos, sin = model.rotary(positions, entering)
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

    queries, keys = (model.as_heads(part(rows)) for part in (attention.q_proj, attention.k_proj))
    queries, keys = apply_rotary_pos_emb(queries, keys, cos, sin)
    keys = keys.repeat_interleave(queries.shape[1] // keys.shape[1], 1)
    scores = (queries @ keys.transpose(2, 3))[0] * model.config.head_dim**-0.5
    causal = torch.ones(scores.shape[1:], dtype=torch.bool).tril()
    return scores.masked_fill(~causal, -torch.inf).softmax(-1)


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("spare", [0, 1000])
def test_with_a_budget_of_the_whole_context_it_is_full_context(
    strong: Subject, kind: type[Compressed], spare: int
) -> None:
    prompt, whole = strong.question(QUESTION), having_read(FullContext, strong)
    options = [strong.tokenizer.encode(" " + option) for option in OPTIONS]
    held = whole.prefill(prompt, 12)[1].layers[0].length
    method = having_read(kind, strong, held + spare)
    assert method.answer(prompt, 12) == whole.answer(prompt, 12)
    assert method.score(prompt, options) == whole.score(prompt, options)
    assert having_read(kind, strong, held // 4).score(prompt, options) != whole.score(prompt, options)


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("rows", [1, 20, 33, 64])
def test_exactly_the_budget_is_held(strong: Subject, kind: type[Compressed], rows: int) -> None:
    method, prompt = having_read(kind, strong, rows), strong.question(QUESTION)
    hidden, cache = method.prefill(prompt, 4)
    whole, full = having_read(FullContext, strong).prefill(prompt, 4)
    torch.testing.assert_close(hidden, whole)  # the prompt itself was read in full
    for ours, theirs in zip(cache.layers, full.layers, strict=True):
        assert ours.keys.shape == ours.values.shape == (1, 2, rows, strong.config.head_dim)
        assert ours.length + ours.dropped == theirs.length
    pair = 2 * strong.config.layers * strong.config.key_value_dim * 4  # bytes, float32
    assert method.bytes_held() == {"device": rows * pair, "host": 4 * len(method.held[0]), "disk": 0}


@pytest.mark.parametrize("kind", BOTH)
def test_without_a_budget_as_many_pairs_as_m_plus_has_rows_are_held(strong: Subject, kind: type[Compressed]) -> None:
    _, cache = having_read(kind, strong).prefill(strong.question(QUESTION), 4)
    assert cache.layers[0].length == strong.config.pool_rows + strong.config.recall_rows


@pytest.mark.parametrize("kind", BOTH)
def test_what_is_dropped_is_as_if_it_were_hidden(strong: Subject, kind: type[Compressed]) -> None:
    """Decoding behind the compressed cache equals decoding behind all pairs with a mask over the dropped ones."""
    prompt, model, step = strong.question(QUESTION), strong.model, strong.ids([7, 9, 11])
    chosen: list[torch.Tensor] = []
    method = having_read(kind, strong, 40)
    keep = RoomyLayer.keep
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RoomyLayer, "keep", lambda self, rows, room: (chosen.append(rows), keep(self, rows, room)))
        _, cache = method.prefill(prompt, 4)
    found = decode(model, step, cache)
    _, full = having_read(FullContext, strong).prefill(prompt, 4)
    length = full.layers[0].length
    hidden, rotary = model.embed(step), model.rotary(torch.arange(length, length + 3), model.embed(step))
    for layer, rows in enumerate(chosen):
        hide = torch.full((2, length), -torch.inf).scatter(1, rows, 0.0).repeat_interleave(2, 0)  # (H, P)
        mask = torch.cat([hide[None, :, None].expand(-1, -1, 3, -1), torch.zeros(1, 4, 3, 3)], 3)
        mask[..., length:].masked_fill_(~torch.ones(3, 3, dtype=torch.bool).tril(), -torch.inf)
        hidden = model.step(layer, hidden, mask, full, rotary)
    assert len(chosen) == strong.config.layers
    assert not torch.equal(chosen[0][0], chosen[0][1])  # every head keeps pairs of its own
    torch.testing.assert_close(found, hidden, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", BOTH)
def test_tokens_decoded_one_by_one_stand_where_tokens_decoded_together_do(
    strong: Subject, kind: type[Compressed]
) -> None:
    method, prompt = having_read(kind, strong, 40), strong.question(QUESTION)
    _, together = method.prefill(prompt, 1)  # more is decoded than there is room for
    _, apart = method.prefill(prompt, 8)
    ids = strong.ids(range(3, 11))
    steps = torch.cat([decode(strong.model, ids[:, at : at + 1], apart) for at in range(8)], 1)
    torch.testing.assert_close(decode(strong.model, ids, together), steps, atol=1e-5, rtol=1e-4)
    assert apart.layers[0].length == 48


@pytest.mark.parametrize("tile", [3, 1000])
@pytest.mark.parametrize("last", [1, 8, 40])
def test_votes_are_the_attention_of_the_stock_layer(tile: int, last: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compressed, "VOTERS", tile)
    model, checked = strong_model(bos_row=False), []

    def after(layer: int, entering: torch.Tensor, held: RoomyLayer) -> None:
        votes = attention_votes(model, layer, entering, held.keys, last)
        wanted = probabilities(model, layer, entering, 0)[:, -last:].sum(1).view(2, 2, -1).sum(1)
        torch.testing.assert_close(votes, wanted, atol=1e-5, rtol=1e-4)
        checked.append(layer)

    empty = [model.project_layer(layer, torch.zeros(1, 0, 32)) for layer in range(2)]
    read_long(model, empty, tokens(40), 2, after)
    assert checked == [0, 1]


def test_votes_of_every_query_sum_to_one_behind_a_front_and_under_adapters() -> None:
    model, checked = tiny_model(adapters=True), []
    front = [model.project_layer(layer, torch.randn(1, 3, 32)) for layer in range(3)]

    def after(layer: int, entering: torch.Tensor, held: RoomyLayer) -> None:
        votes = attention_votes(model, layer, entering, held.keys, 20)
        assert votes.shape == (2, 1 + 3 + 20)
        torch.testing.assert_close(votes.sum(1), torch.full((2,), 20 * 2.0))
        with using(model, READ):
            assert torch.equal(votes, attention_votes(model, layer, entering, held.keys, 20))
        checked.append(layer)

    read_long(model, front, tokens(20), 2, after)
    assert checked == [0, 1, 2]


def held_of(keys: int) -> RoomyLayer:
    layer = RoomyLayer(0)
    layer.update(torch.zeros(1, 1, keys, 2), torch.arange(keys).float()[None, None, :, None].expand(-1, -1, -1, 2))
    return layer


def positions(
    method: Compressed, votes: torch.Tensor, queries: int, pairs: int, patch: pytest.MonkeyPatch
) -> list[float]:
    """What is kept of a layer whose votes are given, by the values that stand for positions."""
    patch.setattr(compressed, "attention_votes", lambda *_: votes[None])
    patch.setattr(type(method), "pairs", pairs)
    held = held_of(len(votes))
    method.after_layer(0, torch.zeros(1, queries, 32), held, 0)
    return held.values[0, 0, :, 0].tolist()


def test_snapkv_keeps_what_stands_around_a_vote_and_the_window(
    strong: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    votes = torch.zeros(100)
    votes[20] = 5.0
    votes[90] = 9.0  # inside the window, which needs no votes
    found = positions(SnapKV(strong), votes, 100, 7 + 32, monkeypatch)
    assert found == [*range(17, 24), *range(68, 100)]


def test_h2o_keeps_heavy_hitters_and_as_many_recent_pairs(strong: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    votes = torch.zeros(50)
    votes[[3, 17, 30, 44]] = torch.tensor([2.0, 1.0, 3.0, 4.0])
    assert positions(H2O(strong), votes, 50, 6, monkeypatch) == [3, 30, 44, 47, 48, 49]
    assert positions(H2O(strong), votes, 50, 13, monkeypatch)[-7:] == list(range(43, 50))


@pytest.mark.parametrize("kind", BOTH)
def test_asking_changes_nothing(strong: Subject, kind: type[Compressed]) -> None:
    method, prompt = having_read(kind, strong, 40), strong.question(QUESTION)
    options = [strong.tokenizer.encode(" " + option) for option in OPTIONS]
    first, said = method.score(prompt, options), method.answer(prompt, 8)
    method.answer(strong.question("Who lost the sword?"), 8)
    assert method.score(prompt, options) == first
    assert method.answer(prompt, 8) == said
    assert method.score(prompt, options[::-1]) == first[::-1]  # no option sees another


@pytest.mark.parametrize("kind", BOTH)
def test_it_does_not_fit_where_full_context_does_not(strong: Subject, kind: type[Compressed]) -> None:
    method = kind(strong, Budget(40))
    method.read(story(1, 200))
    with pytest.raises(DoesNotFit):
        method.answer(strong.question(QUESTION), 2)


@pytest.mark.parametrize("kind", BOTH)
def test_reading_in_tiles_keeps_the_same_pairs(
    strong: Subject, kind: type[Compressed], monkeypatch: pytest.MonkeyPatch
) -> None:
    method, prompt = having_read(kind, strong, 40), strong.question(QUESTION)
    _, wanted = method.prefill(prompt, 4)
    monkeypatch.setattr(context, "TILE", 16)
    _, found = method.prefill(prompt, 4)
    for ours, theirs in zip(found.layers, wanted.layers, strict=True):
        torch.testing.assert_close(ours.keys, theirs.keys, atol=1e-5, rtol=1e-5)
