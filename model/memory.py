"""Memory rows in read form, and the table of all rows that a question may see.

A row is read only through k_proj, v_proj and key_proj, so it is stored as its keys before RoPE, its values and its
retrieval key: half of the hidden vector at 4:1 grouped-query attention, and a question projects nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model.errors import CheckpointError
from model.key_formats import Int8Keys, Keys, encode_keys
from model.mplus import KeysValues, MPlus
from model.row_formats import Coded, encode
from model.row_sizes import FORMATS, group_rows

HEADER_LIMIT = 16 * 1024 * 1024
DTYPES = {
    "BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32, "U8": torch.uint8, "I8": torch.int8,
}  # fmt: skip


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

    @property
    def row_format(self) -> str:
        """Rows that are no codes are in the format that needs no name in a file."""
        return "bf16"

    def tensors(self) -> dict[str, Tensor]:
        """What a shard file holds, by name; rows, or groups of rows, are the second dimension of each."""
        return {name: getattr(self, name) for name in ReadRows.__slots__}

    def fields(self) -> list[tuple[Tensor, int]]:
        """What a question reads of recalled rows: tensors (L, ...), and how many rows share a line of each."""
        return [(self.keys, 1), (self.values, 1)]

    def plain(self, lines: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Keys and values (m, H_kv * hd) of rows whose lines (m, ...) of these tensors were picked."""
        keys, values = lines
        return keys, values

    def keys_to_score(self, layer: int) -> Keys:
        """Retrieval keys of a layer, as they are stored: (n, h)."""
        return self.retrieval[layer]

    def widened(self) -> ReadRows:
        """The same rows without codes."""
        return self


@dataclass(frozen=True, slots=True)
class CodedRows:
    """Rows of all layers in read form, in codes (L, n, ...)."""

    row_format: str
    keys: Coded
    values: Coded
    retrieval: Int8Keys | Coded

    def __len__(self) -> int:
        return len(self.keys)

    def part(self, start: int, stop: int) -> CodedRows:
        """Rows [start, stop), without copying; both at borders of groups of rows."""
        parts = (self.keys.part(start, stop), self.values.part(start, stop), self.retrieval.part(start, stop))
        return CodedRows(self.row_format, *parts)

    def tensors(self) -> dict[str, Tensor]:
        """What a shard file holds, by name; rows, or groups of rows, are the second dimension of each."""
        found = (*self.keys.tensors(), *self.values.tensors(), *self.retrieval.tensors())
        return dict(zip(coded_names(self.row_format), found, strict=True))

    def fields(self) -> list[tuple[Tensor, int]]:
        """What a question reads of recalled rows: tensors (L, ...), and how many rows share a line of each."""
        parts = [(part.tensors(), part.group) for part in (self.keys, self.values)]
        return [field for (codes, *shared), group in parts for field in ((codes, 1), *((one, group) for one in shared))]

    def plain(self, lines: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Keys and values (m, H_kv * hd), float32, of rows whose lines (m, ...) of these tensors were picked."""
        keys, values = Coded(self.keys.code, *lines[:3]), Coded(self.values.code, *lines[3:])
        return keys.decoded(), values.decoded()

    def keys_to_score(self, layer: int) -> Keys:
        """Retrieval keys of a layer, as they are stored: (n, h)."""
        return self.retrieval.layer(layer)

    def widened(self) -> ReadRows:
        """All rows decoded, float32."""
        return ReadRows(self.keys.decoded(), self.values.decoded(), self.retrieval.decoded())


Rows = ReadRows | CodedRows


def coded_names(row_format: str) -> tuple[str, ...]:
    """Names of the tensors of a format in codes, in the order in which parts have them."""
    names: list[str] = []
    for part, code in FORMATS[row_format]._asdict().items():
        own_scales = part == "retrieval" and code == "int8"
        names += [part, *(() if own_scales else (f"{part}.middles",)), f"{part}.scales"]
    return tuple(names)


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


def as_stored(rows: ReadRows, row_format: str = "bf16") -> Rows:
    """Rows of one chunk as a library holds them: on the host, in one of the formats of `model.row_sizes`."""
    if row_format == "bf16":
        return ReadRows(*(part.to("cpu", torch.bfloat16) for part in (rows.keys, rows.values, rows.retrieval)))
    group, codes = group_rows(len(rows)), FORMATS[row_format]
    found = CodedRows(
        row_format,
        encode(rows.keys, codes.keys, group),
        encode(rows.values, codes.values, group),
        encode_keys(rows.retrieval, codes.retrieval, group),
    )
    return _coded(row_format, {name: part.cpu() for name, part in found.tensors().items()})


def join(parts: Sequence[Rows]) -> Rows:
    """Rows of one format, one after the other."""
    row_format, tensors = parts[0].row_format, [part.tensors() for part in parts]
    assert all(part.row_format == row_format for part in parts), "a shard has one format"
    return _rows(row_format, {name: torch.cat([one[name] for one in tensors], 1) for name in tensors[0]})


def _rows(row_format: str, tensors: dict[str, Tensor]) -> Rows:
    if row_format == "bf16":
        return ReadRows(*(tensors[name] for name in ReadRows.__slots__))
    return _coded(row_format, tensors)


def _coded(row_format: str, tensors: dict[str, Tensor]) -> CodedRows:
    codes, parts = FORMATS[row_format], [tensors[name] for name in coded_names(row_format)]
    keys, values = Coded(codes.keys, *parts[:3]), Coded(codes.values, *parts[3:6])
    retrieval = Int8Keys(*parts[6:]) if codes.retrieval == "int8" else Coded(codes.retrieval, *parts[6:])
    return CodedRows(row_format, keys, values, retrieval)


def to_bytes(rows: Rows) -> bytes:
    """A safetensors file; equal rows give equal bytes. Codes name their format in the file's metadata."""
    from safetensors.torch import save

    metadata = None if rows.row_format == "bf16" else {"row_format": rows.row_format}
    return save({name: part.contiguous() for name, part in rows.tensors().items()}, metadata=metadata)


def from_bytes(data: bytes) -> Rows:
    """The inverse of `to_bytes`. Raises CheckpointError where the bytes are not a shard of rows."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        size = int.from_bytes(data[:8], "little")
        return _rows(_format(json.loads(data[8 : 8 + size])), load(data))
    except (ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise CheckpointError(f"these bytes are no shard of memory rows: {error}") from error


def map_rows(path: Path) -> Rows:
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
        row_format = _format(header)
        names = ReadRows.__slots__ if row_format == "bf16" else coded_names(row_format)
        return _rows(row_format, {name: _mapped(storage, 8 + size, header[name]) for name in names})
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path.name} is not a readable shard of memory rows: {error}") from error


def _format(header: dict) -> str:
    """The format of the rows behind a safetensors header; those without a name are no codes."""
    found = header.get("__metadata__", {}).get("row_format", "bf16")
    if found not in FORMATS:
        raise ValueError(f"rows in the unknown format {found!r}")
    return found


def _mapped(storage: torch.UntypedStorage, base: int, entry: dict) -> Tensor:
    dtype, shape = DTYPES[entry["dtype"]], entry["shape"]
    start, stop = (base + offset for offset in entry["data_offsets"])
    count = (stop - start) // dtype.itemsize
    if start % dtype.itemsize or stop > storage.nbytes() or count != torch.Size(shape).numel():
        raise ValueError("tensor bounds")
    return torch.empty(0, dtype=dtype).set_(storage, start // dtype.itemsize, shape)


class RowTable:
    """All rows of a view in order of birth, in blocks that may be memory-mapped; row numbers count through them."""

    def __init__(self, blocks: Sequence[Rows]) -> None:
        self.blocks = [block for block in blocks if len(block)]
        ends = torch.tensor([len(block) for block in self.blocks], dtype=torch.long).cumsum(0)
        self.ends = ends
        self.starts = torch.cat([ends.new_zeros(1), ends[:-1]]) if len(ends) else ends
        self._fields: dict[int, list[tuple[np.ndarray, int]]] = {}

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    @property
    def retrieval_width(self) -> int:
        """h, the width of a retrieval key; there must be rows."""
        keys = self.blocks[0].keys_to_score(0)
        return keys.shape[1] if isinstance(keys, Tensor) else keys.width

    def retrieval(self, layer: int) -> list[Keys]:
        """Retrieval keys of every block of a layer, as they are stored: (n_i, h) each."""
        return [block.keys_to_score(layer) for block in self.blocks]

    def gather(self, layer: int, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (len(rows), H_kv * hd) of row numbers in any order; of codes these rows alone are decoded."""
        assert len(rows), "gather needs at least one row"
        ascending, order = rows.sort(stable=True)
        owners, counts = torch.bucketize(ascending, self.ends, right=True).unique_consecutive(return_counts=True)
        parts = (ascending - self.starts[owners].repeat_interleave(counts)).split(counts.tolist())
        pairs = zip(owners.tolist(), (part.numpy() for part in parts), strict=True)
        runs = (list(run) for _, run in groupby(pairs, lambda pair: _kind(self.blocks[pair[0]])))
        found = [self._run(layer, run) for run in runs]
        places = order.argsort()
        keys, values = (torch.cat(some)[places] for some in zip(*found, strict=True))
        return keys, values

    def _run(self, layer: int, parts: Sequence[tuple[int, np.ndarray]]) -> tuple[Tensor, Tensor]:
        """Keys and values of rows (m,) of blocks of one kind, by numpy: half of torch's time for few rows a block."""
        lines = ([_lines(*field, layer, rows) for field in self._read(number)] for number, rows in parts)
        first = self.blocks[parts[0][0]]
        columns = (torch.from_numpy(np.concatenate(column)) for column in zip(*lines, strict=True))
        return first.plain([one.view(part.dtype) for one, (part, _) in zip(columns, first.fields(), strict=True)])

    def _read(self, number: int) -> list[tuple[np.ndarray, int]]:
        if number not in self._fields:
            fields = self.blocks[number].fields()
            self._fields[number] = [(part.view(torch.uint8).numpy(), group) for part, group in fields]
        return self._fields[number]


def _kind(block: Rows) -> tuple[str, torch.dtype]:
    return block.row_format, block.keys.dtype if isinstance(block, ReadRows) else torch.uint8


def _lines(part: np.ndarray, group: int, layer: int, rows: np.ndarray) -> np.ndarray:
    """Bytes (m, ...) of the lines of a layer that rows (m,) have."""
    return part[layer, rows if group == 1 else rows // group]


def as_prefix(model: MPlus, keys: Tensor, values: Tensor, device: torch.device | None = None) -> KeysValues:
    """Stored rows (P, H_kv * hd) as the memory of a layer, in the model's format and place (or in another): (1, H_kv,
    P, hd)."""
    here = model.device if device is None else device
    return KeysValues(*(model.as_heads(part.to(here, model.dtype)[None]) for part in (keys, values)))
