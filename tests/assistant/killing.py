"""kill -9 at random moments of a real ingest: python -m tests.assistant.killing MODEL NOVEL KILLS, with MPLUS_HOME set.

Each ingest is a process of its own, forked from this one, which has imported everything before: what is killed is
reading and writing, not the import of torch. After every kill the library must open and verify. A process that ends
before its kill must leave the bytes of an unbroken ingest; then the library is taken away and the next begins anew.
"""

import os
import random
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path

import model.row_sizes as row_sizes
from mplus_cli.library.library import Library
from mplus_cli.settings import places
from tests.assistant import world


def forked_ingest(name: str, model: Path, novel: Path) -> int:
    """Start an ingest in a process of its own; its number."""
    child = os.fork()
    if child:
        return child
    try:
        world.read_into(name, world.settings(model), novel)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def killed_after(child: int, seconds: float) -> bool:
    """Kill a process after some time; whether it was still at work. A process that failed by itself is our mistake."""
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0, "the ingest failed"
    return os.WIFSIGNALED(status)


def result(name: str) -> tuple[list[str], bytes]:
    """Live shards and export of a library."""
    home = places().libraries.parent
    return world.live_shards(home, name), world.exported(home, name)


def check(folder: Path) -> None:
    """A library that a kill left opens and verifies."""
    if folder.exists():
        with Library.open(folder) as library:
            assert all(finding.ok or finding.kind == "orphan" for finding in library.verify())


def main() -> None:
    model, novel, kills = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    row_sizes.MOST_CHUNKS_PER_SHARD = 4
    begun = time.monotonic()
    os.waitpid(forked_ingest("unbroken", model, novel), 0)
    whole, unbroken = time.monotonic() - begun, result("unbroken")
    rng, hits, finished = random.Random(0), 0, 0
    while hits < kills:
        if killed_after(forked_ingest("killed", model, novel), rng.uniform(0, 0.6 * whole)):
            hits += 1
            check(places().libraries / "killed")
        else:
            finished += 1
            assert result("killed") == unbroken
            shutil.rmtree(places().libraries / "killed")
    os.waitpid(forked_ingest("killed", model, novel), 0)
    assert result("killed") == unbroken
    print(f"{hits} kills, {finished + 1} ingests finished with the same bytes")


if __name__ == "__main__":
    main()
