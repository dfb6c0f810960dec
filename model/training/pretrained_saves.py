"""Saved states of a training on a pretrained base, and the checkpoint that comes out of it.

A state holds what learns, the optimizer and one memory per process; the base is never copied into it. All of it is
safetensors and JSON, whole or not there at all.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.checkpoint import Background, official_name
from model.config import MPlusConfig, to_dict
from model.errors import TrainingError
from model.training.lora import Learner, base_files, base_tensors
from model.training.pretrained_distributed import Together
from model.training.pretrained_memory import MemoryState, background, state_from, state_tensors
from model.training.saves import NEW, optimizer_tensors, put_in_place, read_step, state_folder

LEARNED, OPTIMIZER, ABOUT = "learned.safetensors", "optimizer.tensors", "about.json"


def write_learning(
    folder: Path, learner: Learner, optimizer: torch.optim.Optimizer, step: int, about: dict[str, Any]
) -> None:
    """What all processes share, into folder/state.new."""
    new = folder / NEW
    tensors = {name: parameter.detach().cpu().contiguous() for name, parameter in learner.learning().items()}
    save_file(tensors, new / LEARNED)
    save_file({name: tensor.cpu() for name, tensor in optimizer_tensors(optimizer).items()}, new / OPTIMIZER)
    (new / ABOUT).write_text(json.dumps(about), encoding="utf-8")
    (new / "step.json").write_text(json.dumps({"step": step}), encoding="utf-8")


def write_memory(folder: Path, rank: int, state: MemoryState, recurrence: dict[str, Any]) -> None:
    """What one process lives with, into folder/state.new."""
    tensors, values = state_tensors(state)
    save_file(tensors, folder / NEW / f"memory-{rank}.safetensors")
    text = json.dumps({"state": values, "recurrence": recurrence})
    (folder / NEW / f"memory-{rank}.json").write_text(text, encoding="utf-8")


def write_together(folder: Path, together: Together, step: int, parts: list[Any]) -> None:
    """Run the writers of this process between a fresh folder/state.new and putting it in place.

    Raises TrainingError in all processes where one could not write; the save before stays.
    """
    fault: Exception | None = None
    try:
        if together.first:
            shutil.rmtree(folder / NEW, ignore_errors=True)
            (folder / NEW).mkdir(parents=True)
    except OSError as error:
        fault = error
    if not together.any(fault is not None):
        try:
            for write in parts:
                write()
        except (OSError, SafetensorError) as error:
            fault = error
        if not together.any(fault is not None):
            if together.first:
                put_in_place(folder)
            together.any(False)  # nobody goes on before it is in place
            return
    if together.first:
        shutil.rmtree(folder / NEW, ignore_errors=True)
    raise TrainingError(
        f"the state of step {step} could not be saved: {fault or 'another process could not write'}",
        "free some disk space and go on with --resume; the save before it is whole",
    ) from fault


def saved(folder: Path) -> Path:
    """The last whole state of a run folder. Raises TrainingError where there is none of this kind."""
    state = state_folder(folder)
    if state is None or not (state / LEARNED).is_file():
        raise TrainingError(f"{folder} holds no saved run of adapters", "name the --out folder of a stage that has run")
    return state


def read_learning(state: Path, learner: Learner, begin: bool) -> None:
    """Give a learner what a state has learned.

    `begin`: a stage begins from another's weights, so parts that the other did not have yet keep their first values.
    Raises TrainingError where shapes differ or something is missing.
    """
    found = _tensors(state / LEARNED)
    ours = learner.learning()
    for name in (*ours, *found):
        fits = name in ours and name in found and ours[name].shape == found[name].shape
        new_part = begin and name in ours and name not in found and _is_projector(name)
        if not fits and not new_part:
            raise TrainingError(
                f"the run in {state.parent} has another shape than the configuration ({name})",
                "start from a run on the same base with the same [adapters] and [memory]",
            )
    with torch.no_grad():
        for name, tensor in found.items():
            ours[name].copy_(tensor)


def _is_projector(name: str) -> bool:
    return name.startswith(("model.retrievers.", "encoder_queries."))


def _tensors(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except (OSError, SafetensorError) as fault:
        raise TrainingError(f"{file} is damaged: {fault}", "start from another save, or anew") from fault


def read_memory(state: Path, rank: int, device: torch.device) -> tuple[MemoryState, dict[str, Any]]:
    """The memory of a process and its kept sentence. Raises TrainingError where the process has none there."""
    file = state / f"memory-{rank}.safetensors"
    if not file.is_file():
        raise TrainingError(
            f"{state.parent} was trained by fewer processes", "resume with as many, or begin with --start"
        )
    values = json.loads(file.with_suffix(".json").read_text("utf-8"))
    return state_from(_tensors(file), values["state"], device), values["recurrence"]


def read_about(state: Path) -> dict[str, Any]:
    """What a state says about itself, with its step."""
    values: dict[str, Any] = json.loads((state / ABOUT).read_text("utf-8"))
    return values | {"step": read_step(state)}


# ------------------------------------------------------------------------------------------------------ checkpoint


def export(base: Path, state: Path, config: MPlusConfig, out: Path) -> None:
    """Write a checkpoint in the published layout from base files and a saved state, one base file at a time.

    `model.checkpoint.load` reads it; so does what reads the published one. Raises TrainingError on a full disk.
    """
    try:
        _export(base, state, config, out)
    except (OSError, SafetensorError) as fault:
        raise TrainingError(
            f"the checkpoint could not be written: {fault}", "free some disk space and run the stage with --resume"
        ) from fault


def _export(base: Path, state: Path, config: MPlusConfig, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    files = base_files(base)
    learned = _tensors(state / LEARNED)
    wrapped = {name.removeprefix("model.llama.").split(".lora_")[0] for name in learned if ".lora_" in name}
    map_of_weights, dtype = {}, torch.float32
    for number, file in enumerate(files, 1):
        name = _file_name(number, len(files) + 1)
        tensors = {_base_name(key, wrapped): tensor.contiguous() for key, tensor in base_tensors(file)}
        dtype = tensors.get("model.embed_tokens.weight", torch.empty(0, dtype=dtype)).dtype
        save_file(tensors, out / name, metadata={"format": "pt"})
        map_of_weights |= dict.fromkeys(tensors, name)
    name = _file_name(len(files) + 1, len(files) + 1)
    memory, _ = read_memory(state, 0, torch.device("cpu"))
    own = {_published_name(key): tensor.to(dtype) for key, tensor in learned.items()}
    own |= memory_tensors(background(memory), config, dtype)
    save_file(own, out / name, metadata={"format": "pt"})
    map_of_weights |= dict.fromkeys(own, name)
    index = {"metadata": {}, "weight_map": map_of_weights}
    (out / "model.safetensors.index.json").write_text(json.dumps(index, indent=1), encoding="utf-8")
    (out / "config.json").write_text(json.dumps(to_dict(config), indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for some in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        if (base / some).is_file():
            shutil.copyfile(base / some, out / some)


def _file_name(number: int, count: int) -> str:
    return f"model-{number:05}-of-{count:05}.safetensors"


def _base_name(name: str, wrapped: set[str]) -> str:
    stem, _, leaf = name.rpartition(".")
    return f"{stem}.base_layer.{leaf}" if stem in wrapped else name


def _published_name(name: str) -> str:
    if name.startswith("encoder_queries."):
        _, layer, *rest = name.split(".")
        return ".".join(["model.layers", layer, "self_attn.encoder_query_proj", *rest])
    return official_name(name.removeprefix("model."))


def memory_tensors(shipped: Background, config: MPlusConfig, dtype: torch.dtype) -> dict[str, Tensor]:
    """The memory that a checkpoint ships, by its published names; ages and lives in float32, which keeps them exact."""
    found = {"memory": shipped.pool.to(dtype).contiguous()}
    if not config.recall_rows or not shipped.long_term.shape[1]:
        return found
    named = {
        "ltm": shipped.long_term.to(dtype),
        "ltm_keys": shipped.keys.to(dtype),
        "ltm_ages": shipped.ages.float(),
        "ltm_recall_frequencies": shipped.frequencies.float(),
    }
    return found | {
        f"{name}.{layer}": part.contiguous() for name, all_ in named.items() for layer, part in _layers(all_)
    }


def _layers(tensor: Tensor) -> Iterator[tuple[int, Tensor]]:
    return enumerate(tensor.unbind(0))
