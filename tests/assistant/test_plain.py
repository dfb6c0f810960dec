"""A Llama without memory training: every token's keys and values are kept, and the product works with them."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from model.memory import join
from model.mplus import KeysValues
from model.plain import plain_config, read_raw
from model.raw import BLOCK, RawReader, RawWriter, block_means, raw_memory
from mplus_cli import models, planner
from mplus_cli.assistant.ask import Session
from mplus_cli.assistant.engine import load_engine
from mplus_cli.assistant.view import memory_of, view_of
from mplus_cli.documents.read import read
from mplus_cli.errors import LibraryDamaged, ModelMissing, UsageError
from mplus_cli.events import AskOptions, NextOptions, Ranked, Recalled
from mplus_cli.library.library import Library
from tests.assistant import world
from tests.assistant.world import exported, live_shards

POSITIONS = 512  # chunks of 64 tokens; 128 newest rows, 128 recalled


def make_llama(folder: Path, seed: int = 0, bos: bool = False) -> Path:
    """A two-layer stock Llama of bytes, in a folder; bos: its tokenizer puts a token in front of every text."""
    world.make_model(folder)  # for its tokenizer
    (folder / "model.safetensors").unlink()
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=256, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=POSITIONS, tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    if bos:
        from tokenizers import Tokenizer, processors

        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        first = tokenizer.id_to_token(2)
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{first} $A", special_tokens=[(first, 2)])
        tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return make_llama(tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture(scope="module")
def with_bos(tmp_path_factory):
    return make_llama(tmp_path_factory.mktemp("models") / "bos", bos=True)


@pytest.fixture
def library(home, llama, novel):
    world.read_into("novels", world.settings(llama), novel)
    return home / "libraries/novels"


# ------------------------------------------------------------------------------------------------------------- ingest


@pytest.mark.parametrize("model", ["llama", "with_bos"])
def test_a_row_is_what_the_model_keeps_of_its_token(home, novel, model, request):
    folder = request.getfixturevalue(model)
    world.read_into("novels", world.settings(folder), novel)
    engine = load_engine(world.settings(folder), "read")
    with Library.open(home / "libraries/novels") as opened:
        (record,) = opened.documents()
        memory, births = memory_of(opened, view_of(opened, (), None), engine)
        ids, first = engine.tokenizer.encode(opened.text(record.id)), opened.chunks(record.id)[0].tokens
    assert len(memory.table) == record.tokens == len(ids) == sum(births.lengths)
    nothing = KeysValues(torch.zeros(1, 1, 0, 16), torch.zeros(1, 1, 0, 16))
    wanted = read_raw(engine.model, ids[:first], lambda layer, hidden: nothing)
    rows = torch.arange(first)
    for layer in range(2):
        keys, values = memory.table.gather(layer, rows)
        assert torch.equal(keys, wanted.keys[layer])
        assert torch.equal(values, wanted.values[layer])
        assert torch.equal(memory.table.retrieval(layer)[0][:2], block_means(wanted.keys).bfloat16()[layer])


def test_with_everything_in_the_window_reading_is_plain_attention(home, llama, tmp_path):
    book = tmp_path / "short.txt"
    book.write_text("Anna lives in Paris. " * 5, encoding="utf-8")  # two chunks, fewer tokens than the window
    world.read_into("short", world.settings(llama), book)
    session = Session("short", world.settings(llama))
    reader, text = session.sight((), None).reader, session.library.text(session.library.documents()[0].id)
    asked = session.encode("Who?", 4)
    with torch.inference_mode():
        ours = session.engine.model.logits(reader.prefill(asked).hidden)
        stock = LlamaForCausalLM.from_pretrained(llama, dtype=torch.float32).eval()
        whole = torch.cat([session.encode(text, 4), asked], 1)
        wanted = stock(whole).logits[:, -asked.shape[1] :]
    session.close()
    assert len(reader.memory.lengths) == 2
    torch.testing.assert_close(ours, wanted, atol=0.02, rtol=0.02)  # rows are rounded to bf16


@pytest.mark.parametrize("model", ["llama", "with_bos"])
@pytest.mark.parametrize("stop_at", [1, 4, 10])
def test_an_interrupted_ingest_ends_with_the_same_bytes(home, novel, stop_at, model, request, monkeypatch):
    monkeypatch.setattr("model.row_sizes.MOST_CHUNKS_PER_SHARD", 4)
    chosen = world.settings(request.getfixturevalue(model))
    world.read_into("unbroken", chosen, novel)
    opened = world.interrupted_and_resumed("broken", chosen, novel, stop_at)
    assert (opened.status, opened.chunks_read) == ("resumed", stop_at)
    assert opened.chunks > stop_at
    assert live_shards(home, "broken") == live_shards(home, "unbroken")
    assert exported(home, "broken") == exported(home, "unbroken")


@pytest.mark.parametrize("model", ["llama", "with_bos"])
def test_a_chunk_is_read_behind_the_newest_rows_and_what_attention_leans_on(model, request):
    engine = load_engine(world.settings(request.getfixturevalue(model)), "read")
    writer, first = RawWriter(engine.model), 0 if model == "with_bos" else BLOCK
    read_so_far = [writer.read([(7 * at + part) % 256 for part in range(50)]) for at in range(5)]
    rows = join(read_so_far)
    hidden = engine.model.embed(torch.tensor([[1]]))
    for layer in range(2):
        prefix = writer.prefix_of(layer, hidden)
        for found, stored in zip(prefix, (rows.keys[layer], rows.values[layer]), strict=True):
            assert torch.equal(found[0, 0], torch.cat([stored[:first], stored[-128:]]).float())


def test_books_are_independent_of_what_was_read_before_them(home, llama, tmp_path):
    files = []
    for seed in range(2):
        files.append(tmp_path / f"book{seed}.md")
        files[-1].write_text(world.book(seed=seed), encoding="utf-8")
    world.read_into("both", world.settings(llama), *files)
    world.read_into("second", world.settings(llama), files[1])
    assert set(live_shards(home, "second")) < set(live_shards(home, "both"))


# ---------------------------------------------------------------------------------------------------------------- ask


def test_every_quote_stands_in_the_text_and_the_answer_comes_first(library, llama):
    found = world.answer("novels", world.settings(llama), "Where does Boris live?")
    assert found.sources[0].sentence == f"Boris lives in {world.TOWNS[3]}."
    with Library.open(library) as opened:
        for source in found.sources:
            assert opened.text(source.document)[source.start : source.end] == source.quote
    assert 0 < sum(source.share for source in found.sources) <= 1


def test_the_memory_alone_finds_sources(library, llama):
    found = world.answer("novels", world.settings(llama), "Where does Boris live?", text_search=False)
    assert found.sources
    assert {source.found_by for source in found.sources} == {"memory"}


@pytest.mark.parametrize("until", ["Chapter 2", "50%"])
def test_a_reading_position_hides_everything_behind_it(library, llama, until):
    session = Session("novels", world.settings(llama))
    sight = session.sight((), until)
    limit, count = sight.view.extents[0].end, len(sight.reader.memory.table)
    for event in session.ask("Where does David live?", AskOptions(until=until, max_tokens=2, top=20)):
        if isinstance(event, Recalled):
            assert all(source.end <= limit for source in event.sources)
    assert all(sight.births.place(row).character < limit for row in range(count))
    whole = session.sight((), None).reader.memory.table
    session.close()
    rows = torch.arange(count)
    assert 0 < count < len(whole)
    for ours, theirs in zip(whole.gather(1, rows), sight.reader.memory.table.gather(1, rows), strict=True):
        assert torch.equal(ours, theirs)


def test_rows_know_the_chunk_of_their_token(library, llama):
    session = Session("novels", world.settings(llama))
    births, row = session.sight((), None).births, 0
    for number, length in enumerate(births.lengths):
        for _ in range(length):
            assert births.place(row).chunk == number
            row += 1
    session.close()


def test_recalled_blocks_are_those_whose_mean_keys_answer_the_queries(library, llama):
    session = Session("novels", world.settings(llama))
    reader = session.sight((), None).reader
    assert isinstance(reader, RawReader)
    ids = session.encode("Where does Boris live?", 4)
    model, layer = session.engine.model, 0
    trace = reader.prefill(ids).trace
    stock = model.layer(layer)
    queries = stock.self_attn.q_proj(model.normed(layer, model.embed(ids)))[0].unflatten(1, (2, 16)).mean((0, 1))
    end, found, start = len(reader.memory.table) - 128, [], 0
    for length in reader.memory.lengths:
        for low in range(start, start + length, BLOCK):
            high = min(low + BLOCK, start + length)
            if low < end:
                keys = reader.memory.table.gather(layer, torch.arange(low, high))[0].float().mean(0).bfloat16().float()
                found.append((torch.inf if not low else float(keys @ queries), range(low, min(high, end))))
        start += length
    best = [row for _, rows in sorted(found, key=lambda one: -one[0]) for row in rows][:128]
    session.close()
    assert trace.recalled[layer].tolist() == sorted(best)
    assert trace.pool[layer].tolist() == list(range(end, end + 128))
    assert all(((one >= 0) & (one <= 1)).all() for one in (*trace.chunks, *trace.recalled_scores, *trace.pool_scores))
    assert len(trace.chunks[layer]) == len(reader.memory.lengths)


@pytest.mark.parametrize("model", ["llama", "with_bos"])
def test_a_cap_limits_what_is_recalled(home, novel, model, request):
    folder = request.getfixturevalue(model)
    world.read_into("novels", world.settings(folder), novel)
    session = Session("novels", world.settings(folder, memory_cap=6))
    reader = session.sight((), None).reader
    oldest = sum(reader.memory.lengths[:-6])
    recalled = reader.prefill(session.encode("Where does Boris live?", 4)).trace.recalled
    session.close()
    for rows in recalled:
        assert len(rows) > BLOCK
        kept = rows if model == "with_bos" else rows[BLOCK:]  # the first block is what attention leans on
        assert int(kept.min()) >= oldest


def test_prompt_and_memory_fit_the_positions_of_the_model(library, llama):
    session = Session("novels", world.settings(llama))
    reader = session.sight((), None).reader
    ids = session.encode("Where? " * 500, 16)
    prefilled = reader.prefill(ids, 16)
    length = prefilled.cache.layers[0].length
    session.close()
    assert POSITIONS - 8 < length + 16 <= POSITIONS


def test_candidates_are_ranked(library, llama):
    session = Session("novels", world.settings(llama))
    options = NextOptions(after=("Anna lives in Paris",), candidates=("Anna leaves.", "Nothing."), max_tokens=4)
    *_, ranked = session.next_events(options)
    session.close()
    assert isinstance(ranked, Ranked)
    assert [one.text for one in ranked.candidates]
    assert all(one.log_likelihood < 0 for one in ranked.candidates)


def test_a_chunk_without_tokens_leaves_no_row_and_is_no_obstacle(llama):
    model = load_engine(world.settings(llama), "read").model
    writer = RawWriter(model)
    chunks = [writer.read(ids) for ids in ([], [5, 6, 7], [])]
    assert [len(rows) for rows in chunks] == [0, 3, 0]
    ids = torch.tensor([[1, 2, 3]])
    for rows in (chunks, chunks[:1]):
        reader = RawReader(model, raw_memory(model.config, rows, [len(one) for one in rows]))
        trace = reader.prefill(ids).trace
        assert [len(one) for one in trace.chunks] == [len(rows)] * 2
        assert all(one.isfinite().all() for one in trace.chunks)


def test_a_library_of_another_model_is_refused(library, llama, model, tmp_path):
    second = tmp_path / "second.md"
    second.write_text(world.book(seed=5), encoding="utf-8")
    for other in (make_llama(tmp_path / "other", seed=1), model):
        with pytest.raises(LibraryDamaged, match="read by the model llama"):
            world.answer("novels", world.settings(other), "Where does Anna live?")
        with pytest.raises(LibraryDamaged, match="read by the model llama"):
            world.read_into("novels", world.settings(other), second)


# ---------------------------------------------------------------------------------------------------------- saying so


def test_the_mode_is_said_once_with_its_price(home, llama, novel, capsys):
    world.read_into("novels", world.settings(llama), novel, novel)
    said = capsys.readouterr()
    # 2 layers, keys and values of 16 values, 2 bytes each; one mean key for 32 tokens
    words = "llama is a Llama without memory training: it is read in raw-kv mode, 130 bytes a token"
    assert said.err.count(words) == 1
    assert words not in said.out
    world.answer("novels", world.settings(llama), "Where does Anna live?")
    assert capsys.readouterr().err.count(words) == 1


def test_a_plan_counts_the_bytes_that_an_ingest_writes(library, llama, novel):
    record = models.describe(llama)
    sizes, config = planner.model_sizes(llama), load_engine(world.settings(llama), "read").config
    assert record.mode == "raw-kv"
    assert (sizes.chunk_tokens, sizes.chunk_rows, sizes.recall_rows, sizes.pool_rows) == (
        config.chunk_tokens, config.memory_rows, config.recall_rows, config.pool_rows
    )  # fmt: skip
    assert record.chunk_rows == config.memory_rows
    found = planner.plan(read(novel), record, {})
    with Library.open(library) as opened:
        (document,) = opened.documents()
        assert opened.identity.bytes_per_chunk * found.chunks == found.bytes["rows"] + found.bytes["keys"]
    assert (found.mode, found.chunks, found.tokens) == ("raw-kv", document.chunks, document.tokens)


@pytest.mark.parametrize("positions", [64, 512, 2048, 131_072])
def test_sizes_are_told_without_torch_as_the_model_has_them(positions):
    raw = {"max_position_embeddings": positions, "hidden_size": 32, "num_attention_heads": 2}
    config = plain_config(raw, "llama")
    assert models.raw_sizes(raw) == (config.chunk_tokens, config.recall_rows, config.pool_rows)


def test_quantized_weights_and_missing_ones_are_named(tmp_path):
    folder = make_llama(tmp_path / "llama")
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.embed_tokens.weight"]
    save_file(tensors, folder / "model.safetensors")
    raw = (folder / "config.json").read_text("utf-8").replace("{", '{"quantization_config": {},', 1)
    (folder / "config.json").write_text(raw)
    with pytest.raises(ModelMissing, match="Llama: it lacks weights that are not quantized and the weights"):
        models.find_model(str(folder), tmp_path)


def test_a_plain_llama_keeps_its_weights_as_they_are(library, llama):
    session = Session("novels", world.settings(llama, weights="nf4"))
    with pytest.raises(UsageError, match="plain Llama"):
        session.engine  # noqa: B018
    session.close()
