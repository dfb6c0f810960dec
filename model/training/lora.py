"""M+ on a pretrained Llama: the base frozen, two LoRA adapters and the memory's own parts learn (paper, section 4)."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from model.adapters import WRITE
from model.checkpoint import weight_files
from model.config import MPlusConfig, llama_config
from model.errors import CheckpointError, TrainingError
from model.mplus import MPlus
from model.retriever import projector

WRITE_ADAPTER, READ_ADAPTER = "write adapter", "read adapter"
BOS_ROWS, BIAS = "bos rows", "positional bias"
QUERY, KEY, ENCODER_QUERY = "query projectors", "key projectors", "encoder query projectors"
BASE = "base"
PROJECTORS = (QUERY, KEY, ENCODER_QUERY)
GROUPS = (WRITE_ADAPTER, READ_ADAPTER, BOS_ROWS, BIAS, *PROJECTORS, BASE)


class Learner(nn.Module):
    """An M+ whose base is frozen, and the encoder's query projectors, which only training uses (spec, 7.3)."""

    def __init__(self, config: MPlusConfig) -> None:
        super().__init__()
        assert config.adapters is not None, "a frozen base learns through adapters"
        self.model = MPlus(config)
        width, dim = config.llama.hidden_size, config.retriever_dim
        count = config.layers if dim else 0
        self.encoder_queries = nn.ModuleList(projector(width, dim, config.retriever_layers) for _ in range(count))

    @property
    def config(self) -> MPlusConfig:
        """Sizes of the model."""
        return self.model.config

    def groups(self) -> dict[str, dict[str, nn.Parameter]]:
        """All parameters by what they are for: group -> name -> parameter."""
        found: dict[str, dict[str, nn.Parameter]] = {group: {} for group in GROUPS}
        for name, parameter in self.named_parameters():
            found[group_of(name)][name] = parameter
        return found

    def learning(self) -> dict[str, nn.Parameter]:
        """What training changes, by name."""
        return {name: parameter for name, parameter in self.named_parameters() if group_of(name) != BASE}


def group_of(name: str) -> str:
    """The group of a learner's parameter; everything that is not M+'s own is the base."""
    if name.startswith("encoder_queries."):
        return ENCODER_QUERY
    if name.startswith("model.retrievers."):
        return QUERY if name.split(".")[3] == "query" else KEY
    if "lora_" in name:
        return WRITE_ADAPTER if name.split(".")[-2] == WRITE else READ_ADAPTER
    return {"model.bos_embedding": BOS_ROWS, "model.new_memory_positional_emb": BIAS}.get(name, BASE)


def base_config(folder: Path) -> LlamaConfig:
    """The Llama of a base folder. Raises TrainingError where it is none, or an M+ already."""
    try:
        raw = json.loads((folder / "config.json").read_text("utf-8"))
    except FileNotFoundError as fault:
        raise TrainingError(
            f"{folder} has no config.json", "name the folder of a Llama checkpoint as base.checkpoint"
        ) from fault
    except (OSError, ValueError) as fault:
        raise TrainingError(f"{folder / 'config.json'} cannot be read: {fault}", "fetch the base again") from fault
    if "num_tokens" in raw:
        raise TrainingError(f"{folder} is an M+ already", "name its base; go on from a run of stages with --start")
    if raw.get("model_type") != "llama":
        raise TrainingError(
            f"{folder} is a «{raw.get('model_type')}», not a Llama", "use a checkpoint whose model_type is «llama»"
        )
    return llama_config(raw)


def build(folder: Path, config: MPlusConfig, dtype: torch.dtype, seed: int) -> Learner:
    """The base of a folder with fresh adapters, on the CPU: it computes what the base computes.

    Base weights in `dtype`, what learns in float32. Raises TrainingError for weights that do not fit config.json.
    """
    with torch.device("meta"):
        learner = Learner(config)
    take_base(learner, folder, dtype)
    take_first(learner, torch.Generator().manual_seed(seed))
    llama = learner.model.llama
    llama.model.rotary_emb = LlamaRotaryEmbedding(config.llama)
    if config.llama.tie_word_embeddings:
        llama.lm_head.weight = llama.model.embed_tokens.weight
    left = [name for name, parameter in learner.named_parameters() if parameter.is_meta]
    if left:
        raise TrainingError(f"the weights in {folder} lack {left[0]}", "fetch the base again")
    return learner.requires_grad_(False).train()


def set_learning(learner: Learner) -> None:
    """Require gradients of what learns, and of nothing else."""
    for parameter in learner.learning().values():
        parameter.requires_grad_(True)


def base_tensors(file: Path) -> Iterator[tuple[str, Tensor]]:
    """Tensors of one weight file, in file order. Raises TrainingError where it is damaged."""
    try:
        with safe_open(file, "pt") as opened:
            for name in opened.keys():  # noqa: SIM118
                yield name, opened.get_tensor(name)
    except (OSError, SafetensorError) as fault:
        raise TrainingError(f"{file.name} is damaged: {fault}", "fetch the base again") from fault


def base_files(folder: Path) -> list[Path]:
    """Weight files of a base. Raises TrainingError where there are none, or only pickled ones."""
    try:
        return weight_files(folder)
    except CheckpointError as fault:
        raise TrainingError(fault.message, fault.remedy) from fault


def take_base(learner: Learner, folder: Path, dtype: torch.dtype) -> None:
    """Put the weights of a base folder into a learner that has none yet."""
    expected = dict(learner.named_parameters())
    for file in base_files(folder):
        for name, tensor in base_tensors(file):
            if name.endswith("rotary_emb.inv_freq"):  # old checkpoints store what config.json says
                continue
            ours = wrapped_name(f"model.llama.{name}", expected)
            if ours == "model.llama.lm_head.weight" and learner.config.llama.tie_word_embeddings:
                continue
            if ours not in expected or expected[ours].shape != tensor.shape:
                what = f"has {name} {list(tensor.shape)}, which its config.json does not know"
                raise TrainingError(f"the base {what}", "fetch config.json and weights of the same checkpoint")
            put(learner, ours, tensor.to(dtype))


def wrapped_name(name: str, known: dict[str, nn.Parameter]) -> str:
    """A base weight's name where adapters may wrap its linear: «…q_proj.weight» is «…q_proj.base_layer.weight»."""
    if name in known:
        return name
    stem, _, leaf = name.rpartition(".")
    return f"{stem}.base_layer.{leaf}"


def take_first(learner: Learner, generator: torch.Generator) -> None:
    """First values of what learns: adapters that change nothing, bos rows as the bos token, drawn projectors."""
    embeddings = learner.model.llama.model.embed_tokens.weight
    if embeddings.is_meta:
        raise TrainingError("the weights lack model.embed_tokens.weight", "fetch the base again")
    bos = learner.config.llama.bos_token_id
    row = (embeddings.mean(0) if bos is None else embeddings[bos]).detach().float()
    for name, parameter in learner.learning().items():
        put(learner, name, first_values(name, parameter.shape, row, generator))
    put(learner, "model.start_memory", torch.zeros(0))  # a learned first context belongs to models without a pool


def first_values(name: str, shape: torch.Size, bos: Tensor, generator: torch.Generator) -> Tensor:
    """Zeros where an adapter or bias must not change the base, the bos row, or uniform in ±1/sqrt(inputs)."""
    group = group_of(name)
    if group == BOS_ROWS:
        return bos.expand(shape).clone()
    if group == BIAS or ".lora_B." in name:
        return torch.zeros(shape)
    bound = 1 / math.sqrt(shape[-1])
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)


def put(module: nn.Module, name: str, tensor: Tensor) -> None:
    """Replace one parameter, whatever its device was."""
    parent, _, leaf = name.rpartition(".")
    module.get_submodule(parent)._parameters[leaf] = nn.Parameter(tensor, requires_grad=False)
