"""Writing and reading: laws that hold for any weights."""

import copy

import pytest
import torch

from model.adapters import READ, WRITE, using
from model.generate import Memory, Reader, Sampling, continue_from, decode
from model.membership import ViewChunk, log_membership
from model.memory import RowTable, project
from tests.model.tiny import tiny_model, tokens, write_chunks


def memory_of(model, lengths, cap=0):
    """The memory of one book whose chunks have these lengths."""
    rows = [project(model, hidden) for hidden in write_chunks(model, lengths)]
    chunks = [ViewChunk("book", number) for number in range(len(lengths))]
    config = model.config
    membership = log_membership(chunks, config.layers, config.memory_rows, config.pool_rows, cap=cap)
    return Memory(RowTable(rows), membership)


@pytest.mark.parametrize("length", [1, 3, 8, 20])
def test_a_chunk_of_any_length_leaves_k_rows_in_every_layer(length):
    model = tiny_model()
    rows, hidden = model.write(tokens(length), model.start_rows(1))
    assert rows.shape == (3, 1, 8, 32)
    assert hidden.shape == (1, length, 32)


def test_writing_is_causal():
    model = tiny_model()
    first, second = write_chunks(model, [8, 8, 5])[:2], write_chunks(model, [8, 8, 8, 8])[:2]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_documents_written_in_one_batch_equal_documents_written_alone():
    model = tiny_model()
    ids = torch.cat([tokens(8, seed) for seed in range(3)])
    together, _ = model.write(ids, model.start_rows(3))
    for number in range(3):
        alone, _ = model.write(ids[number : number + 1], model.start_rows(1))
        torch.testing.assert_close(together[:, number], alone[:, 0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("role", [WRITE, READ])
@pytest.mark.parametrize("adapters", [False, True])
def test_fused_layers_compute_what_the_stock_layers_do(adapters, role):
    stock = tiny_model(adapters)
    fused = copy.deepcopy(stock)
    fused.lora_layers = [m for m in fused.modules() if hasattr(m, "lora_A")]
    fused.specialise(role)
    with using(stock, role):
        rows, hidden = stock.write(tokens(13), stock.start_rows(1))
    ours, ours_hidden = fused.write(tokens(13), fused.start_rows(1))
    torch.testing.assert_close(ours, rows, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(ours_hidden, hidden, atol=2e-5, rtol=1e-5)


def test_a_writer_projects_with_the_read_adapter():
    stock = tiny_model(adapters=True)
    writer = copy.deepcopy(stock)
    writer.lora_layers = [m for m in writer.modules() if hasattr(m, "lora_A")]
    writer.specialise(WRITE)
    hidden = torch.randn(3, 8, 32)
    with using(stock, READ):
        wanted = project(stock, hidden)
    with using(stock, WRITE):
        other = project(stock, hidden)
    ours = project(writer, hidden)
    for name in ("keys", "values", "retrieval"):
        torch.testing.assert_close(getattr(ours, name), getattr(wanted, name), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(wanted.keys, other.keys, atol=1e-3)


def test_fused_weights_are_not_stored_twice():
    model = tiny_model()
    model.specialise(READ)
    layer = model.fused[0]
    assert model.layer(0).self_attn.q_proj.weight.data_ptr() == layer.qkv.weight.data_ptr()


@pytest.mark.parametrize("chunks", [0, 1, 3, 30])
def test_an_empty_a_partly_filled_and_a_full_memory_can_be_asked(chunks):
    model = tiny_model()
    reader = Reader(model, memory_of(model, [8] * chunks))
    hidden, _, trace = reader.prefill(tokens(5))
    assert hidden.isfinite().all()
    pool = min(32, 8 * chunks)
    assert all(len(rows) == pool for rows in trace.pool)
    assert all(len(rows) == min(16, 8 * chunks - pool) for rows in trace.recalled)


def test_recalled_rows_are_the_best_outside_of_the_pool_oldest_first():
    model = tiny_model()
    memory = memory_of(model, [8] * 20)
    _, _, trace = Reader(model, memory).prefill(tokens(6))
    for layer, rows in enumerate(trace.recalled):
        pool = set(memory.membership.pool[layer].tolist())
        assert rows.tolist() == sorted(rows.tolist())
        assert not pool & set(rows.tolist())
        outside = torch.tensor([row for row in range(160) if row not in pool])
        values = Reader(model, memory)._scores(layer, model.embed(tokens(6)))[0] if layer == 0 else None
        if values is not None:
            assert set(outside[values[outside].topk(16).indices].tolist()) == set(rows.tolist())


@pytest.mark.cuda
def test_the_gpu_recalls_and_answers_as_the_processor_does():
    found = []
    for device in ("cpu", "cuda"):
        model = tiny_model()
        memory = memory_of(model, [8] * 20)  # rows stay in host memory
        model.to(device)
        model.specialise(READ)
        hidden, _, trace = Reader(model, memory).prefill(tokens(6).to(device))
        found.append((hidden.cpu(), [rows.tolist() for rows in trace.recalled]))
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-3, rtol=1e-3)
    assert found[0][1] == found[1][1]


def test_a_cap_recalls_nothing_older():
    model = tiny_model()
    _, _, trace = Reader(model, memory_of(model, [8] * 30, cap=6)).prefill(tokens(6))
    assert all(int(rows.min()) >= 24 * 8 for rows in trace.recalled if len(rows))


def test_decoding_token_by_token_equals_reading_the_prompt_at_once():
    for specialised in (False, True):
        model = tiny_model()
        if specialised:
            model.specialise(READ)
        reader = Reader(model, memory_of(model, [8, 8, 8]))
        ids = tokens(9)
        whole, _, _ = reader.prefill(ids)
        _, cache, _ = reader.prefill(ids)
        length = cache.layers[0].length - 9
        for layer in cache.layers:
            layer.crop_to(length)
        steps = torch.cat([decode(model, ids[:, at : at + 1], cache) for at in range(9)], 1)
        torch.testing.assert_close(steps, whole, atol=2e-5, rtol=1e-4)


def test_greedy_generation_takes_the_likeliest_token_and_stops_at_a_stop_id():
    model = tiny_model()
    reader = Reader(model, memory_of(model, [8, 8]))
    steps = list(reader.generate(tokens(4), Sampling(6)))
    hidden, _, _ = reader.prefill(tokens(4))
    assert steps[0].token == int(model.logits(hidden[:, -1]).argmax())
    assert len(steps) == 6
    stopped = list(reader.generate(tokens(4), Sampling(6, stop_ids=frozenset({steps[2].token}))))
    assert [step.token for step in stopped] == [step.token for step in steps[:2]]


def test_sampling_repeats_with_its_seed():
    model = tiny_model()
    reader = Reader(model, memory_of(model, [8, 8]))
    first, again, other = (
        [step.token for step in reader.generate(tokens(4), Sampling(12, 1.5, seed))] for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_likelihoods_of_continuations_are_those_of_reading_them_whole():
    model = tiny_model()
    reader = Reader(model, Memory(RowTable([]), log_membership([], 3, 8, 32)))
    prompt, candidates = tokens(5), [tokens(4, 7)[0], tokens(1, 8)[0], tokens(6, 9)[0]]
    found = reader.likelihoods(prompt, candidates)
    for values, candidate in zip(found, candidates, strict=True):
        hidden, _, _ = reader.prefill(torch.cat([prompt, candidate[None]], 1))
        logits = model.logits(hidden)[0, 4:-1].log_softmax(-1)
        torch.testing.assert_close(values, logits.gather(1, candidate[:, None])[:, 0], atol=1e-4, rtol=1e-4)


def test_generation_goes_on_past_the_room_that_was_kept():
    model = tiny_model()
    model.specialise(READ)
    reader = Reader(model, memory_of(model, [8]))
    hidden, cache, _ = reader.prefill(tokens(4), room=1)
    few = [step.token for step in continue_from(model, hidden[:, -1:], cache, Sampling(20))]
    many = [step.token for step in reader.generate(tokens(4), Sampling(20))]
    assert few == many


def test_gradients_reach_both_adapters_through_write_and_read():
    model = tiny_model(adapters=True)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name)
    with using(model, WRITE):
        rows, _ = model.write(tokens(8), model.start_rows(1))
    with using(model, READ):
        hidden = model.read(tokens(4), lambda layer, _: model.project_layer(layer, rows[layer]))
    hidden.square().mean().backward()
    for adapter in (WRITE, READ):
        gradients = [
            p.grad for name, p in model.named_parameters() if f"lora_B.{adapter}" in name and p.grad is not None
        ]
        assert gradients, adapter
        assert any(gradient.abs().sum() > 0 for gradient in gradients), adapter


def test_using_an_adapter_leaves_what_requires_gradients_as_it_was():
    model = tiny_model(adapters=True)
    before = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    active = [list(layer.active_adapters) for layer in model.lora_layers]
    with using(model, READ):
        assert all(list(layer.active_adapters) == [READ] for layer in model.lora_layers)
        assert {name: parameter.requires_grad for name, parameter in model.named_parameters()} == before
    assert [list(layer.active_adapters) for layer in model.lora_layers] == active
