"""Any sequence of operations keeps a library equal to a dictionary that is kept beside it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from library_fakes import book, expected_memory, identity, ingest, spans

from mplus_cli.library import Library

SHELF = [book(title, seed=title, chunks=size) for title, size in [("A", 3), ("A", 5), ("B", 9), ("C", 1)]]
SHELF[1] = book("A", seed="other", chunks=5)  # two books of one title


class LibraryMachine(RuleBasedStateMachine):
    """The model: chunks read of each document, in reading order."""

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.library = Library.create(self.folder / "library", identity())
        self.read: dict[str, int] = {}

    @rule(number=st.integers(0, 3), stop=st.integers(0, 9))
    def ingest(self, number: int, stop: int) -> None:
        document = SHELF[number]
        size = len(spans(document))
        finished = ingest(self.library, document, stop_after=stop)
        now = min(size, self.read.get(document.id, 0) + stop)
        assert finished == (now == size)
        self.read[document.id] = now

    @rule(number=st.integers(0, 3))
    def forget(self, number: int) -> None:
        if SHELF[number].id in self.read:
            with self.library.writing() as writer:
                assert writer.forget(SHELF[number].id).scrubbed
            del self.read[SHELF[number].id]

    @rule(number=st.integers(0, 3))
    def begin_and_abandon(self, number: int) -> None:
        document = SHELF[number]
        with self.library.writing() as writer:
            writer.begin(document, spans(document))
            removed = writer.abandon(document.id)
        assert removed == (self.read.get(document.id, 0) == 0)
        if removed:
            self.read.pop(document.id, None)

    @rule(number=st.integers(0, 3))
    def mark_unread(self, number: int) -> None:
        if SHELF[number].id in self.read:
            with self.library.writing() as writer:
                writer.mark_unread(SHELF[number].id)
            self.read[SHELF[number].id] = 0

    @rule()
    def collect(self) -> None:
        self.library.gc()

    @rule()
    def reopen(self) -> None:
        self.library.close()
        self.library = Library.open(self.folder / "library")

    @rule()
    def rebuild_the_index(self) -> None:
        with self.library.writing() as writer:
            writer.rebuild_search()

    @rule()
    def export_and_import(self) -> None:
        self.library.export(self.folder / "x.mplus")
        self.library.remove()
        self.library = Library.import_(self.folder / "x.mplus", self.folder / "library")
        (self.folder / "x.mplus").unlink()

    @invariant()
    def it_holds_what_was_read(self) -> None:
        records = self.library.documents()
        assert {record.id: record.chunks_read for record in records} == self.read
        assert [record.id for record in records] == list(self.read)
        assert len({record.slug for record in records}) == len(records)
        for record in records:
            document = next(document for document in SHELF if document.id == record.id)
            whole = b"".join(data for *_, data in expected_memory(document))
            held = b"".join(map(self.library.read_shard, self.library.shards([record.id])))
            assert held == whole[: 600 * record.chunks_read]
            found = {hit.chunk for hit in self.library.search(document.text, documents=[record.id], limit=99)}
            assert found <= set(range(record.chunks_read))
            assert self.library.text(record.id) == document.text

    @invariant()
    def it_verifies(self) -> None:
        assert [finding for finding in self.library.verify() if not finding.ok] == []

    def teardown(self) -> None:
        if hasattr(self, "library"):
            self.library.close()
            shutil.rmtree(self.folder)


LibraryMachine.TestCase.settings = settings(
    max_examples=12, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)
test_a_library_equals_its_model = LibraryMachine.TestCase
