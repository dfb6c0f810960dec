"""A library as one file: how it is written; `unbundle` reads it.

Members, in this order: README, SHA256SUMS, catalog.jsonl (sorted JSON Lines: the model, then each document), then the
shards in reading order, then the tails of unfinished documents. Nothing in it depends on time, machine or history.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from mplus_cli.errors import LibraryDamaged, NotFound, UsageError
from mplus_cli.library import archive, tables
from mplus_cli.library.catalog import catalog_errors, snapshot
from mplus_cli.library.folders import MEMORY, TAILS
from mplus_cli.library.records import SHARD_SUFFIX, canonical
from mplus_cli.library.shards import READ_BLOCK, blocks, disk_errors, sync_folder

BUNDLE_FORMAT = 1
KIND = "mplus library"
LISTING = "catalog.jsonl"
SUMS = "SHA256SUMS"
README = f"""This file is a library of mplus, exported. Format {BUNDLE_FORMAT}.

`mplus library import FILE` makes a library of it again. Without mplus: `tar -xf FILE`, then `sha256sum -c {SUMS}`;
{LISTING} has a line of JSON for each document, with its text if it was exported, its chapters, pages and chunks.
Treat it as you treat the books: the files in {MEMORY}/ hold their text in another form.
"""


@dataclass
class Contents:
    """What a listing names: stored files in order, with sizes where the catalogue knows them."""

    files: dict[str, int | None] = field(default_factory=dict)


def export(name: str, connection: sqlite3.Connection, folder: Path, file: Path, text: bool) -> int:
    """See `Library.export`. A writer may supersede shards meanwhile; then all is written once more."""
    if os.path.lexists(file):
        raise UsageError(f"{file} exists already.", "Choose another name, or remove the file first.")
    if not file.parent.is_dir():  # a mistyped path must not become a new folder with a library in it
        raise NotFound(f"There is no folder {file.parent}.", "Check the path, or make the folder first.")
    with disk_errors(file.name), catalog_errors(name):
        try:
            return _export(connection, folder, file, text)
        except LibraryDamaged:
            return _export(connection, folder, file, text)


def _export(connection: sqlite3.Connection, folder: Path, file: Path, text: bool) -> int:
    descriptor, temporary = tempfile.mkstemp(suffix=".tmp", dir=file.parent)  # 0600
    try:
        with os.fdopen(descriptor, "wb") as target, tempfile.TemporaryFile(dir=file.parent) as listing:
            contents, listing_sum = _write_listing(connection, folder, listing, text)
            _write_archive(target, folder, listing, listing_sum, contents)
            target.flush()
            os.fsync(target.fileno())
        _publish(temporary, file)
        sync_folder(file.parent)
    except FileExistsError:
        raise UsageError(f"{file} exists already.", "Choose another name, or remove the file first.") from None
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
    return file.stat().st_size


def _publish(temporary: str, file: Path) -> None:
    """Give the finished file its name; where the disk knows links, not even a race overwrites another's file."""
    try:
        os.link(temporary, file)
    except FileExistsError:
        raise
    except OSError:  # FAT and some network disks
        os.rename(temporary, file)


def _write_listing(connection: sqlite3.Connection, folder: Path, listing: BinaryIO, text: bool) -> tuple[Contents, str]:
    contents, hasher = Contents(), hashlib.sha256()
    with snapshot(connection):
        for entry in _entries(connection, folder, text, contents):
            line = canonical(entry).encode("ascii") + b"\n"
            hasher.update(line)
            listing.write(line)
    return contents, hasher.hexdigest()


def _entries(
    connection: sqlite3.Connection, folder: Path, text: bool, contents: Contents
) -> Iterator[Mapping[str, Any]]:
    identity = tables.read_identity(connection)
    yield {"format": BUNDLE_FORMAT, "kind": KIND, "identity": asdict(identity), "texts": text}
    tails: list[str] = []
    for number, record in enumerate(tables.documents(connection), 1):
        shards = tables.shards(connection, folder / MEMORY, [record.id])
        tail = tables.tail(connection, record.id)
        contents.files |= {stored(MEMORY, shard.sha256): shard.bytes for shard in shards}
        tails += [] if tail is None else [tail]
        yield {
            "number": number,
            "facts": tables.facts(connection, record).as_mapping(),
            "state": record.state,
            "tail": tail,
            "shards": [[shard.first_chunk, shard.chunk_count, shard.sha256, shard.bytes] for shard in shards],
            "text": tables.text(connection, record.id) if text else None,
        }
    contents.files |= {stored(TAILS, tail): None for tail in tails}


def _write_archive(target: BinaryIO, folder: Path, listing: BinaryIO, listing_sum: str, contents: Contents) -> None:
    readme = README.encode()
    sums = {"README": hashlib.sha256(readme).hexdigest(), LISTING: listing_sum}
    sums |= {name: sha256_in(name) for name in contents.files}
    lines = sum_lines(sums)
    archive.append(target, "README", len(readme), [readme])
    archive.append(target, SUMS, len(lines), [lines])
    size = listing.tell()
    listing.seek(0)
    archive.append(target, LISTING, size, iter(lambda: listing.read(READ_BLOCK), b""))
    for name, expected in contents.files.items():
        archive.append(target, name, *_checked_blocks(folder / name, sha256_in(name), expected))
    archive.close(target)


def _checked_blocks(path: Path, sha256: str, expected: int | None) -> tuple[int, Iterator[bytes]]:
    """The size of a stored file and its blocks, which end in LibraryDamaged when they are not what the name says."""
    try:
        size = path.lstat().st_size
    except FileNotFoundError:
        raise LibraryDamaged(f"{path.name} is missing.") from None
    if expected not in (None, size):
        raise LibraryDamaged(f"{path.name} has {size} bytes, not {expected}.")

    def content() -> Iterator[bytes]:
        hasher = hashlib.sha256()
        for block in blocks(path):
            hasher.update(block)
            yield block
        if hasher.hexdigest() != sha256:
            raise LibraryDamaged(f"{path.name} does not hold what its name says.")

    return size, content()


def stored(folder: str, sha256: str) -> str:
    """The name of a stored file in the archive, and in the library's folder."""
    return f"{folder}/{sha256}{SHARD_SUFFIX}"


def sha256_in(name: str) -> str:
    """The sha256 that a stored file is named by."""
    return name.rpartition("/")[2].removesuffix(SHARD_SUFFIX)


def sum_lines(sums: Mapping[str, str]) -> bytes:
    """The content of SHA256SUMS, as `sha256sum -c` reads it: name to sha256, in the order of the archive."""
    return "".join(f"{sha256}  {name}\n" for name, sha256 in sums.items()).encode("ascii")
