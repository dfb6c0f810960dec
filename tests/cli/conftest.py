"""A home of its own for every test, a command line to call, and small books and models to call it on."""

from __future__ import annotations

import io
import json
import os
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mplus_cli.documents.chunking import Chunk
from mplus_cli.documents.document import Document, Section, locations
from mplus_cli.library.library import Library
from mplus_cli.library.records import ModelIdentity
from mplus_cli.main import execute

IDENTITY = ModelIdentity("tiny", "f" * 64, 16, 4, 2, 8, "bf16", 1024)
TEXT = "Pierre inherits a fortune. " * 40 + "Natasha sings at the window. " * 40


@dataclass(frozen=True)
class Ran:
    """What a command line did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The last line of stdout as JSON."""
        return json.loads(self.out.splitlines()[-1])


@pytest.fixture(autouse=True)
def home(tmp_path: Path) -> Iterator[Path]:
    """MPLUS_HOME in a temporary folder; no variable of the person who runs the tests is seen."""
    before = dict(os.environ)
    for name in [name for name in before if name.startswith(("MPLUS_", "HF_", "NO_COLOR", "FORCE_COLOR"))]:
        del os.environ[name]
    os.environ["MPLUS_HOME"] = str(tmp_path / "home")
    yield tmp_path / "home"
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def mplus() -> Callable[..., Ran]:
    """Run a command line in this process: mplus("library", "list")."""

    def call(*arguments: str, stdin: str = "") -> Ran:
        out, err, before = io.StringIO(), io.StringIO(), sys.stdin
        sys.stdin = io.StringIO(stdin)
        try:
            with redirect_stdout(out), redirect_stderr(err):
                code = execute([str(argument) for argument in arguments])
        finally:
            sys.stdin = before
        return Ran(code, out.getvalue(), err.getvalue())

    return call


def book(title: str = "War and Peace", text: str = TEXT) -> Document:
    """A small document with two chapters."""
    middle = len(text) // 2
    return Document(
        title=title,
        author="Leo Tolstoy",
        language="en",
        format="text",
        source="book.txt",
        text=text,
        sections=(Section("Book One", 1, 0, middle), Section("Book Two", 1, middle, len(text))),
        pages=(pages := locations(text)),
        page_kind="location",
        pages_read=len(pages),
        pages_total=len(pages),
    )


@pytest.fixture
def novels(home: Path) -> Path:
    """A library `novels` with one document whose rows are a few opaque bytes."""
    return make_library(home, "novels", book())


def make_library(home: Path, name: str, document: Document) -> Path:
    """Read a document into a new library without a model."""
    path = home / "libraries" / name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    chunk = Chunk(0, 0, len(document.text), 12, document.text)
    with Library.create(path, IDENTITY) as library, library.writing() as writer:
        writer.begin(document, [chunk])
        writer.commit(document.id, 0, 1, b"rows of " + name.encode(), None, None)
        writer.finish(document.id)
    return path


def write_safetensors(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """A float32 safetensors file of zeros, written by hand: no torch, no numpy."""
    header, at = {}, 0
    for name, shape in shapes.items():
        size = 4
        for side in shape:
            size *= side
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    encoded = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + bytes(at))


LLAMA = {
    "num_hidden_layers": 1,
    "hidden_size": 8,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 16,
    "vocab_size": 32,
}
MEMORY = {
    "num_tokens": 4,
    "num_blocks": 6,
    "num_ltm_blocks": 2,
    "add_bos_embedding": True,
    "add_selector": True,
    "selector_hidden_dim": 4,
    "lora_config": {"r": 2},
}
LLAMA_TENSORS = {"model.embed_tokens.weight": (32, 8), "model.layers.0.self_attn.q_proj.weight": (8, 8)}
MPLUS_TENSORS = {
    "memory": (1, 16, 8),
    "bos_embedding": (1, 1, 8),
    "model.layers.0.self_attn.query_proj.0.weight": (4, 8),
    "model.layers.0.self_attn.key_proj.0.weight": (4, 8),
    "model.layers.0.self_attn.q_proj.lora_A.default.weight": (2, 8),
}


TOKENIZER = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [],
    "normalizer": None,
    "pre_tokenizer": {"type": "Whitespace"},
    "post_processor": None,
    "decoder": None,
    "model": {"type": "WordLevel", "vocab": {"[UNK]": 0}, "unk_token": "[UNK]"},
}


def make_model(folder: Path, *, trained: bool = True, kind: str = "llama") -> Path:
    """A folder that looks like an M+ checkpoint, or like a model of some kind without; no weights that could run."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(LLAMA | (MEMORY if trained else {"model_type": kind})))
    (folder / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    write_safetensors(folder / "model.safetensors", LLAMA_TENSORS | (MPLUS_TENSORS if trained else {}))
    return folder
