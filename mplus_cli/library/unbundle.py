"""An exported library read back: untrusted input, so every name, number and hash is checked before it counts."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from mplus_cli.documents.document import document_id
from mplus_cli.errors import LibraryDamaged
from mplus_cli.library import archive, tables
from mplus_cli.library.bundle import BUNDLE_FORMAT, KIND, LISTING, SUMS, sha256_in, stored, sum_lines
from mplus_cli.library.catalog import catalog_errors, connect, transaction
from mplus_cli.library.facts import Facts, facts_from_mapping
from mplus_cli.library.folders import CATALOG, MEMORY, TAILS, building, create_catalog
from mplus_cli.library.records import SHARD_SUFFIX, DocumentRecord, ModelIdentity, identity_from_mapping
from mplus_cli.library.shards import sync_folder
from mplus_cli.library.writer import now

LARGEST_README = 1 << 16
LARGEST_SUMS = 1 << 28
LARGEST_SHARD = 1 << 40
_STORED = re.compile(rf"({MEMORY}|{TAILS})/([0-9a-f]{{64}}){re.escape(SHARD_SUFFIX)}")


def import_(file: Path, path: Path) -> None:
    """See `Library.import_`."""
    try:
        with building(path) as folder, file.open("rb") as source, catalog_errors(file.name):
            _import(source, folder)
    except (ValueError, RecursionError) as error:
        raise LibraryDamaged(
            f"{file} is not a sound export of a library: {error}.", "Export it again where it came from."
        ) from error


def _import(source: BinaryIO, folder: Path) -> None:
    members = archive.members(source)
    sums = {"README": hashlib.sha256(_small(members, "README")).hexdigest()}
    announced = _small(members, SUMS, largest=LARGEST_SUMS)
    with tempfile.TemporaryFile(dir=folder) as listing:
        sums[LISTING] = _spool(_next(members, LISTING), listing)
        listing.seek(0)
        identity, entries = _read_listing(listing)
        create_catalog(folder, identity)
        named = _insert(folder, identity, entries)
    found = dict(_keep(folder, member) for member in members)
    if list(found) != list(named):
        raise ValueError("its files are not those that its catalogue names")
    if wrong := [name for name, size in named.items() if size not in (None, found[name])]:
        raise ValueError(f"{wrong[0]} has another size than its catalogue says")
    if sum_lines(sums | {name: sha256_in(name) for name in found}) != announced:
        raise ValueError(f"{SUMS} does not fit its content")
    for part in (MEMORY, TAILS):
        sync_folder(folder / part)


def _next(members: Iterator[archive.Member], name: str) -> archive.Member:
    member = next(members, None)
    if member is None or member.name != name:
        raise ValueError(f"{name} is not where it belongs")
    return member


def _small(members: Iterator[archive.Member], name: str, largest: int = LARGEST_README) -> bytes:
    member = _next(members, name)
    if member.size > largest:
        raise ValueError(f"{name} is too large")
    return b"".join(member.blocks)


def _spool(member: archive.Member, target: BinaryIO) -> str:
    hasher = hashlib.sha256()
    for block in member.blocks:
        hasher.update(block)
        target.write(block)
    return hasher.hexdigest()


def _keep(folder: Path, member: archive.Member) -> tuple[str, int]:
    """Write a shard or tail where its name says; the name is matched whole, so no other path can be meant."""
    match = _STORED.fullmatch(member.name)
    if match is None:
        raise ValueError(f"{member.name!r} does not belong in an export")
    path = folder / match[1] / (match[2] + SHARD_SUFFIX)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ValueError(f"{member.name} stands in it twice") from None
    with os.fdopen(descriptor, "wb") as target:
        if _spool(member, target) != match[2]:
            raise ValueError(f"{member.name} does not hold what its name says")
        target.flush()
        os.fsync(target.fileno())
    return member.name, member.size


def _read_listing(listing: BinaryIO) -> tuple[ModelIdentity, Iterator[dict[str, Any]]]:
    lines = (_json(line) for line in listing)
    head = next(lines, {})
    if head.get("kind") != KIND or not isinstance(head.get("identity"), dict):
        raise ValueError("its catalogue does not begin as one of mplus does")
    if head.get("format") != BUNDLE_FORMAT:
        raise ValueError(f"it has format {head.get('format')!r}, this mplus reads {BUNDLE_FORMAT}")
    return identity_from_mapping(head["identity"]), lines


def _json(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        raise ValueError("its catalogue is not JSON Lines") from None
    if not isinstance(value, dict):
        raise ValueError("its catalogue holds a line that is no object")
    return value


def _insert(folder: Path, identity: ModelIdentity, entries: Iterator[dict[str, Any]]) -> dict[str, int | None]:
    """Fill the catalogue; returns the stored files that it names, in order, with their sizes."""
    connection = connect(folder / CATALOG, writing=True)
    memory: dict[str, int | None] = {}
    tails: dict[str, int | None] = {}
    try:
        with transaction(connection):
            for number, entry in enumerate(entries, 1):
                record = _insert_document(connection, entry, number)
                tail = _insert_progress(connection, identity, record, entry)
                memory |= {
                    stored(MEMORY, shard.sha256): shard.bytes
                    for shard in tables.shards(connection, folder, [record.id])
                }
                tails |= {} if tail is None else {stored(TAILS, tail): None}
    finally:
        connection.close()
    return memory | tails


def _insert_document(connection: sqlite3.Connection, entry: dict[str, Any], number: int) -> DocumentRecord:
    if set(entry) != {"number", "facts", "state", "tail", "shards", "text"} or entry["number"] != number:
        raise ValueError(f"line {number + 1} of its catalogue is not a document")
    if not isinstance(entry["facts"], dict):
        raise ValueError(f"document {number} has no facts")
    facts = facts_from_mapping(entry["facts"])
    if tables.documents(connection, facts.id) or tables.slug_taken(connection, facts.slug):
        raise ValueError(f"{facts.slug} stands in it twice")
    tables.insert_document(connection, facts, now())
    if entry["text"] is not None:
        tables.insert_text(connection, number, _text(entry["text"], facts))
    elif not re.fullmatch(r"[0-9a-f]{16}", facts.id):
        raise ValueError(f"{facts.id!r} is not the id of a document")
    return tables.documents(connection, facts.id)[0]


def _text(text: object, facts: Facts) -> str:
    if not isinstance(text, str) or document_id(text) != facts.id or len(text) != facts.characters:
        raise ValueError(f"the text of {facts.slug} is not the one it is named by")
    return text


def _insert_progress(
    connection: sqlite3.Connection, identity: ModelIdentity, record: DocumentRecord, entry: dict[str, Any]
) -> str | None:
    """How far a document was read: its shards must follow one another from chunk 0, and all but the last be full."""
    shards, tail, state = entry["shards"], entry["tail"], entry["state"]
    if not isinstance(shards, list) or state not in ("reading", "read"):
        raise ValueError(f"{record.slug} has no shards or no state")
    if tail is not None and not _is_sha256(tail):
        raise ValueError(f"the tail of {record.slug} has no proper name")
    covered = 0
    for shard in shards:
        if not isinstance(shard, list) or [type(value) for value in shard] != [int, int, str, int]:
            raise ValueError(f"a shard of {record.slug} is not described as one")
        first, count, sha256, size = shard
        if first != covered or first % identity.chunks_per_shard or not 0 < count <= identity.chunks_per_shard:
            raise ValueError(f"the shards of {record.slug} do not follow one another")
        if not _is_sha256(sha256) or not 0 <= size < LARGEST_SHARD:
            raise ValueError(f"a shard of {record.slug} has no proper name")
        tables.insert_shard(connection, record.number, first, count, sha256, size)
        covered += count
    if covered > record.chunks or (state == "read" and covered < record.chunks):
        raise ValueError(f"{record.slug} says it is {state} with {covered} of {record.chunks} chunks")
    if (tail is not None) != (0 < covered < record.chunks):
        raise ValueError(f"the tail of {record.slug} does not fit how far it was read")
    tables.set_progress(connection, record.number, covered, tail)
    if state == "read":
        tables.set_read(connection, record.number)
    return None if tail is None else str(tail)


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None
