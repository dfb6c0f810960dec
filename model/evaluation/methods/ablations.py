"""What recall is worth: M+ with the recalled rows replaced by something else, all else equal.

The retriever runs as always, and as many rows as it recalled stand in the same place in front of the same pool. What
is drawn depends on a seed, the layer and the rows that it stands in for, so a run gone on with draws the same.
"""

from __future__ import annotations

import zlib
from abc import abstractmethod

import torch
from torch import Tensor

from model.errors import ModelError
from model.evaluation.methods.latent import Latent
from model.generate import Memory, Reader, RetrievalTrace
from model.mplus import KeysValues


class ReplacingReader(Reader):
    """A reader behind whose recall an ablation stands."""

    def __init__(self, ablation: Ablation, memory: Memory) -> None:
        super().__init__(ablation.model, memory)
        self.ablation = ablation

    def _recalled(self, layer: int, hidden: Tensor, trace: RetrievalTrace) -> KeysValues:
        rows = self._recall(layer, hidden, trace)
        return self.ablation.replaced(self, layer, rows) if len(rows) else self._stored(layer, rows)

    def rows_at(self, layer: int, rows: Tensor) -> KeysValues:
        """Keys and values of row numbers, in their order: (1, H_kv, n, hd)."""
        return self._stored(layer, rows)

    def drawn_rows(self, layer: int, count: int, generator: torch.Generator) -> Tensor:
        """Row numbers of `count` long-term rows drawn at random, in birth order."""
        return self._best(layer, torch.rand(len(self.memory.table), generator=generator), count)


class Ablation(Latent):
    """M+ with other rows in the place of the recalled ones."""

    seed = 0

    def make_reader(self, memory: Memory) -> Reader:
        """A reader that replaces what it recalls."""
        return ReplacingReader(self, memory)

    def generator(self, layer: int, rows: Tensor) -> torch.Generator:
        """Randomness for one layer and one recall."""
        return torch.Generator().manual_seed(zlib.crc32(f"{self.seed}/{layer}/{rows.tolist()}".encode()))

    @abstractmethod
    def replaced(self, reader: ReplacingReader, layer: int, rows: Tensor) -> KeysValues:
        """What stands in the place of the recalled rows (R,), at least one: (1, H_kv, R, hd)."""


class Zeros(Ablation):
    """Zeros; a hidden row of zeros has keys and values of zeros."""

    name, about = "ablate-zeros", "mplus-latent with zeros in the place of the recalled rows"

    def replaced(self, reader: ReplacingReader, layer: int, rows: Tensor) -> KeysValues:
        """Keys and values of zeros."""
        return KeysValues(*(torch.zeros_like(part) for part in reader.rows_at(layer, rows)))


class Noise(Ablation):
    """Gaussian noise, with the mean and the variance of the recalled rows in each of their channels."""

    name, about = "ablate-noise", "mplus-latent with Gaussian noise of the same mean and variance as the recalled rows"

    def replaced(self, reader: ReplacingReader, layer: int, rows: Tensor) -> KeysValues:
        """Keys and values drawn apart."""
        generator = self.generator(layer, rows)
        return KeysValues(*(self._like(part, generator) for part in reader.rows_at(layer, rows)))

    def _like(self, part: Tensor, generator: torch.Generator) -> Tensor:
        drawn = torch.randn(part.shape, generator=generator).to(part)
        return drawn * part.std(2, correction=0, keepdim=True) + part.mean(2, keepdim=True)


class Padding(Ablation):
    """The bos row of the layer, repeated."""

    name, about = "ablate-padding", "mplus-latent with the bos row in the place of every recalled row"

    def replaced(self, reader: ReplacingReader, layer: int, rows: Tensor) -> KeysValues:
        """The same key and value in every place. Raises ModelError for a model without bos rows."""
        if not self.model.config.bos_row:
            raise ModelError("This checkpoint has no bos rows to pad with.", "Leave ablate-padding out.")
        bos = self.model.project_layer(layer, self.model.bos_embedding[layer][None].to(self.model.dtype))
        return KeysValues(*(part.expand(-1, -1, len(rows), -1) for part in bos))


class Drawn(Ablation):
    """Other long-term rows, drawn at random, in birth order."""

    name, about = "ablate-random", "mplus-latent with random long-term rows in the place of the recalled ones"

    def replaced(self, reader: ReplacingReader, layer: int, rows: Tensor) -> KeysValues:
        """As many rows of the same long-term memory."""
        return reader.rows_at(layer, reader.drawn_rows(layer, len(rows), self.generator(layer, rows)))


class Shuffled(Ablation):
    """The recalled rows themselves, out of order."""

    name, about = "ablate-shuffled", "mplus-latent with the recalled rows in shuffled order"

    def replaced(self, reader: ReplacingReader, layer: int, rows: Tensor) -> KeysValues:
        """The same rows."""
        return reader.rows_at(layer, rows[torch.randperm(len(rows), generator=self.generator(layer, rows))])
