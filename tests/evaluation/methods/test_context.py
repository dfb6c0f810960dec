"""Laws of methods that put text in front of the question: all of it, or as much as fits."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from model.evaluation.common import Subject
from model.evaluation.methods import METHODS, context
from model.evaluation.methods.context import FullContext, Truncate, TruncateFirst, TruncateLast, TruncateMiddle
from model.evaluation.methods.latent import NoContext
from model.evaluation.methods.method import Budget, DoesNotFit
from model.generate import Reader, decode
from tests.evaluation.methods.text_fakes import QUESTION, saved, strong_model
from tests.training.tiny import story

TRUNCATING = [TruncateFirst, TruncateLast, TruncateMiddle]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """Without a bos row: a stock Llama."""
    return saved(tmp_path_factory.mktemp("bare"), bos_row=False)


@pytest.fixture(scope="module")
def strong(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """With a bos row."""
    return saved(tmp_path_factory.mktemp("strong"), bos_row=True)


def whole(subject: Subject, texts: list[str], prompt: list[int]) -> list[int]:
    """Every text on lines of its own, then the prompt."""
    newline = subject.tokenizer.encode("\n")
    return [token for text in texts for token in [*subject.tokenizer.encode(text), *newline]] + prompt


def having_read(method: context.TextInFront, *texts: str) -> context.TextInFront:
    for text in texts:
        method.read(text)
    return method


def test_full_context_is_plain_greedy_generation(bare: Subject) -> None:
    texts, prompt = [story(1, 6), story(2, 3)], bare.question(QUESTION)
    ids = bare.ids(whole(bare, texts, prompt))
    llama = strong_model(bos_row=False).llama
    said = llama.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False, eos_token_id=-1,
                          pad_token_id=0)[0, ids.shape[1] :]  # fmt: skip
    wanted = bare.tokenizer.decode(said.tolist()).split("\n")[0].strip()
    assert len(wanted) > 5
    method = having_read(FullContext(bare), *texts)
    assert method.answer(prompt, 12) == wanted
    assert NoContext(bare).answer(prompt, 12) != wanted


def test_full_context_scores_as_a_stock_llama_does(bare: Subject) -> None:
    prompt, option = bare.question(QUESTION), bare.tokenizer.encode(" the king and the queen")
    ids = bare.ids([*whole(bare, [story(1, 6)], prompt), *option])
    logits = strong_model(bos_row=False).llama(ids).logits[0].log_softmax(-1)
    wanted = [float(logits[at - 1, ids[0, at]]) for at in range(ids.shape[1] - len(option), ids.shape[1])]
    (found,) = having_read(FullContext(bare), story(1, 6)).score(prompt, [option])
    assert found == pytest.approx(wanted, abs=1e-4)


def test_full_context_is_the_readers_generation_for_an_m_plus_checkpoint(strong: Subject) -> None:
    prompt = strong.question(QUESTION)
    ids = strong.ids(whole(strong, [story(1, 6)], prompt))
    wanted, cache, _ = Reader(strong.model, strong.memory([])).prefill(ids, 4)
    hidden, ours = having_read(FullContext(strong), story(1, 6)).prefill(prompt, 4)
    torch.testing.assert_close(hidden, wanted)
    step = strong.ids([7])
    torch.testing.assert_close(decode(strong.model, step, ours), decode(strong.model, step, cache))


@pytest.mark.parametrize("tile", [1, 7, 64])
def test_reading_in_tiles_is_reading_at_once(strong: Subject, tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    prompt, method = strong.question(QUESTION), having_read(FullContext(strong), story(1, 8))
    wanted, cache = method.prefill(prompt, 4)
    monkeypatch.setattr(context, "TILE", tile)
    found, tiled = method.prefill(prompt, 4)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    for ours, theirs in zip(tiled.layers, cache.layers, strict=True):
        torch.testing.assert_close(ours.keys, theirs.keys, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(ours.values, theirs.values, atol=1e-5, rtol=1e-5)


def test_adapters_and_stock_layers_read_in_tiles_too(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.model.tiny import tiny_model, tokens

    torch.manual_seed(0)
    model = tiny_model(adapters=True)
    front = [model.project_layer(layer, torch.randn(1, 3, 32)) for layer in range(3)]
    wanted, _ = context.read_long(model, front, tokens(30), 2)
    monkeypatch.setattr(context, "TILE", 8)
    found, cache = context.read_long(model, front, tokens(30), 2)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    assert cache.layers[0].length == 1 + 3 + 30


def test_a_text_without_positions_does_not_fit(strong: Subject) -> None:
    prompt, method = strong.question(QUESTION), FullContext(strong)
    method.read(story(1, 12))
    room = 512 - 1 - len(method.chosen(prompt, 0)) - len(prompt)  # the bos row takes a position
    assert room > 0
    method.prefill(prompt, room)
    with pytest.raises(DoesNotFit, match="512 tokens are more than the 511 positions"):
        method.prefill(prompt, room + 1)
    with pytest.raises(DoesNotFit):
        having_read(FullContext(strong), story(1, 200)).answer(prompt, 2)


@pytest.mark.parametrize("kind", TRUNCATING)
@pytest.mark.parametrize("rows", [None, 60, 10_000])
def test_truncation_fills_the_budget_to_the_last_token(strong: Subject, kind: type[Truncate], rows: int | None) -> None:
    method, prompt, room = kind(strong, Budget(rows)), strong.question(QUESTION), 5
    method.read(story(1, 200))
    chosen = method.chosen(prompt, room)
    assert len(chosen) + len(prompt) + room == {None: strong.config.window, 60: 60, 10_000: 511}[rows]
    method.prefill(prompt, room)


def test_truncation_keeps_the_beginning_the_end_or_both(strong: Subject) -> None:
    prompt = strong.question(QUESTION)
    first, last, middle = (having_read(kind(strong), story(1, 200)).chosen(prompt, 5) for kind in TRUNCATING)
    text, newline = strong.tokenizer.encode(story(1, 200)), strong.tokenizer.encode("\n")
    left = len(first) - len(newline)
    half = left // 2
    assert first == text[:left] + newline
    assert last == text[-left:] + newline
    assert middle == text[:half] + text[-(left - half) :] + newline


@pytest.mark.parametrize("kind", TRUNCATING)
def test_a_text_that_fits_is_not_truncated(strong: Subject, kind: type[Truncate]) -> None:
    prompt = strong.question(QUESTION)
    texts = [story(1, 2), story(2, 2)]
    everything = whole(strong, texts, prompt)[: -len(prompt)]
    assert having_read(kind(strong), *texts).chosen(prompt, 5) == everything
    assert having_read(FullContext(strong), *texts).chosen(prompt, 5) == everything


@pytest.mark.parametrize("kind", TRUNCATING)
def test_where_only_the_prompt_fits_there_is_no_text(strong: Subject, kind: type[Truncate]) -> None:
    prompt = strong.question(QUESTION)
    assert having_read(kind(strong, Budget(len(prompt))), story(1, 20)).chosen(prompt, 5) == []


def test_a_question_stands_on_a_line_of_its_own_and_text_goes_on_as_it_is(strong: Subject) -> None:
    method = having_read(FullContext(strong), story(1, 2))
    text, newline = strong.tokenizer.encode(story(1, 2)), strong.tokenizer.encode("\n")
    assert method.chosen(strong.question(QUESTION), 1) == text + newline
    assert method.chosen(strong.tokenizer.encode(" The fox hid the king."), 1) == text


@pytest.mark.parametrize("kind", [FullContext, *TRUNCATING])
def test_nothing_read_is_no_context(strong: Subject, kind: type[context.TextInFront]) -> None:
    prompt = strong.question(QUESTION)
    wanted, _ = NoContext(strong).prefill(prompt, 3)
    torch.testing.assert_close(kind(strong).prefill(prompt, 3)[0], wanted)


def test_the_bytes_of_full_context_grow_with_every_token(strong: Subject) -> None:
    prompt, counts, sizes = strong.question(QUESTION), [], []
    method = FullContext(strong)
    assert method.bytes_held() == {"device": 0, "host": 0, "disk": 0}
    for number in range(3):
        method.read(story(number, 3))
        method.prefill(prompt, 3)
        counts.append(len(method.chosen(prompt, 3)))
        sizes.append(method.bytes_held()["device"])
    pair = 2 * strong.config.layers * strong.config.key_value_dim * 4  # bytes of a token, float32
    grown = [(b - a, d - c) for (a, b), (c, d) in zip(pairwise(sizes), pairwise(counts), strict=True)]
    assert all(size == pair * count for size, count in grown)
    method.reset()
    assert method.bytes_held()["device"] == 0


def test_all_are_registered() -> None:
    names = {"full-context", "truncate-first", "truncate-last", "truncate-middle", "snapkv", "h2o", "rag-bm25",
             "rag-dense"}  # fmt: skip
    assert names <= METHODS.keys()
