"""Text, Markdown and HTML files: encodings, paragraphs, chapters."""

from __future__ import annotations

import textwrap

import pytest
from document_books import PROSE
from document_laws import check_laws
from hypothesis import given
from hypothesis import strategies as st

from mplus_cli.documents import Document, read
from mplus_cli.documents.prose import heading_level, value
from mplus_cli.errors import Unreadable, UsageError

WRAPPED = textwrap.fill(PROSE * 4, 70)


def text(content: str | bytes, **more: str) -> Document:
    data = content.encode() if isinstance(content, str) else content
    document = read(data, name="book.txt", **more)  # type: ignore[arg-type]
    check_laws(document)
    return document


def markdown(content: str) -> Document:
    document = read(content.encode(), name="notes.md")
    check_laws(document)
    return document


def titles(document: Document) -> list[tuple[str, int]]:
    return [(section.title, section.level) for section in document.sections]


# Encodings


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_known_encodings_are_read_without_a_guess(encoding: str) -> None:
    document = text("Größe “und” Maß".encode(encoding))
    assert document.text == "Größe “und” Maß"
    assert document.warnings == ()


@pytest.mark.parametrize(
    ("words", "encoding"),
    [
        ("Der Müller saß vor der Tür und hörte, wie der Bach über die Steine floss. ", "cp1252"),
        ("Zażółć gęślą jaźń. Był sobie król i królowa, i mieli oni trzy córki. ", "cp1250"),
        ("Все счастливые семьи похожи друг на друга, каждая несчастливая по-своему. ", "koi8-r"),
        ("吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。", "shift_jis"),
    ],
)
def test_other_encodings_are_guessed_and_the_guess_is_shown(words: str, encoding: str) -> None:
    document = text((words * 5).encode(encoding))
    assert document.text == (words * 5).strip()
    assert "encoding guessed" in document.warnings[0]
    assert "%" in document.warnings[0]


def test_a_named_encoding_wins_and_an_unknown_one_is_a_usage_error() -> None:
    assert text("naïve".encode("cp437"), encoding="cp437").text == "naïve"
    with pytest.raises(UsageError, match="unknown encoding"):
        text("x", encoding="klingon")
    with pytest.raises(UsageError):
        text("x", encoding="base64")


def test_binary_data_is_not_text() -> None:
    with pytest.raises(Unreadable, match=r"binary|no text"):
        text(bytes(range(32)) * 40)


def test_a_declared_encoding_of_html_is_believed_and_one_that_is_wrong_is_not() -> None:
    assert read('<html><meta charset="iso-8859-1"><p>“Maß”'.encode("cp1252"), name="a.html").text == "“Maß”"
    assert read('<?xml version="1.0" encoding="utf-16"?><html><p>Maß</p></html>'.encode(), name="a.html").text == "Maß"
    assert read('<html><meta charset="ascii"><p>Maß'.encode(), name="a.html").text == "Maß"


# Plain text


def test_wrapped_lines_are_joined_and_verse_keeps_its_lines() -> None:
    verse = "Roses are red,\nViolets are blue,\nSugar is sweet,\nAnd so are you."
    document = text(f"{WRAPPED}\n\n    " + verse.replace("\n", "\n    ") + f"\n\n{WRAPPED}\n")
    assert document.text == f"{(PROSE * 4).strip()}\n\n{verse}\n\n{(PROSE * 4).strip()}"


def test_paragraphs_parted_by_indentation_are_parted() -> None:
    first, second = (
        textwrap.fill(PROSE * 3, 70, initial_indent="   "),
        textwrap.fill(PROSE * 2, 70, initial_indent="   "),
    )
    assert text(f"{first}\n{second}").text == f"{(PROSE * 3).strip()}\n\n{(PROSE * 2).strip()}"


def test_windows_and_old_mac_line_ends_are_line_ends() -> None:
    assert text(b"a\r\n\r\nb\r\rc").text == "a\n\nb\n\nc"


GUTENBERG = f"""The Project Gutenberg eBook of Small Things

Title: Small Things
Author: Ann Other
Language: English

*** START OF THE PROJECT GUTENBERG EBOOK SMALL THINGS ***

Produced by Some Volunteers
and others

SMALL THINGS

CHAPTER I. Of Mice

{WRAPPED}

CHAPTER II. Of Men

{WRAPPED}

*** END OF THE PROJECT GUTENBERG EBOOK SMALL THINGS ***

Licence, of {WRAPPED}
"""


def test_the_frame_of_project_gutenberg_is_stripped_and_read_for_the_title() -> None:
    document = text(GUTENBERG)
    assert (document.title, document.author, document.language) == ("Small Things", "Ann Other", "en")
    assert document.text.startswith("SMALL THINGS\n\nCHAPTER I. Of Mice\n\nIt was")
    assert document.text.endswith("striking one.")
    assert titles(document) == [("CHAPTER I. Of Mice", 1), ("CHAPTER II. Of Men", 1)]


@pytest.mark.parametrize(
    ("line", "level"),
    [
        *(("CHAPTER IV.", 2), ("Chapter 12: The Ball", 2), ("Chapter the First", 2), ("Part One", 1), ("BOOK II", 1)),
        *(("Epilogue", 2), ("PREFACE", 2), ("Kapitel 3", 2), ("第一章 春", 2), ("CHAPTER XXI — IN WHICH ALL ENDS", 2)),
        *(("Part one of the plan had failed.", 0), ("Chapter and verse", 0), ("It was a dark night.", 0), ("", 0)),
        *(("part two", 0), ("I", 0), ("Letter 4", 2), ("Bookish", 0), ("Chapter One was the best of them.", 0)),
    ],
)
def test_lines_that_head_a_chapter_are_known(line: str, level: int) -> None:
    assert heading_level(line) == level


def test_parts_hold_their_chapters() -> None:
    body = PROSE * 9
    pieces = ["PART ONE", "CHAPTER I", body, "CHAPTER II", body, "PART TWO", "CHAPTER I", body]
    assert titles(text("\n\n".join(pieces))) == [
        *[("PART ONE", 1), ("CHAPTER I", 2), ("CHAPTER II", 2), ("PART TWO", 1), ("CHAPTER I", 2)]
    ]


def test_bare_numbers_head_chapters_only_where_they_count_up() -> None:
    assert titles(text(f"1.\n\n{PROSE}\n\n2.\n\n{PROSE}\n\n3.\n\n{PROSE}")) == [("1.", 1), ("2.", 1), ("3.", 1)]
    assert titles(text(f"I\n\n{PROSE}\n\nII\n\n{PROSE}")) == [("I", 1), ("II", 1)]
    assert titles(text(f"7\n\n{PROSE}\n\n3\n\n{PROSE}")) == []


def test_a_list_of_contents_heads_nothing() -> None:
    contents = "CHAPTER I. Of Mice\n\nCHAPTER II. Of Men"
    body = f"CHAPTER I\n\n{PROSE * 9}\n\nCHAPTER II\n\n{PROSE * 9}"
    assert titles(text(f"{contents}\n\n{body}")) == [("CHAPTER I", 1), ("CHAPTER II", 1)]


def test_stories_with_titles_in_capitals_are_sections() -> None:
    stories = [f"THE {name}\n\n{PROSE * 30}" for name in ("FOX", "CROW", "LION")]
    assert titles(text("\n\n".join(stories))) == [("THE FOX", 1), ("THE CROW", 1), ("THE LION", 1)]


LETTERS = ("M", "CM", "D", "CD", "C", "XC", "L", "XL", "X", "IX", "V", "IV", "I")


@given(st.integers(1, 3999))
def test_roman_numbers_have_their_value(number: int) -> None:
    roman = ""
    rest = number
    for worth, letters in zip((1000, 900, 500, 400, 100, 90, 50, 40, 10, 9, 5, 4, 1), LETTERS, strict=True):
        roman += letters * (rest // worth)
        rest %= worth
    assert value(roman) == number == value(str(number))


# Markdown


def test_markdown_reads_as_text_with_headings_as_sections() -> None:
    document = markdown(
        '---\ntitle: "My Notes"\nauthor: Jo\n---\n# First *thing* #\nwrapped\nlines `a_b_c` **bold** [link](http://x/y)\n'
        "\nSecond\n------\n- item\n  goes on\n- two\n\n> said\n> so\n\n***\n\n[x]: http://nowhere\n"
    )
    assert document.text == (
        "First thing\n\nwrapped lines a_b_c bold link\n\nSecond\n\n- item goes on\n- two\n\nsaid so"
    )
    assert (document.title, document.author) == ("My Notes", "Jo")
    assert titles(document) == [("First thing", 1), ("Second", 2)]
    assert document.text[document.sections[1].start :].startswith("Second")


def test_fenced_code_is_kept_as_it_stands() -> None:
    code = "```python\n# not a heading\n\ndef f(a_b, *c):\n    return '*x*'\n```"
    document = markdown(f"before\n\n{code}\nafter\n")
    assert document.text == f"before\n\n{code}\n\nafter"
    assert document.sections == ()


def test_the_first_heading_titles_a_page_without_front_matter() -> None:
    assert markdown("# Title\n\ntext\n").title == "Title"
    assert markdown("text\n").title == "notes"


# HTML


def test_html_has_title_language_and_sections() -> None:
    document = read(
        b"<!DOCTYPE html><html lang=en><head><title>T</title><meta name=author content=Ann></head>"
        b"<body><h1>One</h1><p>a<p>b&nbsp;c<h2>Two</h2>d",
        name="x.html",
    )
    check_laws(document)
    assert (document.title, document.author, document.language, document.format) == ("T", "Ann", "en", "html")
    assert document.text == "One\n\na\n\nb c\n\nTwo\n\nd"
    assert titles(document) == [("One", 1), ("Two", 2)]


def test_the_name_of_a_file_makes_a_title_of_one_line(tmp_path) -> None:
    (tmp_path / "read\nanother.txt").write_text(PROSE)
    assert read(tmp_path / "read\nanother.txt").title == "read another"


def test_a_text_with_terminal_sequences_is_text() -> None:
    assert "The ship" in text(b"\x1b]0;title\x07\x1b[31mThe ship\x1b[0m sank.\x08\x07\n" * 3).text
