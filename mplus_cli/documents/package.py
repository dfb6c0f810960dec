"""The package of an EPUB: container, metadata, manifest and spine, as far as they can be made out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mplus_cli.documents.archive import Archive, TooMuch, resolve
from mplus_cli.documents.encoding import decode
from mplus_cli.documents.markup import name_of, parse_html, parse_xml, words_in
from mplus_cli.errors import Unreadable

if TYPE_CHECKING:
    from lxml.etree import _Element

CONTAINER = "META-INF/container.xml"
ENCRYPTION = "META-INF/encryption.xml"
PACKAGE_TYPE = "application/oebps-package+xml"
XHTML_TYPES = {"application/xhtml+xml", "text/html", "application/x-dtbook+xml", "text/x-oeb1-document"}
PAGE_SUFFIXES = (".xhtml", ".html", ".htm", ".xht")
# Scrambled fonts are no copy protection; everything else that encryption.xml lists cannot be read.
FONT_SCRAMBLING = {"http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC"}
DRM = "The book is copy-protected; get it without protection from where it was bought."


@dataclass(frozen=True, slots=True)
class Item:
    """A file of the book; `path` is None when its reference leads out of the archive."""

    id: str
    path: str | None
    href: str
    media_type: str
    properties: frozenset[str]
    fallback: str


@dataclass
class Package:
    """What the OPF says; `spine` holds the reading order with "linear" or not."""

    path: str
    title: str = ""
    author: str = ""
    language: str = ""
    items: dict[str, Item] = field(default_factory=dict)
    spine: list[tuple[Item, bool]] = field(default_factory=list)
    ncx: str | None = None
    warnings: list[str] = field(default_factory=list)

    def nav(self) -> Item | None:
        """The EPUB 3 navigation document."""
        return next((item for item in self.items.values() if "nav" in item.properties), None)


def open_package(archive: Archive) -> Package:
    """Find and read the first package of a book; Unreadable when there is none."""
    path, warnings = package_path(archive)
    package = Package(path, warnings=warnings)
    root = read_xml(archive, path)
    read_metadata(package, root)
    for element in all_named(root, "item"):
        read_item(package, element)
    read_spine(package, root)
    if not package.spine:
        read_spine_from_files(package, archive)
    return package


def read_xml(archive: Archive, path: str) -> _Element:
    """An XML file of the archive; one that is not well-formed is read as browsers forgive."""
    text, _ = decode(archive.read(path), markup=True)
    try:
        return parse_xml(text)
    except Unreadable as problem:
        if "declares entities" in problem.message:
            raise
        return parse_html(text)


def all_named(root: _Element, name: str) -> list[_Element]:
    """Elements by local name, whatever their namespace."""
    return [element for element in root.iter("*") if name_of(element) == name]


def package_path(archive: Archive) -> tuple[str, list[str]]:
    """The entry of the first rendition's package, and what was odd on the way."""
    if archive.find(CONTAINER) is None:
        raise Unreadable(f"not an EPUB: {CONTAINER} is missing")
    try:
        named = [element.get("full-path") or "" for element in all_named(read_xml(archive, CONTAINER), "rootfile")]
    except TooMuch:
        raise
    except Unreadable as problem:
        if "declares entities" in problem.message:
            raise
        named = []
    found = [place[0] for name in named if (place := resolve("", name)) and archive.find(place[0])]
    if found:
        return found[0], []
    guessed = sorted(name for name in archive.entries if name.lower().endswith(".opf"))
    if not guessed:
        raise Unreadable(f"not an EPUB: {CONTAINER} names no package that exists")
    return guessed[0], [f"{CONTAINER} names no package; {guessed[0]} was taken"]


def read_metadata(package: Package, root: _Element) -> None:
    """Title, authors and language; the title that is marked as the main one wins."""
    titles = [element for element in all_named(root, "title") if text_of(element)]
    main = {refined(meta) for meta in all_named(root, "meta") if property_is(meta, "title-type", "main")}
    chosen = next((element for element in titles if element.get("id") in main), titles[0] if titles else None)
    package.title = text_of(chosen) if chosen is not None else ""
    creators = [element for element in all_named(root, "creator") if text_of(element)]
    roles = {refined(meta): text_of(meta) for meta in all_named(root, "meta") if meta.get("property") == "role"}
    authors = [element for element in creators if role_of(element, roles) in ("", "aut")] or creators
    package.author = ", ".join(dict.fromkeys(text_of(element) for element in authors))
    package.language = next((text for element in all_named(root, "language") if (text := text_of(element))), "")


def text_of(element: _Element) -> str:
    return " ".join(words_in(element).split())


def refined(meta: _Element) -> str:
    return (meta.get("refines") or "").removeprefix("#")


def property_is(meta: _Element, name: str, value: str) -> bool:
    return meta.get("property") == name and text_of(meta) == value


def role_of(creator: _Element, roles: dict[str, str]) -> str:
    """The MARC role of a creator: refined by a meta in EPUB 3, an attribute in EPUB 2."""
    attribute = next((value for key, value in creator.attrib.items() if str(key).endswith("role")), "")
    return roles.get(creator.get("id") or "", str(attribute))


def read_item(package: Package, element: _Element) -> None:
    href = element.get("href") or ""
    place = resolve(package.path, href) if href else None
    item = Item(
        id=element.get("id") or href,
        path=place[0] if place else None,
        href=href,
        media_type=(element.get("media-type") or "").lower().strip(),
        properties=frozenset((element.get("properties") or "").split()),
        fallback=element.get("fallback") or "",
    )
    package.items.setdefault(item.id, item)


def read_spine(package: Package, root: _Element) -> None:
    """The reading order; a file that it names twice is read once, where it comes first."""
    seen: set[str] = set()
    for reference in all_named(root, "itemref"):
        item = package.items.get(reference.get("idref") or "")
        if item is None:
            package.warnings.append(f"the spine names {reference.get('idref')!r}, which the manifest lacks")
        elif item.id not in seen:
            seen.add(item.id)
            package.spine.append((item, (reference.get("linear") or "yes").strip().lower() != "no"))
    spine = next(iter(all_named(root, "spine")), None)
    named = package.items.get(spine.get("toc") or "") if spine is not None else None
    by_type = [item for item in package.items.values() if item.media_type == "application/x-dtbncx+xml"]
    package.ncx = next((item.path for item in [named, *by_type] if item is not None and item.path), None)


def read_spine_from_files(package: Package, archive: Archive) -> None:
    """A reading order for a package that has none: the pages of its manifest, or else all by name."""
    pages = [item for item in package.items.values() if item.media_type in XHTML_TYPES]
    if not pages:
        names = sorted(name for name in archive.entries if name.lower().endswith(PAGE_SUFFIXES))
        pages = [Item(name, name, name, "application/xhtml+xml", frozenset(), "") for name in names]
    package.spine = [(item, True) for item in pages]
    if pages:
        package.warnings.append(
            "the package has no reading order; its files were read in the order that they are listed"
        )


def refuse_encrypted(archive: Archive, paths: set[str]) -> None:
    """Unreadable when encryption.xml covers text of the book, whatever for fonts."""
    if archive.find(ENCRYPTION) is None:
        return
    try:
        root = read_xml(archive, ENCRYPTION)
    except Unreadable:
        return  # nothing is known about what is encrypted: the pages themselves will tell
    for data in all_named(root, "encrypteddata"):
        method = next((element.get("Algorithm") or "" for element in all_named(data, "encryptionmethod")), "")
        for reference in all_named(data, "cipherreference"):
            place = resolve("", reference.get("URI") or "")
            if method not in FONT_SCRAMBLING and place is not None and place[0] in paths:
                raise Unreadable(f"encrypted: {place[0]} is locked by copy protection (DRM)", remedy=DRM)
