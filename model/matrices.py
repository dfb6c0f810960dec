"""The weight matrices of fused layers: as they are, or in four bits (NF4, arXiv 2305.14314) through bitsandbytes."""

from __future__ import annotations

from typing import Protocol

import torch.nn.functional as F
from torch import Tensor

from model.errors import ModelError
from model.offline import without_kernels

BLOCK = 64  # weights that share one scale


class Matrix(Protocol):
    """A weight matrix (out, in)."""

    nbytes: int

    def __call__(self, rows: Tensor, first: int = 0) -> Tensor:
        """Rows (..., in) -> (..., out - first): the outputs from number `first` on."""


class Dense:
    """A matrix in the model's number format."""

    def __init__(self, weight: Tensor) -> None:
        self.weight, self.nbytes = weight, weight.nbytes

    def __call__(self, rows: Tensor, first: int = 0) -> Tensor:
        """Rows (..., in) -> (..., out - first)."""
        return F.linear(rows, self.weight[first:] if first else self.weight)


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

    def __call__(self, rows: Tensor, first: int = 0) -> Tensor:
        """Rows (..., in) -> (..., out - first)."""
        return self._multiply(F.pad(rows, self._padding), self.packed.t(), quant_state=self.state)[..., first:]


FORMATS = {"dense": Dense, "nf4": FourBit}
