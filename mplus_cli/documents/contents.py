"""The table of contents and the page list of an EPUB, from its navigation document or its NCX."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mplus_cli.documents.archive import Archive, resolve
from mplus_cli.documents.draft import Break, Heading
from mplus_cli.documents.encoding import decode
from mplus_cli.documents.markup import kinds, name_of, parse_markup
from mplus_cli.documents.package import Package, all_named, read_xml, text_of
from mplus_cli.errors import Unreadable

if TYPE_CHECKING:
    from lxml.etree import _Element

Place = tuple[str, str]  # entry of the archive, element id or ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a list: its words, its depth from 1, and where it leads, if anywhere."""

    title: str
    level: int
    place: Place | None


@dataclass(frozen=True, slots=True)
class Contents:
    """Chapters and printed pages as the book lists them."""

    chapters: list[Entry]
    pages: list[Entry]


def read_contents(archive: Archive, package: Package) -> Contents:
    """The lists of the navigation document; what it lacks comes from the NCX."""
    nav, ncx = package.nav(), package.ncx
    first = attempt(lambda: from_nav(archive, nav.path)) if nav is not None and nav.path else Contents([], [])
    second = attempt(lambda: from_ncx(archive, ncx)) if ncx is not None else Contents([], [])
    return Contents(first.chapters or second.chapters, first.pages or second.pages)


def attempt(read: Callable[[], Contents]) -> Contents:
    """A list that cannot be read is as good as absent: the text is what counts."""
    try:
        return read()
    except Unreadable:
        return Contents([], [])


def from_nav(archive: Archive, path: str | None) -> Contents:
    assert path is not None
    root = parse_markup(decode(archive.read(path), markup=True)[0])
    navs = all_named(root, "nav")
    chapters = next((nav for nav in navs if kinds(nav) & {"toc", "doc-toc"}), None)
    if chapters is None:
        chapters = next((nav for nav in navs if not kinds(nav)), None)
    pages = next((nav for nav in navs if kinds(nav) & {"page-list", "doc-pagelist"}), None)
    return Contents(
        list(nav_entries(chapters, path)) if chapters is not None else [],
        list(nav_entries(pages, path)) if pages is not None else [],
    )


def nav_entries(nav: _Element, base: str) -> Iterable[Entry]:
    """The links of nested lists, and the words that head a list without being a link."""
    from lxml import etree

    level = 0
    for event, element in etree.iterwalk(nav, events=("start", "end")):
        name = name_of(element)
        if name == "ol":
            level += 1 if event == "start" else -1
        elif event == "start" and level and name in ("a", "span") and name_of(parent_of(element)) == "li":
            reference = element.get("href") if name == "a" else None
            yield Entry(label_of(element), level, resolve(base, reference) if reference else None)


def parent_of(element: _Element) -> _Element:
    parent = element.getparent()
    return element if parent is None else parent


def label_of(element: _Element) -> str:
    """What a link says: its words, else its title or the words for its picture."""
    pictures = (child.get("alt") or child.get("title") or "" for child in element.iter("*"))
    return text_of(element) or element.get("title") or next((words for words in pictures if words), "")


def from_ncx(archive: Archive, path: str) -> Contents:
    """Titles, levels and targets of an NCX navMap, in reading order."""
    from lxml import etree

    chapters: list[Entry] = []
    pages: list[Entry] = []
    level = 0
    for event, element in etree.iterwalk(read_xml(archive, path), events=("start", "end")):
        name = name_of(element)
        if name == "navpoint":
            level += 1 if event == "start" else -1
        if event == "start" and name == "navpoint":
            chapters.append(ncx_entry(element, level, path))
        elif event == "start" and name == "pagetarget":
            pages.append(ncx_entry(element, 1, path))
    return Contents(chapters, pages)


def ncx_entry(element: _Element, level: int, base: str) -> Entry:
    """A navPoint or pageTarget: its own label and content, not those of points inside it."""
    label = next((child for child in element if name_of(child) == "navlabel"), None)
    content = next((child for child in element if name_of(child) == "content"), None)
    reference = content.get("src") if content is not None else None
    title = (text_of(label) if label is not None else "") or element.get("value") or ""
    return Entry(title, level, resolve(base, reference) if reference else None)


def headings(entries: Iterable[Entry], anchors: Mapping[Place, int]) -> list[Heading]:
    """Chapters at the characters that they lead to; one that leads nowhere stands where the next one does."""
    found: list[Heading] = []
    following: int | None = None
    for entry in reversed(list(entries)):
        position = position_of(entry.place, anchors)
        if position is None and entry.place is None:
            position = following
        if position is not None:
            following = position
            found.append(Heading(entry.title, entry.level, position))
    return found[::-1]


def breaks(entries: Iterable[Entry], anchors: Mapping[Place, int]) -> list[Break]:
    """Printed pages at the characters that they lead to."""
    places = ((entry.title, position_of(entry.place, anchors)) for entry in entries)
    return [
        Break(re.sub(r"^(?:page|p\.)\s+(?=\w)", "", label, flags=re.IGNORECASE), at)
        for label, at in places
        if at is not None
    ]


def position_of(place: Place | None, anchors: Mapping[Place, int]) -> int | None:
    """The character of an element, else the start of its file."""
    return None if place is None else anchors.get(place, anchors.get((place[0], "")))
