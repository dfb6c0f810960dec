"""What the catalogue says, as values: nothing here touches a file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, Protocol

from mplus_cli.documents.document import Skipped

State = Literal["reading", "read"]
SHARD_SUFFIX = ".safetensors"
REINGEST = "`mplus docs forget` the document, then ingest its file again."


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """The model whose rows a library holds; rows of another fingerprint mean nothing to it."""

    name: str
    fingerprint: str
    chunk_tokens: int  # the longest chunk, in tokens
    rows_per_chunk: int  # memory rows a layer writes for one chunk
    layers: int
    chunks_per_shard: int  # every shard but a document's last holds this many chunks
    row_format: str  # bf16, f32, int8, ...
    bytes_per_chunk: int  # of rows on disk, for planning


@dataclass(frozen=True, slots=True)
class DocumentRecord:
    """One document of a library; `number` is its place in reading order, `slug` its name for people."""

    id: str
    slug: str
    number: int
    title: str
    author: str
    language: str
    format: str
    source: str
    characters: int
    tokens: int
    chunks: int
    chunks_read: int  # chunks whose rows are committed; all of them when state is "read"
    pages_read: int
    pages_total: int
    page_kind: str
    skipped: tuple[Skipped, ...]
    warnings: tuple[str, ...]
    state: State
    added_at: str  # ISO 8601, UTC


@dataclass(frozen=True, slots=True)
class ChunkRecord:
    """Chunk `number` (0-based) of a document: its characters [start, end) and how many tokens they are."""

    document: str
    number: int
    start: int
    end: int
    tokens: int


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """A write-once file with the rows of chunks [first_chunk, first_chunk + chunk_count) of one document."""

    sha256: str
    document: str
    first_chunk: int
    chunk_count: int
    bytes: int
    path: Path


@dataclass(frozen=True, slots=True)
class TextHit:
    """A chunk that full-text search found; a higher score is a better match (negated bm25)."""

    document: str
    chunk: int
    score: float


@dataclass(frozen=True, slots=True)
class Resume:
    """Where the ingest of a document goes on.

    chunks_read: chunks whose rows are committed; the next chunk to write.
    tail: the newest hidden rows after that chunk, as given to `commit`; None when nothing or everything was read.
    open_shard: the last shard when it is shorter than a full one and more chunks follow: load it, add to it, and
        commit it again from `open_first_chunk` on; the short one is superseded.
    open_first_chunk: the first chunk of the shard that the next commit writes.
    open_sha256: the name of `open_shard`.
    restarted: why reading starts over although something had been read before, in one line; empty if it does not.
    """

    chunks_read: int
    tail: bytes | None
    open_shard: bytes | None
    open_first_chunk: int
    open_sha256: str | None = None
    restarted: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that `verify` looked at; `remedy` is empty when it is ok."""

    kind: Literal["catalog", "document", "text", "search", "shard", "tail", "orphan", "permissions"]
    name: str
    ok: bool
    detail: str
    remedy: str = ""
    document: str = ""  # the id of the document that it belongs to, if to one


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What forgetting freed; `scrubbed` is False when a reader held on to old pages: `gc` overwrites them later."""

    freed_bytes: int
    scrubbed: bool


class ChunkSpan(Protocol):
    """What the library needs to know of a chunk; `documents.chunking.Chunk` is one."""

    @property
    def number(self) -> int: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def tokens(self) -> int: ...


def canonical(value: object) -> str:
    """JSON with sorted keys and no spaces, ASCII only: equal values give equal bytes, lone surrogates survive."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def checksum(value: object) -> str:
    """The sha256 of a value's canonical JSON."""
    return hashlib.sha256(canonical(value).encode("ascii")).hexdigest()


def identity_to_json(identity: ModelIdentity) -> str:
    """A model identity as it stands in the catalogue."""
    return canonical(asdict(identity))


def identity_from_mapping(raw: Mapping[str, Any]) -> ModelIdentity:
    """A model identity from JSON; raises ValueError for missing, unknown or mistyped fields and senseless numbers."""
    expected = {field.name: str(field.type) for field in fields(ModelIdentity)}
    if set(raw) != set(expected):
        raise ValueError(f"model identity has the fields {sorted(raw)}, expected {sorted(expected)}")
    for name, kind in expected.items():
        good = isinstance(raw[name], str) if kind == "str" else type(raw[name]) is int and raw[name] >= 0
        if not good:
            raise ValueError(f"model identity: {name} is {raw[name]!r}, expected {kind}")
    if raw["chunks_per_shard"] < 1:
        raise ValueError("model identity: chunks_per_shard must be at least 1")
    return ModelIdentity(**raw)
