"""Full-text search: a person's words, best chunks first, nothing from beyond the reading position."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from library_fakes import book, identity, ingest, spans

from mplus_cli.library import Library
from mplus_cli.library.passages import match_expression

PADDING = "nothing to see in this part of it. "


def with_words(*words: str, title: str = "War and Peace") -> str:
    """A text with one chunk of forty characters for each word."""
    return "".join(f"{word:.40} ".ljust(40, ".") for word in words)


def chunks_found(library: Library, query: str, **limits: object) -> list[int]:
    return [hit.chunk for hit in library.search(query, **limits)]  # type: ignore[arg-type]


@pytest.fixture
def novel(library: Library) -> Library:
    text = with_words("Pierre betrayed", "Natasha danced", "Andrei died", "Pierre and Natasha", "the end of it")
    ingest(library, book(text=text))
    return library


def test_the_best_chunk_comes_first_with_the_highest_score(novel: Library) -> None:
    hits = novel.search("Who betrayed Pierre?")
    assert [hit.chunk for hit in hits] == [0, 3]
    assert hits[0].score > hits[1].score


def test_a_word_is_found_in_its_other_forms_and_without_its_accents(library: Library) -> None:
    ingest(library, book(text=with_words("she betrays him", "a café", "rien")))
    assert chunks_found(library, "betrayed") == [0]
    assert chunks_found(library, "CAFE") == [1]


def test_stop_words_do_not_count_unless_there_is_nothing_else(novel: Library) -> None:
    assert chunks_found(novel, "what happens at the end of it") == [4]
    assert chunks_found(novel, "of the") == [4]
    assert match_expression("Wer hat Pierre verraten und warum?") == '"Pierre" OR "verraten"'
    assert match_expression("¿Quién traicionó a Pierre?") == '"traicionó" OR "Pierre"'


@settings(max_examples=200, deadline=None)
@given(query=st.text(st.characters(exclude_categories=()), max_size=60))
def test_nothing_that_is_typed_is_syntax(shared_novel: Library, query: str) -> None:
    assert all(0 <= hit.chunk < 5 for hit in shared_novel.search(query))


@pytest.fixture(scope="module")
def shared_novel(tmp_path_factory: pytest.TempPathFactory) -> Library:
    library = Library.create(tmp_path_factory.mktemp("libraries") / "novel", identity())
    ingest(library, book(text=with_words("one NEAR two", "NOT three", 'AND "four"', "five* OR", "six")))
    return library


@pytest.mark.parametrize(
    "query", ['"', "a AND", "NEAR(", "x:y", "text:one", "^one", "one*", "-one", "(", "''", "{}", "\0"]
)
def test_operators_are_words(shared_novel: Library, query: str) -> None:
    shared_novel.search(query)


def test_a_search_can_be_limited_to_documents(novel: Library) -> None:
    first = novel.documents()[0].id
    second = book("Emma", text=with_words("Pierre again", "and more"))
    ingest(novel, second)
    assert {hit.document for hit in novel.search("Pierre")} == {first, second.id}
    assert {hit.document for hit in novel.search("Pierre", documents=[second.id])} == {second.id}
    assert novel.search("Pierre", documents=[]) == []
    assert len(novel.search("Pierre", limit=1)) == 1


def test_nothing_is_found_at_or_beyond_the_reading_position(novel: Library) -> None:
    document = novel.documents()[0].id
    assert chunks_found(novel, "Natasha Pierre", until={document: 3}) == [0, 1]
    assert chunks_found(novel, "Natasha Pierre", until={document: 0}) == []
    assert chunks_found(novel, "Andrei", until={"0" * 16: 0}) == [2]


def test_a_library_of_thousands_of_documents_can_be_searched(novel: Library) -> None:
    document = novel.documents()[0].id
    limits = {f"{number:016x}": 9 for number in range(40_000)} | {document: 3}
    assert chunks_found(novel, "Natasha Pierre", documents=list(limits), until=limits) == [0, 1]
    assert novel.chunks_with("Pierre", limits) == 1
    assert novel.chunks_with("Pierre", {document: 5}) == 2


def test_what_is_not_yet_read_is_not_found(library: Library) -> None:
    document = book(text=with_words(*(f"word{n}x" for n in range(9))))
    ingest(library, document, stop_after=4)
    assert chunks_found(library, "word3x") == [3]
    assert chunks_found(library, "word4x") == []
    ingest(library, document)
    assert chunks_found(library, "word4x") == [4]


def test_scripts_without_spaces_are_found(library: Library) -> None:
    ingest(library, book(text=with_words("皮埃尔被背叛了", "安德烈公爵死了", "ナターシャは踊った")))
    assert chunks_found(library, "公爵") == [1]
    assert chunks_found(library, "谁背叛了皮埃尔？")[0] == 0
    assert chunks_found(library, "踊") == [2]


@settings(max_examples=20, deadline=None)
@given(
    words=st.lists(st.text("abcdefgh", min_size=5, max_size=9), min_size=1, max_size=12, unique=True), data=st.data()
)
def test_every_read_word_is_found_and_every_unread_one_is_not(words: list[str], data: st.DataObject) -> None:
    document = book(text=with_words(*words))
    stop = data.draw(st.integers(0, len(words)))
    with tempfile.TemporaryDirectory() as folder, Library.create(Path(folder) / "library", identity()) as library:
        ingest(library, document, stop_after=stop)
        for number, _ in enumerate(spans(document)):
            assert (number in chunks_found(library, words[number])) == (number < stop)
