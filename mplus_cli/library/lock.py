"""One writer: a lock file, and beside it who holds it."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mplus_cli.errors import LibraryLocked, NotEnoughSpace
from mplus_cli.library.shards import blocks, remove_file, require_plain_file, write_privately

LOCK = "lock"
OWNER = "lock.owner"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a library's lock; raises LibraryLocked at once, naming the process and host that hold it.

    The lock is the operating system's: it ends with its process, however that ends. The owner file is only for people.
    """
    from filelock import FileLock, Timeout

    require_plain_file(folder / LOCK, missing_ok=True)
    require_plain_file(folder / OWNER, missing_ok=True)
    lock = FileLock(folder / LOCK, mode=0o600, blocking=False, preserve_lock_file=True)
    try:
        lock.acquire()
    except Timeout:
        raise LibraryLocked(f"{folder.name} is being written by {owner(folder)}.") from None
    try:
        with suppress(NotEnoughSpace):  # a name for people; a full disk must not keep anybody from removing a library
            write_privately(folder / OWNER, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())
        yield
    finally:
        remove_file(folder / OWNER)
        lock.release()


def owner(folder: Path) -> str:
    """Who holds the lock, in words."""
    try:
        record = json.loads(b"".join(blocks(folder / OWNER)))
        return f"process {int(record['pid'])} on {record['host']!s:.80}"
    except Exception:  # a name for people; whatever is wrong with it must not hide that the library is locked
        return "another process"
