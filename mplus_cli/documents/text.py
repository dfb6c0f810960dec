"""Plain text files, with or without hard line ends and a Project Gutenberg frame."""

from __future__ import annotations

import re

from mplus_cli.documents.draft import Draft
from mplus_cli.documents.encoding import decode
from mplus_cli.documents.prose import chapter_headings, join, paragraphs
from mplus_cli.documents.source import Source

GUTENBERG_START = re.compile(
    r"^\*{2,3} ?START OF (?:THE|THIS) PROJECT GUTENBERG E(?:BOOK|TEXT)[^\n]*(?:\n[^\n]*\*{3})?$"
    r"|^\*END\* ?THE SMALL PRINT![^\n]*$",
    re.MULTILINE | re.IGNORECASE,
)
GUTENBERG_END = re.compile(
    r"^\*{2,3} ?END OF (?:THE|THIS) PROJECT GUTENBERG E(?:BOOK|TEXT)|^End of (?:the )?Project Gutenberg",
    re.MULTILINE | re.IGNORECASE,
)
HEADER_FIELD = re.compile(r"^(Title|Author|Language):[ \t]*(\S[^\n]*)$", re.MULTILINE)
CREDITS = re.compile(
    r"(?:Produced by|E-?text prepared by|This e-?text was (?:produced|prepared))[^\n]*(?:\n[^\n]+)*", re.IGNORECASE
)
LANGUAGES = {
    "English": "en",
    "French": "fr",
    "German": "de",
    "Italian": "it",
    "Spanish": "es",
    "Dutch": "nl",
    "Latin": "la",
}
FRAME_CHARACTERS = 40_000  # the frame's lines are looked for in this much at either end


def read(source: Source) -> Draft:
    """Read a text file; Unreadable when its bytes are no text."""
    text, warnings = decode(source.content(), source.encoding)
    header, body = without_frame(text)
    source.deadline.check()
    fields = {found[1]: found[2] for found in HEADER_FIELD.finditer(header)}
    pieces = list(paragraphs(body.expandtabs(8).split("\n")))
    source.deadline.check()
    whole, starts = join(pieces)
    return Draft(
        format="text",
        text=whole,
        title=fields.get("Title", ""),
        author=fields.get("Author", ""),
        language=LANGUAGES.get(fields.get("Language", ""), fields.get("Language", "")),
        headings=chapter_headings(pieces, starts),
        warnings=warnings,
    )


def without_frame(text: str) -> tuple[str, str]:
    """Project Gutenberg's header, and the book between header and licence; no header when there is none."""
    start = GUTENBERG_START.search(text[:FRAME_CHARACTERS])
    if start is None:
        return "", text
    ends = list(GUTENBERG_END.finditer(text, max(start.end(), len(text) - FRAME_CHARACTERS)))
    body = text[start.end() : ends[0].start() if ends else len(text)].strip("\n")
    credits = CREDITS.match(body)
    return text[: start.start()], body[credits.end() :] if credits else body
