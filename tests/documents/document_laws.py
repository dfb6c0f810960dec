"""The laws that every Document keeps, wherever it came from."""

from __future__ import annotations

import unicodedata

from mplus_cli.documents import Document


def check_laws(document: Document) -> None:
    """Offsets are inside the text and in order, pages cover it, the text is normalised and holds something."""
    text = document.text
    assert any(character.isalnum() for character in text)
    assert unicodedata.is_normalized("NFC", text)
    assert not [character for character in text if unicodedata.category(character) == "Cc" and character not in "\n\t"]
    assert text == text.strip()
    assert text.encode("utf-8")
    assert document.pages[0].start == 0
    assert document.pages[-1].end == len(text)
    for page, following in zip(document.pages, document.pages[1:], strict=False):
        assert page.end == following.start
        assert page.index + 1 == following.index
    starts = [section.start for section in document.sections]
    assert starts == sorted(starts)
    for section in document.sections:
        assert section.title == section.title.strip() != ""
        assert 0 <= section.start < section.end <= len(text)
        assert section.level >= 1
    assert 0 < document.pages_read <= document.pages_total
    assert document.title
