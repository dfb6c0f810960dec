"""Whatever kills an ingest, the library opens, holds what was committed, and ends with the same bytes."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from library_fakes import begin, book, expected_memory, identity, ingest, memory_of

from mplus_cli.errors import NotEnoughSpace
from mplus_cli.library import Library

PROGRAM = Path(__file__).with_name("library_killing.py")


def run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(PROGRAM), *arguments],
        env=os.environ | {"PYTHONPATH": str(PROGRAM.parents[2])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_killed_at_random_moments_an_ingest_ends_with_the_same_bytes() -> None:
    assert run("random", "20") == "20 kills\n"


@pytest.mark.slow
def test_killed_at_two_hundred_random_moments_an_ingest_ends_with_the_same_bytes() -> None:
    assert run("random", "200") == "200 kills\n"


def test_killed_before_any_third_file_operation_an_ingest_ends_with_the_same_bytes() -> None:
    assert run("steps", "3")


@pytest.mark.slow
def test_killed_before_every_file_operation_an_ingest_ends_with_the_same_bytes() -> None:
    assert run("steps", "1")


def test_killed_while_forgetting_nothing_is_left_in_the_end() -> None:
    assert run("forget")


def test_files_that_may_not_grow_leave_the_old_state() -> None:
    assert run("limit")


def test_two_writers_and_ten_readers_never_see_a_wrong_row() -> None:
    run("crowd", "2")


@pytest.mark.slow
def test_two_writers_and_ten_readers_for_a_minute() -> None:
    run("crowd", "60")


class FullDisk:
    """Writes like the system until `after` writes, then half of one, then says why not."""

    def __init__(self, after: int, code: int = errno.ENOSPC) -> None:
        self.left = after
        self.code = code

    def __call__(self, descriptor: int, data: bytes) -> int:
        self.left -= 1
        if self.left < -1:
            raise OSError(self.code, os.strerror(self.code))
        return os.write(descriptor, data if self.left >= 0 else data[: len(data) // 2])


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("after", range(6))
def test_a_full_disk_is_said_in_words_and_the_old_state_stays(tmp_path: Path, after: int, code: int) -> None:
    document, path = book(), tmp_path / "library"
    Library.create(path, identity()).close()
    with Library.open(path, write=FullDisk(after, code)) as full:
        if after < 5:
            with pytest.raises(NotEnoughSpace, match="committed before is kept"):
                ingest(full, document)
        else:
            ingest(full, document)
    with Library.open(path) as library:
        assert all(finding.ok for finding in library.verify())
        assert not list(path.rglob("*.tmp"))
        assert memory_of(library) == expected_memory(document)[: (0, 0, 1, 1, 2, 3)[after]]
        ingest(library, document)
        assert memory_of(library) == expected_memory(document)


def test_a_write_that_takes_only_a_part_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "library"
    Library.create(path, identity()).close()
    with Library.open(path, write=lambda descriptor, data: os.write(descriptor, data[:7])) as library:
        ingest(library, book())
        assert memory_of(library) == expected_memory(book())


def test_the_next_writer_removes_what_a_crash_left(library: Library) -> None:
    document = book()
    ingest(library, document, stop_after=5)
    for part, name in [("memory", "a.tmp"), ("tails", "b.tmp"), (".", "c.tmp"), ("tails", "2" * 64 + ".safetensors")]:
        (library.path / part / name).write_bytes(b"left behind")
    stray = library.path / "memory" / ("3" * 64 + ".safetensors")
    stray.write_bytes(b"a shard whose transaction never came")
    begin(library, document)
    assert not list(library.path.rglob("*.tmp"))
    assert len(list((library.path / "tails").iterdir())) == 1
    ingest(library, document)
    assert not stray.exists()


def test_a_killed_create_or_remove_leaves_no_library_and_is_swept_up(tmp_path: Path) -> None:
    for name in (".building-abc", ".removed-abc"):
        (tmp_path / name / "library").mkdir(parents=True)
        os.utime(tmp_path / name, (0, 0))
    (tmp_path / ".building-fresh").mkdir()
    Library.create(tmp_path / "novels", identity()).close()
    assert {path.name for path in tmp_path.iterdir()} == {"novels", ".building-fresh"}
