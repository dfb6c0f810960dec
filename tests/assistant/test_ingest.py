"""Reading books into memory: what is kept, what a stop leaves, what a second reading finds."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mplus_cli.assistant import ingest as room
from mplus_cli.errors import Interrupted, LibraryDamaged
from mplus_cli.events import ChunkRead, IngestDone, IngestOptions, Opened
from mplus_cli.library.library import Library
from tests.assistant import world
from tests.assistant.world import exported, live_shards

ROOT = Path(__file__).parents[2]


def test_a_book_is_read_whole_and_reported(home, model, novel):
    events = world.read_into("novels", world.settings(model), novel)
    done = events[-1]
    assert isinstance(done, IngestDone)
    report = done.documents[0]
    assert (report.status, report.pages_read) == ("read", report.pages_total)
    chunks = [event for event in events if isinstance(event, ChunkRead)]
    assert [event.chunk for event in chunks] == list(range(1, report.chunks + 1))
    with Library.open(home / "libraries/novels") as library:
        text = library.text(report.id)
        assert "".join(text[chunk.start : chunk.end] for chunk in library.chunks(report.id)) == text
        assert sum(shard.chunk_count for shard in library.shards()) == report.chunks


def test_the_same_content_again_is_already_read_and_loads_no_model(home, model, novel, tmp_path):
    world.read_into("novels", world.settings(model), novel)
    before = exported(home, "novels")
    copy = tmp_path / "other-name.md"
    copy.write_text(novel.read_text("utf-8"), encoding="utf-8")
    *_, done = world.read_into("novels", world.settings(model), copy)
    assert done.documents[0].status == "already-read"
    assert exported(home, "novels") == before


def test_a_file_that_cannot_be_read_is_reported_and_the_others_are_read(home, model, novel, tmp_path):
    empty = tmp_path / "empty.txt"
    empty.write_bytes(b"")
    *_, done = world.read_into("novels", world.settings(model), empty, tmp_path / "missing.txt", novel)
    assert [report.status for report in done.documents] == ["refused", "refused", "read"]
    assert all(report.reason for report in done.documents[:2])


def test_a_dry_run_writes_nothing(home, model, novel):
    *_, done = world.read_into("novels", world.settings(model), novel, dry_run=True)
    assert done.documents[0].chunks > 0
    assert not (home / "libraries/novels").exists()


@pytest.mark.parametrize("stop_at", [1, 7, 20])
def test_an_interrupted_ingest_ends_with_the_same_bytes(home, model, novel, stop_at, monkeypatch):
    monkeypatch.setattr("model.row_sizes.MOST_CHUNKS_PER_SHARD", 8)
    chosen = world.settings(model)
    world.read_into("unbroken", chosen, novel)
    opened = world.interrupted_and_resumed("broken", chosen, novel, stop_at)
    assert (opened.status, opened.chunks_read) == ("resumed", stop_at)
    assert live_shards(home, "broken") == live_shards(home, "unbroken")
    assert exported(home, "broken") == exported(home, "unbroken")


def test_a_stop_before_the_first_chunk_leaves_no_document(home, model, novel):
    with pytest.raises(Interrupted):  # noqa: PT012
        for event in room.ingest([str(novel)], "early", world.settings(model), IngestOptions()):
            if isinstance(event, Opened):
                os.kill(os.getpid(), signal.SIGINT)
    with Library.open(home / "libraries/early") as library:
        assert library.documents() == []


def test_an_interrupt_says_what_is_kept_with_thousands_apart(home, model, tmp_path):
    long = tmp_path / "long.txt"
    long.write_text("one two three four five six seven eight. " * 1500, encoding="utf-8")
    with pytest.raises(Interrupted, match=r"long: 0 of \d,\d{3} chunks kept\."):  # noqa: PT012
        for event in room.ingest([str(long)], "long", world.settings(model), IngestOptions()):
            if isinstance(event, Opened):
                os.kill(os.getpid(), signal.SIGINT)


def test_books_are_independent_of_what_was_read_before_them(home, model, tmp_path):
    files = []
    for seed in range(2):
        files.append(tmp_path / f"book{seed}.md")
        files[-1].write_text(world.book(seed=seed), encoding="utf-8")
    chosen = world.settings(model)
    world.read_into("both", chosen, *files)
    world.read_into("second", chosen, files[1])
    assert set(live_shards(home, "second")) < set(live_shards(home, "both"))


def test_a_library_refuses_the_rows_of_another_model(home, model, novel, tmp_path):
    world.read_into("novels", world.settings(model), novel)
    other = world.make_model(tmp_path / "other", seed=1)
    second = tmp_path / "second.md"
    second.write_text(world.book(seed=5), encoding="utf-8")
    with pytest.raises(LibraryDamaged, match="read by the model tiny"):
        world.read_into("novels", world.settings(other), second)


def check_kills(home: Path, model: Path, tmp_path: Path, kills: int) -> None:
    novel = tmp_path / "long.md"
    novel.write_text(world.book(40), encoding="utf-8")
    environment = os.environ | {"MPLUS_HOME": str(home), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.assistant.killing", str(model), str(novel), str(kills)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{kills} kills, ")


def test_a_killed_ingest_resumes_to_the_same_bytes(home, model, tmp_path):
    check_kills(home, model, tmp_path, 5)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_hundred_kills_at_random_moments(home, model, tmp_path):
    check_kills(home, model, tmp_path, 200)


def test_the_rate_of_an_ingest_counts_reading_and_not_loading(home, model, novel, monkeypatch):
    loaded = room.load_engine

    def slowly(*arguments):
        time.sleep(0.6)
        return loaded(*arguments)

    monkeypatch.setattr(room, "load_engine", slowly)
    *events, done = world.read_into("novels", world.settings(model), novel)
    last = [event for event in events if isinstance(event, ChunkRead)][-1]
    tokens = done.documents[0].tokens
    assert done.tokens_per_second > 1.2 * tokens / done.seconds
    assert done.tokens_per_second <= last.tokens_per_second * 1.01
