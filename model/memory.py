"""Memory rows in read form, and the table of all rows that a question may see.

A row is read only through k_proj, v_proj and key_proj, so it is stored as its keys before RoPE, its values and its
retrieval key: half of the hidden vector at 4:1 grouped-query attention, and a question projects nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from model.errors import CheckpointError
from model.mplus import KeysValues, MPlus

HEADER_LIMIT = 16 * 1024 * 1024
DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}


@dataclass(frozen=True, slots=True)
class ReadRows:
    """Rows of all layers in read form, oldest first.

    keys, values (L, n, H_kv * hd); retrieval (L, n, h), h may be 0.
    """

    keys: Tensor
    values: Tensor
    retrieval: Tensor

    def __len__(self) -> int:
        return self.keys.shape[1]

    def part(self, start: int, stop: int) -> ReadRows:
        """Rows [start, stop), without copying."""
        return ReadRows(self.keys[:, start:stop], self.values[:, start:stop], self.retrieval[:, start:stop])


def project(model: MPlus, rows: Tensor) -> ReadRows:
    """Read form of hidden rows (L, n, d), under the adapter that is active (it should be `read`)."""
    if model.projector is not None:
        return ReadRows(*model.projector(rows))
    parts = [_project_layer(model, index, rows[index][None]) for index in range(model.config.layers)]
    return ReadRows(*(torch.stack(tensors) for tensors in zip(*parts, strict=True)))


def _project_layer(model: MPlus, index: int, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    attention, hidden = model.layer(index).self_attn, model.normed(index, rows)[0]
    empty = hidden.new_zeros(len(hidden), 0)  # the retrieval keys of a model without a retriever
    retrieval = model.retrievers[index].key(hidden) if model.config.retriever_dim else empty
    return attention.k_proj(hidden), attention.v_proj(hidden), retrieval


def as_stored(rows: ReadRows) -> ReadRows:
    """Rows as a library holds them: on the host, bf16."""
    return ReadRows(*(part.to("cpu", torch.bfloat16) for part in (rows.keys, rows.values, rows.retrieval)))


def join(parts: Sequence[ReadRows]) -> ReadRows:
    """Rows one after the other."""
    return ReadRows(*(torch.cat([getattr(part, name) for part in parts], 1) for name in ReadRows.__slots__))


def to_bytes(rows: ReadRows, metadata: dict[str, str] | None = None) -> bytes:
    """A safetensors file; equal rows give equal bytes."""
    from safetensors.torch import save

    tensors = {name: getattr(rows, name).contiguous() for name in ReadRows.__slots__}
    return save(tensors, metadata=metadata)


def from_bytes(data: bytes) -> ReadRows:
    """The inverse of `to_bytes`."""
    from safetensors.torch import load

    tensors = load(data)
    return ReadRows(*(tensors[name] for name in ReadRows.__slots__))


def map_rows(path: Path) -> ReadRows:
    """Rows of a shard file, memory-mapped: pages are read when a question touches them.

    Raises CheckpointError where the file is not a shard of rows.
    """
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if not 0 < size <= HEADER_LIMIT:
                raise ValueError("header length")
            header = json.loads(file.read(size))
        storage = torch.UntypedStorage.from_file(str(path), shared=False, nbytes=path.stat().st_size)
        return ReadRows(*(_mapped(storage, 8 + size, header[name]) for name in ReadRows.__slots__))
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise CheckpointError(f"{path.name} is not a readable shard of memory rows: {error}") from error


def _mapped(storage: torch.UntypedStorage, base: int, entry: dict) -> Tensor:
    dtype, shape = DTYPES[entry["dtype"]], entry["shape"]
    start, stop = (base + offset for offset in entry["data_offsets"])
    count = (stop - start) // dtype.itemsize
    if start % dtype.itemsize or stop > storage.nbytes() or count != torch.Size(shape).numel():
        raise ValueError("tensor bounds")
    return torch.empty(0, dtype=dtype).set_(storage, start // dtype.itemsize, shape)


class RowTable:
    """All rows of a view in order of birth, in blocks that may be memory-mapped; row numbers count through them."""

    def __init__(self, blocks: Sequence[ReadRows]) -> None:
        self.blocks = [block for block in blocks if len(block)]
        ends = torch.tensor([len(block) for block in self.blocks], dtype=torch.long).cumsum(0)
        self.ends = ends
        self.starts = torch.cat([ends.new_zeros(1), ends[:-1]]) if len(ends) else ends

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def retrieval(self, layer: int) -> list[Tensor]:
        """Retrieval keys of every block of a layer: (n_i, h) each."""
        return [block.retrieval[layer] for block in self.blocks]

    def gather(self, layer: int, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (len(rows), H_kv * hd) of row numbers in any order."""
        owner = torch.bucketize(rows, self.ends, right=True)
        keys = values = None
        for number in owner.unique().tolist():
            block, here = self.blocks[number], (owner == number).nonzero()[:, 0]
            local = rows[here] - self.starts[number]
            if keys is None or values is None:
                keys = block.keys.new_empty(len(rows), block.keys.shape[-1])
                values = torch.empty_like(keys)
            keys[here], values[here] = block.keys[layer][local], block.values[layer][local]
        assert keys is not None, "gather needs at least one row"
        assert values is not None
        return keys, values


def as_prefix(model: MPlus, keys: Tensor, values: Tensor) -> KeysValues:
    """Stored rows (P, H_kv * hd) as the memory of a layer, in the model's format: (1, H_kv, P, hd)."""
    return KeysValues(*(model.as_heads(part.to(model.device, model.dtype)[None]) for part in (keys, values)))
