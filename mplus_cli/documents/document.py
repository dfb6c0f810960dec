"""What a reader makes of a file: one text, and what its spans are called."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Literal

PageKind = Literal["index", "label", "page-list", "location"]
LOCATION_CHARACTERS = 1_800  # a printed page of prose, for documents that have no pages


@dataclass(frozen=True, slots=True)
class Section:
    """A chapter or part: its title and its characters [start, end) of the document's text; level 1 is outermost."""

    title: str
    level: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Page:
    """A page: its ordinal in the file (1-based), its printed label, its characters [start, end)."""

    index: int
    label: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Skipped:
    """A page or chapter that could not be read, and why, in one line."""

    where: str
    reason: str


@dataclass(frozen=True, slots=True)
class Document:
    """A book as text; sections and pages are sorted by start, pages cover the text without gaps."""

    title: str
    author: str
    language: str
    format: str  # epub, pdf, html, markdown, text
    source: str  # the name of the file it came from, for people
    text: str
    sections: tuple[Section, ...]
    pages: tuple[Page, ...]
    page_kind: PageKind
    pages_read: int
    pages_total: int
    skipped: tuple[Skipped, ...] = ()
    warnings: tuple[str, ...] = ()  # guessed encoding, suspicious pages, ...
    id: str = field(default="")

    def __post_init__(self) -> None:
        if not self.id:
            object.__setattr__(self, "id", document_id(self.text))


def document_id(text: str) -> str:
    """Sixteen hexadecimal digits that name a document by its text alone: the same content is the same document."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def section_at(sections: tuple[Section, ...], position: int) -> Section | None:
    """The innermost section that holds a character."""
    holding = [section for section in sections if section.start <= position < section.end]
    return max(holding, key=lambda section: (section.level, section.start), default=None)


def page_at(pages: tuple[Page, ...], position: int) -> Page | None:
    """The page that holds a character; the last page for the end of the text."""
    if not pages:
        return None
    return pages[max(0, bisect_right(pages, position, key=lambda page: page.start) - 1)]


def locations(text: str) -> tuple[Page, ...]:
    """Estimated pages of 1,800 characters, for documents that have none of their own."""
    starts = range(0, max(1, len(text)), LOCATION_CHARACTERS)
    return tuple(
        Page(number, str(number), start, min(len(text), start + LOCATION_CHARACTERS))
        for number, start in enumerate(starts, 1)
    )
