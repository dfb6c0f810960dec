"""A zip archive from a stranger: its entries by name, bounded in number, size and ratio, never unpacked to disk."""

from __future__ import annotations

import re
import unicodedata
import zipfile
import zlib
from itertools import pairwise
from types import TracebackType
from urllib.parse import unquote

from mplus_cli.documents.limits import MEBIBYTE, Limits
from mplus_cli.documents.source import Source
from mplus_cli.errors import Unreadable

BOMB = "Books do not look like this; fetch the file again from a source that you trust."
ENCRYPTED_FLAG = 0x1
PIECE_BYTES = 64 * 1024
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
# What zipfile raises for damaged entries; RuntimeError and NotImplementedError stand for passwords and odd methods.
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError, ValueError)


class Archive:
    """The entries of a zip file; every limit of `Limits` is checked before anything is unpacked."""

    def __init__(self, source: Source) -> None:
        self.limits = source.limits
        self.deadline = source.deadline
        self.taken = 0
        self.stream = source.open()
        try:
            self.zip = zipfile.ZipFile(self.stream)
            self.entries = {entry.filename: entry for entry in self.zip.infolist()}
            guard(self.zip.infolist(), self.limits)
        except DAMAGE as problem:
            self.stream.close()
            raise Unreadable(f"not a readable zip archive: {problem}") from problem
        except Unreadable:
            self.stream.close()
            raise
        self.folded = {fold(name): name for name in reversed(self.entries)}

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.zip.close()
        self.stream.close()

    def find(self, path: str) -> str | None:
        """The entry that a path means, also when its case or Unicode form differs; None when there is none."""
        return path if path in self.entries else self.folded.get(fold(path))

    def read(self, path: str) -> bytes:
        """The bytes of an entry, counted as they come; Unreadable when absent, encrypted, damaged or too large."""
        self.deadline.check()
        name = self.find(path)
        if name is None:
            raise Unreadable("missing from the archive")
        entry = self.entries[name]
        if entry.flag_bits & ENCRYPTED_FLAG:
            raise Unreadable("encrypted")
        pieces = []
        try:
            with self.zip.open(entry) as stream:
                while piece := stream.read(PIECE_BYTES):
                    pieces.append(piece)
                    self.count(len(piece), len(pieces) * PIECE_BYTES)
        except DAMAGE as problem:
            raise Unreadable(f"damaged in the archive: {problem}") from problem
        return b"".join(pieces)

    def count(self, fresh: int, entry_bytes: int) -> None:
        """Add bytes that really came out; headers may lie."""
        self.taken += fresh
        if entry_bytes > self.limits.zip_entry_bytes:
            raise Unreadable(f"unpacks to more than {self.limits.zip_entry_bytes // MEBIBYTE} MiB", remedy=BOMB)
        if self.taken > self.limits.zip_read_bytes:
            raise TooMuch(f"the archive unpacks to more than {self.limits.zip_read_bytes // MEBIBYTE} MiB", remedy=BOMB)
        self.deadline.check()


class TooMuch(Unreadable):
    """The archive as a whole is over its limits: not one bad chapter but a bad book."""


def guard(entries: list[zipfile.ZipInfo], limits: Limits) -> None:
    """Refuse archives that are bombs by their own directory."""
    if len(entries) > limits.zip_entries:
        raise Unreadable(f"an archive of {len(entries):,} entries, more than {limits.zip_entries:,}", remedy=BOMB)
    total = sum(entry.file_size for entry in entries)
    packed = sum(entry.compress_size for entry in entries)
    if total > limits.zip_bytes:
        raise Unreadable(f"an archive that unpacks to {total // MEBIBYTE:,} MiB", remedy=BOMB)
    over = next((entry for entry in entries if too_dense(entry.file_size, entry.compress_size, limits)), None)
    if over is not None:
        raise Unreadable(
            f"{over.filename} unpacks to {over.file_size / max(1, over.compress_size):,.0f} times its size", BOMB
        )
    if too_dense(total // 8, packed // 8, limits):
        raise Unreadable(f"the archive unpacks to {total / max(1, packed):,.0f} times its size", remedy=BOMB)
    if overlapping(entries):
        raise Unreadable("an archive whose entries overlap", remedy=BOMB)


def too_dense(size: int, packed: int, limits: Limits) -> bool:
    return size > limits.zip_ratio_from and size > limits.zip_ratio * max(1, packed)


def overlapping(entries: list[zipfile.ZipInfo]) -> bool:
    """Whether two entries share packed bytes, the trick of the densest bombs."""
    spans = sorted((entry.header_offset, entry.header_offset + 30 + entry.compress_size) for entry in entries)
    return any(first_end > second_start for (_, first_end), (second_start, _) in pairwise(spans))


def fold(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def resolve(base: str, reference: str) -> tuple[str, str] | None:
    """The entry and fragment that a reference in the entry `base` means; None for anything outside the archive.

    Refused are other schemes and hosts, absolute paths, and paths that climb over the root, also when percent-encoded.
    """
    path, _, fragment = reference.strip().partition("#")
    path = unquote(path.partition("?")[0])
    if SCHEME.match(path) or path.startswith("/") or "\\" in path or "\x00" in path:
        return None
    if not path:
        return base, unquote(fragment)
    steps = base.split("/")[:-1]
    for step in path.split("/"):
        if step == ".." and not steps:
            return None
        if step == "..":
            steps.pop()
        elif step not in ("", "."):
            steps.append(step)
    return "/".join(steps), unquote(fragment)
