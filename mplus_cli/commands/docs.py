"""`mplus docs`: the documents of a library."""

from __future__ import annotations

from typing import Annotated

import typer

from mplus_cli import terminal
from mplus_cli.commands import common

app = common.new_app(
    """List, look into and forget the documents of a library.

    \b
      mplus docs list --library novels
      mplus docs show war-and-peace --pages 10-12
      mplus docs forget war-and-peace
    """
)


@app.command("list")
def list_(library: common.Library = None, as_json: common.Json = False) -> None:
    """List the documents of a library in reading order."""
    from mplus_cli import listing

    with common.opened(library) as opened:
        listing.documents(opened.documents(), as_json)


@app.command()
def show(
    book: common.Book,
    library: common.Library = None,
    text: Annotated[bool, typer.Option("--text", help="Print the stored text, exactly: offsets count in it.")] = False,
    pages: Annotated[
        str | None, typer.Option("--pages", metavar="A-B", help="Print these pages, by their place in the file.")
    ] = None,
    as_json: common.Json = False,
) -> None:
    """Show what is known of a document, its text, or some of its pages."""
    from mplus_cli import listing, shelf

    with common.opened(library) as opened:
        record = opened.find(book)
        if pages is not None:
            listing.pages(shelf.page_texts(opened, record.id, pages), as_json)
        elif text:
            listing.text(record.id, opened.text(record.id), as_json)
        else:
            listing.document(record, as_json)


@app.command()
def toc(book: common.Book, library: common.Library = None, as_json: common.Json = False) -> None:
    """Show the chapters of a document with their pages."""
    from mplus_cli import listing

    with common.opened(library) as opened:
        record = opened.find(book)
        listing.toc(opened.sections(record.id), opened.pages(record.id), as_json)


@app.command()
def forget(
    book: common.Book, library: common.Library = None, yes: common.Yes = False, as_json: common.Json = False
) -> None:
    """Forget a document exactly: its text, its index entries and every row born from it."""
    from mplus_cli.words import size

    with common.opened(library) as opened:
        record = opened.find(book)
        terminal.confirm(f"Forget {record.title} in {opened.name}?", yes)
        with opened.writing() as writer:
            forgotten = writer.forget(record.id)
    words = f"forgot {record.title}; {size(forgotten.freed_bytes)} freed"
    common.done(words, {"forgotten": record.id, "freed_bytes": forgotten.freed_bytes}, as_json)
