"""Raw hidden states recalled by nearness (M+ paper, "Setting 1"; KNN-LM's idea, arXiv 1911.00172)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from model.evaluation.common import Document
from model.evaluation.methods.latent import Latent
from model.generate import Memory, Reader
from model.mplus import MPlus
from model.retriever import TILE_ROWS
from model.scoring import Best


class NearestReader(Reader):
    """Recalls the R long-term rows of a layer whose hidden states are nearest to the prompt's mean."""

    def __init__(self, model: MPlus, memory: Memory, hidden: Sequence[Tensor]) -> None:
        """hidden: the rows of the memory's table before they were projected, in its order, each (L, n, d)."""
        super().__init__(model, memory)
        self.hidden = hidden

    def _find(self, layer: int, hidden: Tensor) -> tuple[Best, Tensor]:
        """By the score of every row, which is no product of keys."""
        return self._find_among_all(layer, hidden)

    def _scores(self, layer: int, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine of every row with the mean of the prompt, both after the layer's input norm: (M,); no chunks."""
        prompt = F.normalize(self.model.normed(layer, hidden)[0].mean(0).float(), dim=0)  # (d,)
        tiles = (tile for block in self.hidden for tile in block[layer].split(TILE_ROWS))
        found = [prompt.new_zeros(0)]
        for tile in tiles:
            rows = self.model.normed(layer, tile.to(self.model.device, self.model.dtype))
            found.append(F.normalize(rows.float(), dim=1) @ prompt)
        return torch.cat(found).cpu(), torch.zeros(hidden.shape[1], 0)


class Nearest(Latent):
    """Latent memory that also keeps the hidden state of each row, and recalls by it."""

    name, about = "knn", "latent memory, long-term rows recalled by the nearness of their hidden states"

    def write(self, name: str, ids: Sequence[int]) -> Document:
        """One document as memory, with its hidden states."""
        return self.subject.written.document(name, ids, keep_hidden=True)

    def make_reader(self, memory: Memory) -> Reader:
        """A reader that needs no retriever."""
        return NearestReader(self.model, memory, self.hidden())

    def hidden(self) -> list[Tensor]:
        """Hidden states of all rows, those that came with the checkpoint first: each (L, n, d)."""
        shipped = self.subject.checkpoint.background
        background = [torch.cat([shipped.pool, shipped.long_term], 1)] if shipped else []
        return background + [one.hidden for one in self.documents if one.hidden is not None]

    def bytes_held(self) -> dict[str, int]:
        """As all latent memory, and the hidden states beside it."""
        held, more = super().bytes_held(), sum(one.hidden.nbytes for one in self.documents if one.hidden is not None)
        return held | {place: held[place] + more for place in ("host", "disk") if place == "disk" or self.attic is None}
