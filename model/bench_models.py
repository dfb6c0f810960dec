"""The models of benchmarks: a checkpoint, or random weights of a shape."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import LlamaConfig

from model.adapters import READ
from model.checkpoint import Checkpoint, load, resolve
from model.config import AdapterConfig, MPlusConfig, from_official
from model.errors import CheckpointError, ModelError
from model.matrices import AUTO, suited
from model.mplus import MPlus

# hidden x layers x heads x key-value heads x MLP x vocabulary x K x pool x recalled
SHAPES = {
    "reference": "256x6x8x4x1024x8192x64x512x128",
    "small": "64x3x4x2x160x512x16x64x32",
    "8b": "4096x32x32x8x14336x128256x256x10240x2560",
}
SHAPE_NAMES = ("hidden", "layers", "heads", "key_value_heads", "mlp", "vocabulary", "memory_rows", "pool", "recalled")


def shape_config(shape: str) -> MPlusConfig:
    """The configuration of a named or written-out shape, with both adapters; raises ModelError."""
    try:
        values = [int(number) for number in SHAPES.get(shape, shape).lower().split("x")]
        hidden, layers, heads, groups, mlp, vocabulary, rows, pool, recalled = values
    except ValueError:
        raise ModelError(
            f"{shape!r} is no shape.", f"Give one of {', '.join(SHAPES)}, or numbers like {SHAPES['reference']}."
        ) from None
    llama = LlamaConfig(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=groups,
        intermediate_size=mlp,
        vocab_size=vocabulary,
        max_position_embeddings=131_072,
    )
    llama._attn_implementation = "sdpa"
    rank = 16 if hidden >= 256 else 8
    return MPlusConfig(
        llama,
        rows,
        pool,
        recalled,
        retriever_dim=max(16, hidden // 16),
        chunk_tokens=2 * rows,
        adapters=AdapterConfig(rank=rank, alpha=2 * rank, dropout=0.0),
    )


def random_checkpoint(shape: str, role: str, device: str, dtype: str, weights: str = AUTO) -> Checkpoint:
    """Random weights of a shape, in one role, on a device, their matrices in a format of `model.matrices` or "auto"."""
    place, number_format = resolve(device, dtype)
    torch.manual_seed(0)
    with torch.device(place):
        model = MPlus(shape_config(shape)).to(number_format).eval().requires_grad_(False)
    model.specialise(role, suited(weights, role == READ, place))
    return Checkpoint(model, None, "random", Path())


def checkpoint_of(
    checkpoint: Path | None, random: str | None, role: str, device: str, dtype: str, weights: str = AUTO
) -> Checkpoint:
    """The checkpoint folder that was named, or random weights of a shape (the reference shape by default)."""
    if checkpoint is not None:
        return load(Path(checkpoint), role, device, dtype, weights)
    return random_checkpoint(random or "reference", role, device, dtype, weights)


def config_of(folder: Path) -> MPlusConfig:
    """The configuration of an M+ or plain Llama checkpoint, without its weights. Raises CheckpointError."""
    from model.plain import is_plain, plain_config

    try:
        raw = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder} holds no checkpoint: {error}", "Name a folder with config.json.") from None
    return plain_config(raw, folder.name) if is_plain(folder) else from_official(raw)


def shape_of(config: MPlusConfig) -> dict[str, int]:
    """The sizes that `SHAPES` name."""
    llama = config.llama
    values = (llama.hidden_size, config.layers, llama.num_attention_heads, llama.num_key_value_heads,
              llama.intermediate_size, llama.vocab_size,
              config.memory_rows, config.pool_rows, config.recall_rows)  # fmt: skip
    return dict(zip(SHAPE_NAMES, values, strict=True))
