"""XHTML and HTML to text: paragraphs with blank lines between them, and where every element id came to stand."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from html.entities import html5
from typing import TYPE_CHECKING

from mplus_cli.documents.draft import SPACE_CHARACTERS, SPACES, Heading
from mplus_cli.errors import Unreadable

if TYPE_CHECKING:
    from lxml.etree import _Element

HEADINGS = {f"h{level}": level for level in range(1, 7)}
PARAGRAPHS = {
    *("address", "article", "aside", "blockquote", "body", "center", "details", "dialog", "div", "dl", "fieldset"),
    *("figure", "footer", "form", "header", "hgroup", "hr", "main", "menu", "nav", "ol", "p", "pre", "section"),
    *("table", "ul", "text", *HEADINGS),  # "text" is SVG's
}
LINES = {"br", "caption", "dd", "dt", "figcaption", "legend", "li", "option", "summary", "tr"}
DROPPED = {
    *("head", "script", "style", "template", "rt", "rp", "annotation", "annotation-xml", "metadata", "title", "desc"),
}
NOTE_REFERENCES = {"noteref", "doc-noteref"}
BACK_LINKS = {"backlink", "doc-backlink"}  # the arrow behind a note
SWITCH_CASE = "case"  # epub:switch holds its default beside it
WHITE_SPACE = re.compile(rf"[ \t\n\r\f{SPACE_CHARACTERS}]+")
BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")
EMPTY_LINES = re.compile(r"\A(?:[ \t]*\n)+")
PROLOG = re.compile(r"(?:\s+|<\?.*?\?>|<!--.*?-->)*", re.DOTALL)
DOCTYPE = re.compile(r"<!DOCTYPE[^\[>]*(\[.*?\]\s*)?>", re.DOTALL | re.IGNORECASE)
ENTITY = re.compile(r"&([A-Za-z][A-Za-z0-9]{1,31});")
OF_XML = {"amp", "lt", "gt", "quot", "apos"}
SELF_CLOSED = re.compile(r"<(a|abbr|b|div|em|i|p|script|span|strong|style|td|th|title|section)(\s[^<>]*)?/>")
# "Page 12", "pg. 12", "p12", "page_xii": what follows the word is the number
PAGE_WORD = re.compile(r"^\W*(?:page[\W_]*(?=\d|[ivxlcdm]+\W*$)|pg?[\W_]+(?=\w)|pg?(?=\d))", re.IGNORECASE)
EPUB_TYPE = "{http://www.idpf.org/2007/ops}type"
XML_ID = "{http://www.w3.org/XML/1998/namespace}id"


@dataclass(frozen=True, slots=True)
class PageBreak:
    """A mark of the printed edition: page `label` starts at this character."""

    label: str
    position: int


def parse_xml(text: str) -> _Element:
    """The root element of well-formed XML; Unreadable names what is wrong with it.

    Document type declarations are taken off before the parser sees them, so that no entity can be declared and nothing
    outside be named; entities of HTML become their characters first, because books use them without declaring them.
    """
    from lxml import etree

    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, encoding="utf-8")
    try:
        root = etree.fromstring(named_entities(body_of(text)).encode("utf-8", "replace"), parser)
    except etree.XMLSyntaxError as problem:
        raise Unreadable(f"not well-formed: {problem.msg}") from problem
    if root is None:
        raise Unreadable("no element in it")
    return root


def parse_markup(text: str) -> _Element:
    """The root element of an XHTML or HTML page: as XML where it is well-formed, else as browsers forgive."""
    try:
        return parse_xml(text)
    except Unreadable as problem:
        if "declares entities" in problem.message:
            raise
    return parse_html(text)


def parse_html(text: str) -> _Element:
    """The root element of a page that need not be well-formed; Unreadable when there is nothing in it."""
    from lxml import etree

    parser = etree.HTMLParser(no_network=True, huge_tree=False, recover=True, encoding="utf-8")
    body = SELF_CLOSED.sub(r"<\1\2></\1>", body_of(text).replace("\x00", ""))
    try:
        root = etree.fromstring(body.encode("utf-8", "replace"), parser)
    except etree.LxmlError as problem:
        raise Unreadable(f"no markup in it: {problem}") from problem
    if root is None:
        raise Unreadable("no element in it")
    return root


def body_of(text: str) -> str:
    """What follows the prolog; Unreadable when the document type declares entities of its own."""
    start = prolog_end(text)
    if found := DOCTYPE.match(text, start):
        if found[1] and "<!ENTITY" in found[1].upper():
            raise Unreadable("declares entities of its own, which mplus does not expand")
        start = prolog_end(text, found.end())
    return text[start:]


def prolog_end(text: str, start: int = 0) -> int:
    found = PROLOG.match(text, start)
    return found.end() if found else start


def named_entities(text: str) -> str:
    """The text with HTML's named entities as characters, but for the five that XML knows itself."""

    def character(found: re.Match[str]) -> str:
        return found[0] if found[1] in OF_XML else html5.get(found[1] + ";", found[0])

    return ENTITY.sub(character, text)


@dataclass
class Flow:
    """Text as it grows out of elements; gaps and spaces are written only when something follows them."""

    parts: list[str] = field(default_factory=list)
    length: int = 0
    anchors: dict[tuple[str, str], int] = field(default_factory=dict)  # (document, element id) -> character
    headings: list[Heading] = field(default_factory=list)
    page_breaks: list[PageBreak] = field(default_factory=list)
    document: str = ""
    gap: int = 0  # line ends owed before the next text
    space: bool = False
    lead: str = ""  # a list marker or cell border owed before the next text
    raw: int = 0  # depth of elements that keep their white space
    cells: list[int] = field(default_factory=list)  # where the open table cells started
    lists: list[int] = field(default_factory=list)  # numbers of open lists; -1: bullets
    pending: list[Callable[[int], None]] = field(default_factory=list)  # who waits for the next character's place
    heading: list[str] | None = None  # the pieces of the heading being written
    heading_start: int = 0

    @property
    def text(self) -> str:
        return "".join(self.parts)

    def begin(self, document: str) -> None:
        """The next text belongs to this file: anchors are (document, id), and (document, "") for its start."""
        self.document = document
        self.break_(2)
        self.anchor("")

    def finish(self) -> None:
        """Places of what has no text behind it: the end of the text."""
        self.settle_pending()

    def anchor(self, name: str) -> None:
        key = (self.document, name)
        self.pending.append(lambda position: void(self.anchors.setdefault(key, position)))

    def page_break(self, label: str) -> None:
        self.pending.append(lambda position: self.page_breaks.append(PageBreak(label, position)))

    def settle_pending(self) -> None:
        for place in self.pending:
            place(self.length)
        self.pending.clear()

    def break_(self, lines: int) -> None:
        """Ask for at least so many line ends before the next text."""
        if not self.lead:
            self.gap = max(self.gap, min(lines, 1) if self.cells else lines)
        self.space = False

    def append(self, piece: str) -> None:
        self.parts.append(piece)
        self.length += len(piece)

    def write(self, text: str | None) -> None:
        """Text of an element, with its white space collapsed as browsers do."""
        if not text:
            return
        if self.raw:
            self.write_raw(text)
            return
        collapsed = WHITE_SPACE.sub(" ", text)
        words = collapsed.strip(" ")
        if not words:
            self.space = True
            return
        self.open_line(collapsed[0] == " ")
        self.append(words)
        if self.heading is not None:
            self.heading.append(words)
        self.space = collapsed[-1] == " "

    def write_raw(self, text: str) -> None:
        """Text whose white space counts; at its end it is owed, so that none is left where the element ends."""
        text = SPACES.sub(" ", self.lead + text)
        body = EMPTY_LINES.sub("", text) if self.gap or not self.length else text
        kept = body.rstrip()
        self.lead = ""
        if kept:
            self.open_line(False)
            self.append(BLANK_LINES.sub("\n\n", kept))
        self.lead = BLANK_LINES.sub("\n\n", body[len(kept) :])

    def open_line(self, space: bool) -> None:
        """Write the gap, space or marker that is owed, and tell who waits where the text goes on."""
        spaced = (self.space or space) and not self.gap and not self.lead
        if self.length:
            self.append("\n" * self.gap)
            if spaced:
                self.append(" ")
        if spaced and self.heading is not None:
            self.heading.append(" ")
        if self.heading is not None and not self.heading:
            self.heading_start = self.length
        self.settle_pending()
        self.append(self.lead)
        self.gap, self.space, self.lead = 0, False, ""


def void(_: object) -> None:
    """Drop a value, where only the doing counts."""


def write_page(flow: Flow, root: _Element, drop: Callable[[_Element], bool] = lambda element: False) -> None:
    """Write an element and all under it into a flow, without the elements that `drop` names."""
    from lxml import etree

    walk = etree.iterwalk(root, events=("start", "end", "comment", "pi"))
    open_ones: list[tuple[str, set[str]] | None] = []  # name and kinds; None: left out
    for event, element in walk:
        if event == "start":
            name, kind = name_of(element), kinds(element)
            if leave_out(flow, element, name, kind) or drop(element):
                open_ones.append(None)
                walk.skip_subtree()
            else:
                open_ones.append((name, kind))
                start(flow, element, name, kind)
                flow.write(element.text)
            continue
        if event == "end" and (ending := open_ones.pop()):
            end(flow, *ending)
        if element is not root:
            flow.write(element.tail)


def name_of(element: _Element) -> str:
    """The element's name without its namespace, in lower case."""
    tag = element.tag
    return local_name(tag) if isinstance(tag, str) else ""


@lru_cache(maxsize=4_096)
def local_name(tag: str) -> str:
    return tag.rpartition("}")[2].lower()


def words_in(element: _Element) -> str:
    """All text of an element, white space as it stands."""
    return "".join(str(piece) for piece in element.itertext())


def kinds(element: _Element) -> set[str]:
    """What the element says that it is: words of epub:type and role."""
    if not element.attrib:
        return set()
    words = f"{element.get(EPUB_TYPE) or element.get('epub:type') or ''} {element.get('role') or ''}"
    return set(words.lower().split())


def leave_out(flow: Flow, element: _Element, name: str, kind: set[str]) -> bool:
    """Whether an element's content is no text of the book; printed page marks are recorded on the way."""
    if kind & {"pagebreak", "doc-pagebreak"}:
        remember_ids(flow, element)
        flow.page_break(page_label(element))
        return True
    if name == SWITCH_CASE:
        parent = element.getparent()
        return parent is not None and any(name_of(child) == "default" for child in parent)
    return name in DROPPED or bool(kind & BACK_LINKS) or (element.get("hidden") is not None and name != "body")


def page_label(element: _Element) -> str:
    """The printed number that a page mark carries: "Page 12." becomes "12"."""
    found = element.get("title") or element.get("aria-label") or words_in(element) or element.get("id") or ""
    return PAGE_WORD.sub("", found.strip()).rstrip(" \t\n.])")


def remember_ids(flow: Flow, element: _Element) -> None:
    if not element.attrib:
        return
    for name in {element.get("id"), element.get(XML_ID), element.get("name") if name_of(element) == "a" else None}:
        if name:
            flow.anchor(name)


def start(flow: Flow, element: _Element, name: str, kind: set[str]) -> None:
    """What an element's start means for the text."""
    if name in PARAGRAPHS or name in LINES:
        flow.break_(2 if name in PARAGRAPHS else 1)
    remember_ids(flow, element)
    if name in HEADINGS:
        flow.heading = []
    elif name in ("ul", "ol", "menu"):
        flow.lists.append(start_number(element) if name == "ol" else -1)
    elif name == "li":
        flow.lead = list_marker(flow)
    elif name in ("td", "th"):
        flow.lead = " | " if has_cell_before(element) and not flow.gap else flow.lead
        flow.cells.append(flow.length)
    elif name == "pre":
        flow.raw += 1
    elif name == "sup" and flow.parts and flow.parts[-1][-1:].isdigit() and not flow.gap:
        flow.lead = flow.lead or "^"  # 10^6, not 106
    elif kind & NOTE_REFERENCES:
        flow.lead += "["


def end(flow: Flow, name: str, kind: set[str]) -> None:
    """What an element's end means for the text."""
    if name in HEADINGS:
        end_heading(flow, HEADINGS[name])
    elif name in ("ul", "ol", "menu") and flow.lists:
        flow.lists.pop()
    elif name in ("td", "th") and flow.cells:
        flow.gap = flow.gap if flow.cells.pop() == flow.length else 0
    elif name == "pre":
        flow.raw -= 1
        flow.lead = ""
    elif name == "li" or (name == "sup" and flow.lead == "^"):
        flow.lead = ""
    elif kind & NOTE_REFERENCES:
        end_note_reference(flow)
    if name in PARAGRAPHS or name in LINES:
        flow.break_(2 if name in PARAGRAPHS else 1)


def end_note_reference(flow: Flow) -> None:
    if flow.lead.endswith("["):  # nothing stood in it
        flow.lead = flow.lead[:-1]
    else:
        flow.append("]")


def end_heading(flow: Flow, level: int) -> None:
    if title := " ".join("".join(flow.heading or []).split()):
        flow.headings.append(Heading(title, level, flow.heading_start))
    flow.heading = None


def start_number(element: _Element) -> int:
    try:
        return max(0, int(element.get("start") or 1))
    except ValueError:
        return 1


def list_marker(flow: Flow) -> str:
    """The bullet or number of the next item of the innermost list."""
    if not flow.lists or flow.lists[-1] < 0:
        return "- "
    flow.lists[-1] += 1
    return f"{flow.lists[-1] - 1}. "


def has_cell_before(element: _Element) -> bool:
    previous = element.getprevious()
    return previous is not None and name_of(previous) in ("td", "th")
