"""Saved states of a run: weights, optimizer and step, as safetensors and JSON; whole or not there at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.checkpoint import save
from model.errors import TrainingError
from model.mplus import MPlus

STATE, NEW, OLD = "state", "state.new", "state.old"
MOMENTS = ("step", "exp_avg", "exp_avg_sq")
HEADS = ("num_attention_heads", "num_key_value_heads", "head_dim")  # matrices of equal size may hold other heads


@contextmanager
def kept(what: str, remedy: str = "free some disk space") -> Iterator[None]:
    """Raises TrainingError where something cannot be written."""
    try:
        yield
    except (OSError, SafetensorError) as fault:
        raise TrainingError(f"{what} could not be saved: {fault}", remedy) from fault


def write_state(
    folder: Path, model: MPlus, optimizer: torch.optim.Optimizer, step: int, bank: dict[str, Tensor]
) -> Path:
    """Write weights (float32), optimizer, step and bank to folder/state. Raises TrainingError on a full disk."""
    new = folder / NEW
    remedy = "free some disk space and go on with --resume; the save before it is whole"
    shutil.rmtree(new, ignore_errors=True)
    try:
        with kept(f"the state of step {step}", remedy):
            save(model, new, torch.float32)
            save_file(optimizer_tensors(optimizer), new / "optimizer.tensors")
            save_file(bank, new / "bank.tensors")
            (new / "step.json").write_text(json.dumps({"step": step}), encoding="utf-8")
            put_in_place(folder)
    except TrainingError:
        shutil.rmtree(new, ignore_errors=True)
        raise
    return folder / STATE


def put_in_place(folder: Path) -> None:
    """Let folder/state.new be folder/state; at every moment one of state and state.old is whole."""
    new, old, state = folder / NEW, folder / OLD, folder / STATE
    if state.exists():  # else `old` is the only whole one
        shutil.rmtree(old, ignore_errors=True)
        state.rename(old)
    new.rename(state)
    shutil.rmtree(old, ignore_errors=True)


def state_folder(folder: Path) -> Path | None:
    """The last whole save of a run folder."""
    for name in (STATE, OLD):
        if (folder / name / "step.json").is_file():
            return folder / name
    return None


def not_begun_anew(folder: Path, resume: bool) -> None:
    """Raises TrainingError where a run is to begin in a folder that holds one."""
    if not resume and state_folder(folder) is not None:
        raise TrainingError(f"{folder} holds a run already", "add --resume to go on with it, or name another --out")


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Optimizer state as flat tensors: "<number of the parameter>.<moment>"."""
    entries = optimizer.state_dict()["state"]
    return {
        f"{number}.{key}": torch.as_tensor(entry[key]).detach().clone().contiguous()
        for number, entry in entries.items()
        for key in MOMENTS
        if key in entry
    }


def with_moments(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """An optimizer's state dictionary with the moments that `optimizer_tensors` named."""
    whole = optimizer.state_dict()
    entries: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        number, _, key = name.partition(".")
        entries.setdefault(int(number), {})[key] = tensor
    return whole | {"state": entries}


def read_optimizer(state: Path, optimizer: torch.optim.Optimizer) -> None:
    """Give the optimizer the moments of a save."""
    optimizer.load_state_dict(with_moments(optimizer, load_file(state / "optimizer.tensors")))


def read_bank(state: Path) -> dict[str, Tensor]:
    """Rows of earlier steps, as a bank keeps them."""
    return load_file(state / "bank.tensors")


def read_step(state: Path) -> int:
    """Steps done at a save."""
    return int(json.loads((state / "step.json").read_text(encoding="utf-8"))["step"])


def read_weights(state: Path, model: MPlus) -> None:
    """Load the weights of a checkpoint folder into a model. TrainingError where the shapes differ.

    A model of fewer rows a chunk takes the newest of the learned first rows: K may shrink from stage to stage.
    """
    from model.checkpoint import load

    before = load(state, device="cpu", dtype="float32").model
    found, ours = before.state_dict(), model.state_dict()
    found["start_memory"] = found["start_memory"][:, -ours["start_memory"].shape[1] :]
    heads = [name for name in HEADS if getattr(before.config.llama, name) != getattr(model.config.llama, name)]
    differing = [name for name, tensor in ours.items() if name not in found or found[name].shape != tensor.shape]
    if wrong := [*heads, *differing]:
        raise TrainingError(
            f"the checkpoint in {state.parent.name} has another shape than the configuration ({wrong[0]})",
            "start from a checkpoint of the same shape, or change [model] in the configuration",
        )
    with torch.no_grad():
        for name, tensor in ours.items():
            tensor.copy_(found[name])
