"""Files that mean harm: bombs, paths out of the archive, entities, crashes and hangs of the PDF reader."""

from __future__ import annotations

import io
import struct
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from document_books import PROSE, XHTML, epub_entries, image_page, package, page_item, pdf, pdf_of_texts, stream, zip_of
from hypothesis import given, settings
from hypothesis import strategies as st

from mplus_cli.documents import DEFAULT, Limits, read
from mplus_cli.documents.archive import resolve
from mplus_cli.documents.limits import Deadline
from mplus_cli.documents.pdf_process import extract
from mplus_cli.documents.source import Source
from mplus_cli.errors import Unreadable

MEBIBYTE = 1 << 20


def refused(data: bytes, limits: Limits = DEFAULT) -> str:
    """What is said of a bomb, which must be soon."""
    start = time.monotonic()
    with pytest.raises(Unreadable) as problem:
        read(data, name="book.epub", limits=limits)
    assert time.monotonic() - start < 5
    return problem.value.message


def test_a_chapter_of_a_gigabyte_of_spaces_is_refused_without_unpacking() -> None:
    file = io.BytesIO(zip_of(epub_entries(["<p>one</p>"])))
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("EPUB/big.xhtml", "w") as entry:
        for _ in range(64):
            entry.write(b" " * MEBIBYTE)
    assert "times its size" in refused(file.getvalue())


def test_many_dense_entries_are_refused_together() -> None:
    entries = epub_entries(["<p>one</p>"]) | {f"EPUB/{n}.css": b" " * (3 * MEBIBYTE) for n in range(20)}
    assert "times its size" in refused(zip_of(entries))


def test_too_many_entries_are_refused() -> None:
    entries = epub_entries(["<p>one</p>"]) | {f"EPUB/{number}": "" for number in range(100)}
    assert "entries" in refused(zip_of(entries), replace(DEFAULT, zip_entries=50))


def test_bytes_are_counted_as_they_come_and_not_as_declared() -> None:
    data = bytearray(zip_of(epub_entries(["<p>" + PROSE * 3000 + "</p>"])))
    place = data.rindex(b"PK\x01\x02", 0, data.rindex(b"EPUB/c1.xhtml"))
    data[place + 24 : place + 28] = struct.pack("<I", 100)  # the directory says: 100 bytes
    document_or_reason = refused(bytes(data), replace(DEFAULT, zip_entry_bytes=64 * 1024))
    assert "64" in document_or_reason or "damaged" in document_or_reason or "unpacks to more" in document_or_reason


def test_an_entry_over_its_limit_is_skipped_and_an_archive_over_its_limit_refused() -> None:
    entries = epub_entries([f"<p>{PROSE * 4000}</p>", "<p>small</p>"])
    document = read(zip_of(entries), limits=replace(DEFAULT, zip_entry_bytes=128 * 1024))
    assert document.text == "small"
    assert "unpacks to more than" in document.skipped[0].reason
    assert "the archive unpacks to more" in refused(zip_of(entries), replace(DEFAULT, zip_read_bytes=128 * 1024))


def test_overlapping_entries_are_refused() -> None:
    data = zip_of(epub_entries(["<p>one</p>", "<p>two</p>"]), method=zipfile.ZIP_STORED)
    first, second = data.rindex(b"PK\x01\x02", 0, data.rindex(b"EPUB/c1.xhtml")), data.rindex(b"PK\x01\x02")
    twisted = bytearray(data)
    twisted[second + 42 : second + 46] = data[first + 42 : first + 46]  # both at the same place
    assert "overlap" in refused(bytes(twisted))


@pytest.mark.parametrize(
    "reference",
    [
        *("../../etc/passwd", "%2e%2e/%2e%2e/etc/passwd", "/etc/passwd", "file:///etc/passwd", "C:\\secret.xhtml"),
        *("http://example.org/a.xhtml", "//example.org/a.xhtml", "..\\..\\secret", "a%00.xhtml", "x/../../../y"),
    ],
)
def test_references_out_of_the_archive_are_refused(reference: str) -> None:
    assert resolve("EPUB/package.opf", reference) is None
    entries = epub_entries(["<p>inside</p>"])
    items = page_item("c1") + f'<item id="x" href="{reference}" media-type="application/xhtml+xml"/>'
    entries["EPUB/package.opf"] = package(items, '<itemref idref="x"/><itemref idref="c1"/>')
    document = read(zip_of(entries))
    assert document.text == "inside"
    assert document.skipped[0].reason == "its reference leads out of the archive"


@given(st.text(alphabet="./%2eE\\ab:#?\x00", max_size=20))
def test_a_resolved_reference_never_climbs(reference: str) -> None:
    place = resolve("a/b.opf", reference)
    assert place is None or (
        ".." not in place[0].split("/") and not place[0].startswith("/") and "\x00" not in place[0]
    )


LAUGHS = '<!DOCTYPE html [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">]>'
OUTSIDE = '<!DOCTYPE html [<!ENTITY c SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize("doctype", [LAUGHS, OUTSIDE])
def test_declared_entities_are_never_expanded(doctype: str) -> None:
    page = XHTML.format("<p>&c;</p>").replace("<html", f"{doctype}<html")
    entries = epub_entries(["", "<p>sound</p>"]) | {"EPUB/c1.xhtml": page}
    document = read(zip_of(entries))
    assert document.text == "sound"
    assert "entities" in document.skipped[0].reason
    entries = epub_entries(["<p>x</p>"])
    entries["EPUB/package.opf"] = str(entries["EPUB/package.opf"]).replace("<package", f"{doctype}<package")
    assert "entities" in refused(zip_of(entries))


def test_deeply_nested_markup_ends_soon() -> None:
    start = time.monotonic()
    read(b"<!DOCTYPE html><p>words" + b"<div>" * 100_000, name="deep.html")
    assert time.monotonic() - start < 20


def test_reading_opens_nothing_but_the_file(tmp_path: Path) -> None:
    """An audit hook sees every open of this process: none may write, and none may leave the archive."""
    opened: list[tuple[str, str]] = []
    watching = True

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if watching and event == "open":
            opened.append((str(arguments[0]), str(arguments[1])))

    entries = epub_entries(["<p>inside</p>"])
    items = page_item("c1") + '<item id="x" href="../../etc/passwd" media-type="application/xhtml+xml"/>'
    entries["EPUB/package.opf"] = package(items, '<itemref idref="x"/><itemref idref="c1"/>')
    file = tmp_path / "book.epub"
    file.write_bytes(zip_of(entries))
    sys.addaudithook(watch)
    read(file)
    watching = False
    assert not [place for place, mode in opened if any(letter in mode for letter in "wax+")]
    assert not [place for place, _ in opened if "passwd" in place]
    assert list(tmp_path.iterdir()) == [file]


# PDF: the worker may die, hang, or want the whole machine.


def pdf_source(data: bytes, **limits: float) -> Source:
    bounds = replace(DEFAULT, **limits)  # type: ignore[arg-type]
    return Source("book.pdf", data=data, limits=bounds, deadline=Deadline(bounds.seconds))


WORKER = """
import json, os, sys, time
request = json.loads(sys.stdin.buffer.readline())
def say(answer): print(json.dumps(answer), flush=True)
say({{"opened": {{"pages": 4, "title": "", "author": "", "outline": [], "labels": None}}}})
count = request["count"] or 4
for page in range(request["first"], min(4, request["first"] + count)):
    if page == 2 and request["engine"] in {bad!r}:
        {deed}
    words = "page %d by %s, and enough words " % (page, request["engine"]) + "more " * 20
    say({{"page": page, "lines": [[words, 9, 9, 99, 9, 9]], "pictures": False}})
say({{"done": True}})
"""


def worker(tmp_path: Path, deed: str, bad: tuple[str, ...]) -> list[str]:
    """A worker that does something bad on its third page."""
    script = tmp_path / "worker.py"
    script.write_text(WORKER.format(deed=deed, bad=bad))
    return [sys.executable, str(script)]


def test_a_page_that_kills_one_engine_is_read_by_the_other(tmp_path: Path) -> None:
    found = extract(pdf_source(b"%PDF-"), worker(tmp_path, "os.abort()", ("pdfium",)))
    assert sorted(found.lines) == [0, 1, 2, 3]
    assert "by pypdf" in found.lines[2][0].text
    assert "by pdfium" in found.lines[3][0].text


def test_a_page_that_kills_both_engines_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    found = extract(pdf_source(b"%PDF-"), worker(tmp_path, "os.abort()", ("pdfium", "pypdf")))
    assert sorted(found.lines) == [0, 1, 3]
    assert [(skipped.where, skipped.reason) for skipped in found.skipped()] == [
        ("page 3", "the PDF reader crashes on it")
    ]


def test_a_page_that_hangs_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    found = extract(pdf_source(b"%PDF-", page_seconds=1), worker(tmp_path, "time.sleep(60)", ("pdfium", "pypdf")))
    assert sorted(found.lines) == [0, 1, 3]
    assert found.failed == {2: "it takes too long to read"}


def test_a_pdf_that_takes_too_long_as_a_whole_is_refused(tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(Unreadable, match="longer than 1 s"):
        extract(pdf_source(b"%PDF-", seconds=1, most_seconds=1), worker(tmp_path, "time.sleep(60)", ("pdfium",)))
    assert time.monotonic() - start < 10


def test_a_worker_that_talks_nonsense_is_no_success(tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    script.write_text("print('hello')")
    with pytest.raises(Unreadable, match="cannot be opened"):
        extract(pdf_source(b"%PDF-"), [sys.executable, str(script)])


def test_a_page_that_unpacks_to_gigabytes_costs_that_page_only() -> None:
    bomb = stream(b" " * (96 * MEBIBYTE), packed=True)
    sound = pdf_of_texts(PROSE, PROSE)
    assert "valley" in read(sound).text
    data = pdf([stream(b"BT /F1 12 Tf 72 700 Td (%s) Tj ET" % (PROSE * 2).encode()), bomb, image_page()])
    document = read(data, limits=replace(DEFAULT, worker_bytes=448 * MEBIBYTE))
    assert "valley" in document.text
    assert document.pages_total == 3


# Anything at all: Unreadable or a Document, never another error.

SEEDS = {
    "epub": zip_of(epub_entries(["<h1>One</h1><p>two</p>", "<p>three</p>"], nav='<li><a href="c1.xhtml">One</a></li>')),
    "html": b"<!DOCTYPE html><html><body><h1>T</h1><p>a&nbsp;b<table><tr><td>1<td>2</table></body></html>",
    "md": b"---\ntitle: x\n---\n# A\n\n```\ncode\n```\n\n- *b*\n\n| a | b |\n|---|---|\n",
    "txt": b"CHAPTER I\n\nIt was a dark and stormy night.\n\nCHAPTER II\n\nIt ended.\n" * 3,
}


def read_or_refuse(data: bytes, name: str) -> None:
    try:
        assert read(data, name=name).text.strip()
    except Unreadable as problem:
        message, cause = problem.message, problem.__cause__
    else:
        return
    assert "\n" not in message
    assert "damaged in a way" not in message, cause


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400), st.sampled_from(["epub", "html", "md", "txt", "bin", ""]))
def test_random_bytes_are_read_or_refused(data: bytes, suffix: str) -> None:
    read_or_refuse(data, f"x.{suffix}")


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(sorted(SEEDS)),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6),
    st.floats(0, 1),
)
def test_flipped_and_cut_files_are_read_or_refused(kind: str, flips: list[tuple[float, int]], cut: float) -> None:
    data = bytearray(SEEDS[kind])
    for place, value in flips:
        data[int(place * (len(data) - 1))] ^= value
    read_or_refuse(bytes(data[: len(data) if cut > 0.5 else int(2 * cut * len(data))]), f"x.{kind}")


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=8), st.floats(0, 1))
def test_flipped_and_cut_pdfs_are_read_or_refused(flips: list[tuple[float, int]], cut: float) -> None:
    data = bytearray(pdf_of_texts(PROSE * 3, PROSE * 2))
    for place, value in flips:
        data[int(place * (len(data) - 1))] ^= value
    read_or_refuse(bytes(data[: len(data) if cut > 0.5 else int(2 * cut * len(data))]), "x.pdf")
