"""The catalogue's file: connections, numbered migrations, and its errors in words.

`PRAGMA user_version` is the format number of a library. MIGRATIONS[n] leads from version n to n + 1; a migration is
never changed after a release, only followed by another.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from mplus_cli.errors import LibraryDamaged, LibraryLocked, MplusError, NotEnoughSpace
from mplus_cli.library.shards import require_plain_file

APPLICATION_ID = 0x4D504C53  # "MPLS", so that `file catalog.sqlite` can tell
BUSY_SECONDS = 20.0  # a writer's transaction and a checkpoint take milliseconds; a slow disk gets longer
NO_SPACE = ("SQLITE_FULL", *(f"SQLITE_IOERR_{what}" for what in ("WRITE", "FSYNC", "TRUNCATE", "SHM")))
NOT_WRITABLE = ("SQLITE_CANTOPEN", "SQLITE_READONLY")
NEWER = "Install the newest mplus; this library was written by a later version."

FIRST = """
CREATE TABLE library (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE documents (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    slug TEXT NOT NULL UNIQUE,
    title TEXT NOT NULL,
    author TEXT NOT NULL,
    language TEXT NOT NULL,
    format TEXT NOT NULL,
    source TEXT NOT NULL,
    characters INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    chunks INTEGER NOT NULL CHECK (chunks > 0),
    chunks_read INTEGER NOT NULL DEFAULT 0 CHECK (chunks_read BETWEEN 0 AND chunks),
    pages_read INTEGER NOT NULL,
    pages_total INTEGER NOT NULL,
    page_kind TEXT NOT NULL,
    skipped TEXT NOT NULL,
    warnings TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'reading' CHECK (state IN ('reading', 'read')),
    tail TEXT,
    checksum TEXT NOT NULL,
    added_at TEXT NOT NULL
);

CREATE TABLE texts (
    document INTEGER PRIMARY KEY REFERENCES documents (number) ON DELETE CASCADE,
    text BLOB NOT NULL
);

CREATE TABLE sections (
    document INTEGER NOT NULL REFERENCES documents (number) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    title TEXT NOT NULL,
    level INTEGER NOT NULL,
    start INTEGER NOT NULL,
    end INTEGER NOT NULL,
    PRIMARY KEY (document, position)
) WITHOUT ROWID;

CREATE TABLE pages (
    document INTEGER NOT NULL REFERENCES documents (number) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    number INTEGER NOT NULL,
    label TEXT NOT NULL,
    start INTEGER NOT NULL,
    end INTEGER NOT NULL,
    PRIMARY KEY (document, position)
) WITHOUT ROWID;

CREATE TABLE chunks (
    id INTEGER PRIMARY KEY,
    document INTEGER NOT NULL REFERENCES documents (number) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    start INTEGER NOT NULL,
    end INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    UNIQUE (document, number)
);

CREATE TABLE shards (
    document INTEGER NOT NULL REFERENCES documents (number) ON DELETE CASCADE,
    first_chunk INTEGER NOT NULL,
    chunk_count INTEGER NOT NULL CHECK (chunk_count > 0),
    sha256 TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (document, first_chunk)
) WITHOUT ROWID;

CREATE INDEX shards_by_sha256 ON shards (sha256);

CREATE VIRTUAL TABLE passages USING fts5 (text, content = '', tokenize = 'porter unicode61 remove_diacritics 2');
"""

MIGRATIONS: tuple[str, ...] = (FIRST,)
FORMAT_VERSION = len(MIGRATIONS)


@contextmanager
def catalog_errors(what: str) -> Iterator[None]:
    """Turn SQLite's errors into ours: full disk, another writer, damage."""
    try:
        yield
    except sqlite3.Error as error:
        raise _translated(error, what) from error


def connect(path: Path, *, writing: bool) -> sqlite3.Connection:
    """Open a catalogue; a reader's connection cannot change anything. Raises LibraryDamaged for no plain file.

    Where the disk is read-only or full, a reader takes the catalogue as it stands, provided that its log is empty.
    Foreign keys are enforced and deleted content is overwritten; temporary tables and sorting stay in memory, so that
    no text reaches a shared temporary folder.
    """
    for suffix in ("", "-wal", "-shm", "-journal"):
        require_plain_file(path.with_name(path.name + suffix), missing_ok=bool(suffix))
    uri = f"file:{quote(str(path.absolute()))}?mode={'rw' if writing else 'ro'}"
    with catalog_errors(path.parent.name):
        try:
            return _connected(uri, writing)
        except sqlite3.OperationalError as error:
            if writing or not _lacks_room_beside(error) or _has_log(path):
                raise
            return _connected(f"{uri}&immutable=1", writing)


def _connected(uri: str, writing: bool) -> sqlite3.Connection:
    connection = sqlite3.connect(
        uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=64
    )
    try:
        connection.row_factory = sqlite3.Row
        _configure(connection, writing)
        if not writing:
            user_version(connection)  # the first read makes SQLite's shared memory, where it can
    except BaseException:
        connection.close()
        raise
    return connection


def _lacks_room_beside(error: sqlite3.Error) -> bool:
    """Whether SQLite could not make its files beside a catalogue: the disk is read-only, or full."""
    return str(getattr(error, "sqlite_errorname", "")).startswith((*NO_SPACE, *NOT_WRITABLE))


def _has_log(path: Path) -> bool:
    """Whether a write-ahead log holds what the catalogue itself does not."""
    try:
        return path.with_name(f"{path.name}-wal").stat().st_size > 0
    except FileNotFoundError:
        return False


def _configure(connection: sqlite3.Connection, writing: bool) -> None:
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("PRAGMA foreign_keys = ON")
    if writing:
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA synchronous = FULL")


def initialise(connection: sqlite3.Connection) -> None:
    """Make an empty file a catalogue of the newest version."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    migrate(connection)


def migrate(connection: sqlite3.Connection, migrations: Sequence[str] = MIGRATIONS) -> None:
    """Lead a catalogue to the newest version, each step in one transaction."""
    for version in range(user_version(connection), len(migrations)):
        with transaction(connection):
            for statement in _statements(migrations[version]):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {version + 1}")


def user_version(connection: sqlite3.Connection) -> int:
    """The format version that a catalogue says it has."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def require_catalog(connection: sqlite3.Connection, folder: Path) -> None:
    """Refuse what is no catalogue of ours, or one that a later mplus wrote; LibraryDamaged."""
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise LibraryDamaged(f"{folder} is not an mplus library.")
    version = user_version(connection)
    if version > FORMAT_VERSION:
        raise LibraryDamaged(
            f"{folder} has format {version}, written by a newer version of mplus; this one reads {FORMAT_VERSION}.",
            NEWER,
        )


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing; takes SQLite's write lock at once, so that nothing fails half-way for want of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """Several reads that see one state, whatever a writer commits meanwhile."""
    if connection.in_transaction:
        yield
        return
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.rollback()  # nothing was changed; after an error there may be no transaction left to end


def _statements(script: str) -> list[str]:
    """The statements of a script, one by one: `executescript` would commit before it starts."""
    statements, current = [], ""
    for line in script.splitlines(keepends=True):
        current += line
        if sqlite3.complete_statement(current):
            statements.append(current)
            current = ""
    assert not current.strip(), "a migration must end with a semicolon"
    return statements


def _translated(error: sqlite3.Error, what: str) -> MplusError:
    name = str(getattr(error, "sqlite_errorname", ""))
    if name.startswith(NO_SPACE):
        return NotEnoughSpace(f"There is no space left to write {what}; what was committed before is kept.")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return LibraryLocked(f"{what} is busy: another program holds its catalogue.")
    if name.startswith(NOT_WRITABLE):
        return MplusError(
            f"The catalogue of {what} cannot be opened: {error}.",
            "Its folder must be writable: check its permissions, and whether the disk is mounted read-only.",
        )
    return LibraryDamaged(f"The catalogue of {what} cannot be read: {error}.")
