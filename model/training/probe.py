"""What a run reports of itself on the way: exact match on planted facts, in words of the training and held-out ones.

The prompts are read as training reads them, with the right beginning of the answer given, so a probe takes seconds. The
figures to quote are those of `model.evaluation.needles`, which generates.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import torch

from model.mplus import MPlus
from model.training.bank import Bank
from model.training.data import Batch, collate
from model.training.loop import main_memory
from model.training.memory import Searcher, write_chunks
from model.training.mixture import Mixture
from model.training.needles import NeedleSettings, needle_episode
from model.training.pointing import Pointers

EPISODES = 24
DENSITY = (1,)  # facts of a chunk


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure of a probe: chunks written, whether long-term memory is full, whether the words are held out."""

    chunks: int
    full: bool
    held: bool

    @property
    def name(self) -> str:
        """As it stands in the log."""
        return f"exact {self.chunks}" + " full" * self.full + " held" * self.held


CELLS = (Cell(1, False, False), Cell(4, False, False), Cell(4, False, True), Cell(4, True, False), Cell(4, True, True))


@dataclass(frozen=True, slots=True)
class Probe:
    """Exact match of a model on facts of one kind an episode, for each cell: the default validation of a run."""

    mixture: Mixture
    bank: Bank
    cells: tuple[Cell, ...] = CELLS

    @torch.no_grad()
    def __call__(self, model: MPlus) -> dict[str, float]:
        """Share of questions whose whole answer is right, by the name of the cell. The same questions every time.

        A cell whose chunks are too short for any fact is left out.
        """
        batches = ((cell, self.batch(cell, model.config.chunk_tokens)) for cell in self.cells)
        return {cell.name: self.exact(model, cell, batch) for cell, batch in batches if batch is not None}

    def exact(self, model: MPlus, cell: Cell, batch: Batch) -> float:
        """One figure."""
        written = write_chunks(model, batch.chunks)
        searcher = Searcher(model, written, False, self.bank.valid if cell.full and self.bank.filled else None)
        generator = torch.Generator().manual_seed(0)
        hidden = model.read(
            batch.prompt, main_memory(model, batch, self.mixture, searcher, 0, generator, Pointers.none())
        )
        right = []
        for row, one in enumerate(batch.prompts):
            start, end = one.asked[0].answer
            said = model.logits(hidden[row, start - 1 : end - 1]).argmax(-1)
            right.append(bool((said == batch.prompt[row, start:end]).all()))
        return sum(right) / len(right)

    def batch(self, cell: Cell, chunk: int) -> Batch | None:
        """The questions of a cell, each a prompt of its own; None where no fact fits."""
        mixture, rng = self.mixture, random.Random(cell.name)
        how = NeedleSettings(DENSITY, one_type=1.0, cloze=0.0, pairs=0.0, words=mixture.needles.words)
        total = cell.chunks * chunk
        made = [needle_episode(rng, mixture.words, mixture.corpus, total, 200, how, cell.held) for _ in range(EPISODES)]
        asking = [episode for episode in made if episode.prompt]
        return replace(collate(asking, [chunk] * cell.chunks, [], single=2), full=cell.full) if asking else None
