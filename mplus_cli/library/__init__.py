"""Libraries on disk. `Library` is the way in; nothing here imports torch."""

from mplus_cli.library.library import Library
from mplus_cli.library.records import (
    ChunkRecord,
    DocumentRecord,
    Finding,
    Forgotten,
    ModelIdentity,
    Resume,
    ShardRecord,
    TextHit,
)
from mplus_cli.library.writer import Writer

__all__ = [
    "ChunkRecord",
    "DocumentRecord",
    "Finding",
    "Forgotten",
    "Library",
    "ModelIdentity",
    "Resume",
    "ShardRecord",
    "TextHit",
    "Writer",
]
