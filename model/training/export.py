"""A trained run as a checkpoint folder that ships: bf16 weights, configuration, tokenizer."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch

from model.checkpoint import load, save
from model.errors import TrainingError
from model.training.saves import kept, state_folder


def export(run: Path, out: Path) -> Path:
    """Write config.json, model.safetensors (bf16) and tokenizer.json of a run's last save to `out`.

    Raises TrainingError where the run has no save, or the disk is full.
    """
    state = state_folder(run)
    if state is None:
        raise TrainingError(f"{run} holds no saved run", "name the folder that `mplus train` wrote to")
    with kept("the checkpoint"):
        save(load(state, device="cpu", dtype="float32").model, out, torch.bfloat16)
        shutil.copyfile(run / "tokenizer.json", out / "tokenizer.json")
    return out


def main() -> None:
    """Command line: RUN OUT."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    export(options.run, options.out)


if __name__ == "__main__":
    main()
