"""The process that meets a PDF: lines of text with their places, page by page, as JSON lines on standard output.

A PDF may crash its parser, hang it or eat all memory. Here that ends this process only, which has limits of its own,
writes no file, and is started again behind the page that killed it.

Request, one JSON line on standard input: {"path": str | null, "bytes": int, "password": str | null, "engine": str,
"first": int, "count": int | null, "memory": int, "seconds": int, "pages": int}; then so many bytes of the file when
there is no path. Answers: {"opened": {...}}, then for each page {"page": int, "lines": [...], "pictures": bool} or
{"failed": int, "reason": str}, then {"done": true}; or {"error": kind, "reason": str} when the file cannot be opened.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

PAGE_CHARACTERS = 2_000_000
OUTLINE_ENTRIES = 10_000
GO_TO = 1  # PDFium's name of the action that leads to a place in the same file
PICTURE = 3  # PDFium's type of image objects
Message = dict[str, Any]
Box = tuple[float, float, float, float]  # left, bottom, right, top
# text, left and bottom of its first character, right and bottom of its last, height of its letters, in points
PlacedLine = tuple[str, float, float, float, float, float]


def limit_self(memory: int, seconds: int) -> None:
    """Bound this process's memory and processor time, and keep it from writing files, where the system can do that."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        bounds = {"RLIMIT_AS": memory, "RLIMIT_CPU": seconds, "RLIMIT_FSIZE": 0, "RLIMIT_CORE": 0, "RLIMIT_NOFILE": 64}
        for name, most in bounds.items():
            with contextlib.suppress(AttributeError, ValueError, OSError):
                resource.setrlimit(getattr(resource, name), (most, most))


class WithPdfium:
    """PDFium: fast, forgiving, and sure about spaces."""

    def __init__(self, file: str | bytes, password: str | None) -> None:
        import pypdfium2

        self.pdf = pypdfium2.PdfDocument(file, password=password)

    def opened(self) -> Message:
        count = len(self.pdf)
        about = self.pdf.get_metadata_dict()
        labels = [self.pdf.get_page_label(number) for number in range(count)]
        return {
            "pages": count,
            "title": about.get("Title", ""),
            "author": about.get("Author", ""),
            "outline": list(self.outline()),
            "labels": labels if any(labels) else None,
        }

    def outline(self) -> Iterator[tuple[str, int, int]]:
        """Titles with their level from 1 and the page that they lead to, as far as they lead into this file."""
        from pypdfium2 import raw

        for number, mark in enumerate(self.pdf.get_toc()):
            if number >= OUTLINE_ENTRIES:
                return
            action = raw.FPDFBookmark_GetAction(mark.raw)
            if action and raw.FPDFAction_GetType(action) != GO_TO:
                continue
            place = mark.get_dest()
            page = place.get_index() if place is not None else None
            if page is not None:
                yield mark.get_title(), mark.level + 1, page

    def page(self, number: int) -> Message:
        page = self.pdf[number]
        try:
            text = page.get_textpage()
            lines = list(placed_lines(text, page.get_rotation(), page.get_size()))
            text.close()
            return {"lines": lines, "pictures": not lines and has_pictures(page)}
        finally:
            page.close()


def has_pictures(page: Any) -> bool:
    return any(True for _ in page.get_objects(filter=(PICTURE,), max_depth=3))


def placed_lines(text: Any, rotation: int, size: tuple[float, float]) -> Iterator[PlacedLine]:
    """The lines of a page with their places, upright."""
    whole = text.get_text_range()
    if len(whole) > PAGE_CHARACTERS:
        raise ValueError(f"more than {PAGE_CHARACTERS:,} characters on one page")
    aligned = len(whole) == text.count_chars()  # else offsets in the string are not offsets on the page
    position = 0
    for line in whole.split("\n"):
        words = line.strip()
        if words and aligned:
            first = position + len(line) - len(line.lstrip())
            yield placed(words, [upright(text, first + at, rotation, size) for at in ends(len(words))])
        elif words:
            yield words, 0.0, 0.0, 0.0, 0.0, 0.0
        position += len(line) + 1


def ends(length: int) -> list[int]:
    """Places in a line that tell where it is: its first three characters and its last three."""
    return sorted({*range(min(3, length)), *range(max(0, length - 3), length)})


def placed(words: str, boxes: list[Box]) -> PlacedLine:
    """A line from the boxes of its ends; the tallest letters decide, because marks and small raised signs mislead."""
    start = max(boxes[:3], key=height)
    end = max(boxes[-3:], key=height)
    one_line = abs(start[1] - end[1]) < 0.6 * height(start)  # PDFium joins lines where a word was cut
    return words, boxes[0][0], start[1], boxes[-1][2], start[1] if one_line else end[1], height(start)


def height(box: Box) -> float:
    return box[3] - box[1]


def upright(text: Any, index: int, rotation: int, size: tuple[float, float]) -> Box:
    """Left, bottom, right and top of a character as the page is looked at; `size` is that of the turned page."""
    from ctypes import byref

    from pypdfium2.raw import FS_RECTF, FPDFText_GetLooseCharBox

    box = FS_RECTF()
    if not FPDFText_GetLooseCharBox(text.raw, index, byref(box)):
        raise ValueError(f"no place for character {index}")
    left, bottom, right, top = box.left, box.bottom, box.right, box.top
    width, height = size
    turned = {
        0: (left, bottom, right, top),
        90: (bottom, height - right, top, height - left),
        180: (width - right, height - top, width - left, height - bottom),
        270: (width - top, left, width - bottom, right),
    }[rotation % 360]
    return turned[0], turned[1], turned[2], turned[3]


class WithPypdf:
    """pypdf: slower, pure Python; for files and pages that PDFium cannot read."""

    def __init__(self, file: str | bytes, password: str | None) -> None:
        import pypdf

        logging.disable(logging.CRITICAL)
        self.pdf = pypdf.PdfReader(io.BytesIO(file) if isinstance(file, bytes) else file, strict=False)
        if self.pdf.is_encrypted and not self.pdf.decrypt(password or ""):
            raise PermissionError("password")

    def opened(self) -> Message:
        about = self.pdf.metadata
        return {
            "pages": len(self.pdf.pages),
            "title": (about and about.title) or "",
            "author": (about and about.author) or "",
            "outline": list(self.outline()),
            "labels": list(self.pdf.page_labels) if "/PageLabels" in self.pdf.root_object else None,
        }

    def outline(self) -> Iterator[tuple[str, int, int]]:
        waiting: list[tuple[Any, int]] = [(entry, 1) for entry in reversed(self.pdf.outline)]
        for _ in range(OUTLINE_ENTRIES):
            if not waiting:
                return
            entry, level = waiting.pop()
            if isinstance(entry, list):
                waiting += [(inner, level + 1) for inner in reversed(entry)]
            elif (page := self.pdf.get_destination_page_number(entry)) is not None:
                yield str(entry.title), level, page

    def page(self, number: int) -> Message:
        page = self.pdf.pages[number]
        text = page.extract_text()[:PAGE_CHARACTERS]
        lines = [(line.rstrip(), 0.0, 0.0, 0.0, 0.0, 0.0) for line in text.split("\n")]
        return {"lines": lines if text.strip() else [], "pictures": not text.strip() and bool(list(page.images.keys()))}


ENGINES: dict[str, type[WithPdfium] | type[WithPypdf]] = {"pdfium": WithPdfium, "pypdf": WithPypdf}


def answers(request: Message, file: str | bytes) -> Iterator[Message]:
    """All answers to one request; a page that fails is named and the next one read."""
    try:
        engine = ENGINES[request["engine"]](file, request["password"])
        opened = engine.opened()
        if opened["pages"] > request["pages"]:
            raise ValueError(f"{opened['pages']:,} pages, more than {request['pages']:,}")
    except Exception as problem:
        yield {"error": kind_of(problem), "reason": f"{type(problem).__name__}: {problem}"[:300]}
        return
    yield {"opened": opened}
    count = request["count"] if request["count"] is not None else opened["pages"]
    for number in range(request["first"], min(opened["pages"], request["first"] + count)):
        try:
            yield {"page": number, **engine.page(number)}
        except Exception as problem:
            yield {"failed": number, "reason": f"{type(problem).__name__}: {problem}"[:300]}
    yield {"done": True}


def kind_of(problem: Exception) -> str:
    """ "password" when the file wants one, "pages" when it has too many, else "damaged"."""
    words = f"{type(problem).__name__} {problem}".lower()
    if "password" in words or "decrypt" in words:
        return "password"
    return "pages" if isinstance(problem, ValueError) and "pages, more" in words else "damaged"


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Answer the one request of this process."""
    request: Message = json.loads(requests.readline())
    limit_self(request["memory"], request["seconds"])
    file = requests.read(request["bytes"]) if request["path"] is None else request["path"]
    for answer in answers(request, file):
        replies.write(json.dumps(answer, ensure_ascii=True).encode("ascii") + b"\n")
        replies.flush()


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
