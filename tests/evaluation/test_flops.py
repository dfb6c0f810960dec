"""Laws of counted FLOPs: they are what torch counts, they are what is known of the 8B shape, and matching is exact."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from model.adapters import READ, WRITE
from model.bench_models import random_checkpoint, shape_config
from model.config import MPlusConfig
from model.evaluation.common import Subject
from model.evaluation.flops import (
    COSTS,
    Asked,
    Held,
    Shapes,
    cache_bytes,
    cache_tokens_at_bytes,
    comparison,
    full,
    full_tokens_at_flops,
    latent,
    paper_row,
    raw_key_values,
    truncated,
)
from model.evaluation.methods import METHODS
from model.evaluation.methods.attention_recall import MemoryAttention
from model.evaluation.methods.context import TruncateLast
from model.evaluation.methods.knn import Nearest
from model.evaluation.methods.latent import Latent, NoContext, PoolOnly
from model.evaluation.methods.method import Budget, Method
from model.evaluation.methods.raw_kv import RawKV
from model.evaluation.methods.recurrent import Recurrent
from model.generate import Sampling, continue_from
from model.memory import project
from tests.training.tiny import story

BIG = shape_config("8b")


def counted(run: Callable[[], object]) -> int:
    """FLOPs that torch counts; attention as plain matrix products, which it knows."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.inference_mode():
        run()
    return counter.get_total_flops()


def answer(subject: Subject, method: Method, prompt: list[int], new: int) -> None:
    hidden, cache = method.prefill(prompt, new)
    assert len(list(continue_from(subject.model, hidden[:, -1:], cache, Sampling(new)))) == new


def turning(subject: Subject, new: int) -> int:
    """What torch counts for rotating single positions, which fused layers do by a matrix."""
    config = subject.config
    heads = config.llama.num_attention_heads + config.llama.num_key_value_heads
    return (new - 1) * config.layers * heads * 2 * config.head_dim**2


@pytest.mark.parametrize("maker", [Latent, MemoryAttention, NoContext])
def test_an_answer_costs_what_torch_counts(subject: Subject, maker: type[Method]) -> None:
    method, prompt, new = maker(subject), list(range(20, 33)), 5
    method.read(story(3, 20))
    tokens, chunk = len(method.held[0]) if method.held else 0, subject.config.chunk_tokens
    shapes = Shapes(subject.config, dense=True)
    if maker is not NoContext:
        method.reader()  # gathers the pool, once for all questions
        assert tokens > chunk * subject.config.pool_rows / subject.config.memory_rows, "something must be recalled"
    wanted = COSTS[maker.name](shapes, tokens, Asked(len(prompt), new), Held()).answer
    if maker is NoContext:
        wanted += shapes.retriever(len(prompt))  # the reader asks an empty memory, too
    wanted += turning(subject, new)
    assert counted(lambda: answer(subject, method, prompt, new)) == pytest.approx(wanted, rel=0.01)


def test_recurrent_memory_tokens_cost_what_torch_counts(checkpoint: Path, subject: Subject, tmp_path: Path) -> None:
    from model.recurrent import learner, save_tokens

    count = subject.config.memory_rows
    save_tokens(*learner(checkpoint, count, 0), 0, checkpoint, tmp_path / "rmt.safetensors")
    method, prompt = Recurrent(subject, weights=tmp_path / "rmt.safetensors"), list(range(20, 33))
    text = story(3, 20)
    tokens = len(subject.tokenizer.encode(text))
    cost = COSTS["rmt"](Shapes(subject.config, dense=True), tokens, Asked(len(prompt), 5), Held())
    assert counted(lambda: method.read(text)) == pytest.approx(cost.read, rel=0.01)
    wanted = cost.answer + turning(subject, 5)
    assert counted(lambda: answer(method.subject, method, prompt, 5)) == pytest.approx(wanted, rel=0.01)


@pytest.mark.parametrize("rows", [30, 60, 10**5])
@pytest.mark.parametrize("maker", [Latent, PoolOnly, MemoryAttention, Nearest, RawKV, TruncateLast])
def test_a_budget_costs_what_torch_counts(subject: Subject, maker: type[Method], rows: int) -> None:
    method, prompt, new = maker(subject, Budget(rows=rows)), list(range(20, 28)), 5
    method.read(story(3, 6))
    method.prefill(prompt, new)  # gathers the pool, once for all questions
    cost = COSTS[maker.name](
        Shapes(subject.config, dense=True), len(method.held[0]), Asked(len(prompt), new), Held(rows)
    )
    whole = cost.answer + turning(subject, new)
    if maker is TruncateLast:
        whole += cost.read  # the text is read with every question
    assert counted(lambda: answer(subject, method, prompt, new)) == pytest.approx(whole, rel=0.05)


@pytest.mark.parametrize("tokens", [8, 5])
def test_writing_a_chunk_costs_what_torch_counts(tokens: int) -> None:
    loaded = random_checkpoint("32x2x4x2x64x128x4x16x8", WRITE, "cpu", "float32")
    model, config = loaded.model, loaded.model.config

    def write() -> None:
        new, _ = model.write(torch.arange(tokens)[None], loaded.first_rows()[:, None])
        project(model, new[:, 0])

    assert config.chunk_tokens == 8
    assert counted(write) == pytest.approx(Shapes(config, dense=True).write(tokens), rel=0.01)


def test_full_context_costs_what_torch_counts() -> None:
    model = random_checkpoint("32x2x4x2x64x128x4x16x8", READ, "cpu", "float32").model
    nothing = model.embed(torch.empty(1, 0, dtype=torch.long))

    def read() -> None:
        model.read(torch.arange(50)[None], lambda layer, _: model.project_layer(layer, nothing))

    wanted = full(Shapes(model.config, dense=True), 50, Asked(), Held()).read
    assert counted(read) == pytest.approx(wanted, rel=0.01)


def test_a_token_written_at_8b_costs_what_was_worked_out_by_hand() -> None:
    shapes = Shapes(BIG)
    assert shapes.linear(1) == pytest.approx(1.396e10, rel=0.001)
    read_form = shapes.to_keys_values(256) / 512  # the published code stores hidden rows instead
    assert shapes.write(512) / 512 - read_form == pytest.approx(1.457e10, rel=0.003)


@pytest.mark.parametrize(
    ("tokens", "ratio"), [(2048, 1.72), (4096, 1.31), (8192, 1.07), (16_384, 0.87), (65_536, 0.48), (131_072, 0.31)]
)
def test_the_papers_table_with_attention_has_the_ratios_worked_out_by_hand(tokens: int, ratio: float) -> None:
    row = paper_row(BIG, tokens, published=True)
    assert row["ratio_hidden"] == pytest.approx(ratio, abs=0.03)  # to 2 %: scoring was counted there, too
    assert row["ratio"] < row["ratio_hidden"]
    if row["paper_llama"]:  # the paper leaves attention out and counts about twice
        assert 2 * row["llama_without_attention"] == pytest.approx(row["paper_llama"], rel=0.05)


def test_latent_rows_take_the_bytes_worked_out_by_hand() -> None:
    assert cache_bytes(BIG) == 131_072
    assert latent(Shapes(BIG), 512_000, Asked(), Held()).held == 512_000 * 73_728
    assert cache_tokens_at_bytes(BIG, 131_072) == 131_072 * 73_728 // 131_072


def test_flop_matched_full_context_spends_no_more_and_one_token_more_would() -> None:
    asked, shapes = Asked(), Shapes(BIG)
    for tokens in (2048, 131_072):
        matched, spent = full_tokens_at_flops(BIG, tokens, asked), latent(shapes, tokens, asked, Held()).total
        assert full(shapes, matched, asked, Held()).total <= spent < full(shapes, matched + 1, asked, Held()).total


def test_raw_keys_and_values_with_everything_recalled_cost_what_full_context_costs() -> None:
    shapes, tokens, asked = Shapes(BIG), 4096, Asked()
    one, other = raw_key_values(shapes, tokens, asked, Held()), full(shapes, tokens, asked, Held())
    assert one.read == pytest.approx(other.read, rel=0.1)  # and the queries by which blocks are found
    assert one.read >= other.read


def test_a_truncated_text_that_fits_is_full_context() -> None:
    shapes, asked = Shapes(BIG), Asked()
    assert truncated(shapes, 1000, asked, Held()) == full(shapes, 1000, asked, Held())
    assert truncated(shapes, 10**6, asked, Held()).tokens == BIG.window - 128


def test_every_method_has_a_cost_that_does_not_fall_with_length() -> None:
    asked, shapes = Asked(8, 4), Shapes(BIG)
    for name, cost in COSTS.items():
        found = [cost(shapes, tokens, asked, Held()) for tokens in (0, 512, 5000, 200_000)]
        assert all(one.read <= other.read for one, other in pairwise(found)), name
        assert all(one.held <= other.held for one, other in pairwise(found)), name
        assert all(one.answer > 0 for one in found), name


def test_every_registered_method_has_a_cost_but_the_ablations_which_cost_what_they_ablate() -> None:
    found = comparison(BIG, 4096, Asked(), Held())
    assert set(found["methods"]) == {name for name in METHODS if not name.startswith("ablate")}


def test_the_configuration_decides_about_bos_and_retriever() -> None:
    plain = MPlusConfig(BIG.llama, 256, 10_240, 2560, retriever_dim=0, bos_row=False)
    assert Shapes(plain).bos == 0
    assert Shapes(plain).retriever(100) == 0
