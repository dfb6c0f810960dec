"""Libraries by name: which there are, which one is meant, where each lies. Opens none before it is asked to."""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mplus_cli.errors import MplusError, NotFound, Unreadable, UsageError

if TYPE_CHECKING:
    from mplus_cli.library.library import Library

CATALOG = "catalog.sqlite"
NAME = re.compile(r"\w(?:[\w .-]{0,62}\w)?")


def names(folder: Path) -> list[str]:
    """Names of the libraries in the libraries' place, sorted."""
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if (path / CATALOG).is_file())


def checked_name(name: str) -> str:
    """The name itself, if it can name a library; raises UsageError."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot name a library.", "Use letters, digits, dashes, dots; begin and end with a letter."
        )
    return name


def path_of(folder: Path, name: str) -> Path:
    """Where an existing library lies; raises NotFound, with the nearest name."""
    if name not in (present := names(folder)):
        near = get_close_matches(checked_name(name), present, n=1)
        hint = f"Did you mean {near[0]}? " if near else ""
        raise NotFound(
            f"There is no library {name!r}.",
            f"{hint}`mplus library list` shows what there is; `mplus ingest BOOK --library {name}` makes one.",
        )
    return folder / name


def meant(folder: Path, flag: str | None, default: str) -> str:
    """The library that a reading command means: the flag, the default where it exists, or the only one there is."""
    if flag is not None:
        return path_of(folder, flag).name
    present = names(folder)
    if default in present or not present:
        return path_of(folder, default).name
    if len(present) == 1:
        return present[0]
    raise UsageError(f"There are {len(present)} libraries: {', '.join(present)}.", "Say which one with --library.")


def open_named(folder: Path, name: str) -> Library:
    """Open an existing library by name; raises NotFound, LibraryDamaged."""
    from mplus_cli.library.library import Library

    return Library.open(path_of(folder, name))


# --------------------------------------------------------------------------------------------------- libraries, whole


@dataclass(frozen=True, slots=True)
class LibrarySummary:
    """A library at a glance; `problem` says why it cannot be opened."""

    name: str
    path: Path
    documents: int = 0
    chunks: int = 0
    bytes: int = 0
    model: str = ""
    fingerprint: str = ""
    row_format: str = ""
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        """As `library list --json` prints it."""
        return {**asdict(self), "path": str(self.path)}


def overview(folder: Path) -> list[LibrarySummary]:
    """All libraries; one that is damaged is listed with its problem."""
    found = []
    for name in names(folder):
        try:
            with open_named(folder, name) as library:
                found.append(summary(library))
        except MplusError as error:
            found.append(LibrarySummary(name, folder / name, problem=error.message))
    return found


def summary(library: Library) -> LibrarySummary:
    """An open library at a glance."""
    documents, identity = library.documents(), library.identity
    return LibrarySummary(
        name=library.name,
        path=library.path,
        documents=len(documents),
        chunks=sum(record.chunks_read for record in documents),
        bytes=library.bytes_on_disk(),
        model=identity.name,
        fingerprint=identity.fingerprint,
        row_format=identity.row_format,
    )


def refuse_existing(file: Path, overwrite: bool) -> None:
    """Raises UsageError where a file would be replaced unasked."""
    if file.exists() and not overwrite:
        raise UsageError(f"{file} exists already.", "Choose another name, or add --overwrite.")


# -------------------------------------------------------------------------------------------------------------- pages


@dataclass(frozen=True, slots=True)
class PageText:
    """A page of a stored document with its text, which is the document's from start to end."""

    index: int
    label: str
    start: int
    end: int
    text: str


def page_texts(library: Library, document: str, wanted: str) -> list[PageText]:
    """Pages A to B (both included, by their place in the file) with their text; raises UsageError, NotFound."""
    match = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", wanted.strip())
    if match is None:
        raise UsageError(f"--pages cannot be {wanted!r}.", "Give one page (12) or a range (10-12).")
    first, last = int(match[1]), int(match[2] or match[1])
    text, pages = library.text(document), library.pages(document)
    found = [page for page in pages if first <= page.index <= last]
    if not found:
        raise NotFound(f"There is no page {wanted}.", f"The document has the pages 1 to {len(pages)}.")
    return [PageText(page.index, page.label, page.start, page.end, text[page.start : page.end]) for page in found]


# ----------------------------------------------------------------------------------------------------- whole libraries


def remove(path: Path) -> None:
    """Delete a library, damaged or not; raises LibraryLocked while somebody writes."""
    from mplus_cli.library.folders import remove

    remove(path)


def rename(folder: Path, name: str, new: str) -> None:
    """Give a library another name; raises NotFound, UsageError when that is taken, LibraryLocked."""
    from mplus_cli.library.folders import rename

    rename(path_of(folder, name), folder / checked_name(new))


def export(library: Library, file: Path, text: bool, overwrite: bool) -> int:
    """Write a library to one file, whole or not at all; returns its bytes. Raises UsageError where it exists."""
    refuse_existing(file, overwrite)
    if not overwrite:
        return library.export(file, text)
    fresh = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        written = library.export(fresh, text)
        os.replace(fresh, file)
    finally:
        fresh.unlink(missing_ok=True)
    return written


def import_file(folder: Path, file: Path, name: str | None) -> LibrarySummary:
    """Make a library from an export, named after the file unless told.

    Raises UsageError, LibraryDamaged, Unreadable where there is no such file.
    """
    from mplus_cli.library.library import Library
    from mplus_cli.library.shards import private_folder

    if not file.is_file():
        raise Unreadable(f"{file}: no such file.", "Check the name.")
    chosen = checked_name(name or file.stem)
    with Library.import_(file, private_folder(folder) / chosen) as library:
        return summary(library)
