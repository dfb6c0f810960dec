"""Retrieval keys as they are stored: floats, eight bits with a scale for each key, or codes such as other rows have."""

from __future__ import annotations

from dataclasses import dataclass

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

    def picked(self, rows: Tensor) -> Int8Keys:
        """Some keys (m,), copied, in any order."""
        return Int8Keys(self.values[..., rows, :], self.scales[..., rows])

    def to(self, device: torch.device) -> Int8Keys:
        """The same keys on a device."""
        return Int8Keys(self.values.to(device), self.scales.to(device))

    def decoded(self) -> Tensor:
        """All keys (..., n, h), float32."""
        return self.values.float().mul_(self.scales.float()[..., None])


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


def grain(keys: Keys) -> int:
    """Keys can be cut at multiples of so many."""
    return keys.group if isinstance(keys, Coded) else 1


def part_of(keys: Keys, start: int, stop: int) -> Keys:
    """Keys [start, stop), without copying; both at multiples of the grain, or the end."""
    return keys[start:stop] if isinstance(keys, Tensor) else keys.part(start, stop)


def picked(keys: Keys, rows: Tensor) -> Keys:
    """Keys of some rows (m,), copied."""
    return keys[rows] if isinstance(keys, Tensor) else keys.picked(rows)


def widened(keys: Keys, device: torch.device) -> Tensor:
    """Keys on a device in a format that it multiplies fast: float32 on a CPU without bf16 in hardware."""
    keys = keys.to(device)
    if not isinstance(keys, Tensor):
        return keys.decoded()
    slow = device.type == "cpu" and not (keys.dtype == torch.bfloat16 and cpu_has_bf16())
    return keys.float() if slow else keys  # a bf16 product takes eight times as long there
