"""What of a book's text is no part of what it says: headings, lines of contents, copyright pages, indexes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from mplus_cli.assistant.passages import APPARATUS, TITLE, Sentence
from mplus_cli.documents.document import Section

POINTERS = re.compile(  # titles of sections that point to a book or through it, in English, French, German, Spanish
    r"(?:table of |list of )?(?:contents|illustrations|figures|tables)|index|(?:un)?copyright(?: page| notice)?|"
    r"imprint|colophon|title ?page|half ?title|also by .*|table des mati[eè]res|inhalt(?:sverzeichnis)?|impressum|"
    r"[ií]ndice(?: general)?",
    re.IGNORECASE,
)
HEADING = re.compile(  # of a chapter that no table of contents names: its number, then nothing in small letters
    r"(?i:chapter|part|book|canto|act|scene|letter|volume)\s+"
    r"(?:[IVXLC]+|\d+|(?i:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen|\w+ty))\b[^a-z]*"
)
LEADERS = re.compile(r"(?:\.\s?){5,}|…{2,}|_{4,}")  # dots from a title to its page
PARTS = re.compile(r"\s*[:,–—]\s+|\s+-\s+|\.\s+")  # of a title: "Chapter 1: What Is an Index?"
WORD = re.compile(r"[^\W\d_]+")
LONGEST = 200  # characters of a heading
LISTED = 15  # words of a run of titles, at least
CAPITALS = 0.55  # share of its words that begin with a capital letter; German prose has 0.4


def furniture_of(sections: Sequence[Section]) -> Callable[[Sentence], float]:
    """What is taken from the support of a sentence of a document with these sections, where it is furniture.

    TITLE from a title or one part of it, a title with its page, a number alone, and dots that lead to a page. APPARATUS
    from text in a section whose own title says that it is contents, copyright or index, and from runs of titles.
    """
    # the empty title stands for numbers without a word
    titles = {"", *(_plain(name) for section in sections for name in (section.title, *PARTS.split(section.title)))}
    apparatus = [(one.start, one.end) for one in sections if POINTERS.fullmatch(one.title.strip())]

    def furniture(sentence: Sentence) -> float:
        text = sentence.text
        if LEADERS.search(text) or HEADING.fullmatch(text) or (len(text) <= LONGEST and _plain(text) in titles):
            return TITLE
        listed = any(start <= sentence.start < end for start, end in apparatus) or _titles_in_a_run(text)
        return APPARATUS if listed else 0.0

    return furniture


def _titles_in_a_run(text: str) -> bool:
    """Whether most words begin with a capital letter and hardly any comma parts them, as it does names in a list."""
    words: list[str] = [word for word in WORD.findall(text) if len(word) > 1]
    if len(words) < LISTED or text.isupper() or text.count(",") * LISTED > len(words):
        return False
    return sum(word[0].isupper() for word in words) > CAPITALS * len(words)


def _plain(text: str) -> str:
    """The words of a title, without its numbers and marks."""
    return " ".join(WORD.findall(text.casefold()))
