"""The one way in: a file of any known format becomes a Document, or Unreadable says in one line why not."""

from __future__ import annotations

import glob
import importlib
import os
import re
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, cast

from mplus_cli.documents.document import Document
from mplus_cli.documents.draft import Draft, assemble
from mplus_cli.documents.limits import DEFAULT, Deadline, Limits
from mplus_cli.documents.quality import quality_warnings
from mplus_cli.documents.source import Source, open_path, read_all
from mplus_cli.errors import MplusError, Unreadable

STANDARD_INPUT = "-"
# One module for each format, with `read(source) -> Draft`; imported when a file asks for it.
READERS = {
    "epub": "mplus_cli.documents.epub",
    "pdf": "mplus_cli.documents.pdf",
    "html": "mplus_cli.documents.html",
    "markdown": "mplus_cli.documents.markdown",
    "text": "mplus_cli.documents.text",
}
SUFFIXES = {
    ".epub": "epub",
    ".pdf": "pdf",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".xht": "html",
    ".md": "markdown",
    ".markdown": "markdown",
    ".mkd": "markdown",
    ".txt": "text",
    ".text": "text",
}
# What else people try, by its first bytes.
OTHERS = (
    (b"\x1f\x8b", "a gzip file"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ\x00", "an xz file"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"II*\x00", "a TIFF picture"),
    (b"MM\x00*", "a TIFF picture"),
    (b"AT&TFORM", "a DjVu book"),
    (b"{\\rtf", "an RTF document"),
    (b"%!PS", "a PostScript file"),
    (b"\xd0\xcf\x11\xe0", "an old Word or Office document"),
    (b"\x7fELF", "a program"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"ITSF", "a CHM help file"),
)
MOBI = (b"BOOKMOBI", b"TEXtREAd")  # at byte 60
HTML_START = re.compile(
    rb"^(?:\xef\xbb\xbf)?(?:\s+|<\?xml[^>]*>|<!--.*?-->)*<(?:!doctype\s+html|html[\s>])", re.DOTALL | re.IGNORECASE
)
READS = "mplus reads EPUB, PDF, HTML, Markdown and plain text."


def read(
    source: Path | str | bytes | BinaryIO,
    *,
    name: str | None = None,
    password: str | None = None,
    encoding: str | None = None,
    limits: Limits = DEFAULT,
) -> Document:
    """Read a file, "-" for standard input, bytes, or an open binary stream.

    `name` is what people see, and its ending helps where the content leaves a choice. Raises Unreadable with one line
    that says what was found, for whatever bytes; UsageError for an unknown `encoding`. Writes nothing anywhere.
    """
    shown = name or shown_name(source)
    try:
        given = take(source, shown, password, encoding, limits)
        draft = reader_for(given)(given)
        document = assemble(draft, given)
        return with_quality(document)
    except Unreadable as problem:
        raise Unreadable(f"{shown}: {problem.message}", remedy=problem.remedy) from problem
    except MplusError:
        raise
    except OSError as problem:
        raise Unreadable(
            f"{shown}: {problem.strerror or problem}", remedy="Check the file and its permissions."
        ) from problem
    except (Exception, RecursionError) as problem:  # a reader's own mistake, met by a file that nobody foresaw
        raise Unreadable(f"{shown}: damaged in a way that mplus cannot read ({type(problem).__name__})") from problem


def shown_name(source: Path | str | bytes | BinaryIO) -> str:
    if isinstance(source, (str, Path)) and str(source) != STANDARD_INPUT:
        return Path(source).name or str(source)
    return "standard input"


def take(
    source: Path | str | bytes | BinaryIO, name: str, password: str | None, encoding: str | None, limits: Limits
) -> Source:
    """The input as readers want it; standard input and streams are read to their end."""
    path, data = None, None
    if isinstance(source, bytes):
        data = source
    elif isinstance(source, (str, Path)) and str(source) != STANDARD_INPUT:
        path, data = open_path(Path(source), limits)
    else:
        stream = sys.stdin.buffer if isinstance(source, (str, Path)) else source
        data = read_all(stream, limits)
    if data == b"":
        raise Unreadable("the file is empty", remedy="Fetch or export it again.")
    return Source(name, path, data, password, encoding, limits, Deadline(limits.seconds))


def reader_for(source: Source) -> Callable[[Source], Draft]:
    module = importlib.import_module(READERS[sniff(source)])
    return cast("Callable[[Source], Draft]", module.read)


def sniff(source: Source) -> str:
    """The format, by content first and by the name's ending second; Unreadable names what else it is."""
    head = source.head()
    by_name = SUFFIXES.get(source.suffix)
    if b"%PDF-" in head[:1_024]:
        return "pdf"
    if head.startswith(b"PK"):
        return "epub" if by_name == "epub" else sniff_zip(source)
    if head[60:68] in MOBI:
        raise Unreadable(f"a Mobipocket or Kindle book, which mplus does not read. {READS}")
    for magic, what in OTHERS:
        if head.startswith(magic) and by_name != "text":
            raise Unreadable(f"{what}, which mplus does not read. {READS}")
    if HTML_START.match(head):
        return "html"
    if by_name is None and source.suffix and source.path is not None:
        raise Unreadable(f"unknown file type {source.suffix!r}. {READS}")
    return by_name or "text"


def sniff_zip(source: Source) -> str:
    """ "epub" for a zip that is one; Unreadable says what the archive is instead."""
    try:
        with source.open() as stream, zipfile.ZipFile(stream) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as problem:
        raise Unreadable(f"a damaged zip archive: {problem}") from problem
    if {"mimetype", "META-INF/container.xml"} & names and "content.xml" not in names:
        return "epub"
    known = {
        "word/document.xml": "a Word document",
        "content.xml": "an OpenDocument file",
        "xl/workbook.xml": "a spreadsheet",
    }
    what = next((words for entry, words in known.items() if entry in names), "a zip archive")
    raise Unreadable(f"{what}, which mplus does not read. {READS}")


def with_quality(document: Document) -> Document:
    found = quality_warnings(document)
    return replace(document, warnings=(*document.warnings, *found)) if found else document


def expand(inputs: Iterable[str | Path]) -> list[Path | str]:
    """Inputs of a command line as files in reading order, "-" among them; each file once.

    Folders give the files in them and below whose ending is known, patterns the files that they match, both in natural
    order (2 before 10). What is named explicitly stays, also when it does not exist or is of an unknown type: `read`
    says so, and the others are still read.
    """
    files: dict[str, Path | str] = {}
    for given in inputs:
        for found in expand_one(given):
            key = STANDARD_INPUT if found == STANDARD_INPUT else os.path.realpath(found)
            files.setdefault(key, found)
    return list(files.values())


def expand_one(given: str | Path) -> Iterator[Path | str]:
    path = Path(given)
    if str(given) == STANDARD_INPUT:
        yield STANDARD_INPUT
    elif path.is_dir():
        yield from folder_files(path) or [path]
    elif not path.exists() and glob.has_magic(str(given)):
        matches = sorted(map(Path, glob.glob(str(given), recursive=True)), key=natural)
        inside = [file for match in matches for file in (folder_files(match) if match.is_dir() else [match])]
        yield from [file for file in inside if file.suffix.lower() in SUFFIXES] or [path]
    else:
        yield path


def folder_files(folder: Path) -> list[Path]:
    """Files of known types in a folder and below, without hidden ones; links to folders are not followed."""
    found: list[Path] = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place, name) for name in names if not name.startswith(".")]
    return sorted((path for path in found if path.suffix.lower() in SUFFIXES), key=natural)


def natural(path: Path) -> list[tuple[int, int, str]]:
    """A sort key that counts: chapter 2 before chapter 10."""
    pieces = re.split(r"(\d{1,18})", str(path).casefold())
    return [(0, int(piece), "") if piece.isdecimal() else (1, 0, piece) for piece in pieces]
