"""A reading position is found as readers name it, and never later than they mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mplus_cli.assistant import position as room
from mplus_cli.documents.document import Section

DRACULA = ("Titlepage", "Preface", "Dracula", "I", "II", "III", "IV", "IX", "XIV", "XL: The End")
FRANKENSTEIN = ("Introduction", "Letter I", "Letter II", "Chapter I", "Chapter II", "Chapter III")
WAR = ("BOOK ONE: 1805", "CHAPTER I", "CHAPTER II", "BOOK TWO: 1805", "CHAPTER I", "CHAPTER XX")
PLAIN = ("The Storm", "12 Men of 1812", "The Boats")
NIGHTS = tuple(f"Chapter {number}: The {number}th Night" for number in range(1, 301))


def sections(titles: tuple[str, ...]) -> list[Section]:
    return [Section(title, 1, 10 * at, 10 * at + 10) for at, title in enumerate(titles)]


@pytest.mark.parametrize(
    ("titles", "wanted", "found"),
    [
        (DRACULA, "4", "IV"),
        (DRACULA, "Chapter 4", "IV"),
        (DRACULA, "chapter ii", "II"),
        (DRACULA, "ch. 9", "IX"),
        (DRACULA, "14", "XIV"),
        (DRACULA, "40", "XL: The End"),
        (DRACULA, "the end", "XL: The End"),
        (DRACULA, "dracula", "Dracula"),
        (DRACULA, "5", None),
        (DRACULA, "Letter 2", "II"),
        (FRANKENSTEIN, "2", "Chapter II"),
        (FRANKENSTEIN, "letter 2", "Letter II"),
        (FRANKENSTEIN, "Letter  Two", "Letter II"),
        (FRANKENSTEIN, "chapter 4", None),
        (WAR, "Book Two", "BOOK TWO: 1805"),
        (WAR, "book 2", "BOOK TWO: 1805"),
        (WAR, "chapter twenty", "CHAPTER XX"),
        (WAR, "2", "CHAPTER II"),
        (PLAIN, "2", "12 Men of 1812"),
        (PLAIN, "3", "The Boats"),
        (PLAIN, "boats", "The Boats"),
        (PLAIN, "oat", "The Boats"),
        (NIGHTS, "29", NIGHTS[28]),
        (NIGHTS, "chapter 2", NIGHTS[1]),
        (("I go to Paris", "One summer", "The Mill"), "1", "I go to Paris"),
        (("Chapter One Hundred", "Mix", "Did"), "mix", "Mix"),
    ],
)
def test_a_chapter_is_found_as_readers_name_it(titles, wanted, found) -> None:
    chapter = room.chapter_named(sections(titles), wanted)
    assert (chapter.title if chapter else None) == found


def test_of_several_chapters_the_earliest_is_meant() -> None:
    chapter = room.chapter_named(sections(WAR), "chapter 1")
    assert chapter is not None
    assert chapter.end == 20


ROMANS = [(100, "c"), (90, "xc"), (50, "l"), (40, "xl"), (10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i")]


@given(st.integers(1, 99))
def test_every_roman_numeral_is_its_number(number: int) -> None:
    numeral, rest = "", number
    for value, sign in ROMANS:
        while rest >= value:
            numeral, rest = numeral + sign, rest - value
    assert room._numbered(numeral) == ("", number)
    assert room._numbered(f"chapter {numeral} whales") == ("chapter", number)


@given(st.text(max_size=12), st.lists(st.text(max_size=12), max_size=5))
def test_whatever_is_asked_of_whatever_titles_a_chapter_or_none_is_found(wanted: str, titles: list[str]) -> None:
    found = room.chapter_named(sections(tuple(titles)), wanted)
    assert found is None or found.title in titles
