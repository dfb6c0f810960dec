"""Library folders as a whole: made, checked, renamed and removed, so that each step is all or nothing."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mplus_cli.errors import LibraryDamaged, LibraryLocked, NotFound, UsageError
from mplus_cli.library import tables
from mplus_cli.library.catalog import FORMAT_VERSION, catalog_errors, connect, initialise, transaction
from mplus_cli.library.lock import OWNER, locked
from mplus_cli.library.records import ModelIdentity
from mplus_cli.library.shards import (
    disk_errors,
    private_folder,
    remove_file,
    require_folder,
    sync_folder,
    write_privately,
)

CATALOG = "catalog.sqlite"
MEMORY, TAILS = "memory", "tails"
LEFTOVERS = (".building-", ".removed-")
LEFTOVER_SECONDS = 60.0  # between a folder's birth and its lock; anything older without a lock has lost its process
README = f"""This folder is a library of mplus, a reading assistant with a latent memory. Format {FORMAT_VERSION}.

catalog.sqlite   documents, their texts, chapters, pages and chunks, and the names of the files below (SQLite)
memory/          what a model remembers of them; each file is named by the sha256 of its content and never changed
tails/           where the reading of an unfinished document goes on
lock             held while something is written

Do not change anything here by hand. `mplus library verify` checks every byte. Treat all of it as you treat the books:
the text stands in the catalogue, and the files in memory/ hold it in another form.
"""


def require_library(path: Path) -> None:
    """Refuse what is no library folder, and symbolic links where its own folders belong; NotFound, LibraryDamaged."""
    if not path.is_dir():
        raise NotFound(f"There is no library at {path}.", "`mplus library list` shows what there is.")
    if not os.path.lexists(path / CATALOG):
        raise LibraryDamaged(
            f"{path} is not an mplus library: it has no {CATALOG}.", "`mplus library list` shows what there is."
        )
    require_folder(path.resolve())
    require_folder(path / MEMORY)
    require_folder(path / TAILS)


def create_catalog(folder: Path, identity: ModelIdentity) -> None:
    """Fill an empty private folder with an empty library."""
    for part in (MEMORY, TAILS):
        (folder / part).mkdir(mode=0o700)
    write_privately(folder / "README", README.encode())
    os.close(os.open(folder / CATALOG, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    connection = connect(folder / CATALOG, writing=True)
    try:
        with catalog_errors(folder.name):
            initialise(connection)
            with transaction(connection):
                tables.write_identity(connection, identity)
    finally:
        connection.close()


@contextmanager
def building(path: Path) -> Iterator[Path]:
    """A private folder that becomes `path` when the block ends well and vanishes when it does not.

    Raises UsageError when something is at `path` already, NotEnoughSpace.
    """
    path = Path(path)
    _require_free(path)
    with disk_errors(path.name):
        private_folder(path.parent)
        sweep_leftovers(path.parent)
        scaffold = Path(tempfile.mkdtemp(prefix=LEFTOVERS[0], dir=path.parent))  # 0700, a name nobody can foresee
        try:
            with locked(scaffold):
                folder = scaffold / "library"  # one level down: no half-built library stands among the others
                folder.mkdir(mode=0o700)
                yield folder
                _move(folder, path)
        finally:
            shutil.rmtree(scaffold, ignore_errors=True)


def rename(path: Path, target: Path) -> None:
    """Give a library another name; raises UsageError when that is taken, LibraryLocked while somebody writes."""
    require_library(path)
    with locked(path):
        _move(path, target)
        remove_file(target / OWNER)


def remove(path: Path) -> None:
    """Delete a library with everything in it, damaged or not; LibraryLocked while somebody writes.

    A symbolic link to a library that lies elsewhere goes with its library.
    """
    if not path.is_dir() or not os.path.lexists(path / CATALOG):
        require_library(path)
    folder = path.resolve()
    with locked(folder):
        condemned = folder.with_name(LEFTOVERS[1] + secrets.token_hex(8))
        folder.rename(condemned)  # from here on it is gone for everybody, whatever happens to this process
        if path.is_symlink():
            path.unlink()
    shutil.rmtree(condemned)


def sweep_leftovers(parent: Path) -> None:
    """Delete what a killed create, import or remove left beside the libraries."""
    for path in parent.iterdir():
        if path.name.startswith(LEFTOVERS) and not path.is_symlink() and _is_dead(path):
            shutil.rmtree(path, ignore_errors=True)


def _is_dead(folder: Path) -> bool:
    if folder.name.startswith(LEFTOVERS[1]):
        return True
    try:
        if time.time() - folder.stat().st_mtime < LEFTOVER_SECONDS:
            return False
        with locked(folder):
            return True
    except (OSError, LibraryLocked, LibraryDamaged):
        return False


def _require_free(path: Path) -> None:
    if os.path.lexists(path):
        raise UsageError(f"{path} exists already.", "Choose another name, or remove the library first.")


def _move(folder: Path, target: Path) -> None:
    _require_free(target)
    try:
        folder.rename(target)
    except OSError as error:
        if os.path.lexists(target):
            _require_free(target)
        raise error
    sync_folder(target.parent)
