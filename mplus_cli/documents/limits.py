"""How much a file may ask of this machine before it is refused."""

from __future__ import annotations

import time
from dataclasses import dataclass

from mplus_cli.errors import Unreadable

MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that real books stay far below; every one of them ends in Unreadable, never in a hang or a full disk."""

    seconds: float = 60.0  # wall clock for one file
    seconds_per_page: float = 0.05  # added for every PDF page that was read
    most_seconds: float = 600.0
    page_seconds: float = 15.0  # wall clock for one PDF page without any sign of life
    file_bytes: int = 256 * MEBIBYTE  # what is taken into memory: standard input, text, HTML
    text_characters: int = 64 * MEBIBYTE
    pages: int = 20_000
    worker_bytes: int = 1024 * MEBIBYTE  # address space of the PDF process
    zip_entries: int = 20_000
    zip_bytes: int = 2048 * MEBIBYTE  # all entries unpacked, as declared
    zip_read_bytes: int = 256 * MEBIBYTE  # all entries unpacked, as really read
    zip_entry_bytes: int = 32 * MEBIBYTE  # one entry that is really read
    zip_ratio: int = 100  # unpacked to packed
    zip_ratio_from: int = 4 * MEBIBYTE  # small entries of spaces may compress any amount


DEFAULT = Limits()


class Deadline:
    """A wall-clock limit that long loops look at."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.started = time.monotonic()
        self.ends = self.started + seconds

    def extend(self, seconds: float, most: float) -> None:
        """More time for proven progress; never more than `most` seconds from the start."""
        self.ends = min(self.ends + seconds, self.started + max(self.seconds, most))

    def left(self) -> float:
        """Seconds that remain; 0 when the time is over."""
        return max(0.0, self.ends - time.monotonic())

    def check(self) -> None:
        """Raises Unreadable once the time is over."""
        if time.monotonic() > self.ends:
            raise Unreadable(f"reading took longer than {self.seconds:.0f} s")
