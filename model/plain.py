"""Llama checkpoints without memory training: they are read through the same layers, and write no latent memory.

What such a model can keep of a text are its keys and values, uncompressed. The token that its tokenizer puts in front
of every text, which attention leans on (arXiv 2309.17453), becomes the bos row: the hidden states of that token alone
are an exact bos row of every layer, so it always stands in front and no text carries it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model.adapters import READ, using
from model.checkpoint import Checkpoint, build, fingerprint, named_tensors, resolve
from model.config import MPlusConfig, llama_config
from model.errors import CheckpointError
from model.memory import ReadRows
from model.mplus import KeysValues, MPlus, PrefixOf

CHUNK, RECALLED, POOL = 512, 2560, 10_240  # tokens at most, as M+ has them (paper, section 5)


def is_plain(folder: Path) -> bool:
    """Whether a folder holds a Llama without memory training; False also where there is nothing to tell from."""
    try:
        raw = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(raw, dict) and raw.get("model_type") == "llama" and "num_tokens" not in raw


def plain_llama(folder: Path, device: str = "auto", dtype: str = "auto") -> Checkpoint:
    """Load a stock Llama checkpoint (config.json, safetensors, tokenizer.json) as one without memory of its own.

    Raises CheckpointError for another kind of folder or damaged files, DeviceError for a device that is not there.
    """
    place, number_format = resolve(device, dtype)
    if not is_plain(folder):
        raise CheckpointError(f"{folder} holds no Llama checkpoint.", 'Name a folder with model_type "llama".')
    raw = json.loads((folder / "config.json").read_text("utf-8"))
    if "quantization_config" in raw:
        raise CheckpointError(f"The weights in {folder} are quantized.", "Fetch the checkpoint in bfloat16.")
    config = plain_config(raw, folder.name)
    model = build(config, _weights(config, folder), place, number_format)
    bos = bos_token(folder)
    if bos is not None:
        _set_bos_row(model, bos)
    if not (config.llama.attention_bias or config.llama.mlp_bias) and config.llama.hidden_act == "silu":
        model.specialise(READ)  # the fused layers know no biases
    return Checkpoint(model, None, fingerprint(folder), folder)


def plain_config(raw: dict[str, Any], name: str) -> MPlusConfig:
    """Sizes from the positions that the model knows: a quarter each, at most, for what is recalled and what is new."""
    llama = llama_config(raw)
    positions = llama.max_position_embeddings
    chunk = max(1, min(CHUNK, positions // 8))
    recalled, pool = (min(most, positions // 4) // chunk * chunk for most in (RECALLED, POOL))
    return MPlusConfig(llama, chunk, pool, recalled, chunk_tokens=chunk, window=positions, bos_row=False, name=name)


def _weights(config: MPlusConfig, folder: Path) -> dict[str, Tensor]:
    tensors = {name: one for name, one in named_tensors(folder).items() if "rotary_emb" not in name}
    return tensors | {"new_memory_positional_emb": torch.zeros(1, 1, config.llama.hidden_size)}


def bos_token(folder: Path) -> int | None:
    """The one token that the tokenizer puts in front of every text, or None."""
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    added = Tokenizer.from_file(str(path)).encode("").ids if path.is_file() else []
    return added[0] if len(added) == 1 else None


@torch.no_grad()
def _set_bos_row(model: MPlus, token: int) -> None:
    """Hidden states of a token that sees itself alone, as they enter every layer, become the bos rows."""
    entering: list[Tensor] = []
    nothing = model.embed(torch.empty(1, 0, dtype=torch.long, device=model.device))

    def note(index: int, hidden: Tensor) -> Tensor:
        entering.append(hidden[0])
        return hidden

    ids = torch.tensor([[token]], device=model.device)
    for _ in model.layers_behind(model.embed(ids), lambda index, _: model.project_layer(index, nothing), before=note):
        pass
    model.bos_embedding = nn.Parameter(torch.stack(entering), requires_grad=False)
    model.config = replace(model.config, bos_row=True)


@torch.no_grad()
def read_raw(model: MPlus, ids: Sequence[int], prefix_of: PrefixOf, dtype: torch.dtype = torch.bfloat16) -> ReadRows:
    """Keys (before RoPE) and values of every token of a chunk, read behind a memory: (L, n, H_kv * hd), on the host.

    No row is compressed and none is made by writing: they are what the read weights attend to.
    """
    parts: list[KeysValues] = []

    def note(index: int, hidden: Tensor) -> Tensor:
        parts.append(model.project_layer(index, hidden))
        return hidden

    with using(model, READ):
        hidden = model.embed(torch.tensor([list(ids)], device=model.device))
        for _ in model.layers_behind(hidden, prefix_of, before=note):
            pass
    keys, values = (
        torch.cat([one.transpose(1, 2).flatten(2) for one in many]).to("cpu", dtype)
        for many in zip(*parts, strict=True)
    )
    return ReadRows(keys, values, keys[..., :0])
