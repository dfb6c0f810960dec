"""EPUB 2 and 3: text in spine order, chapters from the contents, printed pages from the page list.

The package is parsed here with lxml rather than with ebooklib: ebooklib loads every entry of an archive into memory
before anything can be checked, and gives up on books whose contents, manifest or one chapter are broken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mplus_cli.documents import contents
from mplus_cli.documents.archive import Archive, TooMuch
from mplus_cli.documents.document import Skipped
from mplus_cli.documents.draft import Break, Draft
from mplus_cli.documents.encoding import decode
from mplus_cli.documents.markup import Flow, kinds, name_of, parse_markup, write_page
from mplus_cli.documents.package import PAGE_SUFFIXES, XHTML_TYPES, Item, Package, open_package, refuse_encrypted
from mplus_cli.documents.source import Source
from mplus_cli.errors import Unreadable

if TYPE_CHECKING:
    from lxml.etree import _Element

SVG = "image/svg+xml"
XML_TYPES = XHTML_TYPES | {SVG, "application/xml", "text/xml"}
LISTS = {"toc", "page-list", "landmarks", "lot", "loi", "doc-toc", "doc-pagelist"}
PROSE_CHARACTERS = 300  # a navigation page with more than this beside its lists is a chapter as well


def read(source: Source) -> Draft:
    """Read a book; Unreadable when it is encrypted, a bomb, no EPUB at all, or when no chapter can be read."""
    with Archive(source) as archive:
        package = open_package(archive)
        items = reading_order(package, archive)
        refuse_encrypted(archive, {path for item in items if (path := item.path)})
        flow, skipped = Flow(), []
        for number, item in enumerate(items, 1):
            try:
                write_item(flow, archive, package, item, source.encoding)
            except TooMuch:
                raise
            except Unreadable as problem:
                source.deadline.check()
                skipped.append(Skipped(f"chapter file {number} of {len(items)} ({item.href})", problem.message))
        flow.finish()
        if not flow.text.strip():
            raise Unreadable(nothing_found(items, skipped))
        return draft_of(package, flow, contents.read_contents(archive, package), skipped)


def reading_order(package: Package, archive: Archive) -> list[Item]:
    """The files to read: the linear ones of the spine that hold text, or some text in their stead."""
    linear = [item for item, is_linear in package.spine if is_linear]
    items = [readable(package, item) for item in linear or [item for item, _ in package.spine]]
    return list({item.id: item for item in items if item is not None}.values())


def readable(package: Package, item: Item) -> Item | None:
    """The item, or the first of its fallbacks that is a page; None for pictures and other media without one."""
    seen: set[str] = set()
    here: Item | None = item
    while here is not None and here.id not in seen:
        if is_page(here):
            return here
        seen.add(here.id)
        here = package.items.get(here.fallback)
    return None


def is_page(item: Item) -> bool:
    return item.media_type in XML_TYPES or item.href.lower().partition("#")[0].endswith(PAGE_SUFFIXES)


def write_item(flow: Flow, archive: Archive, package: Package, item: Item, encoding: str | None) -> None:
    """Write one file of the spine; Unreadable when it is outside, missing, damaged or no markup."""
    if item.path is None:
        raise Unreadable("its reference leads out of the archive")
    text, warnings = decode(archive.read(item.path), encoding, markup=True)
    root = parse_markup(text)
    flow.begin(item.path)
    is_nav = "nav" in item.properties
    if not is_nav or is_chapter_too(root):
        write_page(flow, root, drop=is_list)
    elif not any(other for other, linear in package.spine if linear and other is not item):
        write_page(flow, root)  # a book of nothing but its contents
    package.warnings.extend(f"{item.href}: {warning}" for warning in warnings)


def is_chapter_too(root: _Element) -> bool:
    """Whether a navigation document holds prose beside its lists, as one-file books do."""
    beside = Flow()
    write_page(beside, root, drop=is_list)
    return beside.length >= PROSE_CHARACTERS


def is_list(element: _Element) -> bool:
    return name_of(element) == "nav" and bool(kinds(element) & LISTS)


def nothing_found(items: list[Item], skipped: list[Skipped]) -> str:
    """What a book without text is, in one line."""
    if skipped:
        return f"none of its {len(items)} chapter files can be read; the first: {skipped[0].reason}"
    return f"no text in its {len(items)} chapter files, only pictures or nothing"


def draft_of(package: Package, flow: Flow, listed: contents.Contents, skipped: list[Skipped]) -> Draft:
    """Chapters from the contents, or else from headings; printed pages from the page list, or else from marks."""
    anchors = flow.anchors
    pages = contents.breaks(listed.pages, anchors)
    marks = [Break(mark.label, mark.position) for mark in flow.page_breaks]
    return Draft(
        format="epub",
        text=flow.text,
        title=package.title,
        author=package.author,
        language=package.language,
        headings=contents.headings(listed.chapters, anchors) or flow.headings,
        breaks=pages or marks,
        page_kind="page-list",
        skipped=skipped,
        warnings=package.warnings,
    )
