"""The weight matrices of fused layers: as they are, in eight bits, or in four (NF4, arXiv 2305.14314) through
bitsandbytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from model.devices import cpu_is_wide
from model.errors import ModelError
from model.offline import without_kernels

BLOCK = 64  # weights that share one scale in NF4
FEW = 4  # rows up to which the CPU multiplies eight bits as they are; for more it is faster to widen the matrix


class Matrix(Protocol):
    """A weight matrix (out, in)."""

    nbytes: int

    def __call__(self, rows: Tensor, first: int = 0, stop: int | None = None) -> Tensor:
        """Rows (..., in) -> (..., stop - first): the outputs from number `first` on, all or those before `stop`."""


class Dense:
    """A matrix in the model's number format."""

    def __init__(self, weight: Tensor) -> None:
        self.weight, self.nbytes = weight, weight.nbytes

    def __call__(self, rows: Tensor, first: int = 0, stop: int | None = None) -> Tensor:
        """Rows (..., in) -> (..., stop - first)."""
        return F.linear(rows, self.weight if not first and stop is None else self.weight[first:stop])


class EightBit:
    """A matrix in int8 with a scale for every output, made wide where many rows are multiplied.

    One token at a time is bound by the bytes of the weights; torch's kernel for that wants rows in bf16.
    """

    def __init__(self, weight: Tensor) -> None:
        wide = weight.float()
        largest = wide.abs().amax(1).clamp_min(1e-30)
        scales = (largest / 127).bfloat16()  # as the kernel reads them, so that codes are rounded once
        codes = (wide / scales.float()[:, None]).round().clamp(-127, 127).to(torch.int8)
        self.codes, self.scales = codes.contiguous(), scales.to(weight.dtype)
        self.nbytes = self.codes.nbytes + self.scales.nbytes

    def __call__(self, rows: Tensor, first: int = 0, stop: int | None = None) -> Tensor:
        """Rows (..., in) -> (..., stop - first)."""
        codes, scales = self.codes[first:stop], self.scales[first:stop]
        if rows.device.type != "cpu" or not 0 < rows.numel() <= FEW * rows.shape[-1]:
            return F.linear(rows, codes.to(rows.dtype)) * scales
        narrow = rows.reshape(-1, rows.shape[-1]).bfloat16()
        return torch._weight_int8pack_mm(narrow, codes, scales.bfloat16()).to(rows.dtype).view(*rows.shape[:-1], -1)


class FourBit:
    """A matrix in NF4 with a scale for every 64 weights; widened as it is multiplied, never kept wide."""

    def __init__(self, weight: Tensor) -> None:
        try:
            with without_kernels():
                import bitsandbytes
        except ImportError as error:
            raise ModelError("4-bit weights need bitsandbytes.", "Install `mplus[nf4]`.") from error
        self._multiply = bitsandbytes.matmul_4bit
        # Whole blocks a row: the AVX-512 kernel widens other shapes with the wrong scales.
        self._padding = (0, -weight.shape[-1] % BLOCK)
        self.packed, self.state = bitsandbytes.functional.quantize_4bit(
            F.pad(weight, self._padding).contiguous(), blocksize=BLOCK, quant_type="nf4"
        )
        self.nbytes = self.packed.nbytes + self.state.absmax.nbytes

    def __call__(self, rows: Tensor, first: int = 0, stop: int | None = None) -> Tensor:
        """Rows (..., in) -> (..., stop - first)."""
        return self._multiply(F.pad(rows, self._padding), self.packed.t(), quant_state=self.state)[..., first:stop]


FORMATS: dict[str, Callable[[Tensor], Matrix]] = {"dense": Dense, "int8": EightBit, "nf4": FourBit}
AUTO = "auto"


def suited(weights: str, answering: bool, device: torch.device) -> str:
    """The format that "auto" stands for: what answers on a CPU says one token after the other, faster in eight bits.

    Only where torch's kernel for them was measured, on processors with AVX2 or AVX-512. Raises ModelError for what is
    no format.
    """
    if weights == AUTO:
        return "int8" if answering and device.type == "cpu" and cpu_is_wide() else "dense"
    if weights not in FORMATS:
        raise ModelError(f"{weights!r} is no format of weights.", f"Give one of {AUTO}, {', '.join(FORMATS)}.")
    return weights
