"""The container of an export: a plain, uncompressed tar (ustar) of regular files, written and read strictly.

Ours is a reader of untrusted input, so it knows only what the writer writes: no links, no folders, no extensions, no
compression. `tar -xf` unpacks it without mplus.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

BLOCK = tarfile.BLOCKSIZE  # 512 bytes
READ_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Member:
    """A file of an archive: its name, its size in bytes, its content in blocks (to be read before the next member)."""

    name: str
    size: int
    blocks: Iterator[bytes]


def append(archive: BinaryIO, name: str, size: int, blocks: Iterable[bytes]) -> None:
    """Write one member, without owner or time; asserts that the blocks are `size` bytes together."""
    header = tarfile.TarInfo(name)
    header.size, header.mode = size, 0o600
    archive.write(header.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict"))
    written = 0
    for block in blocks:
        archive.write(block)
        written += len(block)
    assert written == size, f"{name} has {written} bytes, {size} were announced"
    archive.write(bytes(-size % BLOCK))


def close(archive: BinaryIO) -> None:
    """Write the end of the archive: two empty blocks."""
    archive.write(bytes(2 * BLOCK))


def members(archive: BinaryIO) -> Iterator[Member]:
    """The members in order; raises ValueError for anything but a complete archive of regular files."""
    while (header := archive.read(BLOCK)) != bytes(BLOCK):
        if len(header) < BLOCK:
            raise ValueError("it ends early")
        try:
            entry = tarfile.TarInfo.frombuf(header, "ascii", "strict")
        except (tarfile.HeaderError, UnicodeError) as error:
            raise ValueError(f"it is no archive of mplus ({error})") from None
        if entry.type != tarfile.REGTYPE or entry.size < 0:
            raise ValueError(f"{entry.name!r} is not a plain file")
        yield Member(entry.name, entry.size, _content(archive, entry.size))
    if archive.read(BLOCK) != bytes(BLOCK):
        raise ValueError("it does not end as it should")


def _content(archive: BinaryIO, size: int) -> Iterator[bytes]:
    """Exactly `size` bytes, counted as they are read: a header may say anything."""
    left = size
    while left:
        block = archive.read(min(left, READ_BLOCK))
        if not block:
            raise ValueError("it ends early")
        left -= len(block)
        yield block
    if len(archive.read(-size % BLOCK)) != -size % BLOCK:
        raise ValueError("it ends early")
