"""Rows in fewer bits: how near they stay, what they take, and that codes are never the business of whoever gathers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import CheckpointError
from model.key_formats import int8_keys, joined
from model.memory import CodedRows, ReadRows, RowTable, as_stored, from_bytes, join, map_rows, to_bytes
from model.row_formats import REACH, encode, packed, unpacked
from model.row_sizes import FORMATS, PLANES, chunk_bytes, group_rows, packed_bytes
from model.scoring import scores, search

CODED = [name for name in FORMATS if name != "bf16"]
WHOLE = ["int8", "int5", "int4", "pairs"]  # codes that are whole numbers
LAYERS, WIDTH, KEY = 2, 6, 5


def rows(count: int, seed: int = 0, spread: float = 1.0) -> ReadRows:
    generator = torch.Generator().manual_seed(seed)
    sizes = (WIDTH, WIDTH, KEY)
    return ReadRows(*(torch.randn(LAYERS, count, size, generator=generator) * spread for size in sizes))


def chunks(row_format: str, *counts: int) -> list[CodedRows]:
    return [as_stored(rows(count, seed), row_format) for seed, count in enumerate(counts)]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(WHOLE),
    st.sampled_from([1, 2, 8]),
    st.integers(1, 17),
    st.floats(1e-2, 1e3),
    st.floats(-50, 50),
    st.integers(0, 2**31),
)
def test_a_decoded_row_is_within_half_a_step(code, group, width, spread, middle, seed):
    torch.manual_seed(seed)
    wanted = torch.randn(LAYERS, 8, width) * spread + middle
    coded = encode(wanted, code, group)
    steps = coded.scales.float().repeat_interleave(group, 1)
    rounding = 2**-10 * (wanted.abs() + spread)  # of middles and scales to float16, and of the sum
    assert ((coded.decoded() - wanted).abs() <= steps / 2 + rounding).all()
    assert coded.codes.shape[-1] == packed_bytes(code, width)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(WHOLE), st.integers(0, 20), st.integers(0, 2**31))
def test_packed_numbers_come_back(code, width, seed):
    most, generator = int(2 * REACH[code]) + 1, torch.Generator().manual_seed(seed)
    numbers = torch.randint(most, (3, width), dtype=torch.uint8, generator=generator)
    assert torch.equal(unpacked(packed(numbers, code), code, width), numbers)


def test_channels_lie_where_the_library_format_says():
    numbers = torch.randint(32, (16,), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    five, halves, pairs = (packed(some[None], code)[0].tolist() for some, code in
                           ((numbers, "int5"), (numbers & 15, "int4"), (numbers & 15, "pairs")))  # fmt: skip
    for channel, number in enumerate(numbers.tolist()):
        low, top = five[channel % 8] >> 4 * (channel // 8) & 15, five[8 + channel % 2] >> channel // 2 & 1
        assert low + 16 * top == number
        assert halves[channel % 8] >> 4 * (channel // 8) & 15 == number & 15
        assert pairs[channel // 2] >> 4 * (channel % 2) & 15 == number & 15


def test_more_bits_are_nearer():
    wanted = torch.randn(LAYERS, 64, WIDTH, generator=torch.Generator().manual_seed(0))
    error = {code: float((encode(wanted, code, 64).decoded() - wanted).norm() / wanted.norm()) for code in REACH}
    assert error["int8"] < error["fp8"] < error["int5"] < error["int4"] == error["pairs"] < 0.15
    assert error["int5"] == pytest.approx(error["int4"] * 15 / 31, rel=0.1)


def test_a_large_channel_costs_its_neighbours_nothing():
    wanted = torch.randn(1, 64, WIDTH)
    large = wanted.clone()
    large[..., 0] = large[..., 0] * 100 + 1000
    alone, beside = (encode(one, "int4", 64).decoded() for one in (wanted, large))
    assert torch.equal(alone[..., 1:], beside[..., 1:])


@pytest.mark.parametrize("code", REACH)
@pytest.mark.parametrize("value", [0.0, 3.0, -70_000.0])
def test_rows_that_are_all_alike_stay_as_they_are(code, value):
    wanted = torch.full((1, 4, WIDTH), value)
    torch.testing.assert_close(encode(wanted, code, 4).decoded(), wanted.clamp(-65_504, 65_504), atol=1e-3, rtol=1e-3)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(list(REACH)), st.sampled_from([1, 2, 4]), st.data())
def test_parts_decode_to_what_all_decode_to(code, group, data):
    coded = encode(torch.randn(LAYERS, 12, WIDTH), code, group)
    whole = coded.decoded()
    start = data.draw(st.integers(0, 12 // group - 1)) * group
    stop = data.draw(st.integers(start // group + 1, 12 // group)) * group
    assert torch.equal(coded.part(start, stop).decoded(), whole[:, start:stop])
    (one,) = joined([coded.layer(1).part(start, stop), coded.layer(1).part(0, group)])
    assert torch.equal(one.decoded(), torch.cat([whole[1, start:stop], whole[1, :group]]))


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


@pytest.mark.parametrize("row_format", FORMATS)
def test_chunks_are_joined_and_cut_without_being_coded_anew(row_format):
    one, two, three = chunks(row_format, 8, 8, 8)
    whole = join([one, two, three])
    assert to_bytes(join([whole.part(0, 16), three])) == to_bytes(whole)
    assert to_bytes(whole.part(8, 16)) == to_bytes(two)
    assert len(whole) == 24


@pytest.mark.parametrize("row_format", FORMATS)
def test_rows_come_back_from_disk_in_their_format(tmp_path, row_format):
    block = join(chunks(row_format, 8, 8))
    path = tmp_path / "shard.safetensors"
    path.write_bytes(to_bytes(block))
    for back in (map_rows(path), from_bytes(to_bytes(block))):
        assert back.row_format == row_format
        assert all(torch.equal(back.tensors()[name], part) for name, part in block.tensors().items())


@pytest.mark.parametrize("row_format", FORMATS)
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
def test_a_retrieval_key_in_eight_bits_keeps_its_direction(spread, seed):
    torch.manual_seed(seed)
    wanted = torch.randn(LAYERS, 8, 48) * spread
    assert torch.nn.functional.cosine_similarity(int8_keys(wanted).decoded(), wanted, dim=-1).min() > 0.999


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(CODED), st.integers(1, 9), st.integers(1, 200), st.integers(0, 99))
def test_coded_keys_are_scored_as_if_they_were_decoded(row_format, tokens, tile, seed):
    stored = join(chunks(row_format, 64, 64, 64))
    queries = torch.randn(tokens, KEY, generator=torch.Generator().manual_seed(seed))
    for layer in range(LAYERS):
        keys, wide = stored.keys_to_score(layer), stored.widened().retrieval[layer]
        coded, plain = (scores(queries, [one], 64, tile) for one in (keys, wide))
        torch.testing.assert_close(coded.rows, plain.rows, atol=1e-5, rtol=0)
        torch.testing.assert_close(coded.chunks[0], plain.chunks[0], atol=1e-5, rtol=0)
        blocks = [keys.part(0, 64), keys.part(64, 192)]
        found, wanted = (search(queries, one, 7, torch.tensor([5, 190]), 3, 64, tile) for one in (blocks, [wide]))
        assert len(found.rows) == 7
        torch.testing.assert_close(found.values.sort().values, wanted.values.sort().values, atol=1e-5, rtol=0)
        torch.testing.assert_close(found.left_out, wanted.left_out, atol=1e-5, rtol=0)


@pytest.mark.parametrize("row_format", CODED)
def test_rows_of_a_model_without_a_retriever_have_empty_keys(row_format):
    stored = as_stored(ReadRows(*(torch.randn(LAYERS, 4, size) for size in (WIDTH, WIDTH, 0))), row_format)
    assert stored.retrieval.decoded().shape == (LAYERS, 4, 0)
    assert RowTable([stored]).retrieval_width == 0


def test_every_code_has_a_size_and_a_reach():
    assert {code for parts in FORMATS.values() for code in parts} == set(PLANES) == {"bf16", *REACH}


def test_the_bytes_of_a_token_are_those_that_are_promised():
    embedded = {name: sum(chunk_bytes(name, 4, 64, 64, 48)) / 64 for name in FORMATS}
    assert embedded == {"bf16": 1408, "fp8": 744, "int8": 744, "int5": 428, "int4": 488}
    assert sum(chunk_bytes("int5", 32, 256, 1024, 256)) / 512 == 22_784 <= 139_264 / 6
