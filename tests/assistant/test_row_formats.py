"""A library keeps its rows in one format, and does in each of them what a library does."""

import os
from dataclasses import replace

import pytest

from model.row_sizes import DEFAULT, FORMATS
from mplus_cli import models, planner
from mplus_cli.assistant import engine as room
from mplus_cli.documents.read import read
from mplus_cli.errors import LibraryDamaged, UsageError
from mplus_cli.library.library import Library
from mplus_cli.main import execute
from mplus_cli.settings import MEMORY_DTYPES
from tests.assistant import world
from tests.assistant.test_plain import make_llama
from tests.assistant.world import exported, live_shards

EVERY = pytest.mark.parametrize("row_format", FORMATS)


def asked_for(model, row_format):
    """The settings of a command line that says --memory-dtype."""
    return world.settings(model, memory_dtype=row_format, origins={"memory_dtype": "flag"})


def test_settings_name_the_formats_that_there_are():
    assert set(MEMORY_DTYPES) == {"auto", *FORMATS}


@EVERY
def test_an_interrupted_ingest_ends_with_the_same_bytes(home, model, novel, row_format, monkeypatch):
    monkeypatch.setattr("model.row_sizes.MOST_CHUNKS_PER_SHARD", 8)
    chosen = asked_for(model, row_format)
    world.read_into("unbroken", chosen, novel)
    opened = world.interrupted_and_resumed("broken", chosen, novel, 7)
    assert (opened.status, opened.chunks_read) == ("resumed", 7)
    assert live_shards(home, "broken") == live_shards(home, "unbroken")
    assert exported(home, "broken") == exported(home, "unbroken")


@EVERY
def test_rows_take_the_bytes_that_were_planned(home, model, novel, row_format):
    world.read_into("novels", asked_for(model, row_format), novel)
    found = planner.plan(read(novel), models.describe(model), {}, memory_dtype=row_format)
    with Library.open(home / "libraries/novels") as library:
        shards, identity = library.shards(), library.identity
        heads = [8 + int.from_bytes(shard.path.read_bytes()[:8], "little") for shard in shards]
    written = sum(shard.bytes for shard in shards) - sum(heads)
    assert written == found.bytes["rows"] + found.bytes["keys"] == identity.bytes_per_chunk * found.chunks
    assert (identity.row_format, found.row_format) == (row_format, row_format)


@EVERY
def test_a_library_is_asked_moved_verified_and_forgotten_in_its_format(home, model, tmp_path, row_format):
    files = [tmp_path / f"book{seed}.md" for seed in range(2)]
    for seed, file in enumerate(files):
        file.write_text(world.book(seed=seed), encoding="utf-8")
    chosen = asked_for(model, row_format)
    world.read_into("both", chosen, *files)
    world.read_into("second", chosen, files[1])
    exported(home, "both")
    Library.import_(home / "both.mplus", home / "libraries/moved").close()
    with Library.open(home / "libraries/moved") as library, library.writing() as writer:
        assert all(finding.ok for finding in library.verify())
        writer.forget(library.documents()[0].id)
    with Library.open(home / "libraries/moved") as library:
        library.gc()
        assert all(finding.ok for finding in library.verify())
    assert live_shards(home, "moved") == live_shards(home, "second")
    question = "Where does Anna live?"
    assert world.answer("moved", chosen, question).sources == world.answer("second", chosen, question).sources


def test_every_format_finds_the_same_sources(home, model, novel):
    found = {}
    for row_format in FORMATS:
        world.read_into(row_format, asked_for(model, row_format), novel)
        answer = world.answer(row_format, world.settings(model), "Where does Anna live?")
        found[row_format] = [source.quote for source in answer.sources][:1]
    assert len(set(map(tuple, found.values()))) == 1


def test_a_library_stays_in_its_format(home, model, novel, tmp_path):
    world.read_into("novels", asked_for(model, "int8"), novel)
    before = exported(home, "novels")
    second = tmp_path / "second.md"
    second.write_text(world.book(seed=5), encoding="utf-8")
    with pytest.raises(UsageError, match="keeps its rows in int8, not in bf16"):
        world.read_into("novels", asked_for(model, "bf16"), second)
    assert exported(home, "novels") == before
    world.read_into("novels", world.settings(model, memory_dtype="bf16"), second)  # a setting is for new libraries
    with Library.open(home / "libraries/novels") as library:
        assert library.identity.row_format == "int8"
        assert all(b'"row_format":"int8"' in library.read_shard(shard)[:600] for shard in library.shards())


def test_the_refusal_is_one_line_with_a_remedy_before_anything_is_read(home, model, novel, capsys):
    world.read_into("novels", asked_for(model, "int8"), novel)
    line = ["ingest", "missing.epub", "--library", "novels", "--model", str(model), "--memory-dtype", "int4"]
    assert execute(line) == UsageError.exit_code
    assert "Leave --memory-dtype out" in capsys.readouterr().err


def test_a_new_library_takes_the_default(home, model, novel):
    world.read_into("novels", world.settings(model), novel)
    with Library.open(home / "libraries/novels") as library:
        assert library.identity.row_format == DEFAULT


def test_a_llama_without_memory_training_keeps_bf16(home, tmp_path, novel):
    llama = make_llama(tmp_path / "llama")
    with pytest.raises(UsageError, match="bf16"):
        world.read_into("novels", asked_for(llama, "int4"), novel)
    assert not os.path.exists(home / "libraries/novels")
    world.read_into("novels", world.settings(llama), novel)
    with Library.open(home / "libraries/novels") as library:
        assert library.identity.row_format == "bf16"


def test_a_format_of_tomorrow_is_refused_and_says_so(home, model, novel):
    world.read_into("novels", world.settings(model), novel)
    engine = room.load_engine(world.settings(model), "read")
    with Library.open(home / "libraries/novels") as library:
        library.identity = replace(library.identity, row_format="int3")
        with pytest.raises(LibraryDamaged, match="int3"):
            room.require_rows(library, engine)
