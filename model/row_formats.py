"""Memory rows in fewer bits: a code for every channel of a row, a middle and a scale for every channel of some rows.

Keys before RoPE have channels that are large, with the same sign, in every row. A scale for a row spends its steps on
them; a middle and a scale for a channel, shared by consecutive rows, do not (KIVI, arXiv 2402.02750; KVQuant, arXiv
2401.18079). What a row decodes to depends on the rows of its own group alone, and no group crosses a chunk, so rows of
chunks can be joined, cut and gathered without being decoded.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from model.row_sizes import PLANES

# the largest distance of a code from the middle, in scales
REACH = {"fp8": 448.0, "int8": 127.5, "int5": 15.5, "int4": 7.5, "pairs": 7.5}
LEAST_SCALE, MOST = 2.0**-14, 65504.0  # float16: the smallest normal number, the largest


@dataclass(frozen=True, slots=True)
class Coded:
    """Rows in a code of `REACH`: row r is middles[r // g] + scales[r // g] * (its steps), g = n / G.

    codes (..., n, W) uint8, W as `packed_bytes` says; middles, scales (..., G, D) float16.
    """

    code: str
    codes: Tensor
    middles: Tensor
    scales: Tensor

    def __len__(self) -> int:
        return self.codes.shape[-2]

    @property
    def width(self) -> int:
        """D, the channels of a row."""
        return self.middles.shape[-1]

    @property
    def group(self) -> int:
        """g: how many rows share a middle and a scale."""
        groups = self.middles.shape[-2]
        return len(self) // groups if groups else 1

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(part.nbytes for part in self.tensors())

    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """Codes, middles, scales."""
        return self.codes, self.middles, self.scales

    def layer(self, number: int) -> Coded:
        """Rows of one layer (n, D), without copying."""
        return Coded(self.code, *(part[number] for part in self.tensors()))

    def part(self, start: int, stop: int) -> Coded:
        """Rows [start, stop), without copying; both at borders of groups."""
        group = self.group
        assert start % group == 0, "a part begins where a group does"
        assert stop % group == 0 or stop >= len(self), "a part ends where a group does"
        shared = slice(start // group, -(-stop // group))
        return Coded(self.code, self.codes[..., start:stop, :], *(part[..., shared, :] for part in self.tensors()[1:]))

    def to(self, device: torch.device) -> Coded:
        """The same rows on a device."""
        if self.codes.device == device:
            return self
        return Coded(self.code, *(part.to(device) for part in self.tensors()))

    def decoded(self, out: Tensor | None = None) -> Tensor:
        """All rows (..., n, D), float32, in `out` where it is given."""
        wide = torch.empty(*self.codes.shape[:-1], self.width, device=self.codes.device) if out is None else out
        wide.copy_(_numbers(self.codes, self.code, self.width))
        grouped = wide.unflatten(-2, (-1, self.group))  # (..., G, g, D)
        bases, scales = self._lines()
        torch.addcmul(bases.unsqueeze(-2), grouped, scales.unsqueeze(-2), out=grouped)
        return wide

    def _lines(self) -> tuple[Tensor, Tensor]:
        """What a channel of a group is: base + scale * its code (of fp8: its number); (..., G, D) float32 each."""
        scales = self.scales.float()
        return torch.sub(self.middles, scales, alpha=0.0 if self.code == "fp8" else REACH[self.code]), scales


def encode(rows: Tensor, code: str, group: int) -> Coded:
    """Rows (L, n, D) in a code of `REACH`; every `group` rows of a channel share a middle and a scale. n > 0."""
    assert rows.shape[1] % group == 0, "groups are whole"
    grouped = rows.float().unflatten(1, (-1, group))  # (L, G, g, D)
    low, high = grouped.aminmax(dim=2, keepdim=True)
    middles = ((low + high) / 2).clamp(-MOST, MOST).half()
    scales = ((high - low) / 2 / REACH[code]).clamp(LEAST_SCALE, MOST).half()
    steps = (grouped - middles.float()) / scales.float()
    return Coded(code, _codes(steps.flatten(1, 2), code), middles.squeeze(2), scales.squeeze(2))


def _codes(steps: Tensor, code: str) -> Tensor:
    """Distances from the middle in scales (..., D) as bytes (..., W)."""
    reach = REACH[code]
    if code == "fp8":
        return steps.clamp(-reach, reach).to(torch.float8_e4m3fn).view(torch.uint8)
    return packed((steps + reach).round().clamp(0, 2 * reach).to(torch.uint8), code)


def _numbers(codes: Tensor, code: str, width: int) -> Tensor:
    """Bytes (..., W) as the numbers (..., width) that they stand for, in a format of few bits."""
    return codes.view(torch.float8_e4m3fn) if code == "fp8" else unpacked(codes, code, width)


def packed(numbers: Tensor, code: str) -> Tensor:
    """Numbers (..., D) uint8, plane after plane: (..., W).

    A byte of a plane of b bits has 8 / b channels, the first lowest; neighbours lie in neighbouring bytes, but in
    `pairs` in the same one, so that many rows are unpacked with few operations.
    """
    planes, below = [], 0
    for bits in PLANES[code]:
        each = 8 // bits
        size = -(-numbers.shape[-1] // each)
        plane = F.pad(numbers >> below & (1 << bits) - 1, (0, size * each - numbers.shape[-1]))
        cut = plane.unflatten(-1, (size, each)).mT if code == "pairs" else plane.unflatten(-1, (each, size))
        shifts = torch.arange(0, 8, bits, dtype=torch.uint8, device=numbers.device)[:, None]
        planes.append((cut << shifts).sum(-2, dtype=torch.uint8))
        below += bits
    return torch.cat(planes, -1)


def unpacked_pairs(codes: Tensor, width: int) -> Tensor:
    """`unpacked` for `pairs`: (..., W) -> (..., width) uint8; TorchScript reads it, too."""
    both = codes.to(torch.int16)  # 0x00HL
    both.bitwise_or_(both * 16).bitwise_and_(0x0F0F)  # 0x0HL0 | 0x00HL, then 0x0H0L: L comes first in memory
    return torch.view_copy(both, dtype=torch.uint8)[..., :width]


def unpacked(codes: Tensor, code: str, width: int) -> Tensor:
    """The inverse of `packed`: (..., W) -> (..., width) uint8."""
    if code == "pairs":
        return unpacked_pairs(codes, width)
    sizes = [-(-width * bits // 8) for bits in PLANES[code]]
    numbers, below = codes.new_zeros(()), 0
    for bits, part in zip(PLANES[code], codes.split(sizes, -1), strict=True):
        pieces = torch.cat([part >> shift & (1 << bits) - 1 for shift in range(0, 8, bits)], -1)[..., :width]
        numbers, below = numbers | pieces << below, below + bits
    return numbers
