"""A file to read: its name, its bytes, and what the person said about it."""

from __future__ import annotations

import io
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from mplus_cli.documents.limits import DEFAULT, MEBIBYTE, Deadline, Limits
from mplus_cli.errors import Unreadable

HEAD_BYTES = 4_096  # enough to tell the formats apart


@dataclass
class Source:
    """One input; `path` is None when the bytes came from standard input or from memory."""

    name: str
    path: Path | None = None
    data: bytes | None = None
    password: str | None = None
    encoding: str | None = None
    limits: Limits = DEFAULT
    deadline: Deadline = field(default_factory=lambda: Deadline(DEFAULT.seconds))

    @property
    def suffix(self) -> str:
        return Path(self.name).suffix.lower()

    @property
    def stem(self) -> str:
        return Path(self.name).stem or self.name

    def open(self) -> BinaryIO:
        """The bytes as a seekable stream."""
        if self.data is not None:
            return io.BytesIO(self.data)
        assert self.path is not None
        return self.path.open("rb")

    def head(self) -> bytes:
        """The first bytes, for telling the format."""
        with self.open() as stream:
            return stream.read(HEAD_BYTES)

    def content(self) -> bytes:
        """All bytes; Unreadable when there are more than the limit allows."""
        with self.open() as stream:
            return read_all(stream, self.limits)


def read_all(stream: BinaryIO, limits: Limits) -> bytes:
    """Everything that a stream gives; Unreadable beyond `limits.file_bytes`."""
    pieces, taken = [], 0
    while piece := stream.read(MEBIBYTE):
        taken += len(piece)
        if taken > limits.file_bytes:
            raise Unreadable(f"larger than {limits.file_bytes // MEBIBYTE} MiB")
        pieces.append(piece)
    return b"".join(pieces)


def open_path(path: Path, limits: Limits) -> tuple[Path | None, bytes | None]:
    """Path of a regular file, or the bytes of a pipe; Unreadable says what else stands there."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise Unreadable(
            "no such file", remedy="Check the name; a pattern that matches nothing stays as it is."
        ) from None
    if stat.S_ISDIR(mode):
        raise Unreadable(
            "a folder without files that mplus reads", remedy="It reads .epub, .pdf, .html, .md and .txt files."
        )
    if not stat.S_ISREG(mode):
        with path.open("rb") as stream:
            return None, read_all(stream, limits)
    if path.stat().st_size == 0:
        raise Unreadable("the file is empty", remedy="Fetch or export it again.")
    return path, None
