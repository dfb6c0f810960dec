"""What a reader hands over, and how it becomes a Document: the one place where text is normalised.

Readers collect text with positions in it. Here the text gets its final form (no control characters, Unicode NFC) and
every position moves along, so that all offsets of a Document refer to `Document.text` exactly.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from mplus_cli.documents.document import Document, Page, PageKind, Section, Skipped, locations
from mplus_cli.documents.source import Source
from mplus_cli.errors import Unreadable

# Invisible or unsafe: control characters, soft hyphens, zero-width joins of typesetting, byte order marks,
# non-characters, interlinear marks and the invisible "tag" alphabet.
UNWANTED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u200b\u2060\ufeff\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f]"
)
SURROGATE = re.compile("[\ud800-\udfff]")
SPACE_CHARACTERS = "\u00a0\u2000-\u200a\u202f\u205f\u3000"  # no-break, typographic, ideographic
SPACES = re.compile(f"[{SPACE_CHARACTERS}]")
LINE_ENDS = re.compile("\r\n?|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Heading:
    """The start of a section; it ends where the next of the same or an outer level starts."""

    title: str
    level: int
    position: int


@dataclass(frozen=True, slots=True)
class Break:
    """The start of a page."""

    label: str
    position: int


@dataclass
class Draft:
    """A book as its reader found it; positions are character offsets in `text`."""

    format: str
    text: str
    title: str = ""
    author: str = ""
    language: str = ""
    headings: list[Heading] = field(default_factory=list)
    breaks: list[Break] = field(default_factory=list)
    page_kind: PageKind = "location"
    pages_read: int | None = None  # None: as many as there are pages in the end
    pages_total: int | None = None
    skipped: list[Skipped] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def lines_and_spaces(text: str) -> str:
    """Line ends as \\n, and no-break, typographic and ideographic spaces as plain ones: a search need not know them."""
    return SPACES.sub(" ", LINE_ENDS.sub("\n", text))


def assemble(draft: Draft, source: Source) -> Document:
    """The finished document; Unreadable when it holds no letter or digit at all, or too many characters."""
    if len(draft.text) > source.limits.text_characters:
        raise Unreadable(f"more than {source.limits.text_characters:,} characters of text")
    draft = settle(draft)
    if not any(character.isalnum() for character in draft.text):
        raise Unreadable("the file holds no text")
    pages = pages_of(draft.breaks, len(draft.text)) or locations(draft.text)
    return Document(
        title=one_line(draft.title) or one_line(source.stem) or draft.format,
        author=one_line(draft.author),
        language=one_line(draft.language),
        format=draft.format,
        source=source.name,
        text=draft.text,
        sections=sections_of(draft.headings, len(draft.text)),
        pages=pages,
        page_kind=draft.page_kind if draft.breaks else "location",
        pages_read=len(pages) if draft.pages_read is None else draft.pages_read,
        pages_total=len(pages) + len(draft.skipped) if draft.pages_total is None else draft.pages_total,
        skipped=tuple(draft.skipped),
        warnings=tuple(draft.warnings),
    )


def one_line(text: str) -> str:
    """A title, name or label with its white space collapsed and nothing invisible in it."""
    return unicodedata.normalize("NFC", UNWANTED.sub("", SURROGATE.sub("\ufffd", " ".join(text.split()))))


def settle(draft: Draft) -> Draft:
    """The draft with its text in final form and its positions moved along."""
    marks = [heading.position for heading in draft.headings] + [mark.position for mark in draft.breaks]
    text, moved = without_unwanted(SURROGATE.sub("\ufffd", draft.text), marks)
    text, moved = composed(text, moved)
    front = len(text) - len(text.lstrip())
    text = text.strip()
    moved = [min(max(0, position - front), len(text)) for position in moved]
    split = len(draft.headings)
    headings = [replace(item, position=at) for item, at in zip(draft.headings, moved[:split], strict=True)]
    breaks = [replace(item, position=at) for item, at in zip(draft.breaks, moved[split:], strict=True)]
    return replace(draft, text=text, headings=headings, breaks=breaks)


def without_unwanted(text: str, positions: Sequence[int]) -> tuple[str, list[int]]:
    """The text without unwanted characters, and where the positions are afterwards."""
    if UNWANTED.search(text) is None:
        return text, list(positions)
    return piecewise(text, positions, lambda piece: UNWANTED.sub("", piece))


def composed(text: str, positions: Sequence[int]) -> tuple[str, list[int]]:
    """The text in Unicode NFC; a position inside what becomes one character moves behind it."""
    if unicodedata.is_normalized("NFC", text):
        return text, list(positions)
    safe = [safe_cut(text, position) for position in positions]
    return piecewise(text, safe, lambda piece: unicodedata.normalize("NFC", piece))


def safe_cut(text: str, position: int) -> int:
    """The first place from `position` on where NFC of the whole is NFC of both parts."""
    while 0 < position < len(text):
        before, here = text[max(0, position - 4) : position], text[position]
        apart = unicodedata.normalize("NFC", before) + unicodedata.normalize("NFC", here)
        if not unicodedata.combining(here) and unicodedata.normalize("NFC", before + here) == apart:
            break
        position += 1
    return position


def piecewise(text: str, positions: Sequence[int], change: Callable[[str], str]) -> tuple[str, list[int]]:
    """Change the pieces between positions one by one: a position is where the pieces before it end."""
    cuts = sorted({0, len(text), *positions})
    pieces = [change(text[start:end]) for start, end in pairwise(cuts)]
    places, total = {0: 0}, 0
    for cut, piece in zip(cuts[1:], pieces, strict=True):
        total += len(piece)
        places[cut] = total
    return "".join(pieces), [places[position] for position in positions]


def sections_of(headings: Iterable[Heading], length: int) -> tuple[Section, ...]:
    """Sections from headings: each ends at the next heading of its level or an outer one; empty ones are left out."""
    ordered = sorted(headings, key=lambda heading: heading.position)
    ends = [length] * len(ordered)
    open_ones: list[int] = []
    for number, heading in enumerate(ordered):
        while open_ones and ordered[open_ones[-1]].level >= heading.level:
            ends[open_ones.pop()] = heading.position
        open_ones.append(number)
    sections = [
        Section(one_line(heading.title), heading.level, heading.position, end)
        for heading, end in zip(ordered, ends, strict=True)
    ]
    return tuple(section for section in sections if section.title and section.start < section.end)


def pages_of(breaks: Iterable[Break], length: int) -> tuple[Page, ...]:
    """Pages from their first characters; what stands before the first is a page of its own."""
    ordered = sorted(breaks, key=lambda mark: mark.position)
    if not ordered:
        return ()
    if ordered[0].position > 0:
        ordered.insert(0, Break(f"before {ordered[0].label}", 0))
    ends = [mark.position for mark in ordered[1:]] + [length]
    return tuple(
        Page(number, one_line(mark.label), mark.position, end)
        for number, (mark, end) in enumerate(zip(ordered, ends, strict=True), 1)
    )
