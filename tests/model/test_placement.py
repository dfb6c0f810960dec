"""Laws of placement: what is on the device fits its limit, and where things are changes no answer."""

import weakref
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.errors import DeviceError
from model.generate import Memory, Reader, Sampling, decode
from model.membership import ViewChunk, log_membership
from model.memory import RowTable, project
from model.mplus import MPlus
from model.placement import Needs, Placement, needs_of, place
from model.staging import Coming, Mover
from tests.model.tiny import tiny_config, tiny_model, tokens, write_chunks

GiB = 2**30
EVERYWHERE = [Placement(), Placement(pool=False), Placement(prefix=False), Placement(prefix=False, pool=False)]


class CountingMover(Mover):
    """A device that counts the bytes of what was copied to it and is still held."""

    def __init__(self) -> None:
        super().__init__(torch.device("cpu"))
        self.held = self.most = 0

    def move(self, tensors: Sequence[torch.Tensor]) -> Coming:
        return Coming(tuple(self._copy(tensor) for tensor in tensors))

    def _copy(self, tensor: torch.Tensor) -> torch.Tensor:
        copy = tensor.clone()
        self.held += copy.nbytes
        self.most = max(self.most, self.held)
        weakref.finalize(copy, self._gone, copy.nbytes)
        return copy

    def _gone(self, size: int) -> None:
        self.held -= size


def memory_of(model: MPlus, chunks: int) -> Memory:
    rows = [project(model, one) for one in write_chunks(model, [8] * chunks)]
    config = model.config
    view = [ViewChunk("book", number) for number in range(chunks)]
    return Memory(RowTable(rows), log_membership(view, config.layers, config.memory_rows, config.pool_rows, 0, 0))


def said(reader: Reader) -> list[tuple[int, float]]:
    return [(step.token, round(step.log_likelihood, 4)) for step in reader.generate(tokens(6), Sampling(8))]


@pytest.mark.parametrize("placement", EVERYWHERE[1:])
@pytest.mark.parametrize("fused", [False, True])
def test_where_things_are_changes_no_answer(placement: Placement, fused: bool) -> None:
    model = tiny_model()
    memory = memory_of(model, 9)
    if fused:
        model.specialise("read")
    options = [tokens(3, 1)[0], tokens(2, 2)[0], tokens(1, 3)[0]]
    here, there = Reader(model, memory), Reader(model, memory, placement)
    assert said(there) == said(here) == said(there)
    for one, other in zip(here.likelihoods(tokens(6), options), there.likelihoods(tokens(6), options), strict=True):
        assert torch.allclose(one, other, atol=1e-4)


def test_a_streamed_pool_holds_two_layers_and_a_resident_one_all() -> None:
    model, layers = tiny_model(), 3
    memory = memory_of(model, 9)
    for placement, held in ((Placement(), layers), (Placement(pool=False), 2)):
        mover = CountingMover()
        pool = Reader(model, memory, placement, mover).pool
        for layer in range(layers):
            pool[layer]
        assert mover.most == held * sum(part.nbytes for part in pool.parts[0])


def test_a_prefix_on_the_host_is_decoded_from_two_layers_at_a_time() -> None:
    model = tiny_model()
    memory = memory_of(model, 9)
    for placement, layers in ((Placement(pool=False), 0), (Placement(prefix=False, pool=False), 2)):
        mover = CountingMover()
        _, cache, _ = Reader(model, memory, placement, mover).prefill(tokens(6), 8)
        before = mover.most = mover.held
        for token in range(4):
            decode(model, torch.tensor([[token]]), cache)
        layer_bytes = sum(part.nbytes for part in (cache.layers[0].keys, cache.layers[0].values))
        assert mover.most - before <= layers * layer_bytes
        assert (mover.most > before) == (layers > 0)


needs = st.builds(
    Needs,
    weights=st.integers(0, 100), work=st.integers(0, 10), prefix=st.integers(0, 100), pool=st.integers(0, 100),
    keys=st.integers(0, 100), layers=st.integers(2, 9),
)  # fmt: skip


@given(needs, st.integers(0, 400))
def test_a_limit_is_obeyed_or_refused(needed: Needs, limit: int) -> None:
    if least_of(needed) <= limit:
        assert place(needed, limit).bytes <= limit
        return
    with pytest.raises(DeviceError) as refused:
        place(needed, limit)
    assert refused.value.remedy


@given(needs)
def test_without_a_limit_everything_is_on_the_device(needed: Needs) -> None:
    whole = needed.weights + needed.work + needed.prefix + needed.pool + needed.keys
    free = place(needed)
    assert (free.prefix, free.pool, free.keys) == (True, True, True)
    assert free.bytes >= whole
    assert place(needed, free.bytes) == free


def test_the_needs_are_the_bytes_that_a_reader_holds() -> None:
    model = tiny_model()
    config, memory = model.config, memory_of(model, 9)
    rows = len(memory.table)
    needed = needs_of(config, 0, rows, width=4, tokens=6)
    mover = CountingMover()
    reader = Reader(model, memory, Placement(), mover)
    _, cache, _ = reader.prefill(tokens(6), 0)
    held = sum(part.nbytes for layer in cache.layers for part in (layer.keys, layer.values))
    assert needed.prefix == held
    assert needed.pool == sum(part.nbytes for layer in range(config.layers) for part in reader.pool[layer])
    assert needed.keys == sum(key.nbytes for layer in range(3) for key in memory.table.retrieval(layer))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 1.0])
def test_a_question_under_a_limit_holds_no_more_than_was_planned(share: float) -> None:
    """From the least that is possible to all: pool, prefix and what is on its way, as a device would hold them."""
    model = tiny_model()
    memory = memory_of(model, 9)
    needed = needs_of(model.config, 0, len(memory.table), width=4, tokens=6 + 8)
    least, most = (place(needed, limit).bytes for limit in (least_of(needed), None))
    placement = place(needed, round(least + share * (most - least)))
    mover = CountingMover()
    reader = Reader(model, memory, placement, mover)
    said(reader)
    _, cache, _ = reader.prefill(tokens(6), 8)
    resident = sum(part.nbytes for layer in cache.layers for part in (layer.keys, layer.values)) * placement.prefix
    assert 0 < mover.most + resident <= placement.bytes


def least_of(needed: Needs) -> int:
    """Bytes of weights, work and everything else streamed."""
    return needed.weights + needed.work + sum(map(needed.streamed, (needed.prefix, needed.pool, needed.keys)))


def test_the_published_shape_fits_what_the_paper_says_and_less() -> None:
    """Llama-3.1-8B, 128,000 tokens read, bf16: sizes by arithmetic."""
    from model.bench_models import shape_config

    config = shape_config("8b")
    needed = needs_of(config, 16_060_522_496, 128_000 // 512 * 256, width=2, tokens=128)
    assert place(needed, 18_000 * 2**20).prefix
    small = place(needed, 16_200 * 2**20)
    assert not small.pool
    assert not small.keys
    with pytest.raises(DeviceError, match="take"):
        place(replace(needed, weights=17 * GiB), 16_200 * 2**20)
    assert tiny_config().layers == 3
