"""Plain lines to paragraphs, and the lines among them that head a chapter: shared by text files, Markdown and PDF."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from mplus_cli.documents.draft import Heading

WIDTH_SHARE = 0.9  # nine lines of ten are no longer than the wrap width
SHORTEST_WRAP, LONGEST_WRAP = 40, 120  # columns between which text counts as wrapped by hand
FULL_SHARE = 0.6  # of a paragraph's lines end only where the next word would not have fitted

NUMBER_WORDS = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty thirty forty fifty first second third fourth fifth sixth seventh eighth ninth tenth "
    "eleventh twelfth last the"
).replace(" ", "|")
ROMAN = r"(?=[ivxlcdm])m{0,3}(?:cm|cd|d?c{0,3})(?:xc|xl|l?x{0,3})(?:ix|iv|v?i{0,3})"
NUMBER = rf"(?:\d{{1,3}}|{ROMAN}|(?:{NUMBER_WORDS})(?:[- ](?:{NUMBER_WORDS}))?)"
OUTER = "part|book|volume|vol\\.|act|teil|buch|band|partie|livre|tome|parte|libro|часть|книга|том"
INNER = "chapter|chap\\.|canto|scene|letter|stave|kapitel|chapitre|capítulo|capitulo|capitolo|hoofdstuk|глава|rozdział"
ALONE = (
    "prologue|epilogue|preface|foreword|introduction|afterword|appendix|conclusion"
    "|prolog|epilog|vorwort|nachwort|préface"
)
NAMED = re.compile(rf"(?P<kind>{OUTER}|{INNER})\s+(?:the\s+)?{NUMBER}\b(?P<rest>[.:,;\s—–-].{{0,80}})?", re.IGNORECASE)
WORD = re.compile(rf"(?:{ALONE})(?:\s+{NUMBER})?[.:]?", re.IGNORECASE)
BARE = re.compile(rf"(?P<number>\d{{1,3}}|{ROMAN})[.)]?", re.IGNORECASE)
EASTERN = re.compile(r"第[0-9〇一二三四五六七八九十百千]{1,6}[章回節话話部卷編篇].{0,40}")
HEADING_CHARACTERS = 100
CAPITALS_CHARACTERS = 60
STORY_CHARACTERS = 1_500  # capitals that head less are shouts, signs and title pages
CONTENTS_GAP = 400  # headings closer together than this, and named again later, are a list of contents


def paragraphs(lines: Sequence[str]) -> Iterator[str]:
    """Paragraphs of text whose blank lines part them; lines that were wrapped at a width are joined again.

    A line counts as wrapped when the first word of the next would not have fitted into the width; verse, lists and
    addresses end earlier, and keep their lines.
    """
    width = wrap_width(lines)
    for block in blocks(lines):
        for group in indented_groups(block):
            yield " ".join(line.strip() for line in group) if is_wrapped(group, width) else "\n".join(trimmed(group))


def wrap_width(lines: Sequence[str]) -> int:
    """The column where lines were broken by hand; 0 when they were not."""
    lengths = sorted(len(line.rstrip()) for line in lines if line.strip())
    if not lengths:
        return 0
    width = lengths[min(len(lengths) - 1, int(len(lengths) * WIDTH_SHARE))]
    return width if SHORTEST_WRAP <= width <= LONGEST_WRAP else 0


def blocks(lines: Sequence[str]) -> Iterator[list[str]]:
    """Runs of lines between blank ones."""
    block: list[str] = []
    for line in lines:
        if line.strip():
            block.append(line)
        elif block:
            yield block
            block = []
    if block:
        yield block


def indented_groups(block: Sequence[str]) -> Iterator[list[str]]:
    """A block cut where single lines are indented: the paragraphs of books that part them by indentation alone."""
    flush = sum(1 for line in block if not line[0].isspace())
    cuts = [number for number, line in enumerate(block) if number and line[0].isspace()]
    if not cuts or flush <= len(block) / 2:
        yield list(block)
        return
    for first, last in zip([0, *cuts], [*cuts, len(block)], strict=True):
        yield list(block[first:last])


def is_wrapped(group: Sequence[str], width: int) -> bool:
    """Whether the lines of a paragraph were broken only because the width was full."""
    if len(group) < 2 or not width:
        return False
    full = 0
    for line, following in pairwise(group):
        full += len(line.rstrip()) + 1 + len(following.split()[0]) > width - 2
    return full >= FULL_SHARE * (len(group) - 1)


def trimmed(group: Sequence[str]) -> list[str]:
    """Lines without the indentation that they share."""
    indent = min(len(line) - len(line.lstrip()) for line in group)
    return [line[indent:].rstrip() for line in group]


def join(pieces: Sequence[str]) -> tuple[str, list[int]]:
    """Paragraphs with blank lines between them, and where each starts."""
    starts, position = [], 0
    for piece in pieces:
        starts.append(position)
        position += len(piece) + 2
    return "\n\n".join(pieces), starts


def chapter_headings(pieces: Sequence[str], starts: Sequence[int]) -> list[Heading]:
    """Paragraphs that head a chapter: "CHAPTER IV. The Ball", "Part One", "1.", "Epilogue", 第一章.

    Bare numbers count only where they go up by one; a list of contents that names the chapters first is left out.
    """
    named = [
        Heading(" ".join(piece.split()), level, start)
        for piece, start in zip(pieces, starts, strict=True)
        if (level := heading_level(piece))
    ]
    chapters = without_contents(named)
    if sum(1 for heading in chapters if heading.level == 2) < 2:
        chapters = sorted([*chapters, *numbered(pieces, starts)], key=lambda heading: heading.position)
    chapters = chapters or capitals(pieces, starts)
    outermost = min((heading.level for heading in chapters), default=1)
    return [Heading(heading.title, heading.level - outermost + 1, heading.position) for heading in chapters]


def heading_level(piece: str) -> int:
    """1 for a part, 2 for a chapter, 0 for a paragraph that heads nothing."""
    if len(piece) > HEADING_CHARACTERS or piece.count("\n") > 2:
        return 0
    line = piece.strip()
    found = NAMED.fullmatch(" ".join(line.split()))
    if found and not is_sentence(line, found["rest"] or ""):
        return 1 if re.fullmatch(OUTER, found["kind"], re.IGNORECASE) else 2
    return 2 if EASTERN.fullmatch(line) or (WORD.fullmatch(line) and line[0].isupper()) else 0


def is_sentence(line: str, rest: str) -> bool:
    """ "Part one of the plan had failed." heads nothing: it starts small or goes on in small letters to a full stop."""
    words = rest.split()
    return not line[0].isupper() or (len(words) > 3 and rest.rstrip().endswith((".", ",", ";")) and words[0].islower())


def without_contents(found: list[Heading]) -> list[Heading]:
    """The headings without those that only announce a later one."""
    later = {announced(heading.title): heading.position for heading in found}
    kept = []
    for number, heading in enumerate(found):
        following = found[number + 1].position if number + 1 < len(found) else heading.position + CONTENTS_GAP
        again = later[announced(heading.title)] > heading.position
        if not (again and following - heading.position < CONTENTS_GAP):
            kept.append(heading)
    return kept


def announced(title: str) -> str:
    """What a list of contents and the chapter itself have in common: the number, when the title has one."""
    found = NAMED.fullmatch(title)
    return (title[: found.start("rest")] if found and found["rest"] else title).casefold().rstrip(".:")


def numbered(pieces: Sequence[str], starts: Sequence[int]) -> list[Heading]:
    """Numbers alone on their line, from 1 or 2, as long as each is one more than the one before; at least two."""
    found: list[Heading] = []
    for piece, start in zip(pieces, starts, strict=True):
        match = BARE.fullmatch(piece.strip()) if len(piece) < 12 else None
        if match and value(match["number"]) in ({value(found[-1].title.rstrip(".)")) + 1} if found else {1, 2}):
            found.append(Heading(piece.strip(), 2, start))
    return found if len(found) >= 2 else []


def capitals(pieces: Sequence[str], starts: Sequence[int]) -> list[Heading]:
    """Short paragraphs in capitals, the titles of stories and essays; those far apart, and at least three of them."""
    found = [
        Heading(" ".join(piece.split()), 2, start)
        for piece, start in zip(pieces, starts, strict=True)
        if len(piece) <= CAPITALS_CHARACTERS and piece.isupper() and sum(map(str.isalpha, piece)) >= 4
    ]
    ends = [heading.position for heading in found[1:]] + [starts[-1] + len(pieces[-1]) if pieces else 0]
    apart = [heading for heading, end in zip(found, ends, strict=False) if end - heading.position > STORY_CHARACTERS]
    return apart if len(apart) >= 3 else []


def value(number: str) -> int:
    """The value of an Arabic or Roman number."""
    if number.isdigit():
        return int(number)
    digits = [{"i": 1, "v": 5, "x": 10, "l": 50, "c": 100, "d": 500, "m": 1000}[letter] for letter in number.lower()]
    return sum(-one if one < max(digits[place:]) else one for place, one in enumerate(digits))
