"""Checkpoints: the published M+ and MemoryLLM layouts, and ours, which is the same with learned first rows."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.overrides import TorchFunctionMode

from model.adapters import READ, using
from model.bare import LlamaSizes, Rotary
from model.config import MPlusConfig, from_official, to_dict
from model.devices import cpu_has_bf16
from model.errors import CheckpointError, DeviceError
from model.matrices import AUTO, suited
from model.memory import ReadRows, project
from model.mplus import MPlus, round_rotary_frequencies

WHOLE_FILE = 256 * 1024 * 1024  # larger weight files are fingerprinted by samples
SAMPLES, SAMPLE_BYTES = 64, 64 * 1024
STATE = re.compile(r"memory|ltm(_keys|_recall_frequencies|_ages)?\.\d+")


@dataclass(frozen=True, slots=True)
class Background:
    """Memory that a published checkpoint ships: rows of its training text, read but never cited.

    pool (L, N, d) and long_term (L, M, d) hidden rows; keys (L, M, h); ages, frequencies (L, M).
    """

    pool: Tensor
    long_term: Tensor
    keys: Tensor
    ages: Tensor
    frequencies: Tensor

    def __len__(self) -> int:
        return self.pool.shape[1] + self.long_term.shape[1]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A loaded model, the memory that it came with, and the name that rows written by it carry."""

    model: MPlus
    background: Background | None
    fingerprint: str
    folder: Path

    def first_rows(self) -> Tensor:
        """First context of every document: (L, K, d), the newest shipped rows or the learned ones."""
        rows = self.model.config.memory_rows
        source = self.background.pool[:, -rows:] if self.background else self.model.start_memory.detach()
        return source.to(self.model.device, self.model.dtype)

    @torch.no_grad()
    def background_rows(self) -> ReadRows | None:
        """Shipped rows in read form, pool first, under the read adapter; the shipped retrieval keys as they are."""
        if self.background is None:
            return None
        hidden = torch.cat([self.background.pool, self.background.long_term], 1)
        with using(self.model, "read"):
            rows = project(self.model, hidden.to(self.model.device, self.model.dtype))
        if self.background.keys.shape[1]:
            rows.retrieval[:, self.background.pool.shape[1] :] = self.background.keys.to(rows.retrieval)
        return rows


def load(
    folder: Path, role: str | None = None, device: str = "auto", dtype: str = "auto", weights: str = "dense"
) -> Checkpoint:
    """Load an M+ or MemoryLLM checkpoint folder.

    role "write" or "read" folds that adapter into the weights (no second copy of the base) and fuses the layers; None
    keeps both adapters switchable, on the stock layers. weights: "int8" or "nf4" keeps the matrices of a role in so
    many bits, made on the host and taken to the device one after the other; "auto": as `model.matrices.suited`.
    Raises CheckpointError for a folder that is no such checkpoint, DeviceError for a device that is not there,
    ModelError for four bits without bitsandbytes.
    """
    assert role is not None or weights in ("dense", AUTO), "matrices of few bits are those of fused layers"
    place, number_format = resolve(device, dtype)
    weights = suited(weights, role == READ, place)
    config = read_config(folder, bare=role is not None)
    tensors = named_tensors(folder)
    background = _background(config, tensors)
    parameters = {name: tensor for name, tensor in tensors.items() if not STATE.fullmatch(name)}
    model = build(config, parameters, place if weights == "dense" else torch.device("cpu"), number_format)
    if role is not None:
        model.specialise(role, weights, place)
    return Checkpoint(model, background, fingerprint(folder), folder)


def resolve(device: str, dtype: str) -> tuple[torch.device, torch.dtype]:
    """Where to compute and in which format.

    "auto" takes CUDA in bf16, or the CPU in bf16 where it multiplies bf16 matrices in hardware, else in float32.
    Raises DeviceError rather than falling back from a GPU that was asked for.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise DeviceError("No CUDA GPU can be used here.", "Choose --device cpu, or mend the GPU driver.")
    formats = {"bfloat16": torch.bfloat16, "bf16": torch.bfloat16, "float32": torch.float32, "fp32": torch.float32}
    if dtype == "auto":
        dtype = "bfloat16" if device.startswith("cuda") or cpu_has_bf16() else "float32"
    if dtype not in formats:
        raise DeviceError(f"Unknown number format {dtype!r}.", "Choose bfloat16 or float32.")
    return torch.device(device), formats[dtype]


def read_config(folder: Path, bare: bool = False) -> MPlusConfig:
    """The configuration of a checkpoint folder; refuses what is no M+ checkpoint, saying what it lacks.

    bare: see `from_official`.
    """
    path = folder / "config.json"
    try:
        raw = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder} has no config.json.", "Name the folder of a checkpoint.") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}.", "Fetch the checkpoint again.") from error
    if "num_tokens" not in raw:
        raise CheckpointError(
            "This is a Llama checkpoint without M+ training: it lacks the memory pool, the bos rows, the positional "
            "bias of new rows, the adapters for writing and reading, and the retriever.",
            "Use an M+ or MemoryLLM checkpoint, or train one with `mplus train`.",
        )
    return from_official(raw, bare)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint, in name order; refuses pickled weights."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickled = any(folder.glob("*.bin")) or any(folder.glob("*.pt*"))
        found = "only pickled weights, which can run code" if pickled else "no *.safetensors file"
        raise CheckpointError(f"{folder} holds {found}.", "Fetch the safetensors version of the checkpoint.")
    return files


def named_tensors(folder: Path) -> dict[str, Tensor]:
    """Tensors of a checkpoint folder under their names in `MPlus`. Raises CheckpointError for a damaged file."""
    return {_our_name(name): tensor for name, tensor in _tensors(folder) if "encoder_query_proj" not in name}


def build(config: MPlusConfig, weights: dict[str, Tensor], device: torch.device, dtype: torch.dtype) -> MPlus:
    """A model of these weights, on a device and in a number format. Raises CheckpointError where they do not fit."""
    model = _build(config, weights)
    model.llama.model.rotary_emb = torch.nn.Identity()
    model.to(device, dtype).eval().requires_grad_(False)
    _restore_rotary(model, device)
    return model


def _tensors(folder: Path) -> list[tuple[str, Tensor]]:
    found = []
    for path in weight_files(folder):
        try:
            with safe_open(path, "pt") as file:
                found += [(name, file.get_tensor(name)) for name in file.keys()]  # noqa: SIM118
        except Exception as error:  # safetensors raises its own class, torch RuntimeError
            raise CheckpointError(
                f"{path.name} is damaged: {error}", "`mplus model verify`, or fetch it again."
            ) from error
    return found


def _our_name(name: str) -> str:
    name = re.sub(r"^(model|lm_head)\.", r"llama.\1.", name)
    name = re.sub(r"^llama\.model\.layers\.(\d+)\.self_attn\.(query|key)_proj\b", r"retrievers.\1.\2", name)
    return name.replace(".default.", ".write.").replace(".decoder_adapter.", ".read.")


def official_name(name: str) -> str:
    """Name of a tensor in the published layout, from its name in `MPlus`."""
    name = re.sub(r"^retrievers\.(\d+)\.(query|key)\b", r"model.layers.\1.self_attn.\2_proj", name)
    name = re.sub(r"^llama\.", "", name)
    return name.replace(".write.", ".default.").replace(".read.", ".decoder_adapter.")


def _background(config: MPlusConfig, tensors: dict[str, Tensor]) -> Background | None:
    if "memory" not in tensors:
        return None
    layers, pool = config.layers, tensors["memory"]
    width = pool.shape[-1]

    def stacked(name: str, *shape: int) -> Tensor:
        parts = [tensors.get(f"{name}.{index}") for index in range(layers)]
        if any(part is None for part in parts):
            return torch.zeros(layers, 0, *shape)
        return torch.stack(parts)

    return Background(
        pool,
        stacked("ltm", width).to(pool.dtype),
        stacked("ltm_keys", config.retriever_dim).to(pool.dtype),
        stacked("ltm_ages").to(torch.int64),
        stacked("ltm_recall_frequencies").to(torch.float64),
    )


class Unfilled(TorchFunctionMode):
    """Modules made within it get no first values: a file fills them.

    Random numbers on the meta device would import torch's compiler, which takes as long as importing torch.
    """

    def __torch_function__(
        self, function: Callable[..., Any], types: object, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        known = kwargs or {}
        if getattr(function, "__module__", None) == "torch.nn.init":
            return args[0] if args else known["tensor"]
        return function(*args, **known)


def _build(config: MPlusConfig, tensors: dict[str, Tensor]) -> MPlus:
    with torch.device("meta"), Unfilled():
        model = MPlus(config)
    if config.llama.tie_word_embeddings and "llama.lm_head.weight" not in tensors:
        tensors["llama.lm_head.weight"] = tensors["llama.model.embed_tokens.weight"]
    if "start_memory" not in tensors:
        tensors["start_memory"] = torch.zeros(model.start_memory.shape)
    if "bos_embedding" not in tensors and not config.bos_row:
        tensors["bos_embedding"] = torch.zeros(model.bos_embedding.shape)
    try:
        missing, unexpected = model.load_state_dict(tensors, strict=False, assign=True)
    except RuntimeError as error:
        raise CheckpointError(f"The weights do not fit config.json: {str(error).splitlines()[-1].strip()}") from error
    if missing or unexpected:
        what = f"lacks {missing[0]}" if missing else f"has {unexpected[0]}, which its config.json does not know"
        raise CheckpointError(f"The checkpoint {what} ({len(missing) + len(unexpected)} tensors in all).")
    if config.llama.tie_word_embeddings:
        model.llama.lm_head.weight = model.llama.model.embed_tokens.weight
    return model


def _restore_rotary(model: MPlus, device: torch.device) -> None:
    """Rotary frequencies are computed, not stored: anew in float32 after the move to another format."""
    with torch.device(device):
        model.llama.model.rotary_emb = _rotary_of(model.config).to(device)
    if model.config.rope_bf16 or (model.config.published and model.dtype == torch.bfloat16):
        round_rotary_frequencies(model.llama)


def _rotary_of(config: MPlusConfig) -> torch.nn.Module:
    if isinstance(config.llama, LlamaSizes):
        return Rotary(config.llama)
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    return LlamaRotaryEmbedding(config.llama)


def save(model: MPlus, folder: Path, dtype: torch.dtype = torch.bfloat16) -> None:
    """Write config.json and model.safetensors in the published layout (tied heads once)."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {official_name(name): tensor.detach() for name, tensor in model.state_dict().items()}
    if model.config.llama.tie_word_embeddings:
        del tensors["lm_head.weight"]
    tensors = {name: tensor.to("cpu", dtype).contiguous() for name, tensor in tensors.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    text = json.dumps(to_dict(model.config), indent=2, sort_keys=True) + "\n"
    (folder / "config.json").write_text(text, "utf-8")


def fingerprint(folder: Path) -> str:
    """Sixteen hexadecimal digits over config and weights; rows belong to the model that wrote them.

    Files above 256 MiB count by their size, their header and 64 blocks spread over them: a name, not a checksum.
    """
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for path in weight_files(folder):
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}".encode())
        with path.open("rb") as file:
            if size <= WHOLE_FILE:
                digest.update(file.read())
                continue
            digest.update(file.read(SAMPLE_BYTES))
            for number in range(1, SAMPLES):
                file.seek(size * number // SAMPLES)
                digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()[:16]
