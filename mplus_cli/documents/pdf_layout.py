"""Lines of a PDF page to paragraphs: joined where the line was full, parted where the typesetter parted them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from mplus_cli.documents.pdf_process import Line
from mplus_cli.documents.prose import paragraphs

HYPHEN = "\ufffe"  # PDFium's mark for a hyphen that ended a line
ENDS = (".", "!", "?", ":", ";", "”", '"', "’", "'", ")", "]", "»", "。", "！", "？", "」", "』", "؟", "۔")
ITEM = re.compile(r"(?:[•◦▪‣·●○■–—*-]|\(?(?:\d{1,3}|[a-zA-Z])[.)])\s")
LISTED = re.compile(r".*(?:\.[ .]?){3}\s*\d{1,4}|\d+(?:\.\d+)*\s.*\s\d{1,4}")  # a line of a table of contents
WIDE_GAP = 1.4  # of the usual distance between lines
SIZE_STEP = 1.18  # a heading's letters against the next line's
INDENT = 0.7  # of the letters' height
SLACK_CHARACTERS = 2.5  # estimated widths are off by as much


@dataclass
class Paragraph:
    """Joined lines, the height of their letters, and whether the text may go on elsewhere."""

    text: str
    height: float
    full: bool = False  # the last line reached the right edge


def page_paragraphs(lines: Sequence[Line]) -> list[Paragraph]:
    """The paragraphs of a page in its own order."""
    if any(line.height <= 0 for line in lines):
        return [Paragraph(text, 0.0) for text in paragraphs([line.text for line in lines])]
    found: list[Paragraph] = []
    pitch = line_distance(lines)
    for block in blocks(lines, pitch):
        left = Counter(round(line.left) for line in block).most_common(1)[0][0] if len(block) > 2 else block[0].left
        left = min(left, *(line.left for line in block)) if len(block) < 6 else left
        right = max(line.right for line in block)
        add_block(found, block, left, right, pitch)
    return found


def line_distance(lines: Sequence[Line]) -> float:
    """The usual distance from line to line."""
    steps = [above.last_bottom - below.first_bottom for above, below in pairwise(lines)]
    near = [step for step, line in zip(steps, lines[1:], strict=True) if 0.5 * line.height < step < 3 * line.height]
    return median(near) if near else 1.2 * median(line.height for line in lines) if lines else 0.0


def blocks(lines: Sequence[Line], pitch: float) -> list[list[Line]]:
    """Runs of lines that stand below each other in one column."""
    found: list[list[Line]] = []
    for line in lines:
        above = found[-1][-1] if found else None
        if above is not None and follows(above, line, pitch):
            found[-1].append(line)
        else:
            found.append([line])
    return found


def follows(above: Line, line: Line, pitch: float) -> bool:
    """Whether a line stands in the column of the one above it, or beside it on the same height."""
    step = above.last_bottom - line.first_bottom
    if abs(step) < 0.3 * line.height:
        return line.left > above.left
    return 0 < step < 2.5 * pitch and line.left < max(above.right, above.left + 1) and line.right > above.left


def add_block(found: list[Paragraph], block: Sequence[Line], left: float, right: float, pitch: float) -> None:
    """Append the paragraphs of one block; the first may go on with the last one found."""
    above: Line | None = None
    for line in block:
        starts = starts_elsewhere(found, line) if above is None else starts_paragraph(above, line, left, right, pitch)
        if starts:
            found.append(Paragraph(line.text, line.height))
        else:
            found[-1].text = joined(found[-1].text, line.text)
        found[-1].full = right - line.right < 4 * character_width(line)
        above = line


def starts_elsewhere(found: Sequence[Paragraph], line: Line) -> bool:
    """Whether the first line of a column or page starts a paragraph, or goes on with the column before."""
    if not found:
        return True
    last = found[-1]
    return not (goes_on(last.text, line.text) and last.full and similar(last.height, line.height))


def goes_on(before: str, after: str) -> bool:
    """Whether a text that was cut here reads on: no full stop before, a small letter after, or a word cut in two."""
    return before.endswith((HYPHEN, "-")) or (not before.endswith(ENDS) and after[:1].islower())


def starts_paragraph(above: Line, line: Line, left: float, right: float, pitch: float) -> bool:
    """Whether a line starts a paragraph: by distance, size, indentation, or because the line above ended early."""
    step = above.last_bottom - line.first_bottom
    if abs(step) < 0.3 * line.height or above.text.endswith(HYPHEN):
        return False
    usual = max(pitch, 1.2 * min(above.height, line.height))
    if step > WIDE_GAP * usual or not similar(above.height, line.height) or ITEM.match(line.text):
        return True
    if LISTED.fullmatch(above.text) and LISTED.fullmatch(line.text):
        return True
    if centred(above, line) and not above.text.endswith(ENDS):
        return False
    early = ended_early(above, line, right)
    if line.left - left > INDENT * line.height:
        return above.left - left < INDENT * line.height or early or above.text.endswith(ENDS)
    return early and (above.text.endswith(ENDS) or not line.text[:1].islower())


def centred(above: Line, line: Line) -> bool:
    """Whether two lines of different length have one middle, as the lines of a long title have."""
    middle_above, middle = above.left + above.right, line.left + line.right
    return abs(middle_above - middle) < 2 * line.height and abs(above.left - line.left) > 2 * line.height


def ended_early(above: Line, line: Line, right: float) -> bool:
    """Whether the first word of a line would have fitted on the line above."""
    word = line.text.split()[0]
    return above.right + (len(word) + 1 + SLACK_CHARACTERS) * character_width(above) < right


def character_width(line: Line) -> float:
    width = (line.right - line.left) / max(1, len(line.text))
    return width if width > 0 else line.height / 2


def similar(one: float, other: float) -> bool:
    return max(one, other) <= SIZE_STEP * min(one, other)


def joined(before: str, after: str) -> str:
    """Two lines as one; a hyphen at the end becomes a mark that is decided on when all words are known."""
    if before.endswith(HYPHEN):
        return before + after
    if before.endswith("-") and before[-2:-1].isalnum() and after[:1].isalnum():
        return before[:-1] + HYPHEN + after if before[-2].isalpha() and after[0].islower() else before + after
    if before.endswith("\u00ad"):
        return before[:-1] + after
    wide = "\u2e80" <= before[-1:] <= "\u9fff" and "\u2e80" <= after[:1] <= "\u9fff"  # Chinese and Japanese: no spaces
    return before + ("" if wide else " ") + after


CUT_WORD = re.compile(rf"(\w+){HYPHEN}(\w+)")


def mended(text: str, words: Counter[str]) -> str:
    """Words that a line end cut in two made whole, as the rest of the book writes them."""

    def whole(found: re.Match[str]) -> str:
        first, second = found[1], found[2]
        one, two = (first + second).casefold(), f"{first}-{second}".casefold()
        parts = min(words[first.casefold()], words[second.casefold()])
        keep = words[two] > words[one] or (not words[one] and not words[two] and parts > 1 and len(second) > 3)
        return f"{first}-{second}" if keep or not (first[-1].isalpha() and second[0].isalpha()) else first + second

    return CUT_WORD.sub(whole, text).replace(HYPHEN, "-")


def vocabulary(texts: Sequence[str]) -> Counter[str]:
    """How often each word stands in the book, hyphened ones as one word."""
    return Counter(word for text in texts for word in re.findall(r"\w+(?:-\w+)*", text.casefold()))
