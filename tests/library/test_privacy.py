"""Only the owner may read a library, and no symbolic link leads out of it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from library_fakes import book, identity, ingest

from mplus_cli.errors import LibraryDamaged, MplusError
from mplus_cli.library import Library


@pytest.fixture
def open_umask() -> Iterator[None]:
    """A umask that takes no permission away."""
    before = os.umask(0)
    yield
    os.umask(before)


def modes(folder: Path) -> set[tuple[bool, int]]:
    return {(path.is_dir(), stat.S_IMODE(path.lstat().st_mode)) for path in (folder, *folder.rglob("*"))}


@pytest.mark.usefixtures("open_umask")
def test_files_are_0600_and_folders_0700_whatever_the_umask(tmp_path: Path) -> None:
    with Library.create(tmp_path / "home" / "libraries" / "novels", identity()) as library:
        ingest(library, book(), stop_after=5)
        with library.writing():
            assert modes(tmp_path / "home") == {(True, 0o700), (False, 0o600)}
        library.export(tmp_path / "home" / "novels.mplus")
        Library.import_(tmp_path / "home" / "novels.mplus", tmp_path / "home" / "copy").close()
        assert modes(tmp_path / "home") == {(True, 0o700), (False, 0o600)}


def test_permissions_that_were_opened_are_found_and_taken_back(library: Library) -> None:
    ingest(library, book())
    library.shards()[0].path.chmod(0o644)
    (library.path / "memory").chmod(0o755)
    finding = next(finding for finding in library.verify() if not finding.ok)
    assert finding.kind == "permissions"
    library.repair([finding])
    assert modes(library.path) == {(True, 0o700), (False, 0o600)}


@pytest.mark.parametrize("part", ["lock", "lock.owner", "catalog.sqlite-wal", "catalog.sqlite-shm", "catalog.sqlite"])
def test_a_link_where_a_file_belongs_is_refused(library: Library, tmp_path: Path, part: str) -> None:
    ingest(library, book())
    library.close()
    target = tmp_path / "target"
    path = library.path / part
    if path.exists():
        path.rename(target)
    else:
        target.write_bytes(b"somebody's file")
    before = target.read_bytes()
    path.symlink_to(target)
    with pytest.raises(MplusError), Library.open(library.path) as again, again.writing():
        pass
    assert target.read_bytes() == before


@pytest.mark.parametrize("part", ["memory", "tails"])
def test_a_link_where_a_folder_belongs_is_refused(library: Library, tmp_path: Path, part: str) -> None:
    library.close()
    (library.path / part).rename(tmp_path / part)
    (library.path / part).symlink_to(tmp_path / part)
    with pytest.raises(LibraryDamaged, match="not a plain folder"):
        Library.open(library.path)


def test_a_link_where_a_shard_belongs_is_not_followed(library: Library, tmp_path: Path) -> None:
    ingest(library, book())
    path = library.shards()[1].path
    path.rename(tmp_path / "shard")
    path.symlink_to(tmp_path / "shard")
    with pytest.raises(LibraryDamaged, match="not a plain file"):
        library.shards()
    assert {finding.kind for finding in library.verify() if not finding.ok} == {"shard"}
    library.repair(library.verify())
    ingest(library, book())
    assert not path.is_symlink()
    assert all(finding.ok for finding in library.verify())


def test_a_pipe_where_a_shard_belongs_is_refused_without_waiting(library: Library) -> None:
    ingest(library, book())
    path = library.shards()[1].path
    path.unlink()
    os.mkfifo(path, 0o600)
    with pytest.raises(LibraryDamaged):
        library.shards()
    assert {finding.kind for finding in library.verify() if not finding.ok} == {"shard"}


def test_a_planted_link_at_a_temporary_name_changes_nothing_outside(library: Library, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("mine")
    for part in (".", "memory", "tails"):
        (library.path / part / "planted.tmp").symlink_to(target)
    ingest(library, book())
    assert target.read_text() == "mine"
    assert not list(library.path.rglob("planted.tmp"))


def test_a_library_may_lie_elsewhere_and_be_linked_to(library: Library, tmp_path: Path) -> None:
    ingest(library, book())
    library.close()
    elsewhere = tmp_path / "elsewhere"
    library.path.rename(elsewhere)
    library.path.symlink_to(elsewhere)
    with Library.open(library.path) as linked:
        assert len(linked.shards()) == 3
        linked.remove()
    assert not os.path.lexists(library.path)
    assert not elsewhere.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can play another user")
def test_a_library_of_another_user_is_refused() -> None:
    code = """
import os, sys, tempfile
from pathlib import Path
from mplus_cli.library import Library
from mplus_cli.library.folders import create_catalog
from library_fakes import identity
from mplus_cli.errors import LibraryDamaged
with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    create_catalog(folder, identity())
    folder.chmod(0o755)
    if os.fork() == 0:
        os.setuid(65534)
        try:
            Library.open(folder)
        except LibraryDamaged as error:
            print(error, flush=True)
        os._exit(0)
    os.wait()
"""
    path = os.pathsep.join([str(Path(__file__).parents[2]), str(Path(__file__).parent)])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path}
    )
    assert "another user" in done.stdout, done.stderr
