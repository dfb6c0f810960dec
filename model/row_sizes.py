"""Names and sizes of the formats that memory rows are kept in; arithmetic alone, so that planning needs no torch."""

from __future__ import annotations

BITS = {"bf16": 16, "fp8": 8, "int8": 8, "int4": 4}  # of a key's or a value's channel in one row
DEFAULT = "int8"
MOST_GROUPED = 64  # rows that share the middle and the scale of a channel
SHARED_BYTES = 4  # a middle and a scale, float16 each
SCALE_BYTES = 2  # of a retrieval key in eight bits
SHARD_BYTES = 16 * 1024 * 1024
MOST_CHUNKS_PER_SHARD = 64


def group_rows(rows: int) -> int:
    """How many consecutive rows of a chunk of `rows` share middles and scales: its largest divisor up to 64."""
    return max(count for count in range(1, MOST_GROUPED + 1) if rows % count == 0)


def chunk_bytes(row_format: str, layers: int, rows: int, key_value_dim: int, retriever_dim: int) -> tuple[int, int]:
    """Bytes of one chunk's keys and values, and of its retrieval keys, all layers; `rows` a layer.

    Formats other than bf16: codes, and a middle and a scale for every channel of `group_rows`; retrieval keys in eight
    bits with a scale each.
    """
    channels = 2 * key_value_dim
    codes = layers * rows * channels * BITS[row_format] // 8
    if row_format == "bf16":
        return codes, layers * rows * retriever_dim * 2
    shared = layers * (rows // group_rows(rows)) * channels * SHARED_BYTES
    return codes + shared, layers * rows * (retriever_dim + SCALE_BYTES)


def chunks_per_shard(chunk_bytes: int) -> int:
    """Chunks of one shard: a power of two, at most 64, of 16 MiB together unless one chunk is larger."""
    count = MOST_CHUNKS_PER_SHARD
    while count > 1 and count * chunk_bytes > SHARD_BYTES:
        count //= 2
    return count
