"""What the shell may offer for a half-typed word: libraries, documents, models. Never fails, never waits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import typer


def libraries(incomplete: str) -> Iterator[str]:
    """Names of the libraries."""
    from mplus_cli import settings, shelf

    with suppress(Exception):  # a completion that fails offers nothing
        yield from (name for name in shelf.names(settings.places().libraries) if name.startswith(incomplete))


def documents(ctx: typer.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """Short names of the documents in the library on the line, or in the default one, with their titles."""
    from mplus_cli import settings, shelf, terminal

    with suppress(Exception):
        folder, chosen = settings.places().libraries, settings.load()
        library = shelf.open_named(folder, shelf.meant(folder, ctx.params.get("library"), chosen.library))
        for record in library.documents():
            if record.slug.startswith(incomplete):
                yield record.slug, terminal.one_line(record.title)


def memory_dtypes(incomplete: str) -> Iterator[str]:
    """Formats of memory rows."""
    from mplus_cli.settings import MEMORY_DTYPES

    yield from (name for name in MEMORY_DTYPES if name.startswith(incomplete))


def models(incomplete: str) -> Iterator[str]:
    """Names of the models at hand."""
    from mplus_cli import settings
    from mplus_cli.models import list_models

    with suppress(Exception):
        yield from (
            record.name for record in list_models(settings.places().models) if record.name.startswith(incomplete)
        )
