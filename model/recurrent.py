"""Recurrent memory tokens (RMT, arXiv 2207.06881) on the Llama of an M+ checkpoint.

A segment is read as [memory | tokens | memory + w]: what comes out of the last m positions, after the final norm, is
the memory of the next segment. A prompt is read as [memory | prompt]. Beside the frozen weights there are the first
memory, the offsets w, and a LoRA adapter on the layers' projections: stock layers were never asked to write anywhere.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from model.adapters import READ, add_adapters, lora_layers, merge
from model.checkpoint import fingerprint, load
from model.config import AdapterConfig
from model.errors import CheckpointError
from model.layer_cache import LayerCache
from model.mplus import KeysValues, MPlus

COMMAND = "python -m model.training.recurrent CHECKPOINT --text FOLDER --out FOLDER"
KIND = "rmt"


class MemoryTokens(nn.Module):
    """The memory before the first segment (m, d), and what tells places that write from places that read (m, d)."""

    def __init__(self, count: int, width: int, scale: float = 1.0) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.randn(count, width) * scale)
        self.writing = nn.Parameter(torch.randn(count, width) * scale)

    def first(self, batch: int = 1) -> Tensor:
        """What is carried into the first segment: (B, m, d)."""
        return self.start[None].expand(batch, -1, -1)


def nothing(model: MPlus, hidden: Tensor, layer: int) -> KeysValues:
    """No latent rows in front of a layer (the model adds its bos row)."""
    return model.project_layer(layer, hidden[:, :0])


def read_behind(model: MPlus, ids: Tensor, carried: Tensor, cache: LayerCache | None = None) -> Tensor:
    """Hidden states (B, n, d), before the final norm, of a prompt (B, n) behind a memory (B, m, d)."""
    entering = torch.cat([carried, model.embed(ids)], 1)
    *_, hidden = model.layers_behind(entering, lambda layer, one: nothing(model, one, layer), cache)
    return hidden[:, carried.shape[1] :]


def write_segment(model: MPlus, tokens: MemoryTokens, ids: Tensor, carried: Tensor) -> Tensor:
    """The memory (B, m, d) after a segment (B, n), from the memory before it (B, m, d)."""
    entering = torch.cat([carried, model.embed(ids), carried + tokens.writing], 1)
    *_, hidden = model.layers_behind(entering, lambda layer, one: nothing(model, one, layer))
    return model.llama.model.norm(hidden[:, -carried.shape[1] :])


def learner(
    folder: Path, count: int, rank: int, device: str = "cpu", dtype: str = "float32"
) -> tuple[MPlus, nn.Module]:
    """The model of an M+ checkpoint with nothing learning but new memory tokens and, with a rank, a LoRA adapter.

    Raises ModelError for what is no such checkpoint.
    """
    model = load(folder, None, device, dtype).model
    merge(model.llama.model, READ)
    model.lora_layers = []
    if rank:
        add_adapters(model.llama.model, AdapterConfig(rank=rank, alpha=2 * rank, dropout=0.0, read=False))
        model.lora_layers = lora_layers(model.llama.model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name)
    width, scale = model.config.llama.hidden_size, float(model.llama.model.embed_tokens.weight.float().std())
    return model, MemoryTokens(count, width, scale).to(model.device)


def learnt(model: MPlus, tokens: nn.Module) -> dict[str, Tensor]:
    """Everything that training changes, by name."""
    adapter = {name: one.detach() for name, one in model.named_parameters() if "lora_" in name}
    return adapter | {f"tokens.{name}": one.detach() for name, one in tokens.named_parameters()}


@torch.no_grad()
def restore(model: MPlus, tokens: nn.Module, saved: dict[str, Tensor]) -> None:
    """Give a learner what `learnt` named. Raises CheckpointError where names or shapes differ."""
    ours = learnt(model, tokens)
    if {name: one.shape for name, one in ours.items()} != {name: one.shape for name, one in saved.items()}:
        raise CheckpointError("These memory tokens belong to a model of another shape.", f"Make others: {COMMAND}")
    for name, one in ours.items():
        one.copy_(saved[name])


def save_tokens(model: MPlus, tokens: nn.Module, rank: int, folder: Path, file: Path) -> None:
    """Write what was learnt on a checkpoint folder as one safetensors file (bf16)."""
    tensors = {name: one.to("cpu", torch.bfloat16).contiguous() for name, one in learnt(model, tokens).items()}
    count = str(len(tensors["tokens.start"]))
    save_file(tensors, file, {"kind": KIND, "base": fingerprint(folder), "rank": str(rank), "tokens": count})


def load_tokens(folder: Path, file: Path, device: str, dtype: str) -> tuple[MPlus, MemoryTokens]:
    """A checkpoint with the adapter of a file folded in, for inference, and the file's memory tokens.

    Raises CheckpointError where the file is none, or was made on other weights.
    """
    try:
        with safe_open(file, "pt") as opened:
            about = opened.metadata() or {}
            saved = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{file} holds no memory tokens: {error}", f"Make them: {COMMAND}") from error
    if about.get("kind") != KIND or about.get("base") != fingerprint(folder):
        raise CheckpointError(f"{file.name} was not made on these weights.", f"Make another: {COMMAND}")
    model, tokens = learner(folder, int(about["tokens"]), int(about["rank"]), device, dtype)
    restore(model, tokens, saved)
    model.specialise(READ)
    return model, tokens.to(model.dtype).requires_grad_(False)
