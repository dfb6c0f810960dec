"""Text that does not look like text: said aloud, because nobody looks at page 214 of a scan."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mplus_cli.documents.document import Document

JUDGED_CHARACTERS = 100  # pages with less are title pages and plates
LETTER_SHARE = 0.5
REPLACED_SHARE = 0.02
LONGEST_WORD = 45  # on average; scripts without spaces are not judged by this
SHOWN = 8
UNREAD = re.compile("[\ufffd\ue000-\uf8ff]")  # replacement characters, and private ones that mean a glyph
NO_LETTERS = re.compile(r"[\W_]+")


def quality_warnings(document: Document) -> list[str]:
    """One line for each kind of oddity, with the pages where it was met."""
    kinds: dict[str, list[str]] = {}
    for page in document.pages:
        if what := suspicion(document.text[page.start : page.end]):
            kinds.setdefault(what, []).append(page.label)
    return [
        f"{len(labels)} suspicious {plural(len(labels))} ({what}): {listed(labels)}" for what, labels in kinds.items()
    ]


def suspicion(text: str) -> str:
    """Why a page does not look like text; "" when it does."""
    words = text.split()
    dense = "".join(words)
    if len(dense) < JUDGED_CHARACTERS:
        return ""
    if len(UNREAD.findall(dense)) > REPLACED_SHARE * len(dense):
        return "characters that could not be read"
    letters = NO_LETTERS.sub("", dense)
    if len(letters) < LETTER_SHARE * len(dense):
        return "few letters"
    if len(dense) / len(words) > LONGEST_WORD and spaced_script(letters):
        return "words without spaces"
    return ""


def spaced_script(letters: str) -> bool:
    """Whether the letters belong to scripts that put spaces between words: those below U+0E00, and Hangul."""
    spaced = sum(1 for letter in letters if letter < "\u0e00" or "\uac00" <= letter <= "\ud7a3")
    return spaced > 0.8 * len(letters)


def plural(count: int) -> str:
    return "page" if count == 1 else "pages"


def listed(pages: Sequence[str | int]) -> str:
    """The first page labels, or page numbers from 0 counted from 1, and how many more there are."""
    labels = [page if isinstance(page, str) else str(page + 1) for page in pages]
    more = len(labels) - SHOWN
    return ", ".join(labels[:SHOWN]) + (f" and {more} more" if more > 0 else "")
