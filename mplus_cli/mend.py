"""`mplus library verify --repair`: what can be mended without the original files is mended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mplus_cli.assistant.ingest import Desk, ingest_document
from mplus_cli.assistant.interrupt import Interruption
from mplus_cli.events import IngestOptions

if TYPE_CHECKING:
    from mplus_cli.events import Event
    from mplus_cli.library.library import Library
    from mplus_cli.library.records import Finding
    from mplus_cli.settings import Settings


def mend(library: Library, findings: Sequence[Finding], settings: Settings) -> Iterator[Event]:
    """Tighten permissions, write the index again, and read damaged documents again from their stored text.

    Raises LibraryLocked, Interrupted, and what an ingest raises; what only the original file can mend is left alone.
    """
    documents = [library.document(record.id) for record in library.repair(findings)]
    with Interruption() as interruption:
        desk = Desk(library.name, settings, IngestOptions(model=library.identity.name), interruption)
        for document in documents:
            yield from ingest_document(desk, document)
