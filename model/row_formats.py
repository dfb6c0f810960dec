"""Memory rows in fewer bits: a code for every channel of a row, a middle and a scale for every channel of some rows.

Keys before RoPE have channels that are large, with the same sign, in every row. A scale for a row spends its steps on
them; a middle and a scale for a channel, shared by consecutive rows, do not (KIVI, arXiv 2402.02750; KVQuant, arXiv
2401.18079). What a row decodes to depends on the rows of its own group alone, and no group crosses a chunk, so rows of
chunks can be joined, cut and gathered without being decoded.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from model.row_sizes import BITS
from model.scoring import Int8Keys

REACH = {"fp8": 448.0, "int8": 127.5, "int4": 7.5}  # the largest distance of a code from the middle, in scales
LEAST_SCALE, MOST = 2.0**-14, 65504.0  # float16: the smallest normal number, the largest
KEY_REACH = 127


class Coded(NamedTuple):
    """Rows in codes: row r is middles[r // g] + scales[r // g] * (its code), g = n / G.

    codes (L, n, D) uint8, for int4 (L, n, D / 2); middles, scales (L, G, D) float16.
    """

    codes: Tensor
    middles: Tensor
    scales: Tensor

    @property
    def group(self) -> int:
        """g: how many rows share a middle and a scale."""
        return self.codes.shape[1] // self.middles.shape[1]

    def part(self, start: int, stop: int) -> Coded:
        """Rows [start, stop), without copying; both at borders of groups."""
        group = self.group
        assert start % group == 0, "a part begins where a group does"
        assert stop % group == 0 or stop >= self.codes.shape[1], "a part ends where a group does"
        first, last = start // group, -(-stop // group)
        return Coded(self.codes[:, start:stop], self.middles[:, first:last], self.scales[:, first:last])


def encode(rows: Tensor, row_format: str, group: int) -> Coded:
    """Rows (L, n, D) in a format of `REACH`; every `group` rows of a channel share a middle and a scale. n > 0."""
    assert rows.shape[1] % group == 0, "groups are whole"
    grouped = rows.float().unflatten(1, (-1, group))  # (L, G, g, D)
    low, high = grouped.aminmax(dim=2, keepdim=True)
    middles = ((low + high) / 2).clamp(-MOST, MOST).half()
    scales = ((high - low) / 2 / REACH[row_format]).clamp(LEAST_SCALE, MOST).half()
    steps = (grouped - middles.float()) / scales.float()
    return Coded(_codes(steps.flatten(1, 2), row_format), middles.squeeze(2), scales.squeeze(2))


def _codes(steps: Tensor, row_format: str) -> Tensor:
    """Distances from the middle in scales (L, n, D) as bytes; int4: channel i low, channel i + D / 2 high."""
    reach = REACH[row_format]
    if row_format == "fp8":
        return steps.clamp(-reach, reach).to(torch.float8_e4m3fn).view(torch.uint8)
    whole = (steps + reach).round().clamp(0, 2 * reach).to(torch.uint8)
    if BITS[row_format] == 8:
        return whole
    assert whole.shape[-1] % 2 == 0, "two channels a byte"
    low, high = whole.chunk(2, -1)
    return low | (high << 4)


def decode(coded: Coded, row_format: str, layer: int, rows: Tensor) -> Tensor:
    """The picked rows (m,) of a layer, in any order: (m, D) float32. No other row is decoded."""
    owner = rows // coded.group
    steps = _steps(coded.codes[layer][rows], row_format)
    return steps.mul_(coded.scales[layer][owner].float()).add_(coded.middles[layer][owner].float())


def _steps(codes: Tensor, row_format: str) -> Tensor:
    if row_format == "fp8":
        return codes.view(torch.float8_e4m3fn).float()
    if BITS[row_format] == 4:
        codes = torch.cat([codes & 15, codes >> 4], -1)
    return codes.float().sub_(REACH[row_format])


def encode_keys(keys: Tensor) -> Int8Keys:
    """Retrieval keys (L, n, h) in eight bits, a scale for each: values (L, n, h), scales (L, n)."""
    if not keys.shape[-1]:
        return Int8Keys(keys.to(torch.int8), keys.new_ones(keys.shape[:2], dtype=torch.float16))
    wide = keys.float()
    scales = (wide.abs().amax(-1) / KEY_REACH).clamp(LEAST_SCALE, MOST).half()
    values = (wide / scales.float()[..., None]).round().clamp(-KEY_REACH, KEY_REACH)
    return Int8Keys(values.to(torch.int8), scales)


def decode_keys(keys: Int8Keys) -> Tensor:
    """Keys (..., h) float32."""
    return keys.values.float() * keys.scales.float()[..., None]
