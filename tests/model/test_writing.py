"""Laws of writing in stages: the same bytes as one layer after the other, and nothing left behind."""

import threading
import time

import pytest
import torch

from model.adapters import WRITE
from model.writing import suited_stages, threads, write_chunks
from tests.model.tiny import tiny_model, tokens

LENGTHS = (8, 3, 1, 8, 13, 7, 8)  # K is 8: shorter, longer, and more of them than are taken ahead


@pytest.fixture
def model():
    model = tiny_model(adapters=True)
    model.specialise(WRITE)
    return model


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def texts(count: int) -> list[torch.Tensor]:
    return [
        torch.cat([tokens(length, 100 * text + number) for text in range(count)])
        for number, length in enumerate(LENGTHS)
    ]


@pytest.mark.parametrize("stages", [2, 3])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("row_format", ["bf16", "int5"])
def test_writing_in_stages_gives_the_bytes_of_one_layer_after_the_other(model, one_thread, stages, count, row_format):
    alone = list(write_chunks(model, texts(count), model.start_rows(count), row_format, stages=1))
    staged = list(write_chunks(model, texts(count), model.start_rows(count), row_format, stages=stages))
    assert len(staged) == len(alone) == len(LENGTHS)
    for one, other in zip(staged, alone, strict=True):
        assert torch.equal(one.newest, other.newest)
        assert len(one.rows) == len(other.rows) == count
        for ours, theirs in zip(one.rows, other.rows, strict=True):
            for name, tensor in theirs.tensors().items():
                assert torch.equal(ours.tensors()[name], tensor), name


def test_writing_goes_on_from_the_rows_that_were_handed_out(model, one_thread):
    whole = list(write_chunks(model, texts(1), model.start_rows(1), stages=2))
    writing = write_chunks(model, texts(1), model.start_rows(1), stages=2)
    first = [next(writing) for _ in range(3)]
    writing.close()  # what was taken ahead is dropped
    rest = list(write_chunks(model, texts(1)[3:], first[-1].newest, stages=2))
    for one, other in zip([*first, *rest], whole, strict=True):
        assert torch.equal(one.newest, other.newest)


@pytest.mark.parametrize("ended", ["closed", "finished", "failed"])
def test_no_thread_is_left_and_torch_has_its_threads_again(model, ended):
    before = torch.get_num_threads()
    chunks = texts(1) if ended != "failed" else [*texts(1)[:2], torch.full((1, 4), 10**6)]
    writing = write_chunks(model, chunks, model.start_rows(1), stages=3)
    next(writing) if ended != "failed" else None
    if ended == "closed":
        writing.close()
    elif ended == "finished":
        list(writing)
    else:
        with pytest.raises(IndexError):
            list(writing)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("writing")]
    assert torch.get_num_threads() == before
    found = []
    later = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert found == [before]


def test_a_chunk_is_handed_out_before_all_are_taken(model):
    taken = []

    def chunks():
        for number, chunk in enumerate(texts(1)):
            taken.append(number)
            yield chunk

    writing = write_chunks(model, chunks(), model.start_rows(1), stages=2)
    next(writing)
    assert len(taken) < len(LENGTHS)
    writing.close()


def test_layers_with_switched_adapters_are_written_in_one_stage():
    assert suited_stages(tiny_model(adapters=True)) == 1


def test_stages_are_no_more_than_threads_or_layers(model, one_thread):
    assert suited_stages(model) == 1
    torch.set_num_threads(2)
    assert suited_stages(model) == 2
    torch.set_num_threads(16)
    assert suited_stages(model) == model.config.layers == 3


def test_threads_share_what_torch_may_use():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        with threads(3) as pools:
            assert [pool.submit(torch.get_num_threads).result() for pool in pools] == [2, 2, 2]
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)


def test_closing_waits_for_the_chunks_under_way_and_takes_no_other(model, monkeypatch):
    written, write = [], type(model).write_layers

    def slow(self, *given):
        time.sleep(0.05)
        written.append(1)
        return write(self, *given)

    monkeypatch.setattr(type(model), "write_layers", slow)
    writing = write_chunks(model, texts(1) * 3, model.start_rows(1), stages=3)
    next(writing)
    begun, before = time.monotonic(), len(written)
    writing.close()
    assert time.monotonic() - begun < 0.05 * 4
    assert len(written) - before <= 3  # one a stage
