"""The final form of the text, and where positions go on the way there."""

from __future__ import annotations

import unicodedata

from document_laws import check_laws
from hypothesis import given
from hypothesis import strategies as st

from mplus_cli.documents.document import document_id, locations, page_at, section_at
from mplus_cli.documents.draft import Break, Draft, Heading, assemble, composed, settle, without_unwanted
from mplus_cli.documents.quality import quality_warnings
from mplus_cli.documents.source import Source

ODD = st.text(
    st.sampled_from("ab \n\t\x00\x1b\u00ad\u200b\ufeff\u0301\u0323e\u1100\u1161\u11a8\ud800\u0344\u212b"), max_size=40
)


@given(ODD, st.lists(st.integers(0, 40), max_size=8))
def test_positions_move_with_the_text(text: str, places: list[int]) -> None:
    """A letter that marks a position, put in before, is found at the position afterwards."""
    places = sorted(min(place, len(text)) for place in places)
    draft = Draft("text", text, breaks=[Break(str(place), place) for place in places])
    settled = settle(draft)
    assert unicodedata.is_normalized("NFC", settled.text)
    assert not set(settled.text) & set("\x00\x1b\u00ad\u200b\ufeff\ud800")
    moved = [mark.position for mark in settled.breaks]
    assert moved == sorted(moved)
    assert all(0 <= place <= len(settled.text) for place in moved)
    assert settle(settled) == settled


@given(ODD, st.integers(0, 40))
def test_what_stands_behind_a_position_still_does(text: str, place: int) -> None:
    text, (place,) = without_unwanted(text.replace("\ud800", ""), [min(place, len(text.replace("\ud800", "")))])
    whole, (moved,) = composed(text, [place])
    assert whole == unicodedata.normalize("NFC", text)
    assert unicodedata.normalize("NFC", text[place:]).endswith(whole[moved:])


@given(
    st.text("ab \n", min_size=1, max_size=60),
    st.lists(st.tuples(st.text("x ", max_size=2), st.integers(1, 3), st.integers(0, 60)), max_size=8),
    st.lists(st.integers(0, 60), max_size=8),
)
def test_every_draft_with_letters_becomes_a_lawful_document(
    text: str, headings: list[tuple[str, int, int]], breaks: list[int]
) -> None:
    draft = Draft("text", "a" + text, headings=[Heading(*heading) for heading in headings])
    draft.breaks = [Break(str(number), place) for number, place in enumerate(sorted(breaks), 1)]
    check_laws(assemble(draft, Source("x.txt", data=b"")))


def test_sections_nest_and_the_innermost_is_found() -> None:
    draft = Draft("text", "0123456789", headings=[Heading("P", 1, 0), Heading("C", 2, 2), Heading("Q", 1, 6)])
    document = assemble(draft, Source("x.txt", data=b""))
    assert [(s.title, s.start, s.end) for s in document.sections] == [("P", 0, 6), ("C", 2, 6), ("Q", 6, 10)]
    assert [getattr(section_at(document.sections, place), "title", None) for place in (1, 3, 6)] == ["P", "C", "Q"]


def test_an_empty_page_is_counted_but_never_found() -> None:
    draft = Draft("pdf", "abcd", breaks=[Break("1", 0), Break("2", 2), Break("3", 2)], page_kind="index")
    document = assemble(draft, Source("x.pdf", data=b""))
    found = page_at(document.pages, 2)
    assert [(page.label, page.start, page.end) for page in document.pages] == [("1", 0, 2), ("2", 2, 2), ("3", 2, 4)]
    assert found is not None
    assert found.label == "3"


def test_the_same_text_is_the_same_document_whatever_its_name() -> None:
    one = assemble(Draft("text", "same"), Source("a.txt", data=b""))
    other = assemble(Draft("html", "same", title="T"), Source("b.html", data=b""))
    assert one.id == other.id == document_id("same")
    assert len(one.id) == 16


def test_locations_cover_the_text() -> None:
    assert [(page.start, page.end) for page in locations("x" * 4000)] == [(0, 1800), (1800, 3600), (3600, 4000)]


def test_pages_that_do_not_look_like_text_are_named() -> None:
    pages = [
        "Quite ordinary words. " * 10,
        "1.2 -- 3.4 ;; " * 20,
        "\ufffd\ufffd words " * 20,
        "nospacesatall" * 20,
        "漢字仮名" * 60,
    ]
    breaks = [Break(str(number), 300 * number) for number in range(5)]
    text = "".join(page.ljust(300)[:300] for page in pages)
    document = assemble(Draft("pdf", text, breaks=breaks, page_kind="index"), Source("x.pdf", data=b""))
    assert quality_warnings(document) == [
        "1 suspicious page (few letters): 1",
        "1 suspicious page (characters that could not be read): 2",
        "1 suspicious page (words without spaces): 3",
    ]
