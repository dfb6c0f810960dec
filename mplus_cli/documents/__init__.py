"""Books as text: readers for EPUB, PDF, HTML, Markdown and plain text, and the chunks that a model reads."""

from mplus_cli.documents.chunking import Chunk, balanced_chunks
from mplus_cli.documents.document import (
    Document,
    Page,
    PageKind,
    Section,
    Skipped,
    document_id,
    locations,
    page_at,
    section_at,
)
from mplus_cli.documents.limits import DEFAULT, Limits
from mplus_cli.documents.read import READERS, expand, read

__all__ = [
    "DEFAULT",
    "READERS",
    "Chunk",
    "Document",
    "Limits",
    "Page",
    "PageKind",
    "Section",
    "Skipped",
    "balanced_chunks",
    "document_id",
    "expand",
    "locations",
    "page_at",
    "read",
    "section_at",
]
