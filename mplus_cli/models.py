"""Models at hand: the embedded one and folders under the models place; import, verify. No torch, no network.

A model is a folder with config.json, *.safetensors and a tokenizer. Only the headers of the safetensors are read here.
`manifest.json` beside them records where the files came from and their sha256; `verify` recomputes it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import struct
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from mplus_cli.errors import ModelMissing, NotEnoughSpace, UsageError
from mplus_cli.library.shards import private_folder

MANIFEST = "manifest.json"
PICKLES = (".bin", ".pt", ".pth", ".pt2", ".pkl", ".pickle", ".ckpt")
WANTED = ("*.safetensors", "*.safetensors.index.json", "*.json", "tokenizer*", "*.model", "*.txt")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model")
HEADER_LIMIT = 100 * 1024**2  # bytes, the safetensors format's own limit
LATENT, RAW_KV = "latent", "raw-kv"  # how a model keeps a text: as rows it was trained to write, or as attention has it
RAW_CHUNK, RAW_RECALLED, RAW_POOL = 512, 2560, 10_240  # tokens at most, as in model.plain
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """A model at hand, or a folder that claims to be one; `lacks` says what keeps it from working.

    mode: `latent` for M+ and MemoryLLM, `raw-kv` for a Llama without memory training.
    """

    name: str
    path: Path
    kind: Literal["embedded", "folder"]
    bytes: int
    layers: int
    width: int
    chunk_rows: int  # K, memory rows that a full chunk leaves in every layer
    source: str  # Hugging Face repository, or the folder it was imported from
    revision: str
    lacks: tuple[str, ...] = ()
    mode: str = LATENT

    def to_json(self) -> dict[str, Any]:
        """As `model list --json` prints it."""
        return {**asdict(self), "path": str(self.path), "lacks": list(self.lacks)}


@dataclass(frozen=True, slots=True)
class FileFinding:
    """One file of a model, checked: its name, whether it is as recorded, and what was found."""

    file: str
    ok: bool
    detail: str


# ------------------------------------------------------------------------------------------------------------ finding


def embedded_folders() -> list[Path]:
    """Folders of the models that are part of the package."""
    spec = importlib.util.find_spec("model")  # finds without importing: the model room imports torch
    roots = [Path(place) / "weights" for place in (spec.submodule_search_locations or ())] if spec else []
    candidates = [folder for root in roots if root.is_dir() for folder in (root, *sorted(root.iterdir()))]
    return [folder for folder in candidates if (folder / "config.json").is_file()]


def list_models(models_folder: Path) -> list[ModelRecord]:
    """All models at hand, the embedded ones first."""
    records = [describe(folder, "embedded") for folder in embedded_folders()]
    if models_folder.is_dir():
        folders = sorted(path for path in models_folder.iterdir() if not path.name.startswith("."))
        records += [describe(folder, "folder") for folder in folders if (folder / "config.json").is_file()]
    return records


def find_model(name: str | None, models_folder: Path) -> ModelRecord:
    """A model by name or folder; without a name, or by the name `embedded`, the one in the package.

    Raises ModelMissing where there is none, or where the folder is no M+ model and no Llama.
    """
    records = list_models(models_folder)
    if name is None or name == "embedded":
        found = next((record for record in records if record.kind == "embedded"), None)
    else:
        found = next((record for record in records if record.name == name), None)
        if found is None and Path(name).is_dir():
            found = describe(Path(name).resolve(), "folder")
    if found is None:
        raise ModelMissing(f"There is no model {name or 'embedded'!r}.")
    return usable(found)


def usable(record: ModelRecord) -> ModelRecord:
    """The record itself; raises ModelMissing with the reason where it cannot work."""
    if record.lacks:
        kind, remedy = "M+ model", "`mplus model pull mplus-8b` fetches one; of others, only Llamas can be read."
        if record.mode == RAW_KV:
            kind, remedy = "Llama", "Fetch its tokenizer.json and all of its *.safetensors, not quantized."
        raise ModelMissing(f"{record.name} is no complete {kind}: it lacks {_listed(record.lacks)}.", remedy)
    return record


def describe(folder: Path, kind: Literal["embedded", "folder"] = "folder") -> ModelRecord:
    """What a folder holds, from config.json and the safetensors headers."""
    config = _read_json(folder / "config.json")
    manifest = read_manifest(folder)
    ours = config.get("mplus") if isinstance(config.get("mplus"), dict) else {}
    name = str((ours or {}).get("name") or folder.name) if kind == "embedded" else folder.name
    return ModelRecord(
        name=name,
        path=folder,
        kind=kind,
        bytes=sum(path.stat().st_size for path in folder.glob("*.safetensors")),
        layers=int(config.get("num_hidden_layers", 0)),
        width=int(config.get("hidden_size", 0)),
        chunk_rows=raw_sizes(config)[0] if is_raw(config) else int(config.get("num_tokens", 0)),
        source=str(manifest.get("source", "")),
        revision=str(manifest.get("revision", "")),
        lacks=tuple(lacks(folder)),
        mode=RAW_KV if is_raw(config) else LATENT,
    )


def is_raw(config: dict[str, Any]) -> bool:
    """Whether a config.json is that of a Llama without memory training (as `model.plain.is_plain`)."""
    return config.get("model_type") == "llama" and "num_tokens" not in config


def row_format(mode: str, asked: str) -> str:
    """The format in which a new library keeps a model's rows; in raw-kv mode UsageError for another than bf16."""
    from model.row_sizes import DEFAULT

    if mode != RAW_KV:
        return DEFAULT if asked == "auto" else asked
    if asked not in ("auto", "bf16"):
        raise UsageError(
            f"A Llama without memory training keeps its rows in bf16, not in {asked}.", "Leave --memory-dtype out."
        )
    return "bf16"


def raw_sizes(config: dict[str, Any]) -> tuple[int, int, int]:
    """Tokens of a chunk, rows recalled and newest rows of a Llama in raw-kv mode (as `model.plain.plain_config`)."""
    positions = int(config.get("max_position_embeddings", 2048))
    chunk = max(1, min(RAW_CHUNK, positions // 8))
    recalled, pool = (min(most, positions // 4) // chunk * chunk for most in (RAW_RECALLED, RAW_POOL))
    return chunk, recalled, pool


def lacks(folder: Path) -> list[str]:
    """What a folder lacks to be an M+ or MemoryLLM model, or a Llama, in words; empty when it is one."""
    config = _read_json(folder / "config.json")
    if not config:
        return ["a readable config.json"]
    missing = [] if any((folder / file).is_file() for file in TOKENIZER_FILES) else ["a tokenizer (tokenizer.json)"]
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        return [*missing, "weights (*.safetensors)"]
    index = _read_json(folder / "model.safetensors.index.json").get("weight_map", {})
    absent = sorted({str(file) for file in index.values()} - {file.name for file in files})
    try:
        names = {name for file in files for name in tensor_shapes(file)}
    except ModelMissing as error:
        return [*missing, f"readable weights ({error.message})"]
    return missing + [f"the file {file}" for file in absent] + _lacking_tensors(config, names)


def _lacking_tensors(config: dict[str, Any], names: set[str]) -> list[str]:
    """Parts that are missing. A model of ours may ship no memory; a published one always does; a Llama needs none."""
    if is_raw(config):
        parts = [
            ("quantization_config" in config, "weights that are not quantized"),
            ("model.embed_tokens.weight" not in names, "the weights of a Llama (model.embed_tokens)"),
        ]
        return [words for missing, words in parts if missing]
    trained = "num_tokens" in config
    ours = isinstance(config.get("mplus"), dict)
    parts = [
        (not trained, "memory settings in its config.json (num_tokens, num_blocks)"),
        (not ours and "memory" not in names, "the memory tensor (memory)"),
        (config.get("add_bos_embedding", not trained) and "bos_embedding" not in names, "the bos_embedding tensor"),
        (
            config.get("add_selector", not trained) and not _every_layer(config, names, ("query_proj", "key_proj")),
            "retriever projections (query_proj, key_proj)",
        ),
        (
            (config.get("lora_config") is not None or not trained) and not any("lora_A" in name for name in names),
            "the write and read adapters (lora_A, lora_B)",
        ),
    ]
    return [words for missing, words in parts if missing]


def _every_layer(config: dict[str, Any], names: set[str], parts: tuple[str, ...]) -> bool:
    prefixes = [
        f"model.layers.{layer}.self_attn.{part}."
        for layer in range(int(config.get("num_hidden_layers", 0)))
        for part in parts
    ]
    return all(any(name.startswith(prefix) for name in names) for prefix in prefixes)


def tensor_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors in a safetensors file; only its header is read. Raises ModelMissing."""
    with file.open("rb") as stream:
        head = stream.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else HEADER_LIMIT + 1
        size = file.stat().st_size
        if length > min(HEADER_LIMIT, size):
            raise ModelMissing(f"{file.name} is no safetensors file, or is cut short")
        try:
            header = json.loads(stream.read(length))
            tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
            end = max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
            shapes = {name: tuple(entry["shape"]) for name, entry in tensors.items()}
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            raise ModelMissing(f"{file.name} has a damaged header") from None
    if 8 + length + end != size:
        raise ModelMissing(f"{file.name} holds {size} bytes where its header promises {8 + length + end}")
    return shapes


# ---------------------------------------------------------------------------------------------------------- importing


def import_model(folder: Path, models_folder: Path, name: str | None = None, link: bool = False) -> ModelRecord:
    """Copy (or link) a folder of weights to the models place. Raises ModelMissing, NotEnoughSpace, UsageError."""
    if not folder.is_dir():
        raise ModelMissing(f"{folder} is no folder.", "Name the folder that holds config.json and *.safetensors.")
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and _is_wanted(path)]
    _refuse_pickles(path.name for path in folder.iterdir())
    usable(describe(folder))
    target = models_folder / checked_name(name or folder.resolve().name.lower())
    if target.exists():
        raise UsageError(f"There is a model {target.name!r} already.", "Choose another name with --name.")
    require_space(models_folder, 0 if link else sum(path.stat().st_size for path in files))
    staging = models_folder / f".{target.name}.partial"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(mode=0o700)
    for path in files:
        if link:
            (staging / path.name).symlink_to(path.resolve())
        else:
            shutil.copyfile(path, staging / path.name)
            (staging / path.name).chmod(0o600)
    write_manifest(staging, source=str(folder.resolve()), revision="")
    staging.rename(target)
    return describe(target)


def checked_name(name: str) -> str:
    """The name itself, if it can name a folder; raises UsageError."""
    if not NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot name a model.", "Use small letters, digits, dots, dashes; begin with one.")
    return name


def require_space(folder: Path, wanted: int) -> None:
    """Make the folder; raises NotEnoughSpace where the disk cannot take `wanted` bytes and a reserve."""
    free = shutil.disk_usage(private_folder(folder)).free
    if wanted + 256 * 1024**2 > free and wanted:
        raise NotEnoughSpace(f"{wanted / 1e9:.1f} GB are needed in {folder}, {free / 1e9:.1f} GB are free.")


def _is_wanted(path: Path) -> bool:
    return any(path.match(pattern) for pattern in WANTED) and path.name != MANIFEST


def _refuse_pickles(names: Iterable[str]) -> None:
    """Raises ModelMissing where weights would have to be unpickled: that can run code."""
    listed = sorted(names)
    pickles = [name for name in listed if name.lower().endswith(PICKLES)]
    if pickles and not any(name.endswith(".safetensors") for name in listed):
        raise ModelMissing(
            f"{pickles[0]} is a pickle, which can run code when it is loaded; it is refused.",
            "Convert the weights to safetensors where you trust them.",
        )


# ---------------------------------------------------------------------------------------------------------- checksums


def write_manifest(folder: Path, source: str, revision: str) -> None:
    """Record where a model came from and the sha256 and size of each of its files."""
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": sha256(path)}
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != MANIFEST
    }
    text = json.dumps({"source": source, "revision": revision, "files": files}, indent=2) + "\n"
    temporary = folder / f"{MANIFEST}.tmp"
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, folder / MANIFEST)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a model folder; empty where it has none."""
    return _read_json(folder / MANIFEST)


def verify_model(record: ModelRecord) -> Iterator[FileFinding]:
    """Recompute the checksums of a model; a model without recorded checksums is checked for completeness only."""
    files: dict[str, Any] = read_manifest(record.path).get("files", {})
    for name, recorded in files.items():
        path = record.path / Path(name).name
        if not path.is_file():
            yield FileFinding(name, False, "is missing")
        elif sha256(path) != recorded.get("sha256"):
            yield FileFinding(name, False, "differs from its recorded checksum")
        else:
            yield FileFinding(name, True, "as recorded")
    if not files:
        for path in sorted(record.path.glob("*.safetensors")):
            tensor_shapes(path)
            yield FileFinding(path.name, True, "complete; no checksum was recorded")


def sha256(path: Path) -> str:
    """The sha256 of a file's bytes, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _listed(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
