"""Laws of what a run reports of itself."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from model.training.cli import Sources
from model.training.probe import CELLS, Cell, Probe
from tests.training.tiny import new_run

LONG = (Cell(8, False, False), Cell(16, True, True))  # tiny chunks are too short for the cells of a real run


def test_a_probe_asks_the_same_questions_every_time(tmp_path: Path, sources: Sources) -> None:
    run = new_run(tmp_path / "run", sources)
    probe = Probe(run.mixture, run.bank, LONG)
    once = probe(run.model)
    assert once == probe(run.model)
    assert set(once) == {"exact 8", "exact 16 full held"}
    assert all(0 <= value <= 1 for value in once.values())


def test_cells_too_short_for_a_fact_are_left_out(tmp_path: Path, sources: Sources) -> None:
    run = new_run(tmp_path / "run", sources)
    assert set(Probe(run.mixture, run.bank, CELLS)(run.model)) < {cell.name for cell in CELLS}


def test_a_model_that_is_told_the_answers_is_right(tmp_path: Path, sources: Sources) -> None:
    """The whole answer must be predicted: a head that says the token that comes next scores 1."""
    run = new_run(tmp_path / "run", sources)
    probe, cell = Probe(run.mixture, run.bank), Cell(8, False, True)
    batch = probe.batch(cell, 8)
    assert batch is not None
    told = iter(token for one in batch.prompts for token in one.prompt[slice(*one.asked[0].answer)])

    def logits(hidden: Tensor) -> Tensor:
        found = torch.zeros(len(hidden), run.model.config.llama.vocab_size)
        for row in found:
            row[next(told)] = 1
        return found

    run.model.logits = logits  # type: ignore[method-assign]
    assert probe.exact(run.model, cell, batch) == 1.0


def test_a_run_logs_what_it_validates(tmp_path: Path, sources: Sources) -> None:
    run = new_run(tmp_path / "run", sources, validate_every=3)
    steps = list(run.train(Probe(run.mixture, run.bank, LONG[:1])))
    assert ["exact 8" in step.losses for step in steps] == [False, False, True, False, False, True]
    assert '"exact 8"' in (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8")
