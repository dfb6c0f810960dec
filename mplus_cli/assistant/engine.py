"""A model ready to write or to read, with its tokenizer; errors of the model as errors for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mplus_cli import terminal
from mplus_cli.errors import LibraryDamaged, ModelMissing, MplusError, NotEnoughSpace, UsageError
from mplus_cli.library.records import ModelIdentity
from mplus_cli.models import RAW_KV, ModelRecord, find_model, list_models
from mplus_cli.settings import Settings, places

if TYPE_CHECKING:
    from model.checkpoint import Checkpoint
    from model.config import MPlusConfig
    from model.mplus import MPlus
    from model.tokenizer import TextTokenizer
    from mplus_cli.library.library import Library

Role = Literal["write", "read"]
RAW_VALUE_BYTES = 2  # bf16


@dataclass(frozen=True, slots=True)
class Engine:
    """A loaded checkpoint in one role."""

    record: ModelRecord
    checkpoint: Checkpoint
    tokenizer: TextTokenizer

    @property
    def model(self) -> MPlus:
        """The network."""
        return self.checkpoint.model

    @property
    def config(self) -> MPlusConfig:
        """Its sizes."""
        return self.checkpoint.model.config

    @property
    def raw(self) -> bool:
        """Whether it is a Llama without memory training, which keeps every token's keys and values."""
        return self.record.mode == RAW_KV

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the longest prompt: those the model was trained for; a Llama's positions hold its memory, too."""
        config = self.config
        return config.window - (1 + config.pool_rows + config.recall_rows if self.raw else 0)

    def chunk_bytes(self, row_format: str) -> int:
        """Bytes of a full chunk's rows on disk."""
        from model.raw import chunk_values
        from model.row_sizes import chunk_bytes

        config = self.config
        if self.raw:
            return chunk_values(config) * RAW_VALUE_BYTES
        return sum(
            chunk_bytes(row_format, config.layers, config.memory_rows, config.key_value_dim, config.retriever_dim)
        )

    def identity(self, row_format: str) -> ModelIdentity:
        """What a library notes of the model whose rows it keeps, and of how it keeps them."""
        from model.row_sizes import chunks_per_shard

        config, chunk_bytes = self.config, self.chunk_bytes(row_format)
        return ModelIdentity(
            name=self.record.name,
            fingerprint=self.checkpoint.fingerprint,
            chunk_tokens=config.chunk_tokens,
            rows_per_chunk=config.memory_rows,
            layers=config.layers,
            chunks_per_shard=chunks_per_shard(chunk_bytes),
            row_format=row_format,
            bytes_per_chunk=chunk_bytes,
        )


def require_rows(library: Library, engine: Engine) -> None:
    """Refuse a library whose rows this model did not write, or that are in an unknown format; LibraryDamaged."""
    from model.row_sizes import FORMATS

    library.require_model(engine.checkpoint.fingerprint, engine.record.name)
    if library.identity.row_format not in FORMATS:
        raise LibraryDamaged(
            f"Library {library.name} keeps its rows in {library.identity.row_format}, which this mplus does not know.",
            "Update mplus.",
        )


def model_for(identity: ModelIdentity, settings: Settings) -> str:
    """The model that a library asks for: the one that was named, else the one that wrote it where it is at hand."""
    chosen = settings.origins.get("model", "default") != "default" or settings.model != Settings().model
    at_hand = {record.name for record in list_models(places().models)}
    return settings.model if chosen or identity.name not in at_hand else identity.name


def load_engine(settings: Settings, role: Role, model: str | None = None) -> Engine:
    """Load a model by name or folder on the device that the settings choose; says so where it is in raw-kv mode.

    Raises ModelMissing, UsageError for a device that is not there, NotEnoughSpace for one that is too small.
    """
    record = find_model(model or settings.model, places().models)
    with translated():
        import torch

        from model.checkpoint import load
        from model.plain import plain_llama

        if settings.threads:
            torch.set_num_threads(settings.threads)
        if record.mode != RAW_KV:
            checkpoint = load(record.path, role, settings.device, settings.dtype, settings.weights)
        elif settings.weights in ("auto", "dense"):
            checkpoint = plain_llama(record.path, settings.device, settings.dtype)
        else:
            raise UsageError(
                f"{record.name} is a plain Llama: its weights are kept as they are.", "Set weights to dense."
            )
    engine = Engine(record, checkpoint, load_tokenizer(record.path))
    if engine.raw:
        terminal.say(raw_words(record.name, engine.chunk_bytes("bf16") // engine.config.chunk_tokens))
    return engine


def raw_words(name: str, token_bytes: int) -> str:
    """What raw-kv mode means, in one line."""
    return f"{name} is a Llama without memory training: it is read in raw-kv mode, {token_bytes:,} bytes a token"


def load_tokenizer(folder: Path) -> TextTokenizer:
    """The tokenizer of a model folder; needs no torch."""
    with translated():
        from model.tokenizer import TextTokenizer

        return TextTokenizer.from_folder(folder)


@contextmanager
def translated() -> Iterator[None]:
    """Errors of the model room, and running out of memory, as errors with an exit code and a remedy."""
    from model.errors import CheckpointError, DeviceError, ModelError

    try:
        yield
    except DeviceError as error:
        raise UsageError(error.message, error.remedy or None) from error
    except CheckpointError as error:
        kind: type[MplusError] = LibraryDamaged if "shard" in error.message else ModelMissing
        raise kind(error.message, error.remedy or None) from error
    except ModelError as error:
        raise ModelMissing(error.message, error.remedy or None) from error
    except MemoryError as error:
        raise NotEnoughSpace("There is not enough memory for the model.") from error
    except RuntimeError as error:
        if "out of memory" not in str(error) and "can't allocate memory" not in str(error):
            raise
        raise NotEnoughSpace(
            "The device has not enough memory for the model.", "Choose --device cpu, or a smaller model."
        ) from error


def until_stop(pieces: Iterator[str], stops: Sequence[str]) -> Iterator[str]:
    """Pieces of text up to the first stop string; a leading one is passed over."""
    seen = ""
    for piece in pieces:
        if not seen:
            piece = piece.lstrip()
        cut = min((at for at in (piece.find(stop) for stop in stops) if at >= 0), default=-1)
        seen += piece
        if cut >= 0:
            if piece[:cut]:
                yield piece[:cut]
            return
        if piece:
            yield piece
