"""Markdown: text without its marks, headings as sections, fenced code as it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from mplus_cli.documents.draft import Draft, Heading
from mplus_cli.documents.encoding import decode
from mplus_cli.documents.source import Source

FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
FIELD = re.compile(r"^(title|author|lang|language):[ \t]*[\"']?([^\n\"']+)", re.MULTILINE | re.IGNORECASE)
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
FENCE = re.compile(r"[ ]{0,3}(`{3,}|~{3,})")
ATX = re.compile(r"[ ]{0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*")
UNDERLINE = re.compile(r"[ ]{0,3}(=+|-+)[ \t]*")
RULE = re.compile(r"[ ]{0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})")
ITEM = re.compile(r"[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]+")
QUOTE = re.compile(r"[ ]{0,3}>[ ]?")
TABLE_RULE = re.compile(r"[ \t]*\|?[ \t:|-]*-[ \t:|-]*")
DEFINITION = re.compile(r"[ ]{0,3}\[[^\]\n]{1,200}\]:[ \t]*\S.*")
CODE_SPAN = re.compile(r"(`+)([^`\n]{1,1000}?)\1(?!`)")
INLINE = (
    (re.compile(r"!\[([^\]\n]{0,500})\](?:\([^()\n]{0,2000}\)|\[[^\]\n]{0,200}\])"), r"\1"),  # pictures: their words
    (re.compile(r"\[([^\]\n]{1,1000})\](?:\([^()\n]{0,2000}\)|\[[^\]\n]{0,200}\])"), r"\1"),  # links: their words
    (re.compile(r"<((?:https?|mailto):[^<>\s]{1,2000})>"), r"\1"),
    (re.compile(r"</?[A-Za-z][A-Za-z0-9-]{0,30}(?:\s[^<>]{0,2000})?/?>"), ""),
    (re.compile(r"(?<![\w*])(\*{1,3})(?=\S)([^*\n]{1,2000}?)(?<=\S)\1(?!\*)"), r"\2"),
    (re.compile(r"(?<![\w_])(_{1,3})(?=\S)([^_\n]{1,2000}?)(?<=\S)\1(?![\w_])"), r"\2"),
    (re.compile(r"~~(?=\S)([^~\n]{1,2000}?)~~"), r"\1"),
    (re.compile(r"\\([!-/:-@\[-`{-~])"), r"\1"),
)


def read(source: Source) -> Draft:
    """Read a Markdown file; Unreadable when its bytes are no text."""
    text, warnings = decode(source.content(), source.encoding)
    front = FRONT_MATTER.match(text)
    fields = {found[1].lower(): found[2].strip() for found in FIELD.finditer(front[1])} if front else {}
    page = Page()
    body = COMMENT.sub("", text[front.end() :] if front else text)
    for block, is_code in blocks(body.split("\n")):
        page.add_code(block) if is_code else page.add(block)
        source.deadline.check()
    first = next((heading.title for heading in page.headings if heading.level == 1), "")
    return Draft(
        format="markdown",
        text=page.text,
        title=fields.get("title") or first,
        author=fields.get("author", ""),
        language=fields.get("lang") or fields.get("language", ""),
        headings=page.headings,
        warnings=warnings,
    )


def blocks(lines: list[str]) -> Iterator[tuple[list[str], bool]]:
    """Runs of lines between blank ones, and fenced code with its fences, blank lines and all."""
    block: list[str] = []
    fence = ""
    for line in lines:
        mark = FENCE.match(line)
        if fence:
            block.append(line)
            if mark and mark[1].startswith(fence) and not line.strip(" `~"):
                yield block, True
                block, fence = [], ""
        elif mark or not line.strip():
            if block:
                yield block, False
            block, fence = ([line], mark[1]) if mark else ([], "")
        else:
            block.append(line)
    if block:
        yield block, bool(fence)


@dataclass
class Page:
    """The plain text as it grows."""

    parts: list[str] = field(default_factory=list)
    length: int = 0
    headings: list[Heading] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.parts)

    def write(self, piece: str) -> None:
        if piece:
            gap = "\n\n" if self.parts else ""
            self.parts.append(gap + piece)
            self.length += len(gap) + len(piece)

    def write_heading(self, title: str, level: int) -> None:
        if title:
            self.write(title)
            self.headings.append(Heading(title, level, self.length - len(title)))

    def add_code(self, lines: list[str]) -> None:
        self.write("\n".join(line.rstrip() for line in lines))

    def add(self, lines: list[str]) -> None:
        """A run of lines: headings part it, and what lies between them is joined as Markdown joins it."""
        kept: list[str] = []
        for line in lines:
            underline = UNDERLINE.fullmatch(line) if kept and not ITEM.match(kept[-1]) else None
            if underline:
                self.write_heading(inline(" ".join(kept)), 1 if "=" in underline[1] else 2)
            elif heading := ATX.fullmatch(line):
                self.write(joined(kept))
                self.write_heading(inline(heading[2] or ""), len(heading[1]))
            elif not RULE.fullmatch(line):
                kept.append(line)
                continue
            kept = []
        self.write(joined(kept))


def joined(lines: list[str]) -> str:
    """Lines of one block: wrapped ones joined by a space; items, table rows and marked breaks keep their own."""
    pieces: list[str] = []
    keep_break = True
    for line in lines:
        if DEFINITION.fullmatch(line) or ("|" in line and TABLE_RULE.fullmatch(line)):
            continue
        quoted = QUOTE.sub("", line, count=1) if QUOTE.match(line) else line
        own_line = keep_break or ITEM.match(quoted) is not None or quoted.lstrip().startswith("|")
        keep_break = quoted.endswith(("  ", "\\")) or quoted.rstrip().endswith("|")
        piece = inline(quoted.rstrip().removesuffix("\\"))
        pieces.append(
            piece.rstrip()
            if own_line and not pieces
            else ("\n" if own_line else " ") + (piece.rstrip() if own_line else piece.strip())
        )
    return "".join(pieces).strip()


def inline(text: str) -> str:
    """Words without emphasis, links and tags; what stands between backticks is left alone."""
    pieces, position = [], 0
    for span in CODE_SPAN.finditer(text):
        pieces += [plain(text[position : span.start()]), span[2]]
        position = span.end()
    return "".join([*pieces, plain(text[position:])])


def plain(text: str) -> str:
    for pattern, words in INLINE:
        text = pattern.sub(words, text)
    return text
