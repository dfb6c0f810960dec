"""Rows of earlier steps: what long-term memory is full of when a question is asked.

The chunks of one batch are too few to recall from: nearly all of their rows fit. A bank of some thousand rows that were
written a few steps ago costs no writing, and makes both the retriever and the reader meet a real crowd, with facts of
the same kinds in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Bank:
    """A ring of hidden rows: (L, size, d), the newest `filled` of them valid."""

    rows: Tensor
    filled: int = 0
    next: int = 0

    @classmethod
    def empty(cls, layers: int, size: int, width: int) -> Bank:
        """A bank with room for `size` rows of each layer."""
        return cls(torch.zeros(layers, size, width))

    @property
    def valid(self) -> Tensor:
        """The rows that were put in: (L, filled, d)."""
        return self.rows[:, : self.filled]

    @torch.no_grad()
    def add(self, rows: Tensor) -> None:
        """Put rows (L, n, d) in the place of the oldest."""
        size = self.rows.shape[1]
        if not size:
            return
        rows = rows[:, -size:]
        place = (self.next + torch.arange(rows.shape[1])) % size
        self.rows[:, place] = rows.to(self.rows.dtype)
        self.filled = min(size, self.filled + rows.shape[1])
        self.next = int((self.next + rows.shape[1]) % size)

    def state(self) -> dict[str, Tensor]:
        """What a resumed run needs."""
        return {"rows": self.rows, "place": torch.tensor([self.filled, self.next])}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take up a state. The bank of a stage with another size starts empty."""
        if state["rows"].shape == self.rows.shape:
            self.rows.copy_(state["rows"])
            self.filled, self.next = (int(one) for one in state["place"])
