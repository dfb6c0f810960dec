"""Laws of uncompressed keys and values recalled by block, with M+ weights and with a Llama without memory training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from model.adapters import READ, using
from model.checkpoint import load
from model.errors import CheckpointError, ModelError
from model.evaluation.common import Subject
from model.evaluation.methods import raw_kv
from model.evaluation.methods.attention_recall import mean_query
from model.evaluation.methods.latent import Latent, NoContext
from model.evaluation.methods.method import Budget
from model.evaluation.methods.raw_kv import RawKV
from model.generate import Reader, Sampling, continue_from
from model.plain import is_plain, plain_llama
from model.training.tokenizer import train_tokenizer
from tests.training.tiny import story

QUESTION = "What did the fox find?"
Made = Callable[..., Path]


class Exact(RawKV):
    """Rows in the format of the model, so that nothing is rounded."""

    stored = torch.float32


@pytest.fixture(scope="module")
def llama_folder(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Makes the folder of a tiny stock Llama; bos: its tokenizer puts token 2 in front of every text."""

    def make(bos: bool = False, **changes: object) -> Path:
        folder = tmp_path_factory.mktemp("llama")
        shape = {"vocab_size": 320, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
                 "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
                 "bos_token_id": 2, "eos_token_id": None} | changes  # fmt: skip
        torch.manual_seed(3)
        llama = LlamaForCausalLM(LlamaConfig(**shape))
        with torch.no_grad():
            for name, parameter in llama.named_parameters():
                parameter.copy_(torch.randn_like(parameter) * 0.2 + float("norm" in name))
        llama.save_pretrained(folder)
        train_tokenizer((story(number) for number in range(4)), 320, folder / "tokenizer.json")
        if bos:
            raw = json.loads((folder / "tokenizer.json").read_text("utf-8"))
            token = next(one for one, number in raw["model"]["vocab"].items() if number == 2)
            single = [{"SpecialToken": {"id": token, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
            special = {token: {"id": token, "ids": [2], "tokens": [token]}}
            raw["post_processor"] = {
                "type": "TemplateProcessing", "single": single, "pair": single, "special_tokens": special
            }  # fmt: skip
            (folder / "tokenizer.json").write_text(json.dumps(raw), "utf-8")
        return folder

    return make


@pytest.fixture(scope="module")
def plain(llama_folder: Made) -> Subject:
    return Subject(llama_folder(), "cpu", "float32")


def said(method: RawKV, prompt: list[int], most: int) -> list[int]:
    with torch.inference_mode():
        hidden, cache = method.prefill(prompt, most)
        return [step.token for step in continue_from(method.model, hidden[:, -1:], cache, Sampling(most))]


@pytest.mark.parametrize("changes", [{}, {"tie_word_embeddings": True}, {"attention_bias": True, "mlp_bias": True}])
@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("chunks", [1, 5])
def test_with_everything_recalled_a_plain_llama_answers_as_transformers_does(
    llama_folder: Made, bos: bool, chunks: int, changes: dict[str, bool]
) -> None:
    folder = llama_folder(bos, **changes)
    subject = Subject(folder, "cpu", "float32")
    text = subject.tokenizer.decode(subject.tokenizer.encode(story(0))[: chunks * 8])
    ids, prompt = subject.tokenizer.encode(text), subject.tokenizer.encode(QUESTION)
    assert len(subject.lengths(len(ids))) == chunks
    method = Exact(subject, Budget(rows=1000))
    method.read(text)
    whole = torch.tensor([[2] * bos + ids + prompt])
    llama = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    theirs = llama.generate(whole, do_sample=False, max_new_tokens=12, pad_token_id=0)[0, whole.shape[1] :]
    assert said(method, prompt, 12) == theirs.tolist()
    with torch.inference_mode():
        ours, wanted = method.prefill(prompt, 1)[0], llama(whole).logits[:, -len(prompt) :]
        torch.testing.assert_close(method.model.logits(ours), wanted, atol=1e-4, rtol=1e-4)


def test_with_everything_recalled_m_plus_weights_attend_to_the_whole_text(subject: Subject) -> None:
    method, texts = Exact(subject, Budget(rows=4000)), (story(0, 4), story(1, 3))
    for text in texts:
        method.read(text)
    prompt = subject.question(QUESTION)
    ids = [token for text in texts for token in subject.tokenizer.encode(text)]
    with torch.inference_mode():
        ours, _ = method.prefill(prompt, 2)
        whole = Reader(subject.model, subject.memory([])).prefill(subject.ids([*ids, *prompt])).hidden
    assert len(method.table) == len(ids)  # no row is compressed
    torch.testing.assert_close(ours, whole[:, -len(prompt) :], atol=1e-4, rtol=1e-4)


def test_a_prompt_sees_no_more_rows_than_the_model_has_room_for(subject: Subject) -> None:
    method, prompt = RawKV(subject), subject.question(QUESTION)
    lengths = []
    for text in ("The fox hid.", story(0, 40)):
        method.reset()
        method.read(text)
        lengths.append(method.prefill(prompt, 2)[1].layers[1].length - len(prompt) - 1)
    assert lengths[0] == len(subject.tokenizer.encode("The fox hid."))
    assert lengths[1] == subject.config.recall_rows + subject.config.pool_rows
    method = RawKV(subject, Budget(rows=20))
    method.read(story(0, 40))
    assert method.prefill(prompt, 2)[1].layers[1].length - len(prompt) - 1 == 20


def filled(subject: Subject, monkeypatch: pytest.MonkeyPatch, block: int) -> tuple[RawKV, torch.Tensor]:
    """A method that has read a story, in blocks of a few rows, and hidden states to recall with."""
    monkeypatch.setattr(raw_kv, "BLOCK", block)
    method = Exact(subject)
    method.read(story(0, 10))
    return method, torch.randn(1, 5, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("block", [3, 4, 32])
@pytest.mark.parametrize("bos", [False, True])
def test_the_blocks_with_the_best_mean_key_are_recalled(
    llama_folder: Made, monkeypatch: pytest.MonkeyPatch, block: int, bos: bool
) -> None:
    subject = Subject(llama_folder(bos), "cpu", "float32")
    method, hidden = filled(subject, monkeypatch, block)
    edge, room = len(method.table) - subject.config.pool_rows, subject.config.recall_rows
    keys = torch.cat([one.keys[1] for one in method.table.blocks])
    with torch.inference_mode():
        query = mean_query(subject.model, 1, hidden).flatten()
        rows = method.recall(1, hidden)
    found, start = [], 0
    for chunk in method.table.blocks:
        for low in range(start, start + len(chunk), block):
            high = min(low + block, start + len(chunk))
            first = low == 0 and not bos  # attention leans on the first tokens
            if low < edge:
                found.append((torch.inf if first else float(keys[low:high].mean(0) @ query), low, min(high, edge)))
        start += len(chunk)
    best = [row for _, low, high in sorted(found, reverse=True) for row in range(low, high)]
    assert rows.tolist() == sorted(best[:room])
    assert len(rows) == room < edge


@pytest.mark.parametrize("window", [0, 1, 5, 6, 1000])
def test_a_block_that_the_newest_rows_cut_is_seen_once(
    plain: Subject, monkeypatch: pytest.MonkeyPatch, window: int
) -> None:
    method, hidden = filled(plain, monkeypatch, 4)
    method.window, method.recall_rows = window, 1000
    with torch.inference_mode():
        rows = method.recall(0, hidden)
    assert rows.tolist() == list(range(max(0, len(method.table) - window)))


def test_a_row_is_what_the_layer_computes_from_its_token(plain: Subject) -> None:
    method = Exact(plain)
    method.read("The fox hid.")
    llama, ids = plain.model.llama, plain.ids(plain.tokenizer.encode("The fox hid."))
    entering = llama.model(ids, output_hidden_states=True).hidden_states
    for layer in range(2):
        normed = plain.model.normed(layer, entering[layer])
        keys = plain.model.layer(layer).self_attn.k_proj(normed)[0]
        torch.testing.assert_close(torch.cat([one.keys[layer] for one in method.table.blocks]), keys)


def test_asking_changes_nothing_and_reset_forgets(plain: Subject) -> None:
    method, prompt = RawKV(plain), plain.question(QUESTION)
    nothing, _ = method.prefill(prompt, 2)
    wanted, _ = NoContext(plain).prefill(prompt, 2)
    torch.testing.assert_close(nothing, wanted)
    method.read(story(0, 10))
    held = method.bytes_held()
    first, _ = method.prefill(prompt, 2)
    assert torch.equal(first, method.prefill(prompt, 2)[0])
    assert method.bytes_held() == held
    config = plain.config
    assert held["host"] == len(plain.tokenizer.encode(story(0, 10))) * config.layers * config.key_value_dim * 2 * 2
    method.reset()
    assert torch.equal(method.prefill(prompt, 2)[0], nothing)
    assert method.bytes_held() == {"device": 0, "host": 0, "disk": 0}


def test_a_llama_without_memory_training_writes_no_latent_memory(plain: Subject) -> None:
    assert plain.plain
    with pytest.raises(ModelError, match="writes no latent memory"):
        Latent(plain).read("The fox hid.")


def test_a_bos_token_becomes_the_row_that_it_is(llama_folder: Made) -> None:
    checkpoint = plain_llama(llama_folder(bos=True), "cpu", "float32")
    model = checkpoint.model
    entering = model.llama.model(torch.tensor([[2]]), output_hidden_states=True).hidden_states
    for layer in range(2):
        torch.testing.assert_close(model.bos_embedding[layer], entering[layer][0])
    assert model.config.bos_row
    assert checkpoint.background is None
    assert not plain_llama(llama_folder(), "cpu", "float32").model.config.bos_row


def test_stock_and_fused_layers_keep_the_same_rows(llama_folder: Made) -> None:
    subject = Subject(llama_folder(), "cpu", "float32")
    fused = Exact(subject)
    fused.read(story(0, 3))
    subject.model.fused = []
    stock = Exact(subject)
    with using(subject.model, READ):
        stock.read(story(0, 3))
    for ours, theirs in zip(fused.table.blocks, stock.table.blocks, strict=True):
        torch.testing.assert_close(ours.keys, theirs.keys, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(ours.values, theirs.values, atol=1e-5, rtol=1e-5)


def test_sizes_follow_from_the_positions_that_a_llama_knows(llama_folder: Made) -> None:
    small, large = (
        plain_llama(llama_folder(max_position_embeddings=positions), "cpu", "float32").model.config
        for positions in (64, 131_072)
    )
    assert (small.chunk_tokens, small.recall_rows, small.pool_rows) == (8, 16, 16)
    assert (large.chunk_tokens, large.recall_rows, large.pool_rows) == (512, 2560, 10_240)


def test_only_a_llama_without_memory_training_is_plain(llama_folder: Made, checkpoint: Path, tmp_path: Path) -> None:
    folder = llama_folder()
    assert is_plain(folder)
    assert not is_plain(checkpoint)
    assert not is_plain(tmp_path)
    with pytest.raises(CheckpointError, match="without M"):
        load(folder)
    with pytest.raises(CheckpointError, match="no Llama"):
        plain_llama(checkpoint)
    raw = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(raw | {"quantization_config": {"bits": 4}}), "utf-8")
    with pytest.raises(CheckpointError, match="quantized"):
        plain_llama(folder)


def test_a_llama_that_lacks_a_tensor_is_refused_and_stored_frequencies_are_passed_over(llama_folder: Made) -> None:
    folder = llama_folder()
    tensors = load_file(folder / "model.safetensors")
    old = tensors | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}
    save_file(old, folder / "model.safetensors", metadata={"format": "pt"})
    assert plain_llama(folder, "cpu", "float32").model.config.layers == 2
    del tensors["model.norm.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lacks llama\.model\.norm\.weight"):
        plain_llama(folder, "cpu", "float32")
