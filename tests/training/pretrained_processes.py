"""Run by `accelerate launch`: trains with a sharded and with a replicated base, and says what came out.

python -m tests.training.pretrained_processes FOLDER
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch.distributed.tensor import DTensor

from model.training.pretrained import prepare, train_pretrained
from model.training.pretrained_distributed import frozen_matrices, join, leave
from tests.training.pretrained_base import plan_of


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    together = join()
    assert together.sharded
    plan = plan_of(folder / "base", dropout=0.1, steps=6, pass_ratio=0.5)
    run = prepare(plan, plan.stages["3"], folder / "text", folder / "work", folder / "look", together)
    matrices = frozen_matrices(run.learner)
    local = sum(m.weight.to_local().numel() for m in matrices if isinstance(m.weight, DTensor))
    for name, how in (("sharded", together), ("replicated", replace(together, sharded=False))):
        list(train_pretrained("3", plan, folder / "text", folder / "work", folder / name, together=how))
    stopped = train_pretrained(
        "3", plan, folder / "text", folder / "work", folder / "resumed", together=together, stop=Countdown(3)
    )
    list(stopped)
    list(
        train_pretrained(
            "3", plan, folder / "text", folder / "work", folder / "resumed", together=together, resume=True
        )
    )
    said = {"processes": together.count, "local": local, "whole": sum(m.weight.numel() for m in matrices)}
    (folder / f"said-{together.rank}.json").write_text(json.dumps(said))
    leave(together)


class Countdown:
    """Wants to stop after some questions."""

    def __init__(self, count: int) -> None:
        self.left = count

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


if __name__ == "__main__":
    main(Path(sys.argv[1]))
