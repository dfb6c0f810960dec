"""A reading position in words, as the first character of a book that may not be known."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from mplus_cli.documents.document import Section
from mplus_cli.errors import NotFound
from mplus_cli.library.library import Library
from mplus_cli.library.records import DocumentRecord

KINDS = "chapter|ch|book|part|letter|volume|section|act|canto"
WORDS = (  # numbers that titles write as words, from one on
    *("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
DIGITS = {"i": 1, "v": 5, "x": 10, "l": 50, "c": 100}  # of Roman numerals
ROMAN = "(?=[ivxlc])(?:xc|xl|l?x{0,3})(?:ix|iv|v?i{0,3})"  # up to 99: no book has more that it writes so
NUMBER = rf"(?P<number>\d{{1,4}}|{ROMAN}|{'|'.join(sorted(WORDS, key=len, reverse=True))})"
NUMBERED = re.compile(rf"(?:(?P<kind>{KINDS})\b\.?\s*)?{NUMBER}(?P<after>$|\s*[.:,;)—–-]|\s)")


def position(library: Library, document: DocumentRecord, until: str) -> tuple[int, str]:
    """The first character that may not be known, and what that place is called.

    `p.340` (that page is read), `50%`, or a chapter that is read: its title, the number that its title names (4 is IV,
    Chapter Four or 4. Whales), or, where no title names one, its number among the chapters. Raises NotFound.
    """
    wanted = until.strip()
    if match := re.fullmatch(r"(\d{1,3}(?:\.\d+)?)\s*%", wanted):
        if (share := float(match[1])) > 100:
            raise NotFound(f"{document.title} has no place {wanted}.", "100% is its end.")
        return int(document.characters * share / 100), wanted
    if match := re.fullmatch(r"(?:p\.?|page)\s*(\S+)", wanted, re.IGNORECASE):
        pages = library.pages(document.id)
        named = [page for page in pages if page.label == match[1]] or [p for p in pages if str(p.index) == match[1]]
        if not named:
            raise NotFound(f"{document.title} has no page {match[1]}.", "`mplus docs show` tells how many it has.")
        return named[-1].end, f"the end of page {match[1]}"
    chapter = chapter_named(library.sections(document.id), wanted)
    if chapter is None:
        raise NotFound(f"{document.title} has no chapter {wanted!r}.", "`mplus docs toc` lists its chapters.")
    return chapter.end, f"the end of “{' '.join(chapter.title.split())}”"


def chapter_named(sections: Sequence[Section], wanted: str) -> Section | None:
    """The chapter that is meant, the earliest where several could be: later ones would tell too much."""
    return next(_meant(sections, " ".join(wanted.casefold().split())), None)


def _meant(sections: Sequence[Section], wanted: str) -> Iterator[Section]:
    """Chapters that could be meant, likeliest first."""
    titles = [(section, " ".join(section.title.casefold().split())) for section in sections]
    yield from (section for section, title in titles if title == wanted)
    asked = _numbered(wanted)
    if asked is None or NUMBERED.fullmatch(wanted) is None:
        yield from (section for section, title in titles if re.search(rf"(?<!\w){re.escape(wanted)}(?!\w)", title))
        yield from (section for section, title in titles if wanted in title)
        return
    kind, number = asked
    named = [(section, found) for section, title in titles if (found := _numbered(title)) and found[1] == number]
    yield from (section for section, (said, _) in named if said in (kind or "chapter", ""))
    yield from (section for section, (said, _) in named if kind in (said, ""))
    numbers = sum(_numbered(title) is not None for _, title in titles)
    if numbers < 2 and kind in ("", "chapter") and 0 < number <= len(sections):
        yield sections[number - 1]


def _numbered(title: str) -> tuple[str, int] | None:
    """What kind of part a folded title numbers, and its number: ("chapter", 4) for "chapter iv. whales"."""
    found = NUMBERED.match(title)
    if found is None:
        return None
    kind, number, after = found["kind"] or "", found["number"], found["after"]
    if not kind and after.isspace() and not number.isdigit():  # "I go to Paris", "One summer"
        return None
    return {"ch": "chapter"}.get(kind, kind), _value(number)


def _value(number: str) -> int:
    if number.isdigit():
        return int(number)
    if number in WORDS:
        return WORDS.index(number) + 1
    values = [DIGITS[sign] for sign in number]
    return sum(-value if value < max(values[at:]) else value for at, value in enumerate(values))
