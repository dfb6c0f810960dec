"""PDF: text by page, chapters from the outline, printed page numbers from the labels."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from mplus_cli.documents.draft import Break, Draft, Heading, lines_and_spaces
from mplus_cli.documents.pdf_furniture import most_common_height, without_furniture
from mplus_cli.documents.pdf_layout import HYPHEN, Paragraph, goes_on, mended, page_paragraphs, vocabulary
from mplus_cli.documents.pdf_process import Extract, extract
from mplus_cli.documents.prose import chapter_headings
from mplus_cli.documents.quality import listed, plural
from mplus_cli.documents.source import Source
from mplus_cli.errors import Unreadable

OCR = "Run it through OCR first (for example ocrmypdf), and read the result."
# Letters that fonts draw as one, and the shapes of Arabic letters: in words they are plain letters.
PRESENTATION = {
    code: unicodedata.normalize("NFKC", chr(code))
    for code in (*range(0xFB00, 0xFB07), *range(0xFB50, 0xFDFC), *range(0xFE70, 0xFEFD))
    if unicodedata.normalize("NFKC", chr(code)).strip().isalpha()
}
# Glyph numbers and private characters where letters should be; what they mean, the file does not say.
UNREAD_GLYPHS = re.compile("[\x01-\x08\x0b-\x1f\ufffd\ue000-\uf8ff]")
UNREAD_SHARE = 0.1
# TeX sets an accent as a sign of its own before the letter: na¨ıve.
ACCENTS = {"¨": "\u0308", "´": "\u0301", "ˆ": "\u0302", "˜": "\u0303", "ˇ": "\u030c"}
ACCENTED = re.compile("([¨ˆ˜ˇ]|´(?=[AEIOUYaeiouyı])) ?([A-Za-zı])")
UNDOTTED = {"ı": "i"}
FILE_TITLE = re.compile(
    r"microsoft \w+ - .*|.*\.(?:docx?|dvi|qxd|indd|tex|pdf|pptx?|ps|rtf|odt|xlsx?|html?)|untitled.*|unknown|\(\w+\)",
    re.I,
)
TITLE_SIZE = 1.3  # of the body's letters
HEADING_SIZE = 1.12  # of the body's letters
HEADING_CHARACTERS = 120
BODY_CHARACTERS = 100


@dataclass
class Book:
    """The text as pages are added to it."""

    parts: list[str] = field(default_factory=list)
    length: int = 0
    paragraphs: list[tuple[int, Paragraph]] = field(default_factory=list)  # where each starts
    starts: list[int] = field(default_factory=list)  # where each page starts

    @property
    def text(self) -> str:
        return "".join(self.parts)

    def write(self, piece: str) -> None:
        self.parts.append(piece)
        self.length += len(piece)

    def add_page(self, paragraphs: Sequence[Paragraph]) -> None:
        """A page; its first paragraph goes on with the last one where the text reads on."""
        last = self.parts[-1] if self.parts else ""
        for number, paragraph in enumerate(paragraphs):
            if last and number == 0 and goes_on(last, paragraph.text):
                self.cut_hyphen(paragraph.text)
            elif last:
                self.write("\n\n")
            if number == 0:
                self.starts.append(self.length)
            self.paragraphs.append((self.length, paragraph))
            self.write(paragraph.text)
            last = paragraph.text
        if not paragraphs:
            self.starts.append(-1)

    def cut_hyphen(self, following: str) -> None:
        """Join a word that the end of a page cut in two, or put the space between two words."""
        last = self.parts[-1]
        if last.endswith("-") and last[-2:-1].isalpha() and following[:1].islower():
            self.parts[-1] = last[:-1]
            self.length -= 1
        else:
            self.write(" ")


def read(source: Source) -> Draft:
    """Read a PDF; Unreadable when it is encrypted, cannot be opened, or has no text on any page."""
    found = extract(source)
    unread = unread_share(found)
    tidy(found)
    if not any(found.lines.values()):
        raise nothing_found(found)
    body = without_furniture({page: lines for page, lines in sorted(found.lines.items()) if lines})
    book = written(found, {page: page_paragraphs(lines) for page, lines in body.items()})
    body_height = most_common_height(body)
    labels = found.labels if found.labels and differ(found.labels) else None
    return Draft(
        format="pdf",
        text=book.text,
        title=title_of(found, book, body_height),
        author=found.author,
        headings=outline(found, book) or headings(book, body_height),
        breaks=[Break(label_of(labels, page), start) for page, start in enumerate(book.starts)],
        page_kind="label" if labels else "index",
        pages_read=found.pages - len(found.failed),
        pages_total=found.pages,
        skipped=found.skipped(),
        warnings=[*picture_warnings(found), *font_warnings(unread)],
    )


def unread_share(found: Extract) -> dict[int, float]:
    """For each page with text, how much of it is glyphs whose letters the file does not tell."""
    shares = {}
    for page, lines in found.lines.items():
        text = "".join(line.text for line in lines)
        if dense := len("".join(text.split())):
            shares[page] = len(UNREAD_GLYPHS.findall(text)) / dense
    return shares


def tidy(found: Extract) -> None:
    """Plain spaces, letters with their accents, no control characters; lines without anything left are dropped."""
    for page, lines in found.lines.items():
        plain = [replace(line, text=plain_line(line.text)) for line in lines]
        found.lines[page] = [line for line in plain if line.text]


def plain_line(text: str) -> str:
    text = " ".join(UNREAD_GLYPHS.sub(keep_unknown, lines_and_spaces(text)).split())
    return ACCENTED.sub(lambda pair: UNDOTTED.get(pair[2], pair[2]) + ACCENTS[pair[1]], text).translate(PRESENTATION)


def keep_unknown(found: re.Match[str]) -> str:
    return "" if found[0] < " " else found[0]


def font_warnings(unread: dict[int, float]) -> list[str]:
    """A line about pages whose fonts do not tell their letters."""
    pages = [page for page, share in sorted(unread.items()) if share > UNREAD_SHARE]
    if not pages:
        return []
    return [f"{len(pages)} suspicious {plural(len(pages))} (fonts that do not tell their letters): {listed(pages)}"]


def nothing_found(found: Extract) -> Unreadable:
    """What a PDF without text is, in one line, with what can be done about it."""
    pages = f"{found.pages} page" + ("s" if found.pages > 1 else "")
    if found.failed and not found.lines:
        return Unreadable(f"none of its {pages} can be read; the first: {found.failed[min(found.failed)]}")
    if len(found.pictures) == len(found.lines):
        return Unreadable(f"{pages}, all images: no text layer", remedy=OCR)
    if found.pictures:
        return Unreadable(f"{pages} without text, {len(found.pictures)} of them images: no text layer", remedy=OCR)
    return Unreadable(f"{pages} without any text", remedy=OCR)


def picture_warnings(found: Extract) -> list[str]:
    """A line about pages that are images without text in a book that has text elsewhere."""
    if not found.pictures:
        return []
    pages = sorted(found.pictures)
    return [f"{len(pages)} of {found.pages} pages are images without text: {listed(pages)}"]


def written(found: Extract, pages: dict[int, list[Paragraph]]) -> Book:
    """The pages one after the other, with words mended and letters plain."""
    words = vocabulary([paragraph.text for paragraphs in pages.values() for paragraph in paragraphs])
    book = Book()
    for page in range(found.pages):
        paragraphs = pages.get(page, [])
        for paragraph in paragraphs:
            paragraph.text = mended(paragraph.text.rstrip(HYPHEN) + "-" * paragraph.text.endswith(HYPHEN), words)
        book.add_page([paragraph for paragraph in paragraphs if paragraph.text.strip()])
    following = book.length
    for page in reversed(range(found.pages)):  # an empty page starts where the next one with text does
        book.starts[page] = following = book.starts[page] if book.starts[page] >= 0 else following
    return book


def differ(labels: Sequence[str]) -> bool:
    """Whether printed labels say more than the number of the page in the file."""
    return any(label and label != str(number) for number, label in enumerate(labels, 1))


def label_of(labels: Sequence[str] | None, page: int) -> str:
    return (labels[page] if labels and page < len(labels) else "") or str(page + 1)


def title_of(found: Extract, book: Book, body: float) -> str:
    """The title that the file gives, unless it is a file's name; else the largest words of the first page."""
    if found.title.strip() and not looks_like_file(found.title):
        return found.title
    end = next((start for start in book.starts if start > 0), book.length)
    first = [item for start, item in book.paragraphs if start < end and is_title(item.text)]
    largest = max(first, key=lambda item: item.height, default=None)
    return largest.text if largest is not None and body and largest.height > TITLE_SIZE * body else ""


def looks_like_file(title: str) -> bool:
    """Whether a title is only what a program put there: a file name, or nothing that was ever filled in."""
    return FILE_TITLE.fullmatch(title.strip()) is not None


def outline(found: Extract, book: Book) -> list[Heading]:
    """Chapters of the outline, at their words on the page where those are found, else at its start."""
    whole = book.text
    placed: list[Heading] = []
    for title, level, page in found.outline:
        if not 0 <= page < len(book.starts):
            continue
        start = book.starts[page]
        end = next((later for later in book.starts[page + 1 :] if later > start), len(whole))
        after = placed[-1].position if placed and placed[-1].position > start else start
        placed.append(Heading(title, level, position_of(title, whole, after, end)))
    return placed


def position_of(title: str, whole: str, start: int, end: int) -> int:
    """Where a title's letters stand in the text, white space and punctuation aside; `start` when nowhere."""
    wanted = "".join(filter(str.isalnum, title.casefold()))
    kept = [
        (character, place)
        for place in range(start, end)
        for character in whole[place].casefold()
        if character.isalnum()
    ]
    found = "".join(character for character, _ in kept).find(wanted) if wanted else -1
    return kept[found][1] if found >= 0 else start


def headings(book: Book, body: float) -> list[Heading]:
    """Chapters of a book without an outline: by their words, or else by the size of their letters."""
    pieces = [paragraph.text for _, paragraph in book.paragraphs]
    starts = [start for start, _ in book.paragraphs]
    named = chapter_headings(pieces, starts)
    if len(named) >= 2 or not body:
        return named
    large = [
        (start, paragraph)
        for start, paragraph in book.paragraphs
        if paragraph.height > HEADING_SIZE * body and is_title(paragraph.text)
    ]
    sizes = sorted({round(paragraph.height) for _, paragraph in large}, reverse=True)
    return with_body([Heading(item.text, 1 + sizes.index(round(item.height)), start) for start, item in large], book)


def with_body(found: Sequence[Heading], book: Book) -> list[Heading]:
    """Large lines that head something: text, or smaller headings; names and dates under a title do not."""
    kept: list[Heading] = []
    end = book.length
    for heading in reversed(found):
        body = end - heading.position - len(heading.title)
        if body > BODY_CHARACTERS or (kept and kept[-1].level > heading.level):
            kept.append(heading)
            end = heading.position
    return kept[::-1]


def is_title(text: str) -> bool:
    return (
        len(text) <= HEADING_CHARACTERS
        and text[0].isalnum()
        and sum(map(str.isalpha, text)) >= 3
        and text.count(",") < 3
    )
