"""What goes into a library comes out of it, however often the ingest was interrupted."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from library_fakes import (
    Span,
    begin,
    book,
    expected_memory,
    identity,
    ingest,
    memory_of,
    rows_of,
    spans,
)

from mplus_cli.documents.document import Document, Page, Section, Skipped, locations
from mplus_cli.errors import LibraryDamaged, LibraryLocked, NotFound, UsageError
from mplus_cli.library import Library
from mplus_cli.library.facts import slugify

any_text = st.text(st.characters(exclude_categories=()), max_size=400)  # lone surrogates and NUL too


def exported(library: Library, folder: Path) -> bytes:
    file = folder / "export.mplus"
    library.export(file)
    data = file.read_bytes()
    file.unlink()
    return data


def test_a_new_library_is_empty_and_knows_its_model(library: Library) -> None:
    assert library.identity == identity()
    assert library.documents() == []
    assert library.shards() == []
    assert library.search("war") == []


def test_what_was_read_comes_back_after_reopening(library: Library) -> None:
    document = book()
    assert ingest(library, document)
    with Library.open(library.path) as again:
        assert again.document(document.id) == document
        record = again.record(document.id)
        assert (record.state, record.chunks_read, record.chunks) == ("read", 11, 11)
        assert (record.tokens, record.characters) == (110, len(document.text))
        assert memory_of(again) == expected_memory(document)
        assert [(c.start, c.end) for c in again.chunks(document.id)] == [(s.start, s.end) for s in spans(document)]


@settings(max_examples=40, deadline=None)
@given(title=any_text, text=any_text, label=any_text)
def test_any_text_comes_back_as_it_was(title: str, text: str, label: str) -> None:
    document = Document(
        title, title, "", "text", label, text, (Section(label, 1, 0, len(text)),), locations(text), "location", 1, 1
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        Library.create(Path(folder) / "library", identity()) as library,
    ):
        assert ingest(library, document)
        assert library.text(document.id) == text
        assert library.pages(document.id) == document.pages
        assert all(finding.ok for finding in library.verify())


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 5), max_size=8))
def test_interrupted_ingest_ends_with_the_same_bytes(cuts: list[int]) -> None:
    document = book()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Library.create(folder / "unbroken", identity()) as unbroken:
            ingest(unbroken, document)
            expected = exported(unbroken, folder)
        with Library.create(folder / "broken", identity()) as broken:
            for cut in cuts:
                ingest(broken, document, stop_after=cut)
            assert ingest(broken, document)
            assert memory_of(broken) == expected_memory(document)
            assert exported(broken, folder) == expected
            live = {shard.path.name for shard in broken.shards()}
            assert {path.name for path in (broken.path / "memory").iterdir()} == live
            assert not list((broken.path / "tails").iterdir())


def test_an_interruption_keeps_what_was_committed_and_tells_where_to_go_on(library: Library) -> None:
    document = book()
    ingest(library, document, stop_after=6)
    record = library.record(document.id)
    assert (record.state, record.chunks_read) == ("reading", 6)
    resume = begin(library, document)
    assert (resume.chunks_read, resume.open_first_chunk, resume.restarted) == (6, 4, "")
    first, tail = b"", b""
    for span in spans(document)[:6]:
        rows, tail = rows_of(document.text[span.start : span.end], tail)
        first += rows if span.number >= 4 else b""
    assert (resume.open_shard, resume.tail) == (first, tail)


def test_a_commit_at_the_end_of_a_shard_leaves_none_open(library: Library) -> None:
    document = book()
    ingest(library, document, stop_after=8)
    resume = begin(library, document)
    assert (resume.chunks_read, resume.open_first_chunk, resume.open_shard) == (8, 8, None)
    assert resume.tail is not None


def test_the_same_content_again_is_already_read(library: Library) -> None:
    document = book()
    ingest(library, document)
    resume = begin(library, book())
    assert resume.chunks_read == 11
    assert len(library.documents()) == 1


def test_a_document_cut_into_other_chunks_is_read_from_its_start(library: Library) -> None:
    document = book()
    ingest(library, document, stop_after=6)
    with library.writing() as writer:
        resume = writer.begin(document, spans(document, characters=55))
        assert (resume.chunks_read, resume.open_shard) == (0, None)
        assert "chunks" in resume.restarted
    assert library.record(document.id).chunks_read == 0
    assert all(finding.ok for finding in library.verify())


@pytest.mark.parametrize("damaged", ["tails", "memory"])
def test_a_damaged_tail_or_open_shard_starts_the_document_over(library: Library, damaged: str) -> None:
    document = book()
    ingest(library, document, stop_after=6)
    last = [shard.path for shard in library.shards()][-1]
    path = next((library.path / "tails").iterdir()) if damaged == "tails" else last
    path.write_bytes(b"x" + path.read_bytes()[1:])
    assert begin(library, document).restarted
    assert ingest(library, document)
    assert memory_of(library) == expected_memory(document)
    assert all(finding.ok for finding in library.verify())


def test_commits_must_be_aligned_and_in_order(library: Library) -> None:
    document = book()
    with library.writing() as writer:
        writer.begin(document, spans(document))
        for first, count in [(1, 3), (4, 4), (0, 5), (0, 0)]:
            with pytest.raises(AssertionError):
                writer.commit(document.id, first, count, b"rows", b"tail")
        writer.commit(document.id, 0, 2, b"rows", b"tail")
        for first, count, superseded in [(2, 2, None), (0, 1, None), (0, 4, "0" * 64)]:
            with pytest.raises(AssertionError):
                writer.commit(document.id, first, count, b"more", b"tail", superseded)
        with pytest.raises(AssertionError):
            writer.finish(document.id)
    assert library.record(document.id).chunks_read == 2


def test_a_tail_is_needed_until_the_last_chunk(library: Library) -> None:
    document = book(chunks=2)
    with library.writing() as writer:
        writer.begin(document, spans(document))
        with pytest.raises(AssertionError):
            writer.commit(document.id, 0, 1, b"rows", None)
        writer.commit(document.id, 0, 2, b"rows", b"of no use")
        writer.finish(document.id)
    assert not list((library.path / "tails").iterdir())


def test_an_abandoned_beginning_leaves_no_trace_but_committed_rows_stay(library: Library) -> None:
    begun, reading = book("Begun"), book("Reading")
    with library.writing() as writer:
        writer.begin(begun, spans(begun))
        assert writer.abandon(begun.id)
    ingest(library, reading, stop_after=4)
    with library.writing() as writer:
        assert not writer.abandon(reading.id)
    assert [record.title for record in library.documents()] == ["Reading"]


def test_documents_and_shards_come_in_reading_order(library: Library) -> None:
    books = [book(title, seed=title) for title in ("Zeno", "Adam", "Mia")]
    ingest(library, books[0], stop_after=3)
    for document in books[1:]:
        ingest(library, document)
    ingest(library, books[0])
    assert [record.title for record in library.documents()] == ["Zeno", "Adam", "Mia"]
    assert memory_of(library) == [shard for document in books for shard in expected_memory(document)]
    assert [s.document for s in library.shards([books[1].id])] == [books[1].id] * 3


def test_equal_beginnings_share_a_shard_that_lives_as_long_as_either(library: Library) -> None:
    first = book(text="the same opening words, again and again. " * 9)
    second = book(text=first.text + "And another ending, that was not there.")
    ingest(library, first)
    ingest(library, second)
    assert len(list((library.path / "memory").iterdir())) < len(library.shards())
    with library.writing() as writer:
        writer.forget(first.id)
    assert memory_of(library) == expected_memory(second)


def test_slugs_come_from_titles_and_are_unique(library: Library) -> None:
    for number in range(3):
        ingest(library, book("War & Peace!", seed=str(number)))
    assert [record.slug for record in library.documents()] == ["war-peace", "war-peace-2", "war-peace-3"]


@pytest.mark.parametrize(
    ("title", "slug"),
    [
        ("Émile Zola: L’Œuvre", "emile-zola-l-œuvre"),
        ("Война и мир", "война-и-мир"),
        ("", "document"),
        ("???", "document"),
    ],
)
def test_slugs_keep_the_letters_of_any_script(title: str, slug: str) -> None:
    assert slugify(title) == slug


@given(any_text)
def test_a_slug_of_a_slug_is_itself(title: str) -> None:
    slug = slugify(title)
    assert slugify(slug) == slug
    assert 0 < len(slug) <= 60


@pytest.mark.parametrize("query", ["war-and-peace", "War and Peace", "1", "war and", "PEACE", " war-and-peace "])
def test_a_document_is_found_by_what_people_call_it(library: Library, query: str) -> None:
    document = book("War and Peace")
    ingest(library, document)
    ingest(library, book("Emma"))
    assert library.find(query).id == document.id
    assert library.find(document.id[:6]).id == document.id


def test_what_is_not_found_is_answered_with_the_nearest(library: Library) -> None:
    ingest(library, book("War and Peace"))
    ingest(library, book("War of the Worlds"))
    with pytest.raises(NotFound, match="several") as several:
        library.find("war")
    assert "war-of-the-worlds" in several.value.message
    with pytest.raises(NotFound) as missing:
        library.find("war-and-peas")
    assert "war-and-peace" in missing.value.remedy
    with pytest.raises(NotFound):
        library.find("")
    with pytest.raises(NotFound):
        library.text("0" * 16)


def test_readers_see_the_last_committed_state_and_never_wait(library: Library) -> None:
    document = book()
    with library.writing() as writer, Library.open(library.path) as reader:
        assert reader.documents() == []
        writer.begin(document, spans(document))
        assert [record.chunks_read for record in reader.documents()] == [0]
        writer.commit(document.id, 0, 4, b"rows", b"tail")
        assert [record.chunks_read for record in reader.documents()] == [4]
        assert len(reader.shards()) == 1


def test_a_shard_superseded_while_it_is_opened_is_looked_up_again(library: Library) -> None:
    document = book()
    ingest(library, document, stop_after=2)
    stale: list[bytes] = []

    def open_slowly(shard: object) -> bytes:
        if not stale:
            stale.append(b"")
            with Library.open(library.path) as other:
                ingest(other, document)
        return shard.path.read_bytes()  # type: ignore[attr-defined]

    assert library.open_shards(open_slowly) == [data for *_, data in expected_memory(document)]


def test_one_writer_at_a_time_and_the_other_is_told_who(library: Library) -> None:
    with library.writing(), pytest.raises(LibraryLocked, match=r"process \d+ on "), library.writing():
        pass
    with library.writing():
        pass


def test_an_error_while_writing_frees_the_lock_and_keeps_the_committed(library: Library) -> None:
    document = book()

    def fail() -> None:
        with library.writing() as writer:
            writer.begin(document, spans(document))
            writer.commit(document.id, 0, 4, b"rows", b"tail")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with library.writing():
        assert library.record(document.id).chunks_read == 4


def test_a_library_is_not_made_over_something_else(library: Library, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        Library.create(library.path, identity())
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(UsageError):
        Library.create(file, identity())
    assert file.read_text() == "mine"


def test_another_model_is_refused_by_name(library: Library) -> None:
    library.require_model("f" * 64, "tiny")
    with pytest.raises(LibraryDamaged, match="tiny") as refused:
        library.require_model("0" * 64, "other")
    assert "other" in refused.value.message


def test_renaming_and_removing(library: Library) -> None:
    ingest(library, book())
    target = library.path.with_name("renamed")
    library.rename(target)
    with Library.open(target) as renamed:
        assert len(renamed.documents()) == 1
        renamed.remove()
    assert list(target.parent.iterdir()) == []
    with pytest.raises(NotFound):
        Library.open(target)


def test_a_library_is_neither_renamed_over_another_nor_removed_while_written(library: Library) -> None:
    with Library.create(library.path.with_name("other"), identity()) as other, pytest.raises(UsageError):
        other.rename(library.path)
    with library.writing(), Library.open(library.path) as reader, pytest.raises(LibraryLocked):
        reader.remove()
    assert library.path.is_dir()


def test_chunks_must_cover_the_text_in_order(library: Library) -> None:
    document = book()
    with library.writing() as writer:
        for bad in ([Span(0, 0, 10, 3)], [Span(0, 5, len(document.text), 3)], [Span(1, 0, len(document.text), 3)], []):
            with pytest.raises(AssertionError):
                writer.begin(document, bad)
    assert library.documents() == []


def test_pages_labels_and_metadata_survive(library: Library) -> None:
    text = "x" * 100
    pages = (Page(1, "iv", 0, 50), Page(2, "1", 50, 100))
    document = Document(
        "T", "A", "fr", "pdf", "t.pdf", text, (), pages, "label", 2, 3, (Skipped("page 3", "unreadable"),), ("odd",)
    )
    ingest(library, document)
    record = library.record(document.id)
    assert library.pages(document.id) == pages
    assert (record.page_kind, record.skipped, record.warnings) == ("label", document.skipped, document.warnings)


def test_opening_and_listing_is_fast_and_needs_no_torch(library: Library) -> None:
    for number in range(12):
        ingest(library, book(f"Book {number}", chunks=3))
    code = "import sys, mplus_cli.library; assert not {'torch', 'numpy', 'filelock'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])

    def seconds() -> float:
        start = time.perf_counter()
        with Library.open(library.path) as again:
            assert len(again.documents()) == 12
        return time.perf_counter() - start

    assert min(seconds() for _ in range(5)) < 0.05
