"""An export is one file that says the same for the same library, and an import trusts nothing in it."""

from __future__ import annotations

import hashlib
import io
import json
import random
import stat
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from library_fakes import book, expected_memory, identity, ingest, memory_of

from mplus_cli.documents.document import Document
from mplus_cli.errors import LibraryDamaged, NotFound, UsageError
from mplus_cli.library import Library


@pytest.fixture(scope="module")
def novels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """A library with a read document and one that is being read; no test changes it."""
    with Library.create(tmp_path_factory.mktemp("libraries") / "novels", identity()) as library:
        ingest(library, book())
        ingest(library, book("Émile\ud800"), stop_after=6)
        yield library


@pytest.fixture(scope="module")
def original(novels: Library, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The export of that library."""
    file = tmp_path_factory.mktemp("exports") / "novels.mplus"
    assert novels.export(file) == file.stat().st_size
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    return file.read_bytes()


@pytest.fixture
def exported(original: bytes, tmp_path: Path) -> Path:
    """A copy of the export, to be spoiled."""
    file = tmp_path / "novels.mplus"
    file.write_bytes(original)
    return file


def contents(file: Path) -> dict[str, bytes]:
    with tarfile.open(file, "r:") as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]


def write(file: Path, members: dict[str, bytes], sums: bool = True) -> Path:
    """An archive of these members; with fresh checksums, so that only the content can be refused."""
    if sums:
        lines = [
            f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in members.items() if name != "SHA256SUMS"
        ]
        members = members | {"SHA256SUMS": "".join(lines).encode()}
    with tarfile.open(file, "w:", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            archive.addfile(header, io.BytesIO(data))
    return file


def refused(file: Path, folder: Path, match: str = "sound export") -> None:
    before = sorted(folder.iterdir())
    with pytest.raises(LibraryDamaged, match=match):
        Library.import_(file, folder / "imported")
    assert sorted(folder.iterdir()) == before  # nothing half-made is left


def test_import_gives_the_same_library(exported: Path, novels: Library, tmp_path: Path) -> None:
    with Library.import_(exported, tmp_path / "copy") as copy:
        assert copy.identity == novels.identity
        assert memory_of(copy) == memory_of(novels)
        assert [record.slug for record in copy.documents()] == [record.slug for record in novels.documents()]
        assert all(finding.ok for finding in copy.verify())
        copy.export(tmp_path / "again.mplus")
    assert (tmp_path / "again.mplus").read_bytes() == exported.read_bytes()


def test_an_unfinished_document_goes_on_in_the_copy(exported: Path, tmp_path: Path) -> None:
    document = book("Émile\ud800")
    with Library.import_(exported, tmp_path / "copy") as copy:
        assert ingest(copy, document)
        assert memory_of(copy) == expected_memory(book()) + expected_memory(document)


def test_an_export_knows_no_time_owner_or_place(exported: Path, novels: Library) -> None:
    with tarfile.open(exported, "r:") as archive:
        for member in archive:
            assert (member.mtime, member.uid, member.gid, member.uname, member.gname) == (0, 0, 0, "", "")
    data = exported.read_bytes()
    assert novels.documents()[0].added_at.encode() not in data
    assert str(novels.path).encode() not in data


def test_an_export_can_be_checked_without_mplus(exported: Path, tmp_path: Path) -> None:
    folder = tmp_path / "unpacked"
    folder.mkdir()
    subprocess.run(["tar", "-xf", exported], cwd=folder, check=True)
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=folder, check=True)
    lines = [json.loads(line) for line in (folder / "catalog.jsonl").read_text().splitlines()]
    assert lines[1]["facts"]["title"] == "War and Peace"
    assert lines[1]["text"] == book().text


def test_without_texts_only_the_memory_travels(exported: Path, novels: Library, tmp_path: Path) -> None:
    document = book()
    novels.export(tmp_path / "bare.mplus", text=False)
    assert document.text[:40].encode() not in (tmp_path / "bare.mplus").read_bytes()
    with Library.import_(tmp_path / "bare.mplus", tmp_path / "bare") as bare:
        assert memory_of(bare) == memory_of(novels)
        assert all(finding.ok for finding in bare.verify())
        with pytest.raises(NotFound, match="without the text"):
            bare.text(document.id)
        ingest(bare, document)
        assert bare.text(document.id) == document.text
        assert bare.search(document.text.split()[0])
        assert all(finding.ok for finding in bare.verify())


def test_nothing_is_overwritten(exported: Path, novels: Library) -> None:
    before = exported.read_bytes()
    with pytest.raises(UsageError, match="exists"):
        novels.export(exported)
    with pytest.raises(UsageError, match="exists"):
        Library.import_(exported, novels.path)
    assert exported.read_bytes() == before


def test_an_export_makes_no_folder_of_a_mistyped_path(novels: Library, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no folder"):
        novels.export(tmp_path / "mistyped" / "novels.mplus")
    assert not (tmp_path / "mistyped").exists()


def test_a_damaged_shard_is_not_exported(library: Library, tmp_path: Path) -> None:
    ingest(library, book())
    path = library.shards()[1].path
    path.write_bytes(b"x" + path.read_bytes()[1:])
    with pytest.raises(LibraryDamaged):
        library.export(tmp_path / "x.mplus")
    assert sorted(tmp_path.iterdir()) == [tmp_path / "libraries"]


def test_a_flipped_bit_or_a_cut_anywhere_is_refused(exported: Path, tmp_path: Path) -> None:
    data, rng = exported.read_bytes(), random.Random(1)
    padding = {index for index in range(0, len(data), 512) if not any(data[index : index + 512])}
    for _ in range(20):
        position = rng.randrange(len(data))
        changed = bytearray(data)
        changed[position] ^= 1 << rng.randrange(8)
        exported.write_bytes(changed)
        try:
            Library.import_(exported, tmp_path / "copy").remove()
        except LibraryDamaged:
            continue
        assert is_slack(data, position) or position // 512 * 512 in padding
    for length in [0, 1, 511, 512, 513, *(rng.randrange(len(data)) for _ in range(10)), len(data) - 1]:
        exported.write_bytes(data[:length])
        refused(exported, tmp_path)


def is_slack(data: bytes, position: int) -> bool:
    """Whether a byte belongs to nothing: the unused fields of a header, or the zeros that fill a block."""
    return data[position] == 0


@pytest.mark.parametrize(
    "name",
    [
        "../escaped",
        "/tmp/mplus-escaped",
        "memory/../../escaped",
        "memory/x",
        "catalog.sqlite",
        "lock",
        "memory/" + "0" * 64 + ".safetensors/../x",
        "memory\\" + "0" * 64 + ".safetensors",
        "other/" + "0" * 64 + ".safetensors",
    ],
)
def test_no_member_is_written_where_its_name_says(exported: Path, tmp_path: Path, name: str) -> None:
    refused(write(exported, contents(exported) | {name: b"evil"}), tmp_path)
    assert not Path("/tmp/mplus-escaped").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.XHDTYPE])
def test_only_plain_files_are_accepted(exported: Path, tmp_path: Path, kind: bytes) -> None:
    header = tarfile.TarInfo("memory/" + "0" * 64 + ".safetensors")
    header.type, header.linkname = kind, "/etc/passwd"
    exported.write_bytes(header.tobuf() + exported.read_bytes())
    refused(exported, tmp_path, "plain file|belongs")


def test_a_header_that_promises_more_than_there_is_is_refused(exported: Path, tmp_path: Path) -> None:
    for name, size in [("README", 1 << 60), ("README", 1 << 20), ("SHA256SUMS", 1 << 40)]:
        header = tarfile.TarInfo(name)
        header.size = size
        exported.write_bytes(header.tobuf(tarfile.GNU_FORMAT) + b"x" * 2048)
        refused(exported, tmp_path)


def test_a_missing_doubled_or_additional_shard_is_refused(exported: Path, tmp_path: Path) -> None:
    members = contents(exported)
    shard = next(name for name in members if name.startswith("memory/"))
    refused(write(exported, {name: data for name, data in members.items() if name != shard}), tmp_path, "files")
    extra = f"memory/{hashlib.sha256(b'x').hexdigest()}.safetensors"
    refused(write(exported, members | {extra: b"x"}), tmp_path, "files")
    refused(write(exported, members | {shard: b"x"}), tmp_path, "name says")


def changed(members: dict[str, bytes], line: int, change: Callable[[dict[str, Any]], object]) -> dict[str, bytes]:
    lines = [json.loads(text) for text in members["catalog.jsonl"].splitlines()]
    change(lines[line])
    text = "".join(json.dumps(entry) + "\n" for entry in lines)
    return members | {"catalog.jsonl": text.encode()}


@pytest.mark.parametrize(
    ("line", "change"),
    [
        (0, lambda e: e.update(kind="other")),
        (0, lambda e: e.update(format=2)),
        (0, lambda e: e.update(identity=None)),
        (0, lambda e: e["identity"].update(layers="2")),
        (0, lambda e: e["identity"].update(chunks_per_shard=0)),
        (0, lambda e: e["identity"].pop("name")),
        (1, lambda e: e.update(number=2)),
        (1, lambda e: e.update(state="done")),
        (1, lambda e: e.update(state="reading", tail="../../x")),
        (1, lambda e: e.update(text=e["text"] + "x")),
        (1, lambda e: e.update(text=7)),
        (1, lambda e: e.pop("tail")),
        (1, lambda e: e.update(shards=e["shards"][:-1])),
        (1, lambda e: e["shards"][0].__setitem__(0, 4)),
        (1, lambda e: e["shards"][0].__setitem__(1, -4)),
        (1, lambda e: e["shards"][0].__setitem__(1, True)),
        (1, lambda e: e["shards"][0].__setitem__(2, "../x")),
        (1, lambda e: e["shards"][0].__setitem__(3, 1 << 70)),
        (1, lambda e: e["shards"].append([12, 1, "0" * 64, 1])),
        (1, lambda e: e.update(facts=[])),
        (1, lambda e: e["facts"].update(title=3)),
        (1, lambda e: e["facts"].update(title="\ud800")),
        (1, lambda e: e["facts"].update(slug="../../etc")),
        (1, lambda e: e["facts"].update(slug="émile")),
        (1, lambda e: e["facts"].update(id="x")),
        (1, lambda e: e["facts"].update(characters=3)),
        (1, lambda e: e["facts"].update(page_kind="odd")),
        (1, lambda e: e["facts"].update(pages_read=1 << 70)),
        (1, lambda e: e["facts"].update(chunks=[])),
        (1, lambda e: e["facts"]["chunks"][1].__setitem__(0, 3)),
        (1, lambda e: e["facts"]["sections"][0].__setitem__(3, 10**9)),
        (1, lambda e: e["facts"].update(skipped=[["one"]])),
        (1, lambda e: e["facts"].update(more=1)),
        (2, lambda e: e["facts"].update(slug="war-and-peace")),
        (2, lambda e: e.update(tail=None)),
        (2, lambda e: e.update(state="read")),
    ],
)
def test_a_catalogue_that_mplus_would_not_write_is_refused(
    exported: Path, tmp_path: Path, line: int, change: Callable[[dict[str, Any]], object]
) -> None:
    refused(write(exported, changed(contents(exported), line, change)), tmp_path)


@pytest.mark.parametrize(
    "text", [b"", b"x", b"[]\n", b"[" * 100_000, b'{"a": NaN}\n', b'{"kind": ' + b"9" * 5000 + b"}\n"]
)
def test_a_catalogue_that_is_no_listing_is_refused(exported: Path, tmp_path: Path, text: bytes) -> None:
    refused(write(exported, contents(exported) | {"catalog.jsonl": text}), tmp_path)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04" * 1000, bytes(10240), b"\x1f\x8b" + bytes(600)])
def test_what_is_no_export_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "file").write_bytes(data)
    refused(tmp_path / "file", tmp_path)


def test_an_export_during_an_ingest_is_of_one_moment(library: Library, tmp_path: Path) -> None:
    document = book()
    seen: set[bytes] = set()

    def export() -> None:
        file = tmp_path / f"{len(list(tmp_path.iterdir()))}.mplus"
        with Library.open(library.path) as reader:
            reader.export(file)
        seen.add(file.read_bytes())

    ingest(library, document, stop_after=6, step=export)
    ingest(library, document, step=export)
    assert len(seen) == 4  # nothing, four, six and eight chunks
    for number, file in enumerate(tmp_path.glob("*.mplus")):
        with Library.import_(file, tmp_path / f"copy{number}") as copy:
            assert all(finding.ok for finding in copy.verify())


def test_a_model_that_is_not_here_is_kept_as_it_is(exported: Path, tmp_path: Path) -> None:
    other = identity(chunks_per_shard=4)
    members = changed(
        contents(exported), 0, lambda entry: entry["identity"].update(name="foreign", fingerprint="0" * 64)
    )
    with Library.import_(write(exported, members), tmp_path / "copy") as copy:
        assert copy.identity.name == "foreign"
        assert copy.identity != other


def test_an_empty_library_travels_too(library: Library, tmp_path: Path) -> None:
    library.export(tmp_path / "empty.mplus")
    with Library.import_(tmp_path / "empty.mplus", tmp_path / "copy") as copy:
        assert copy.documents() == []


def test_a_document_without_words_travels_too(library: Library, tmp_path: Path) -> None:
    ingest(library, Document("", "", "", "text", "", "\0\ud800 ", (), (), "location", 0, 0))
    library.export(tmp_path / "odd.mplus")
    with Library.import_(tmp_path / "odd.mplus", tmp_path / "copy") as copy:
        assert copy.text(copy.documents()[0].id) == "\0\ud800 "


def test_the_format_of_an_export_is_the_one_that_was_released(original: bytes) -> None:
    # A change here means that files which people keep read differently: raise BUNDLE_FORMAT, and keep reading this one.
    assert hashlib.sha256(original).hexdigest() == "e3bdbb63256dd69f91b56535812dd2a6ba787273c0cabf9f0cc10fb3fb3f06a7"
