"""Write-once files named by their sha256, and the care that files of a library need.

Everything a library writes outside SQLite goes through `store` (temporary file, fsync, rename, fsync of the folder) or
`write_privately`. Files are 0600, folders 0700 whatever the umask; no symbolic link inside a library is followed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mplus_cli.errors import LibraryDamaged, NotEnoughSpace
from mplus_cli.library.records import SHARD_SUFFIX

Write = Callable[[int, bytes], int]  # os.write, or a disk that fills up
SHARD_NAME = re.compile(r"[0-9a-f]{64}" + re.escape(SHARD_SUFFIX))
TEMPORARY_SUFFIX = ".tmp"
READ_BLOCK = 1 << 20
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)  # a pipe in a file's place must not be waited for
_NO_SPACE = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


@contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Turn a full or failing disk into NotEnoughSpace; whatever was committed before stays as it was."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise NotEnoughSpace(
                f"There is no space left to write {what}; what was committed before is kept."
            ) from error
        if error.errno == errno.EIO:
            raise NotEnoughSpace(
                f"The disk reports an error while writing {what}; what was committed before is kept.",
                "Check the disk, or move the library to another one.",
            ) from error
        raise


def private_folder(path: Path) -> Path:
    """Make a folder and its missing parents, readable by their owner only; returns the path."""
    for folder in [*reversed(path.parents), path]:
        if not folder.exists():
            with suppress(FileExistsError):
                folder.mkdir(mode=0o700)
    return path


def require_folder(path: Path) -> None:
    """Refuse a folder inside a library that is missing, a symbolic link, or another person's; LibraryDamaged."""
    status = _status(path)
    if status is None or not stat.S_ISDIR(status.st_mode):
        raise LibraryDamaged(f"{path} is {'missing' if status is None else 'not a plain folder'}.")
    _require_owner(path, status)


def require_plain_file(path: Path, missing_ok: bool = False) -> None:
    """Refuse a symbolic link, a device or another person's file where a library's own file belongs; LibraryDamaged."""
    status = _status(path)
    if status is None:
        if missing_ok:
            return
        raise LibraryDamaged(f"{path} is missing.")
    if not stat.S_ISREG(status.st_mode):
        raise LibraryDamaged(f"{path} is not a plain file.", "Remove it by hand after looking where it points.")
    _require_owner(path, status)


def read_named(path: Path, sha256: str) -> bytes:
    """The bytes of a file that is named by its sha256; raises LibraryDamaged when missing or changed."""
    data = b"".join(blocks(path))
    if hashlib.sha256(data).hexdigest() != sha256:
        raise LibraryDamaged(f"{path.name} does not hold what its name says.")
    return data


def digest(path: Path) -> tuple[str, int]:
    """The sha256 and size in bytes of a plain file, read block by block; raises LibraryDamaged when missing."""
    hasher, size = hashlib.sha256(), 0
    for block in blocks(path):
        hasher.update(block)
        size += len(block)
    return hasher.hexdigest(), size


def blocks(path: Path) -> Iterator[bytes]:
    """The bytes of a plain file in blocks; symbolic links are not followed; raises LibraryDamaged when missing."""
    try:
        descriptor = os.open(path, os.O_RDONLY | _NOFOLLOW | _NONBLOCK | _CLOEXEC)
    except FileNotFoundError:
        raise LibraryDamaged(f"{path.name} is missing.") from None
    except OSError as error:
        raise LibraryDamaged(f"{path.name} cannot be opened: {error.strerror}.") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise LibraryDamaged(f"{path.name} is not a plain file.")
        while block := os.read(descriptor, READ_BLOCK):
            yield block
    except OSError as error:
        raise LibraryDamaged(f"{path.name} cannot be read: {error.strerror}.") from error
    finally:
        os.close(descriptor)


def store(folder: Path, data: bytes, write: Write = os.write) -> str:
    """Keep bytes under their sha256 in a folder, durably; returns the sha256.

    A file of that name that already holds these bytes is left alone; a damaged one is replaced. Raises NotEnoughSpace.
    """
    sha256 = hashlib.sha256(data).hexdigest()
    target = folder / (sha256 + SHARD_SUFFIX)
    if not _holds(target, data):
        write_privately(target, data, write)
    return sha256


def write_privately(target: Path, data: bytes, write: Write = os.write) -> None:
    """Replace a file by these bytes; a crash leaves the old one or the new one, never a part. Raises NotEnoughSpace."""
    with disk_errors(target.name):
        descriptor, temporary = tempfile.mkstemp(suffix=TEMPORARY_SUFFIX, dir=target.parent)  # 0600, O_EXCL
        try:
            try:
                _write_all(descriptor, data, write)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.replace(temporary, target)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable (where folders can be opened)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY | _CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def shard_files(folder: Path) -> list[Path]:
    """The files of a folder that are named as shards are, sorted."""
    return sorted(path for path in folder.iterdir() if SHARD_NAME.fullmatch(path.name))


def sweep_temporary(folders: Iterable[Path]) -> int:
    """Remove temporary files that a crash left; only the one writer may; returns the bytes freed."""
    return sum(remove_file(path) for folder in folders for path in folder.glob("*" + TEMPORARY_SUFFIX))


def sweep(folder: Path, keep: set[str]) -> int:
    """Remove the shards of a folder whose sha256 is not in `keep`; returns the bytes freed."""
    return sum(remove_file(path) for path in shard_files(folder) if path.name.removesuffix(SHARD_SUFFIX) not in keep)


def remove_file(path: Path) -> int:
    """Remove one file (a symbolic link itself, not its target); returns the bytes freed, 0 when it was gone."""
    try:
        size = path.lstat().st_size
        path.unlink()
    except FileNotFoundError:
        return 0
    return size


def _write_all(descriptor: int, data: bytes, write: Write) -> None:
    view = memoryview(data)
    while view:
        written = write(descriptor, bytes(view[:READ_BLOCK]))
        view = view[written:]


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.lstat().st_size == len(data) and b"".join(blocks(path)) == data
    except (FileNotFoundError, LibraryDamaged):
        return False


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def _require_owner(path: Path, status: os.stat_result) -> None:
    """Root may read what others own (containers map users); everybody else only what is theirs."""
    user = os.geteuid() if hasattr(os, "geteuid") else 0
    if user not in (0, status.st_uid):
        raise LibraryDamaged(f"{path} belongs to another user.", "Copy the library, or export and import it.")
