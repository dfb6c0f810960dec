"""Forgetting is exact: nothing of a document is left, and the rest is as if it had never been there."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

from library_fakes import book, expected_memory, identity, ingest, memory_of

from mplus_cli.documents.document import Document
from mplus_cli.library import Library

SECRET = "quintessentially-xylophonic"


def secret_book(chunks: int = 40) -> Document:
    return book("Secret Annals", text=" ".join(f"{SECRET}{number:04d}" for number in range(chunks)))


def traces(folder: Path, *needles: str) -> list[str]:
    """Files of a folder that hold one of the words, in any case and in the encodings that SQLite knows."""
    found = []
    for path in folder.rglob("*"):
        data = path.read_bytes().lower() if path.is_file() else b""
        found += [
            f"{path.name}: {word}" for word in needles for code in ("utf-8", "utf-16-le") if word.encode(code) in data
        ]
    return found


def forget(library: Library, document: Document) -> bool:
    with library.writing() as writer:
        forgotten = writer.forget(document.id)
        assert forgotten.freed_bytes > 0
        return forgotten.scrubbed


def test_the_text_can_be_found_before_and_not_after(library: Library) -> None:
    kept, secret = book(), secret_book()
    ingest(library, kept)
    ingest(library, secret)
    library.close()
    assert traces(library.path, "quintessential", "secret annals", "secret-annals", secret.id)
    with Library.open(library.path) as again:
        assert forget(again, secret)
        assert traces(library.path, "quintessential", "xylophon", "secret annals", "secret-annals", secret.id) == []
        assert memory_of(again) == expected_memory(kept)
        assert {path.stem for path in (library.path / "memory").iterdir()} == {s.sha256 for s in again.shards()}
        assert again.search("quintessentially") == []
        assert all(finding.ok for finding in again.verify())


def test_an_unfinished_document_is_forgotten_with_its_tail(library: Library) -> None:
    secret = secret_book()
    ingest(library, secret, stop_after=7)
    assert forget(library, secret)
    assert traces(library.path, "quintessential", secret.id) == []
    assert not list((library.path / "tails").iterdir())
    assert not list((library.path / "memory").iterdir())


def test_no_word_is_left_in_the_index(library: Library) -> None:
    ingest(library, book())
    words = index_words(library.path)
    ingest(library, secret_book())
    forget(library, secret_book())
    assert index_words(library.path) == words


def index_words(path: Path) -> list[tuple[object, ...]]:
    with sqlite3.connect(path / "catalog.sqlite") as connection:
        connection.execute("CREATE VIRTUAL TABLE temp.words USING fts5vocab (main, passages, row)")
        return connection.execute("SELECT * FROM temp.words").fetchall()


def test_the_rest_is_as_if_it_had_never_been_read(library: Library, tmp_path: Path) -> None:
    first, second, third = (book(title, seed=title) for title in ("Emma", "Middlemarch", "Ulysses"))
    for document in (first, second, third):
        ingest(library, document)
    forget(library, second)
    library.export(tmp_path / "with.mplus")
    with Library.create(tmp_path / "never", identity()) as never:
        ingest(never, first)
        ingest(never, third)
        never.export(tmp_path / "without.mplus")
    assert (tmp_path / "with.mplus").read_bytes() == (tmp_path / "without.mplus").read_bytes()


def test_what_a_reader_holds_open_is_scrubbed_by_the_next_writer(library: Library) -> None:
    secret = secret_book()
    ingest(library, secret)
    reader = sqlite3.connect(f"file:{library.path / 'catalog.sqlite'}?mode=ro", uri=True)
    reader.execute("BEGIN")
    reader.execute("SELECT COUNT(*) FROM documents").fetchone()
    assert not forget(library, secret)
    reader.close()
    library.gc()
    assert traces(library.path, "quintessential", secret.id) == []


def test_a_document_can_be_forgotten_while_others_are_asked(library: Library) -> None:
    kept, secret = book(), secret_book()
    ingest(library, kept)
    ingest(library, secret)
    stop, failures = threading.Event(), []

    def ask() -> None:
        with Library.open(library.path) as reader:
            while not stop.is_set():
                if memory_of_document(reader, kept.id) != expected_memory(kept):
                    failures.append("wrong rows")

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        forget(library, secret)
    finally:
        stop.set()
        thread.join()
    assert failures == []


def memory_of_document(library: Library, document: str) -> list[tuple[str, int, int, bytes]]:
    return [(s.document, s.first_chunk, s.chunk_count, library.read_shard(s)) for s in library.shards([document])]


def test_a_forgotten_document_can_be_read_again(library: Library) -> None:
    ingest(library, secret_book())
    forget(library, secret_book())
    assert ingest(library, secret_book())
    assert memory_of(library) == expected_memory(secret_book())


def test_an_emptied_library_is_sound(library: Library) -> None:
    ingest(library, secret_book())
    forget(library, secret_book())
    assert [finding for finding in library.verify() if not finding.ok] == []


def test_gc_removes_what_no_row_names_and_nothing_else(library: Library) -> None:
    document = book()
    ingest(library, document)
    (library.path / "memory" / ("0" * 64 + ".safetensors")).write_bytes(b"orphan" * 1000)
    (library.path / "tails" / ("1" * 64 + ".safetensors")).write_bytes(b"orphan")
    (library.path / "memory" / "x.tmp").write_bytes(b"orphan")
    assert library.gc() >= 6000
    assert {path.stem for path in (library.path / "memory").iterdir()} == {s.sha256 for s in library.shards()}
    assert memory_of(library) == expected_memory(document)
