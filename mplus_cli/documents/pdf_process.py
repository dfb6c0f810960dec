"""Run the PDF worker: start it, watch the clock, and start it again behind a page that killed it."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from mplus_cli.documents.document import Skipped
from mplus_cli.documents.limits import MEBIBYTE
from mplus_cli.documents.source import Source
from mplus_cli.errors import Unreadable

WORKER = (sys.executable, "-P", "-m", "mplus_cli.documents.pdf_worker")
LONGEST_ANSWER = 64 * MEBIBYTE
MOST_STARTS = 40
MOST_RETRIES = 20
SCANT_CHARACTERS = 100  # on an average page
OPENING_SECONDS = 30.0
WITH_PASSWORD = "Give the password with --password."
ANOTHER_PASSWORD = "Give the password that opens the document with --password."
Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text and its place in points from the page's lower left; all zero when the place is unknown."""

    text: str
    left: float
    first_bottom: float
    right: float
    last_bottom: float
    height: float


@dataclass
class Extract:
    """What came out of a PDF: its own account of itself, and the lines of each page that could be read."""

    pages: int = 0
    title: str = ""
    author: str = ""
    outline: list[tuple[str, int, int]] = field(default_factory=list)  # title, level from 1, page from 0
    labels: list[str] | None = None
    lines: dict[int, list[Line]] = field(default_factory=dict)
    pictures: set[int] = field(default_factory=set)  # pages without text but with images
    failed: dict[int, str] = field(default_factory=dict)

    def skipped(self) -> list[Skipped]:
        return [Skipped(f"page {number + 1}", reason) for number, reason in sorted(self.failed.items())]


def extract(source: Source, command: Sequence[str] = WORKER) -> Extract:
    """All pages of a PDF, read by `command`; Unreadable when it cannot be opened, or not within the time."""
    found = Extract()
    read_pages(source, found, command)
    for number in sorted(found.failed)[:MOST_RETRIES]:
        run(source, found, command, "pypdf", number, 1)
    if characters(found) < SCANT_CHARACTERS * len(found.lines):
        doubt(source, found, command)
    return found


def read_pages(source: Source, found: Extract, command: Sequence[str]) -> None:
    """Read with PDFium; a page that kills it is tried once with pypdf, one that hangs it is given up."""
    engine, first, count = "pdfium", 0, None
    for _ in range(MOST_STARTS):
        end = run(source, found, command, engine, first, count)
        following = next((number for number in range(first, found.pages) if not known(found, number)), None)
        if found.pages and following is None:
            return
        if following is None:  # it died before it could say anything
            if engine == "pypdf":
                raise Unreadable(f"damaged: it cannot be opened as a PDF (the reader {end})")
            engine = "pypdf"
        elif end == "done":
            engine, first, count = "pdfium", following, None
        elif engine == "pdfium" and end == "died":
            engine, first, count = "pypdf", following, 1
        else:
            found.failed[following] = "the PDF reader crashes on it" if end == "died" else "it takes too long to read"
            engine, first, count = "pdfium", following + 1, None
    for number in range(found.pages):
        if not known(found, number):
            found.failed[number] = "given up after too many crashes"


def characters(found: Extract) -> int:
    return sum(len(line.text) for lines in found.lines.values() for line in lines)


def doubt(source: Source, found: Extract, command: Sequence[str]) -> None:
    """Ask pypdf about a file with hardly any text: PDFium takes scraps out of damaged pages without a word.

    A page that pypdf finds damaged counts as damaged; when pypdf cannot open the file, or dies, nothing changes.
    """
    other = Extract()
    try:
        run(source, other, command, "pypdf", 0, None)
    except Unreadable:
        source.deadline.check()
        return
    for number, reason in other.failed.items():
        if found.lines.pop(number, None) is not None:
            found.failed[number] = reason


def known(found: Extract, number: int) -> bool:
    return number in found.lines or number in found.failed


def run(source: Source, found: Extract, command: Sequence[str], engine: str, first: int, count: int | None) -> str:
    """One life of the worker: "done", "died" or "timeout"; what it said goes into `found`."""
    request = request_of(source, engine, first, count)
    with contextlib.closing(conversation(source, command, request, found.pages == 0)) as answers:
        for answer in answers:
            if "opened" in answer:
                take_opened(found, answer["opened"])
            elif "page" in answer:
                take_page(found, answer, source)
            elif "failed" in answer:
                found.failed[int(answer["failed"])] = "it is damaged"
            elif "error" in answer:
                refuse(answer, source, engine)
                return "died"
            else:
                return str(answer.get("end", "done"))
    return "died"


def take_opened(found: Extract, about: Message) -> None:
    if not found.pages:
        found.pages, found.labels = int(about["pages"]), about["labels"]
        found.title, found.author = str(about["title"]), str(about["author"])
        found.outline = [(str(title), int(level), int(page)) for title, level, page in about["outline"]]
        if not found.pages:
            raise Unreadable("a PDF without pages")


def take_page(found: Extract, answer: Message, source: Source) -> None:
    number = int(answer["page"])
    found.lines[number] = [Line(*line) for line in answer["lines"]]
    found.failed.pop(number, None)
    if answer["pictures"]:
        found.pictures.add(number)
    source.deadline.extend(source.limits.seconds_per_page, source.limits.most_seconds)


def refuse(answer: Message, source: Source, engine: str) -> None:
    """Unreadable for a file that no engine will open; nothing when the other one may."""
    if answer["error"] == "password":
        if source.password is None:
            raise Unreadable("encrypted: it needs a password", remedy=WITH_PASSWORD)
        raise Unreadable("encrypted: the password does not open it", remedy=ANOTHER_PASSWORD)
    if answer["error"] == "pages":
        raise Unreadable(str(answer["reason"]).partition(": ")[2])
    if engine == "pypdf":
        raise Unreadable("damaged: it cannot be opened as a PDF")


def conversation(
    source: Source, command: Sequence[str], request: Message, opening: bool
) -> Generator[Message, None, None]:
    """The worker's answers; the last one is {"end": "timeout"} when it stopped talking."""
    process = start(command)
    assert process.stdin is not None
    assert process.stdout is not None
    answers: queue.Queue[Message | None] = queue.Queue(maxsize=64)
    threading.Thread(target=send, args=(process.stdin, request, source.data), daemon=True).start()
    listener = threading.Thread(target=receive, args=(process.stdout, answers), daemon=True)
    listener.start()
    patience = OPENING_SECONDS if opening else source.limits.page_seconds
    try:
        while True:
            source.deadline.check()
            answer = answers.get(timeout=min(patience, source.deadline.left() + 0.01))
            if answer is None:
                return
            yield answer
            patience = source.limits.page_seconds
    except queue.Empty:
        source.deadline.check()
        yield {"end": "timeout"}
    finally:
        stop(process, listener, answers)


def start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    """A Python of our own kind, with nothing of the environment but what it needs to start."""
    package_folder = Path(__file__).parents[2]
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH") if name in os.environ}
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**kept, "PYTHONPATH": str(package_folder), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1"},
        start_new_session=True,  # Ctrl-C is for us: we stop the worker ourselves
    )


def request_of(source: Source, engine: str, first: int, count: int | None) -> Message:
    """What the worker is asked: see there."""
    return {
        "path": str(source.path.absolute()) if source.path is not None else None,
        "bytes": len(source.data or b""),
        "password": source.password,
        "engine": engine,
        "first": first,
        "count": count,
        "memory": source.limits.worker_bytes,
        "seconds": int(source.limits.most_seconds),
        "pages": source.limits.pages,
    }


def send(pipe: IO[bytes], request: Message, data: bytes | None) -> None:
    """Write the request; a worker that died does not listen, which its silence tells."""
    with contextlib.suppress(OSError, ValueError), pipe:
        pipe.write(json.dumps(request).encode("utf-8") + b"\n")
        pipe.write(data or b"")


def receive(pipe: IO[bytes], answers: queue.Queue[Message | None]) -> None:
    """Pass on whole lines of JSON; anything else ends the conversation."""
    with contextlib.suppress(OSError, ValueError):
        while line := pipe.readline(LONGEST_ANSWER):
            answers.put(json.loads(line))
    answers.put(None)


def stop(process: subprocess.Popen[bytes], listener: threading.Thread, answers: queue.Queue[Message | None]) -> None:
    """End the worker, and let the thread that listens to it find its end."""
    process.kill()
    process.wait()
    while listener.is_alive():  # it may be waiting for room in the queue
        with contextlib.suppress(queue.Empty):
            answers.get(timeout=0.05)
    assert process.stdout is not None
    process.stdout.close()
