"""`mplus plan`: what reading a book will take, before anything is read and without loading a model.

Every number is arithmetic on the book's tokens and the sizes in the model's config.json; seconds come from the rate
that the last ingest on this machine reached with this model, or from a stated estimate where there was none.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mplus_cli.documents.document import Document
from mplus_cli.errors import ModelMissing
from mplus_cli.library.shards import private_folder
from mplus_cli.models import RAW_KV, ModelRecord, is_raw, raw_sizes, row_format, tensor_shapes

CHARACTERS_PER_TOKEN = 4.0  # English prose, where no tokenizer is at hand
RAW_VALUE_BYTES = 2  # rows of raw-kv mode are stored in bfloat16
RAW_BLOCK = 32  # rows that are recalled together in raw-kv mode, as in model.raw
RUNTIME_BYTES = 320_000_000  # of a process that reads or answers, but its model and rows; measured on Linux
TEXT_COPIES = 2.2  # the text itself, and its full-text index
CPU_FLOPS, GPU_FLOPS = 8e10, 4e13  # useful rates of two processor cores and of a small GPU; only for the estimate
LAYER_SECONDS = 1e-3  # of a layer and chunk, whatever its size
SHORT_TOKENS = 10_000  # of a reading whose pace is mostly that of its first steps
RATES = "rates.json"


@dataclass(frozen=True, slots=True)
class ModelSizes:
    """What of a model shapes a plan: counts of values, not bytes."""

    parameters: int
    chunk_tokens: int
    chunk_rows: int  # K
    pool_rows: int  # N
    recall_rows: int  # R
    layers: int
    key_value_dim: int
    retriever_dim: int  # width of a retrieval key; in raw-kv mode the mean keys of blocks take their place
    key_rows: int  # retrieval keys, or mean keys, that a chunk leaves in every layer


@dataclass(frozen=True, slots=True)
class Plan:
    """What a book will take; the shape of `plan --json`."""

    title: str
    pages: int
    chapters: int
    characters: int
    tokens: int
    chunks: int
    bytes: dict[str, int]  # rows, keys, text, total_disk; ram and vram while reading
    seconds: dict[str, float | bool | str]
    warnings: tuple[str, ...]
    mode: str
    row_format: str

    def to_json(self) -> dict[str, Any]:
        """The one object of `plan --json`."""
        names = ("title", "pages", "chapters", "characters", "tokens", "chunks", "bytes", "seconds")
        return {**{name: getattr(self, name) for name in names}, "warnings": list(self.warnings), "mode": self.mode,
                "row_format": self.row_format}  # fmt: skip


def _published(pool_rows: int, recall_rows: int, retriever_dim: int) -> ModelSizes:
    """Sizes of a published checkpoint on Llama-3.1-8B, its adapters (rank 16) counted once."""
    parameters = 8_030_261_248 + 32 * 16 * (2 * 4096 + 2 * (4096 + 1024) + 3 * (4096 + 14_336))
    return ModelSizes(parameters, 512, 256, pool_rows, recall_rows, 32, 1024, retriever_dim, 256)


# arXiv 2502.00592, Stage 3, and the MemoryLLM repository: for those that are not at hand yet
PUBLISHED = {
    "mplus-8b": _published(10_240, 2_560, 256),
    "memoryllm-8b": _published(12_800, 0, 0),
    "memoryllm-8b-chat": _published(12_800, 0, 0),
}


def not_at_hand(name: str) -> ModelRecord | None:
    """A published checkpoint by its name, as far as it is known without its files."""
    if name not in PUBLISHED:
        return None
    sizes = PUBLISHED[name]
    size = sizes.parameters * 2  # bf16
    return ModelRecord(name, Path(), "folder", size, sizes.layers, 4096, sizes.chunk_rows, "", "", ("its files",))


def plan(
    document: Document, model: ModelRecord, rates: dict[str, float], device: str = "cpu", memory_dtype: str = "auto"
) -> Plan:
    """What reading `document` with `model` on `device` into a new library will take.

    Reads config.json, headers, tokenizer.json; of a model of `not_at_hand`, nothing. Raises UsageError for rows in a
    format that the model cannot be kept in.
    """
    here, kept = not model.lacks, row_format(model.mode, memory_dtype)
    sizes = model_sizes(model.path) if here else PUBLISHED[model.name]
    tokens, counted = count_tokens(document.text, model.path) if here else (_estimated_tokens(document.text), False)
    chunks = math.ceil(tokens / sizes.chunk_tokens)
    seconds, measured = _seconds(tokens, chunks, sizes, rates.get(rate_key(model.name, device)), device)
    warnings = list(document.warnings)
    warnings += [f"skipped {skipped.where}: {skipped.reason}" for skipped in document.skipped]
    lack = (
        "this model has no tokenizer.json"
        if here
        else f"{model.name} is not here yet (`mplus model pull {model.name}`)"
    )
    warnings += [] if counted else [f"the tokens are estimated from the characters: {lack}"]
    warnings += [] if measured else [f"the time is estimated: nothing was read with {model.name} on this machine yet"]
    return Plan(
        title=document.title,
        pages=document.pages_total,
        chapters=len(document.sections),
        characters=len(document.text),
        tokens=tokens,
        chunks=chunks,
        bytes=_bytes(document.text, chunks, sizes, device, _row_bytes(sizes, model.mode, kept)),
        seconds={"ingest": round(seconds, 1), "tokens_per_second": round(tokens / seconds, 1), "measured": measured},
        warnings=tuple(warnings),
        mode=model.mode,
        row_format=kept,
    )


def model_sizes(folder: Path) -> ModelSizes:
    """Sizes of a model from its config.json and the headers of its weights."""
    raw = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    heads, plain = int(raw["num_attention_heads"]), is_raw(raw)
    rows, recalled, pool = raw_sizes(raw) if plain else _memory_sizes(raw)
    head_dim = int(raw.get("head_dim") or raw["hidden_size"] // heads)
    selector = int(raw.get("selector_hidden_dim", 256)) if raw.get("add_selector") else 0
    shapes = [shape for file in folder.glob("*.safetensors") for shape in _parameter_shapes(file)]
    return ModelSizes(
        parameters=sum(math.prod(shape) for shape in shapes),
        chunk_tokens=rows if plain else int(raw.get("mplus", {}).get("chunk_tokens", 512)),
        chunk_rows=rows,
        pool_rows=pool,
        recall_rows=recalled,
        layers=int(raw["num_hidden_layers"]),
        key_value_dim=(key_value_dim := int(raw.get("num_key_value_heads") or heads) * head_dim),
        retriever_dim=key_value_dim if plain else selector,
        key_rows=math.ceil(rows / RAW_BLOCK) if plain else rows,
    )


def _memory_sizes(raw: dict[str, Any]) -> tuple[int, int, int]:
    """K, R and N of an M+ or MemoryLLM config.json."""
    rows = int(raw["num_tokens"])
    recalled = int(raw.get("num_ltm_blocks", 0)) * rows
    return rows, recalled, int(raw.get("num_blocks", 50)) * rows - recalled


def _parameter_shapes(file: Path) -> list[tuple[int, ...]]:
    """Shapes of the weights that run; shipped memory is data."""
    return [shape for name, shape in tensor_shapes(file).items() if not name.startswith(("memory", "ltm"))]


def count_tokens(text: str, folder: Path) -> tuple[int, bool]:
    """Tokens of a text, and whether they were counted (True) or estimated from its characters (False)."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        return _estimated_tokens(text), False
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers knows no other class
        raise ModelMissing(f"{path} is no tokenizer: {error}") from error
    return len(tokenizer.encode(text, add_special_tokens=False).ids), True


def _estimated_tokens(text: str) -> int:
    return math.ceil(len(text) / CHARACTERS_PER_TOKEN)


def _row_bytes(sizes: ModelSizes, mode: str, kept: str) -> tuple[int, int]:
    """Bytes of a chunk's keys and values, and of its retrieval keys (in raw-kv mode: mean keys), on disk."""
    from model.row_sizes import chunk_bytes

    if mode != RAW_KV:
        return chunk_bytes(kept, sizes.layers, sizes.chunk_rows, sizes.key_value_dim, sizes.retriever_dim)
    width = sizes.layers * RAW_VALUE_BYTES
    return sizes.chunk_rows * 2 * sizes.key_value_dim * width, sizes.key_rows * sizes.retriever_dim * width


def _bytes(text: str, chunks: int, sizes: ModelSizes, device: str, chunk: tuple[int, int]) -> dict[str, int]:
    """Bytes on disk when all is read, and in memory while it is read and asked. chunk: what a chunk leaves on disk."""
    rows, keys = (chunks * part for part in chunk)
    stored_text = round(len(text.encode("utf-8", "replace")) * TEXT_COPIES)
    on_gpu = device != "cpu"
    held = (1 + on_gpu) * sizes.pool_rows + sizes.recall_rows  # a GPU keeps the pool for the next question, too
    prefix = held * sizes.layers * 2 * sizes.key_value_dim
    working = (sizes.parameters + prefix) * (2 if on_gpu else 4)
    return {
        "rows": rows,
        "keys": keys,
        "text": stored_text,
        "total_disk": rows + keys + stored_text,
        "ram": RUNTIME_BYTES + (keys if on_gpu else working + keys),
        "vram": working + keys if on_gpu else 0,
    }


def _seconds(tokens: int, chunks: int, sizes: ModelSizes, rate: float | None, device: str) -> tuple[float, bool]:
    """Seconds of reading, and whether the rate was measured on this machine."""
    if rate:
        return max(tokens / rate, 1e-3), True
    # every token passes the weights once to write and its rows pass the projections once
    flops = 2.0 * sizes.parameters * tokens
    calls = chunks * sizes.layers * LAYER_SECONDS
    return max(flops / (CPU_FLOPS if device == "cpu" else GPU_FLOPS) + calls, 1e-3), False


# -------------------------------------------------------------------------------------------------------------- rates


def rate_key(model: str, device: str) -> str:
    """How a measured rate is filed: by the model and the kind of device."""
    return f"{model} on {device.split(':')[0]}"


def read_rates(state: Path) -> dict[str, float]:
    """Tokens per second that ingests on this machine reached, by `rate_key`."""
    try:
        value = json.loads((state / RATES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    pairs = value.items() if isinstance(value, dict) else ()
    return {str(key): float(rate) for key, rate in pairs if isinstance(rate, int | float) and rate > 0}


def remember_rate(state: Path, model: str, device: str, tokens_per_second: float, tokens: int) -> None:
    """Keep the rate of an ingest of so many tokens, for the next plan; a short one never replaces what is known."""
    known = read_rates(state)
    if not tokens_per_second > 0 or (tokens < SHORT_TOKENS and rate_key(model, device) in known):
        return
    private_folder(state)
    rates = {**known, rate_key(model, device): round(tokens_per_second, 1)}
    temporary = state / f"{RATES}.{os.getpid()}.tmp"
    temporary.write_text(json.dumps(rates, indent=2) + "\n", encoding="utf-8")
    temporary.chmod(0o600)
    os.replace(temporary, state / RATES)
