"""Rows in fewer bits: how near they stay, what they take, and that codes are never the business of whoever gathers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import CheckpointError
from model.memory import CodedRows, ReadRows, RowTable, as_stored, from_bytes, join, map_rows, to_bytes
from model.row_formats import REACH, decode, decode_keys, encode, encode_keys
from model.row_sizes import BITS, chunk_bytes, group_rows
from model.scoring import scores

CODED = [name for name in BITS if name != "bf16"]
LAYERS, WIDTH, KEY = 2, 6, 5


def rows(count: int, seed: int = 0, spread: float = 1.0) -> ReadRows:
    generator = torch.Generator().manual_seed(seed)
    sizes = (WIDTH, WIDTH, KEY)
    return ReadRows(*(torch.randn(LAYERS, count, size, generator=generator) * spread for size in sizes))


def chunks(row_format: str, *counts: int) -> list[CodedRows]:
    return [as_stored(rows(count, seed), row_format) for seed, count in enumerate(counts)]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["int8", "int4"]),
    st.sampled_from([1, 2, 8]),
    st.floats(1e-2, 1e3),
    st.floats(-50, 50),
    st.integers(0, 2**31),
)
def test_a_decoded_row_is_within_half_a_step(row_format, group, spread, middle, seed):
    torch.manual_seed(seed)
    wanted = torch.randn(LAYERS, 8, WIDTH) * spread + middle
    coded = encode(wanted, row_format, group)
    steps = coded.scales.float().repeat_interleave(group, 1)
    rounding = 2**-10 * (wanted.abs() + spread)  # of middles and scales to float16, and of the sum
    for layer in range(LAYERS):
        error = (decode(coded, row_format, layer, torch.arange(8)) - wanted[layer]).abs()
        assert (error <= steps[layer] / 2 + rounding[layer]).all()


def test_eight_bits_are_nearer_than_four_and_floats_lie_between():
    wanted = torch.randn(LAYERS, 64, WIDTH, generator=torch.Generator().manual_seed(0))
    found = {name: decode(encode(wanted, name, 64), name, 0, torch.arange(64)) for name in CODED}
    error = {name: float((one - wanted[0]).norm() / wanted[0].norm()) for name, one in found.items()}
    assert error["int8"] < error["fp8"] < error["int4"] < 0.15


def test_a_large_channel_costs_its_neighbours_nothing():
    wanted = torch.randn(1, 64, WIDTH)
    large = wanted.clone()
    large[..., 0] = large[..., 0] * 100 + 1000
    some = torch.arange(64)
    alone, beside = (decode(encode(one, "int4", 64), "int4", 0, some) for one in (wanted, large))
    assert torch.equal(alone[:, 1:], beside[:, 1:])


@pytest.mark.parametrize("row_format", CODED)
@pytest.mark.parametrize("value", [0.0, 3.0, -70_000.0])
def test_rows_that_are_all_alike_stay_as_they_are(row_format, value):
    wanted = torch.full((1, 4, WIDTH), value)
    found = decode(encode(wanted, row_format, 4), row_format, 0, torch.arange(4))
    torch.testing.assert_close(found, wanted[0].clamp(-65_504, 65_504), atol=1e-3, rtol=1e-3)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(CODED), st.lists(st.sampled_from([4, 6]), min_size=1, max_size=4), st.data())
def test_gathering_decodes_the_same_rows_however_they_are_stored(row_format, counts, data):
    parts = chunks(row_format, *counts)
    total = sum(counts)
    wanted = torch.tensor(data.draw(st.lists(st.integers(0, total - 1), min_size=1, max_size=12)))
    whole = [part.widened() for part in parts]
    for layer in range(LAYERS):
        keys, values = RowTable(parts).gather(layer, wanted)
        assert torch.equal(keys, torch.cat([part.keys[layer] for part in whole])[wanted])
        assert torch.equal(values, torch.cat([part.values[layer] for part in whole])[wanted])


@pytest.mark.parametrize("row_format", BITS)
def test_chunks_are_joined_and_cut_without_being_coded_anew(row_format):
    one, two, three = chunks(row_format, 8, 8, 8)
    whole = join([one, two, three])
    assert to_bytes(join([whole.part(0, 16), three])) == to_bytes(whole)
    assert to_bytes(whole.part(8, 16)) == to_bytes(two)
    assert len(whole) == 24


@pytest.mark.parametrize("row_format", BITS)
def test_rows_come_back_from_disk_in_their_format(tmp_path, row_format):
    block = join(chunks(row_format, 8, 8))
    path = tmp_path / "shard.safetensors"
    path.write_bytes(to_bytes(block))
    for back in (map_rows(path), from_bytes(to_bytes(block))):
        assert back.row_format == row_format
        assert all(torch.equal(back.tensors()[name], part) for name, part in block.tensors().items())


@pytest.mark.parametrize("row_format", BITS)
@pytest.mark.parametrize("count", [4, 64, 96, 256])
def test_a_chunk_takes_the_bytes_that_were_told(row_format, count):
    (stored,) = chunks(row_format, count)
    tensors = stored.tensors()
    held = [sum(part.nbytes for name, part in tensors.items() if name.startswith("retrieval") is keys) for keys in
            (False, True)]  # fmt: skip
    assert tuple(held) == chunk_bytes(row_format, LAYERS, count, WIDTH, KEY)


@given(st.integers(1, 4096))
def test_groups_are_whole_and_small(count):
    assert count % group_rows(count) == 0
    assert group_rows(count) <= 64
    if count % 64 == 0:
        assert group_rows(count) == 64


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 1500))
def test_a_damaged_shard_of_codes_is_refused(tmp_path_factory, noise, cut):
    path = tmp_path_factory.mktemp("shards") / "shard.safetensors"
    data = to_bytes(chunks("int4", 8)[0])
    data = noise + data[cut:] if noise else data[: min(cut, len(data) - 1)]
    path.write_bytes(data)
    with pytest.raises(CheckpointError):
        map_rows(path)
    with pytest.raises(CheckpointError):
        from_bytes(data)


def test_a_format_of_tomorrow_is_refused_by_its_name(tmp_path):
    path = tmp_path / "shard.safetensors"
    data = to_bytes(chunks("int4", 8)[0]).replace(b'"int4"', b'"int3"')
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="int3"):
        map_rows(path)
    with pytest.raises(CheckpointError, match="int3"):
        from_bytes(data)


@settings(max_examples=40, deadline=None)
@given(st.floats(1e-3, 1e3), st.integers(0, 2**31))
def test_a_retrieval_key_keeps_its_direction(spread, seed):
    torch.manual_seed(seed)
    wanted = torch.randn(LAYERS, 8, 48) * spread
    found = decode_keys(encode_keys(wanted))
    assert torch.nn.functional.cosine_similarity(found, wanted, dim=-1).min() > 0.999


def test_coded_keys_are_scored_as_if_they_were_decoded():
    (stored,) = chunks("int4", 64)
    queries = torch.randn(7, KEY)
    for layer in range(LAYERS):
        coded = scores(queries, [stored.keys_to_score(layer)], chunk_rows=8)
        plain = scores(queries, [stored.widened().retrieval[layer]], chunk_rows=8)
        torch.testing.assert_close(coded.rows, plain.rows)
        torch.testing.assert_close(coded.chunks[0], plain.chunks[0])


def test_rows_of_a_model_without_a_retriever_have_empty_keys():
    stored = as_stored(ReadRows(*(torch.randn(LAYERS, 4, size) for size in (WIDTH, WIDTH, 0))), "int4")
    assert decode_keys(stored.retrieval).shape == (LAYERS, 4, 0)
    assert set(REACH) == set(CODED)
