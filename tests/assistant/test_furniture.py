"""What is no part of what a book says is no answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mplus_cli.assistant.cues import question_weights
from mplus_cli.assistant.furniture import furniture_of
from mplus_cli.assistant.passages import score, sentences
from mplus_cli.documents.document import Section

CONTENTS = "Contents\n\nChapter 1: What Is an Index?\n\nChapter 9: Editing an Index Without Tears\n\n"
TEXT = f"{CONTENTS}Chapter 1: What Is an Index?\n\nAn index is a list of names. An index takes long to make."
SECTIONS = (
    Section("Contents", 1, 0, len(CONTENTS)),
    Section("Chapter 1: What Is an Index?", 1, len(CONTENTS), len(TEXT)),
    Section("Chapter 9: Editing an Index Without Tears", 1, len(TEXT), len(TEXT)),
)


def best(question: str, text: str, sections: tuple[Section, ...]) -> str:
    found = sentences("d", text, 0, len(text))
    weights = question_weights(question, 50, lambda word: 1)
    return score(question, found, weights, lambda _: 0.0, furniture=furniture_of(sections))[0].sentence.text


def furniture(text: str, *titles: str) -> list[str]:
    """The sentences of a text that are furniture, in a book of chapters with these titles."""
    known = furniture_of([Section(title, 1, len(text), len(text) + 1) for title in titles])
    return [sentence.text for sentence in sentences("d", text, 0, len(text)) if known(sentence)]


@pytest.mark.parametrize("question", ["What is an index?", "How is an index edited without tears?"])
def test_a_line_of_contents_is_no_answer(question):
    assert best(question, TEXT, SECTIONS).startswith("An index")


TITLES = "Theorem Similar Matrices have Equal Roots Theorem Hermitian Matrices Section Roots Example Basis Rank Trace"
NAMES = "Alumni include Anna Bell, Boris Cole, Carl Dunn, Dora Egan, Emil Fry, Fanny Gale and Georg Hall of Perm"
GERMAN = "Der Hund und die Katze liefen durch den Garten zum Haus und der Mann mit dem Hut sah die Kinder am Fenster"


@pytest.mark.parametrize(("text", "held"), [(TITLES, True), (NAMES, False), (GERMAN, False), (TITLES.upper(), False)])
def test_a_run_of_titles_is_furniture_and_a_list_of_names_is_not(text, held):
    assert furniture(f"{text}.") == ([f"{text}."] if held else [])


@pytest.mark.parametrize("heading", ["Chapter 12: The Storm", "THE STORM", "12. The Storm", "The Storm  214"])
def test_a_title_is_furniture_as_a_whole_in_part_and_with_its_page(heading):
    assert " ".join(furniture(f"{heading}\n\nThe storm broke.", "Chapter 12: The Storm")) == heading


def test_a_copyright_page_answers_only_what_nothing_else_answers():
    page, rest = "Copyright 1899 by the author. No part of this storm may be copied.\n\n", "The storm broke at noon."
    sections = (Section("Copyright", 1, 0, len(page)), Section("The Storm", 1, len(page), len(page) + len(rest)))
    assert best("What part of the storm came?", page + rest, sections) == rest
    assert best("Who has the copyright?", page + rest, sections).startswith("Copyright 1899")


@pytest.mark.parametrize("heading", ["CHAPTER I - MAG SMITH, MY MOTHER", "Chapter Twenty", "BOOK 2"])
def test_a_chapter_that_no_contents_name_has_a_heading_all_the_same(heading):
    assert furniture(f"{heading}\n\nPart of it was lost. Act one way or another. Book 2 of it came late.") == [heading]


def test_dots_that_lead_to_a_page_are_furniture():
    line = "The Storm . . . . . . . . 214"
    assert " ".join(furniture(f"{line}\n\nHe waited... and waited.")) == line


@given(st.from_regex(r"[A-Z][a-z]{1,8}( [a-z0-9]{1,8}){0,6}", fullmatch=True), st.integers(1, 999))
def test_every_title_is_furniture_and_no_longer_sentence_is(title, page):
    assert furniture(f"{title} {page}", title) == [f"{title} {page}"]
    assert furniture(f"{title} zzz.", title) == []
