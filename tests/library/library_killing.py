"""Kills ingests of the fake model and checks what they leave. Run as a program, so that no test process is forked:

python tests/library/library_killing.py random 200    # kill -9 at 200 random moments
python tests/library/library_killing.py steps 1       # kill -9 before each file operation, or each third
python tests/library/library_killing.py forget        # the same while a document is forgotten
python tests/library/library_killing.py limit         # files may not grow beyond one size after another
python tests/library/library_killing.py crowd 2       # two writers and ten readers for two seconds
"""

from __future__ import annotations

import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

from library_fakes import book, expected_memory, identity, ingest, memory_of

from mplus_cli.errors import LibraryLocked, NotEnoughSpace
from mplus_cli.library import Library

BOOKS = [book("War and Peace", chunks=9), book("Emma", chunks=14)]
EXPECTED = [shard for document in BOOKS for shard in expected_memory(document)]
MEMORY_DISK = Path("/dev/shm")  # what a killed process wrote is kept there too, and fsync costs nothing
FILE_EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.link", "os.rmdir", "sqlite3.connect"}


def read_all(path: Path) -> None:
    """What is killed: two ingests, one of them with a deliberate interruption."""
    with Library.open(path) as library:
        ingest(library, BOOKS[0])
        ingest(library, BOOKS[1], stop_after=6)
        ingest(library, BOOKS[1])


def forget_first(path: Path) -> None:
    with Library.open(path) as library, library.writing() as writer:
        if library.documents()[0].id == BOOKS[0].id:
            writer.forget(BOOKS[0].id)


def in_child(work: Callable[[], None], wait: Callable[[int], None] = lambda pid: None) -> bool:
    """Run work in a forked process; True when it ended by itself, False when it was killed."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    wait(pid)
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the child failed"
    return not os.WIFSIGNALED(status)


def kill_before(step: int, folder: Path) -> None:
    """Let this process kill itself before its `step`-th file operation inside a folder."""
    left = step

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event in FILE_EVENTS and str(folder) in str(arguments[0]):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def check(path: Path) -> None:
    """After any crash: it opens, all that is committed is right, and it is a beginning of the whole."""
    with Library.open(path) as library:
        bad = [finding for finding in library.verify() if not finding.ok]
        assert not bad, bad
        for record in library.documents():
            document = next(document for document in BOOKS if document.id == record.id)
            whole = b"".join(data for *_, data in expected_memory(document))
            assert whole.startswith(b"".join(library.read_shard(shard) for shard in library.shards([record.id])))


def check_end(path: Path, folder: Path, unbroken: bytes) -> None:
    """After the resumed ingest: the same bytes as an unbroken one, and no file too many."""
    with Library.open(path) as library:
        assert memory_of(library) == EXPECTED
        library.export(folder / "x.mplus")
        assert (folder / "x.mplus").read_bytes() == unbroken
        assert {file.name for file in (path / "memory").iterdir()} == {shard.path.name for shard in library.shards()}
        assert not list((path / "tails").iterdir())
        (folder / "x.mplus").unlink()
        library.remove()


def create(folder: Path) -> Path:
    Library.create(folder / "library", identity()).close()
    return folder / "library"


def unbroken_export(folder: Path) -> tuple[bytes, float]:
    """The export of an unbroken ingest, and how long that took."""
    path, start = create(folder), time.perf_counter()
    in_child(lambda: read_all(path))
    seconds = time.perf_counter() - start
    with Library.open(path) as library:
        library.export(folder / "unbroken.mplus")
        library.remove()
    return (folder / "unbroken.mplus").read_bytes(), seconds


def kill_at_random(folder: Path, kills: int, seed: int = 1) -> None:
    unbroken, seconds = unbroken_export(folder)
    rng, done = random.Random(seed), 0

    def wait(pid: int) -> None:
        time.sleep(rng.random() * seconds)
        os.kill(pid, signal.SIGKILL)

    while done < kills:
        path = create(folder)
        work, of_this_one = partial(read_all, path), 0
        while done < kills and of_this_one < 12 and not in_child(work, wait):
            done, of_this_one = done + 1, of_this_one + 1
            check(path)
        assert in_child(work)
        check_end(path, folder, unbroken)
    print(f"{done} kills")


def kill_at_each_step(folder: Path, stride: int) -> None:
    unbroken, _ = unbroken_export(folder)
    step, ended = 1 - stride, False
    while not ended:
        step += stride
        path = create(folder)

        def work(path: Path = path, step: int = step) -> None:
            kill_before(step, path)
            read_all(path)

        ended = in_child(work)
        check(path)
        assert in_child(partial(read_all, path))
        check_end(path, folder, unbroken)
    print(f"{step // stride} kills")


def kill_while_forgetting(folder: Path) -> None:
    step, ended = 0, False
    needle = BOOKS[0].text[:20].encode()
    while not ended:
        step += 1
        path = create(folder)
        in_child(partial(read_all, path))

        def work(path: Path = path, step: int = step) -> None:
            kill_before(step, path)
            forget_first(path)

        ended = in_child(work)
        check(path)
        in_child(partial(forget_first, path))
        with Library.open(path) as library:
            library.gc()
            assert memory_of(library) == expected_memory(BOOKS[1])
            assert not any(needle in file.read_bytes() for file in path.rglob("*") if file.is_file())
            library.remove()
    print(f"{step - 1} kills")


def grow_no_further(folder: Path) -> None:
    """A stand-in for a full disk that needs no rights: the system refuses to let files grow (EFBIG)."""
    unbroken, _ = unbroken_export(folder)
    refusals = 0
    for limit in [1, 512, 2000, 5000, 20_000, 40_000, 70_000, 90_000, 120_000, 150_000, 1 << 20]:
        path = create(folder)

        def work(path: Path = path, limit: int = limit) -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            try:
                read_all(path)
            except NotEnoughSpace:
                os.kill(os.getpid(), signal.SIGKILL)  # tells the parent apart from success

        refusals += not in_child(work)
        check(path)
        assert in_child(partial(read_all, path))
        check_end(path, folder, unbroken)
    assert refusals >= 4, refusals
    print(f"{refusals} refusals")


def write_for(path: Path, seconds: float, seed: int) -> None:
    rng, end = random.Random(seed), time.monotonic() + seconds
    while time.monotonic() < end:
        document = rng.choice(BOOKS)
        try:
            with Library.open(path) as library:
                if rng.random() < 0.2:
                    with library.writing() as writer:
                        if any(record.id == document.id for record in library.documents()):
                            writer.forget(document.id)
                else:
                    ingest(library, document, stop_after=rng.randrange(1, 14))
        except LibraryLocked:
            time.sleep(0.002)


def read_for(path: Path, seconds: float, seed: int) -> None:
    rng, end, reads = random.Random(seed), time.monotonic() + seconds, 0
    whole = {document.id: b"".join(data for *_, data in expected_memory(document)) for document in BOOKS}
    while time.monotonic() < end:
        with Library.open(path) as library:
            document = rng.choice(BOOKS).id
            data = b"".join(library.open_shards(library.read_shard, [document]))
            assert whole[document].startswith(data), "a reader saw rows that were never written"
            assert len(data) in range(0, len(whole[document]) + 1, 600)
            reads += 1
    assert reads > 5, reads


def crowd(folder: Path, seconds: float) -> None:
    path = create(folder)
    jobs = [(write_for, seed) for seed in range(2)] + [(read_for, seed) for seed in range(10)]
    pids = []
    for job, seed in jobs:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                job(path, seconds, seed)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        pids.append(pid)
    codes = [os.waitpid(pid, 0)[1] for pid in pids]
    assert codes == [0] * len(codes), codes
    check(path)


if __name__ == "__main__":
    jobs: dict[str, Callable[[Path], None]] = {
        "random": lambda folder: kill_at_random(folder, int(sys.argv[2])),
        "steps": lambda folder: kill_at_each_step(folder, int(sys.argv[2])),
        "forget": kill_while_forgetting,
        "limit": grow_no_further,
        "crowd": lambda folder: crowd(folder, float(sys.argv[2])),
    }
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK if MEMORY_DISK.is_dir() else None) as name:
        jobs[sys.argv[1]](Path(name))
