"""A small world: a home of its own, a tiny random model with a byte tokenizer, a short book."""

import os
import random
import signal
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig

from model.checkpoint import save
from model.config import MPlusConfig
from model.mplus import MPlus
from mplus_cli.assistant.ask import Session
from mplus_cli.assistant.ingest import ingest
from mplus_cli.errors import Interrupted
from mplus_cli.events import Answer, Answered, AskOptions, ChunkRead, Event, IngestOptions, Opened
from mplus_cli.library.library import Library
from mplus_cli.settings import Settings

NAMES = ["Anna", "Boris", "Clara", "David", "Edgar", "Fanny", "Georg", "Hanna"]
TOWNS = ["Paris", "London", "Rome", "Vienna", "Oslo", "Prague", "Lisbon", "Athens"]


def make_model(folder: Path, seed: int = 0) -> Path:
    """A two-layer model of bytes, in a folder."""
    torch.manual_seed(seed)
    llama = LlamaConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=48,
        vocab_size=256,
        tie_word_embeddings=True,
        max_position_embeddings=4096,
    )
    llama._attn_implementation = "sdpa"
    config = MPlusConfig(llama, 32, 64, 64, 8, 2, chunk_tokens=32, window=512, start_rows=True, name="tiny")
    save(MPlus(config), folder)
    vocabulary = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def book(chapters: int = 4, seed: int = 0) -> str:
    """Prose with one fact a chapter."""
    rng = random.Random(seed)
    parts = []
    for number in range(chapters):
        name, town = NAMES[(number + seed) % 8], TOWNS[(number * 3 + seed) % 8]
        filler = " ".join(
            f"The {rng.choice(['old', 'tall', 'quiet'])} {rng.choice(['house', 'tree', 'river'])} stood there."
            for _ in range(6)
        )
        parts.append(f"# Chapter {number + 1}\n\n{filler}\n\n{name} lives in {town}. {filler}\n")
    return "\n".join(parts)


def settings(model: Path, **changes: object) -> Settings:
    """The settings of this world: the tiny model, float32, one thread."""
    return Settings(model=str(model), device="cpu", dtype="float32", threads=1, **changes)


def read_into(library: str, chosen: Settings, *files: Path, **options: object) -> list[Event]:
    """All events of an ingest."""
    return list(ingest([str(file) for file in files], library, chosen, IngestOptions(**options)))


def interrupted_and_resumed(library: str, chosen: Settings, file: Path, stop_at: int) -> Opened:
    """Read a file, with Ctrl-C at a chunk, then again; how the second reading began."""
    with pytest.raises(Interrupted, match=f"{stop_at} of"):  # noqa: PT012
        for event in ingest([str(file)], library, chosen, IngestOptions()):
            if isinstance(event, ChunkRead) and event.chunk == stop_at:
                os.kill(os.getpid(), signal.SIGINT)
    return next(event for event in read_into(library, chosen, file) if isinstance(event, Opened))


def exported(home: Path, name: str) -> bytes:
    """The export of a library."""
    file = home / f"{name}.mplus"
    file.unlink(missing_ok=True)
    with Library.open(home / "libraries" / name) as library:
        library.export(file)
    return file.read_bytes()


def live_shards(home: Path, name: str) -> list[str]:
    """Names of the shards that a library's rows are in."""
    with Library.open(home / "libraries" / name) as library:
        return [shard.sha256 for shard in library.shards()]


def answer(library: str, chosen: Settings, question: str, **options: object) -> Answer:
    """The answer to one question."""
    session = Session(library, chosen)
    try:
        *_, last = session.ask(question, AskOptions(max_tokens=4, **options))
    finally:
        session.close()
    assert isinstance(last, Answered)
    return last.answer
