"""Names and sizes of the formats that memory rows are kept in; arithmetic alone, so that planning needs no torch."""

from __future__ import annotations

from typing import NamedTuple

# how the bits of a channel are cut, by code, lowest first: those of a plane lie together, packed into bytes
PLANES = {"bf16": (16,), "fp8": (8,), "int8": (8,), "int5": (4, 1), "int4": (4,), "pairs": (4,)}


class Parts(NamedTuple):
    """The codes that a format has for the parts of a row."""

    keys: str
    values: str
    retrieval: str


FORMATS = {
    "bf16": Parts("bf16", "bf16", "bf16"),
    "fp8": Parts("fp8", "fp8", "int8"),
    "int8": Parts("int8", "int8", "int8"),
    "int5": Parts("int5", "int4", "pairs"),
    "int4": Parts("int4", "int4", "int8"),
}
DEFAULT = "int5"
MOST_GROUPED = 64  # rows that share the middle and the scale of a channel
SHARED_BYTES = 4  # a middle and a scale, float16 each
SCALE_BYTES = 2  # of a retrieval key in eight bits
SHARD_BYTES = 16 * 1024 * 1024
MOST_CHUNKS_PER_SHARD = 64


def group_rows(rows: int) -> int:
    """How many consecutive rows of a chunk of `rows` share middles and scales: its largest divisor up to 64."""
    return max(count for count in range(1, MOST_GROUPED + 1) if rows % count == 0)


def packed_bytes(code: str, channels: int) -> int:
    """Bytes of one row's channels in a code, without middles and scales."""
    return sum(-(-channels * bits // 8) for bits in PLANES[code])


def chunk_bytes(row_format: str, layers: int, rows: int, key_value_dim: int, retriever_dim: int) -> tuple[int, int]:
    """Bytes of one chunk's keys and values, and of its retrieval keys, all layers; `rows` a layer.

    Formats other than bf16: codes, and a middle and a scale for every channel of `group_rows`; retrieval keys in eight
    bits have a scale each instead.
    """
    parts = FORMATS[row_format]
    sizes = (key_value_dim, key_value_dim, retriever_dim)
    codes = [layers * rows * packed_bytes(code, size) for code, size in zip(parts, sizes, strict=True)]
    if row_format == "bf16":
        return codes[0] + codes[1], codes[2]
    shared = layers * (rows // group_rows(rows)) * SHARED_BYTES  # for every channel
    scales = layers * rows * SCALE_BYTES if parts.retrieval == "int8" else shared * retriever_dim
    return codes[0] + codes[1] + 2 * shared * key_value_dim, codes[2] + scales


def chunks_per_shard(chunk_bytes: int) -> int:
    """Chunks of one shard: a power of two, at most 64, of 16 MiB together unless one chunk is larger."""
    count = MOST_CHUNKS_PER_SHARD
    while count > 1 and count * chunk_bytes > SHARD_BYTES:
        count //= 2
    return count
