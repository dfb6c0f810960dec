"""Retrieval keys as they are stored: floats, eight bits with a scale for each key, or codes such as other rows have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from model.devices import cpu_has_bf16
from model.row_formats import LEAST_SCALE, MOST, Coded, encode

REACH = 127


@dataclass(frozen=True, slots=True)
class Int8Keys:
    """Keys in eight bits: a key is values * its scale. values (..., n, h) int8, scales (..., n) float16."""

    values: Tensor
    scales: Tensor

    def __len__(self) -> int:
        return self.scales.shape[-1]

    @property
    def width(self) -> int:
        """h, the width of a key."""
        return self.values.shape[-1]

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(part.nbytes for part in self.tensors())

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Values, scales."""
        return self.values, self.scales

    def layer(self, number: int) -> Int8Keys:
        """Keys of one layer (n, h), without copying."""
        return Int8Keys(self.values[number], self.scales[number])

    def part(self, start: int, stop: int) -> Int8Keys:
        """Keys [start, stop), without copying."""
        return Int8Keys(self.values[..., start:stop, :], self.scales[..., start:stop])

    def to(self, device: torch.device) -> Int8Keys:
        """The same keys on a device."""
        if self.values.device == device:
            return self
        return Int8Keys(self.values.to(device), self.scales.to(device))

    def decoded(self, out: Tensor | None = None) -> Tensor:
        """All keys (..., n, h), float32, in `out` where it is given."""
        wide = self.values.float() if out is None else out.copy_(self.values)
        return wide.mul_(self.scales.float()[..., None])


Keys = Tensor | Int8Keys | Coded  # (n, h) of one layer


def encode_keys(keys: Tensor, code: str, group: int) -> Int8Keys | Coded:
    """Keys (L, n, h) in int8, a scale for each, or in another code of `model.row_formats`."""
    return int8_keys(keys) if code == "int8" else encode(keys, code, group)


def int8_keys(keys: Tensor) -> Int8Keys:
    """Keys (..., n, h) in eight bits."""
    if not keys.shape[-1]:
        return Int8Keys(keys.to(torch.int8), keys.new_ones(keys.shape[:-1], dtype=torch.float16))
    wide = keys.float()
    scales = (wide.abs().amax(-1) / REACH).clamp(LEAST_SCALE, MOST).half()
    values = (wide / scales.float()[..., None]).round().clamp(-REACH, REACH)
    return Int8Keys(values.to(torch.int8), scales)


def tensors_kind(keys: Keys, device: torch.device) -> tuple[str, int]:
    """How `model.scripted` reads keys on a device, and how many rows share a line of their tensors."""
    if isinstance(keys, Coded) and keys.code == "pairs":
        return "pairs", keys.group
    if isinstance(keys, Int8Keys):
        return "int8", 1
    # a bf16 product takes eight times as long as one in float32 on a CPU without bf16 in hardware
    slow = isinstance(keys, Tensor) and keys.dtype != torch.float32 and device.type == "cpu" and not cpu_has_bf16()
    return ("narrow" if slow else "float"), 1


def tensors_of(keys: Keys, name: str) -> list[Tensor]:
    """The tensors of keys of a kind as `model.scripted` reads them; of other codes, what they stand for."""
    if isinstance(keys, Tensor):
        return [keys]
    return [keys.decoded()] if name == "float" else list(keys.tensors())


def kind(keys: Keys) -> tuple[type, object, int]:
    """Keys of one kind can be joined."""
    if isinstance(keys, Tensor):
        return Tensor, keys.dtype, 1
    return (Coded, keys.code, keys.group) if isinstance(keys, Coded) else (Int8Keys, torch.int8, 1)


def joined(parts: Sequence[Keys]) -> list[Keys]:
    """Keys one after the other, copied, as few as there are changes of their kind."""
    return [_one(list(run)) for _, run in groupby(parts, kind)]


def _one(parts: Sequence[Keys]) -> Keys:
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat([part for part in parts if isinstance(part, Tensor)])
    tensors = zip(*(part.tensors() for part in parts if not isinstance(part, Tensor)), strict=True)
    columns = [torch.cat(some) for some in tensors]
    return Int8Keys(*columns) if isinstance(first, Int8Keys) else Coded(first.code, *columns)


def widened(keys: Keys, device: torch.device) -> Tensor:
    """Keys (n, h) on a device, float32."""
    keys = keys.to(device)
    return keys.float() if isinstance(keys, Tensor) else keys.decoded()
