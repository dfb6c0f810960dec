"""What is written about a document once, when its reading begins, and never changed: the part under a checksum.

The same value is a row of the catalogue with its sections, pages and chunks, and one line of an export.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, get_args

from mplus_cli.documents.document import Document, Page, PageKind, Section, Skipped
from mplus_cli.library.records import ChunkSpan, checksum

SLUG_LENGTH = 60


@dataclass(frozen=True, slots=True)
class Facts:
    """A document without its text; chunks are (start, end, tokens) in order."""

    id: str
    slug: str
    title: str
    author: str
    language: str
    format: str
    source: str
    characters: int
    pages_read: int
    pages_total: int
    page_kind: PageKind
    skipped: tuple[Skipped, ...]
    warnings: tuple[str, ...]
    sections: tuple[Section, ...]
    pages: tuple[Page, ...]
    chunks: tuple[tuple[int, int, int], ...]

    @property
    def tokens(self) -> int:
        """Tokens of all chunks together."""
        return sum(tokens for _, _, tokens in self.chunks)

    def as_mapping(self) -> dict[str, Any]:
        """As JSON knows it: strings, numbers and lists."""
        return {
            **{name: getattr(self, name) for name in SCALARS},
            "skipped": [[skipped.where, skipped.reason] for skipped in self.skipped],
            "warnings": list(self.warnings),
            "sections": [[part.title, part.level, part.start, part.end] for part in self.sections],
            "pages": [[page.index, page.label, page.start, page.end] for page in self.pages],
            "chunks": [list(chunk) for chunk in self.chunks],
        }

    def checksum(self, number: int, added_at: str) -> str:
        """What the catalogue stores beside the row, so that a flipped bit in it is found."""
        return checksum([number, added_at, self.as_mapping()])


SCALARS = tuple(field.name for field in fields(Facts))[:11]


def facts_of(document: Document, chunks: Sequence[ChunkSpan], slug: str) -> Facts:
    """The facts of a document that is about to be read; asserts that the chunks cover its text in order."""
    facts = Facts(
        id=document.id,
        slug=slug,
        title=storable(document.title),
        author=storable(document.author),
        language=storable(document.language),
        format=storable(document.format),
        source=storable(document.source),
        characters=len(document.text),
        pages_read=document.pages_read,
        pages_total=document.pages_total,
        page_kind=document.page_kind,
        skipped=tuple(Skipped(storable(skipped.where), storable(skipped.reason)) for skipped in document.skipped),
        warnings=tuple(map(storable, document.warnings)),
        sections=tuple(Section(storable(s.title), s.level, s.start, s.end) for s in document.sections),
        pages=tuple(Page(page.index, storable(page.label), page.start, page.end) for page in document.pages),
        chunks=tuple((chunk.start, chunk.end, chunk.tokens) for chunk in chunks),
    )
    problem = problem_with(facts)
    assert not problem, problem
    assert [chunk.number for chunk in chunks] == list(range(len(chunks))), "chunks are not numbered from 0"
    return facts


def facts_from_mapping(raw: dict[str, Any]) -> Facts:
    """Facts from an export; raises ValueError in one line for anything that mplus would not have written."""
    expected = {field.name for field in fields(Facts)}
    if set(raw) != expected:
        raise ValueError(f"a document has the fields {sorted(raw)}, expected {sorted(expected)}")
    scalars: dict[str, Any] = {
        name: _text(raw[name], name) if name in _TEXT_SCALARS else _number(raw[name], name) for name in SCALARS
    }
    facts = Facts(
        **scalars,
        skipped=tuple(Skipped(*row) for row in _rows(raw["skipped"], "skipped", _text, _text)),
        warnings=tuple(
            row[0] for row in _rows([[item] for item in _list(raw["warnings"], "warnings")], "warnings", _text)
        ),
        sections=tuple(Section(*row) for row in _rows(raw["sections"], "sections", _text, _number, _number, _number)),
        pages=tuple(Page(*row) for row in _rows(raw["pages"], "pages", _number, _text, _number, _number)),
        chunks=tuple((a, b, c) for a, b, c in _rows(raw["chunks"], "chunks", _number, _number, _number)),
    )
    if problem := problem_with(facts):
        raise ValueError(problem)
    return facts


def problem_with(facts: Facts) -> str:
    """What is wrong with the spans and names of a document, in one line; empty when nothing is."""
    if not facts.chunks:
        return f"{facts.slug} has no chunks"
    if facts.page_kind not in get_args(PageKind):
        return f"{facts.slug} has pages of an unknown kind"
    if slugify(facts.slug) != facts.slug:
        return f"{facts.slug!r} is not a name that mplus gives"
    covered = 0
    for number, (start, end, _) in enumerate(facts.chunks):
        if start != covered or end < start:
            return f"chunk {number} of {facts.slug} covers [{start}, {end}) after {covered}"
        covered = end
    if covered != facts.characters:
        return f"the chunks of {facts.slug} end at {covered} of {facts.characters} characters"
    spans = [(section.start, section.end) for section in facts.sections]
    spans += [(page.start, page.end) for page in facts.pages]
    if any(not 0 <= start <= end <= facts.characters for start, end in spans):
        return f"a section or page of {facts.slug} lies outside its text"
    return ""


def storable(text: str) -> str:
    """Text without lone surrogates, which SQLite cannot store as text; they become question-mark characters."""
    return text.encode("utf-8", "replace").decode("utf-8")


def slugify(title: str) -> str:
    """A name for people and shells: lower-case letters and digits of any script, joined by hyphens, at most 60."""
    text = unicodedata.normalize("NFKD", storable(title)).casefold()
    bare = re.sub(r"(?<=[\x00-\x7f])[\u0300-\u036f]+", "", text)  # é is e; й stays й
    spelled = unicodedata.normalize("NFC", bare)
    words = "".join(c if c.isalnum() or unicodedata.category(c).startswith("M") else " " for c in spelled).split()
    return "-".join(words)[:SLUG_LENGTH].rstrip("-") or "document"


def unique_slug(title: str, taken: Callable[[str], bool]) -> str:
    """war-and-peace, or war-and-peace-2 when that is taken."""
    slug = slugify(title)
    if not taken(slug):
        return slug
    number = 2
    while taken(numbered := f"{slug[: SLUG_LENGTH - len(str(number)) - 1].rstrip('-')}-{number}"):
        number += 1
    return numbered


_TEXT_SCALARS = {"id", "slug", "title", "author", "language", "format", "source", "page_kind"}


def _text(value: object, name: str) -> str:
    if not isinstance(value, str) or storable(value) != value:
        raise ValueError(f"{name} is {value!r:.60}, expected text")
    return value


def _number(value: object, name: str) -> int:
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise ValueError(f"{name} is {value!r:.60}, expected a number")
    return value


def _list(value: object, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{name} is {value!r:.60}, expected a list")
    return value


def _rows(value: object, name: str, *kinds: Callable[[object, str], Any]) -> list[list[Any]]:
    rows = _list(value, name)
    if any(not isinstance(row, list) or len(row) != len(kinds) for row in rows):
        raise ValueError(f"{name} holds a row that does not have {len(kinds)} values")
    return [[kind(item, name) for kind, item in zip(kinds, row, strict=True)] for row in rows]
