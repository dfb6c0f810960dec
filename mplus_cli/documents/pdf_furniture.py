"""Running heads, folios, line numbers and printers' marks: lines that a page carries because it is a page."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import product

from mplus_cli.documents.pdf_process import Line
from mplus_cli.documents.prose import heading_level, value

FEWEST_PAGES = 3
SAME_PLACE_SHARE = 0.3  # of all pages carry the same words at the same place
GRID = 6.0  # points within which a place is the same
EDGE_LINES = 2  # at the top and the bottom of a page
HEAD_CHARACTERS = 100
DIGITS = r"\d{1,5}|[ivxlc]{1,8}"
FOLIO = re.compile(rf"[\W_]*({DIGITS})[\W_]*|(?:.*\W)?({DIGITS})|({DIGITS})\W.*", re.IGNORECASE)
NUMBERS = re.compile(r"\d+|\b[ivxlc]{1,8}\b", re.IGNORECASE)

Marks = set[tuple[int, int]]  # page, number of the line on it


def without_furniture(pages: Mapping[int, list[Line]]) -> dict[int, list[Line]]:
    """The pages without lines that repeat; nothing is dropped when most of the text would be."""
    if len(pages) < FEWEST_PAGES or any(line.height <= 0 for _, _, line in every(pages)):
        return dict(pages)
    rest = without(pages, same_everywhere(pages))
    rest = without(rest, running_heads(rest) | folios(rest))
    return rest if 2 * characters(rest) > characters(pages) else dict(pages)


def without(pages: Mapping[int, list[Line]], marks: Marks) -> dict[int, list[Line]]:
    return {
        page: [line for number, line in enumerate(lines) if (page, number) not in marks]
        for page, lines in pages.items()
    }


def characters(pages: Mapping[int, list[Line]]) -> int:
    return sum(len(line.text) for _, _, line in every(pages))


def every(pages: Mapping[int, list[Line]]) -> Iterator[tuple[int, int, Line]]:
    """Page, number and line of all lines."""
    for page, lines in pages.items():
        for number, line in enumerate(lines):
            yield page, number, line


def repeated(groups: Iterable[Marks], fewest: int) -> Marks:
    """The marks of groups that are on so many pages."""
    return {mark for marks in groups if len({page for page, _ in marks}) >= fewest for mark in marks}


def shifts(value: float) -> tuple[tuple[int, int], tuple[int, int]]:
    """Cells of two grids, so that two values close together share one of them."""
    return (0, int(value // GRID)), (1, int((value + GRID / 2) // GRID))


def same_everywhere(pages: Mapping[int, list[Line]]) -> Marks:
    """The same words at the same place on many pages: crop marks, line numbers, watermarks."""
    seen: dict[object, Marks] = defaultdict(set)
    for page, number, line in every(pages):
        for across, along in product(shifts(line.left), shifts(line.first_bottom)):
            seen[line.text.casefold(), across, along].add((page, number))
    return repeated(seen.values(), max(FEWEST_PAGES + 1, int(SAME_PLACE_SHARE * len(pages))))


def edges(pages: Mapping[int, list[Line]]) -> Iterator[tuple[int, int, Line]]:
    """The highest and lowest lines of each page."""
    for page, lines in pages.items():
        by_height = sorted(range(len(lines)), key=lambda number: -lines[number].first_bottom)
        for number in {*by_height[:EDGE_LINES], *by_height[-EDGE_LINES:]}:
            if len(lines[number].text) < HEAD_CHARACTERS:
                yield page, number, lines[number]


def running_heads(pages: Mapping[int, list[Line]]) -> Marks:
    """Words at the same height at the edge of several pages, whatever the numbers in them.

    "Chapter 1", "Chapter 2" at the same height are headings of a careful typesetter, and stay.
    """
    seen: dict[object, Marks] = defaultdict(set)
    for page, number, line in edges(pages):
        words = line.text.casefold() if heading_level(line.text) else NUMBERS.sub("#", line.text.casefold())
        for along in shifts(line.first_bottom) if words.strip("# ") else ():
            seen[words, along].add((page, number))
    return repeated(seen.values(), FEWEST_PAGES)


def folios(pages: Mapping[int, list[Line]]) -> Marks:
    """Lines at the edge that are, or begin or end with, a number that counts with the pages."""
    seen: dict[object, Marks] = defaultdict(set)
    for page, number, line in edges(pages):
        if found := FOLIO.fullmatch(line.text):
            digits = found[1] or found[2] or found[3]
            for along in shifts(line.first_bottom):
                seen[digits.isdigit(), value(digits) - page, along].add((page, number))
    return repeated(seen.values(), FEWEST_PAGES)


def most_common_height(pages: Mapping[int, list[Line]]) -> float:
    """The height of the letters that most of the text is set in; 0 when unknown."""
    heights: Counter[float] = Counter()
    for _, _, line in every(pages):
        heights[round(line.height, 1)] += len(line.text)
    return heights.most_common(1)[0][0] if heights else 0.0
