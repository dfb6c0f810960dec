"""Events and records as people see them: progress on stderr, answers and tables on stdout."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mplus_cli import layout, terminal
from mplus_cli.events import (
    Answer,
    Answered,
    AskEvent,
    ChunkRead,
    DocumentDone,
    DocumentReport,
    Event,
    IngestDone,
    Loaded,
    NextEvent,
    Opened,
    Ranked,
    Recalled,
    Source,
    Token,
)
from mplus_cli.words import count, duration

if TYPE_CHECKING:
    from rich.progress import Progress

NAME_CELLS = 60  # of a title or chapter beside a source on a terminal: some are paragraphs
WAITING = "loading the model and the library"
WORDS_CELLS = 78  # of a bar of 8 cells and all that stands beside it
PLAIN_SECONDS = 60.0  # between two lines of progress where there is no terminal
QUOTATION_MARK = re.compile(r"[\"“”„«»]")
FOUND_BY = {"memory": "the memory", "text": "full-text search", "both": "the memory and full-text search"}


# ------------------------------------------------------------------------------------------------------------- words


def page_words(source: Source) -> str:
    """A page as its kind allows: printed, of the file, or an estimated place."""
    if source.page_kind == "location":
        return f"location {source.page}"
    if source.page_kind == "index" or not source.page_label:
        return f"page {source.page}"
    if source.page_kind == "label" and source.page_label != str(source.page):
        return f"p. {source.page_label} (page {source.page} of the file)"
    return f"p. {source.page_label}"


def place_words(source: Source) -> str:
    """Title, chapter and page of a source."""
    return " · ".join(part for part in (source.title, source.chapter, page_words(source)) if part)


def shown_place(source: Source) -> str:
    """The place of a source on one line, its names cut short where a person looks at them."""
    place = terminal.one_line(place_words(source))
    if not terminal.shows_stdout():
        return place
    names = (layout.shortened(terminal.one_line(name), NAME_CELLS) for name in (source.title, source.chapter))
    return " · ".join(part for part in (*names, terminal.one_line(page_words(source))) if part)


def quoted(text: str) -> str:
    """Words of a book between quotation marks, or as they are where they have some of their own."""
    return text if QUOTATION_MARK.search(text) else f"“{text}”"


def recalled_words(source: Source) -> str:
    """The share of the recalled rows that were born at a source."""
    if not source.share:
        return "no row of it recalled"
    share = f"{source.share:.0%}" if source.share >= 0.005 else "less than 1%"
    return f"{share} of the recalled rows"


def _awaited(events: Iterable[Any], words: str) -> Iterator[Any]:
    """Events as they are; until the first of those that are shown, words on the terminal say what is waited for."""
    coming = iter(events)
    with terminal.busy(words) as change:
        for event in coming:
            if not isinstance(event, Loaded | Recalled):
                break
            yield event
            change("recalling" if isinstance(event, Loaded) else "answering")
        else:
            return
    yield event
    yield from coming


# ------------------------------------------------------------------------------------------------------------- ingest


def ingest(events: Iterable[Event], as_json: bool) -> IngestDone:
    """Show an ingest as it goes; returns its end."""
    shown = _json_events(events) if as_json else _ingest_for_people(events)
    done = None
    for event in shown:
        done = event if isinstance(event, IngestDone) else done
    assert done is not None, "an ingest ends with IngestDone or an error"
    return done


def mending(events: Iterable[Event], as_json: bool) -> None:
    """Show documents being read again."""
    for _ in _json_events(events) if as_json else _ingest_for_people(events):
        pass


def _json_events(events: Iterable[Event]) -> Iterator[Event]:
    for event in events:
        terminal.json_line(event.to_json())
        yield event


def _ingest_for_people(events: Iterable[Event]) -> Iterator[Event]:
    with _ingest_progress() as progress:
        for event in _awaited(events, "parsing the book and loading the model"):
            if isinstance(event, Opened):
                _opened(event)
                progress.open(event)
            elif isinstance(event, ChunkRead):
                progress.advance(event)
            elif isinstance(event, DocumentDone):
                progress.close()
                _report(event.report)
            yield event


def _opened(event: Opened) -> None:
    if event.status == "already-read":
        return
    again = f", going on at chunk {event.chunks_read + 1:,}" if event.chunks_read else ""
    title = terminal.one_line(event.title)
    terminal.say(f"reading {title}: {count(event.chunks, 'chunk')}, {count(event.tokens, 'token')}{again}")
    for warning in event.warnings:
        terminal.warn(warning)


def _report(report: DocumentReport) -> None:
    """One line for an input: what became of it."""
    if report.status == "refused":
        named = report.reason.startswith(f"{report.title}:")
        reason = report.reason if named else f"{report.title}: {report.reason}"
        terminal.say(f"refused {terminal.one_line(reason)}", style="red", always=True)
        if report.remedy:
            terminal.say(f"  {report.remedy}", style="dim", always=True)
        return
    pages = f"{report.pages_read:,} of {count(report.pages_total, 'page')}"
    words = "already read" if report.status == "already-read" else "read"
    title = terminal.one_line(report.title)
    terminal.out(f"{words} {title} · {pages}, {count(report.chunks, 'chunk')} · {report.id}")
    for line in report.skipped:
        terminal.warn(f"skipped {line}")


class _PlainProgress:
    """A line per minute, for logs and pipes."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def open(self, event: Opened) -> None:
        self.last = time.monotonic()

    def advance(self, event: ChunkRead) -> None:
        if time.monotonic() - self.last < PLAIN_SECONDS:
            return
        self.last = time.monotonic()
        terminal.say(
            f"{event.title or event.document}: chunk {event.chunk:,} of {event.chunks:,}, page {event.page},"
            f" {event.tokens_per_second:,.0f} tokens/s, {duration(event.seconds_left)} left"
        )

    def close(self) -> None:
        pass


class _BarProgress:
    """A bar on a terminal, one document at a time."""

    def __init__(self) -> None:
        self.bar: Progress | None = None

    def open(self, event: Opened) -> None:
        self.close()
        if event.status == "already-read":
            return
        self.bar = _bar(terminal.err_console().width)
        title = layout.shortened(terminal.one_line(event.title), 40)
        self.bar.add_task(title, total=event.chunks, completed=event.chunks_read, page="", pace="", left="")
        self.bar.start()

    def advance(self, event: ChunkRead) -> None:
        if self.bar is None:
            return
        pace, left = f" · {event.tokens_per_second:,.0f} tokens/s", f" · {duration(event.seconds_left)} left"
        page = f" · page {layout.shortened(terminal.one_line(event.page), 12)}"
        self.bar.update(self.bar.task_ids[0], completed=event.chunk, page=page, pace=pace, left=left)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
        self.bar = None


def _bar(width: int) -> Progress:
    """A bar with its words, as many of them as `width` cells hold; the line above it names the book."""
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn

    page, pace, left = (f"{{task.fields[{name}]}}" for name in ("page", "pace", "left"))
    chunks = "{task.completed:,} of {task.total:,} chunks"
    columns: list[ProgressColumn] = [TextColumn("{task.percentage:.0f}%" + page + left, markup=False)]
    if width >= WORDS_CELLS:
        columns = [
            BarColumn(bar_width=min(24, width - WORDS_CELLS + 8)),
            TextColumn(chunks + page + pace + left, markup=False),
        ]
    if width >= WORDS_CELLS + 64:
        columns.insert(0, TextColumn("{task.description}", markup=False))
    return Progress(*columns, console=terminal.err_console(), transient=True)


@contextmanager
def _ingest_progress() -> Iterator[_PlainProgress | _BarProgress]:
    """The progress display that fits stderr; a bar is taken away whatever happens."""
    animated = terminal.is_animated() and not terminal.is_quiet()
    progress = _BarProgress() if animated else _PlainProgress()
    try:
        yield progress
    finally:
        progress.close()


# ---------------------------------------------------------------------------------------------------------------- ask


def ask(events: Iterable[AskEvent], as_json: bool) -> Answer:
    """Show an answer as it comes, then its sources; returns it."""
    streamed = ""
    answer: Answer | None = None
    live = not as_json and terminal.shows_stdout()
    for event in _awaited(events, WAITING):
        if isinstance(event, Answered):
            answer = event.answer
        elif isinstance(event, Loaded | Recalled):
            _remark(event)
        elif live:
            terminal.stream(event.text if streamed else event.text.lstrip())
            streamed += event.text
    assert answer is not None, "a question ends with Answered or an error"
    if as_json:
        terminal.json_line(answer.to_json())
    else:
        _answer(answer, streamed)
    return answer


def _remark(event: Loaded | Recalled) -> None:
    if isinstance(event, Loaded):
        terminal.detail(f"{event.model}, {event.library}: {count(event.chunks, 'chunk')} in {duration(event.seconds)}")
    else:
        terminal.detail("re-reading " + "; ".join(place_words(source) for source in event.sources))


def _answer(answer: Answer, streamed: str) -> None:
    """The answer in words, whose words they are, and the sources."""
    said: Source | None = None
    if streamed.strip():
        terminal.out()
    if answer.abstained:
        terminal.out("I have not read that: no passage supports an answer.", style="bold")
    elif answer.answer_from == "text":
        if streamed.strip():
            terminal.out("(the model's words; nothing in the text supports them)", style="dim")
            terminal.out()
        said = next(iter(answer.sources), None)
        if said is None:  # --top 0
            terminal.out(quoted(answer.answer), style="bold")
        else:
            _passage(said)
        terminal.out("(the book, word for word)", style="dim")
    else:
        if not streamed.strip():
            terminal.out(answer.answer.strip(), style="bold")
        doubt = "" if answer.supported else "; nothing in the text supports them"
        terminal.out(f"(the model's words{doubt})", style="dim")
    sources(answer.sources, "Nearest passages" if answer.abstained else "Sources", said)


def _passage(source: Source, indent: int = 0) -> None:
    """What really stands at a source, the sentence that was found in bold."""
    terminal.out(quoted(terminal.one_line(source.quote)), indent=indent, strong=terminal.one_line(source.sentence))


def sources(found: Iterable[Source], heading: str = "Sources", said: Source | None = None) -> None:
    """Passages with their place, how they were found, and the words that really stand there, unless just `said`."""
    for number, source in enumerate(found, 1):
        if number == 1:
            terminal.out(f"\n{heading}", style="bold")
        terminal.out(shown_place(source), "cyan", indent=4, label=f"{number:>2}")
        if source is said:
            terminal.out("the passage above", indent=4)
        else:
            _passage(source, indent=4)
        found_by = f"found by {FOUND_BY[source.found_by]} · support {source.support:.2f}"
        terminal.out(f"{recalled_words(source)} · {found_by}", "dim", indent=4)


def ranked(events: Iterable[NextEvent], as_json: bool) -> Ranked:
    """Show next events, likeliest first; returns them."""
    result: Ranked | None = None
    for event in _awaited(events, WAITING):
        if isinstance(event, Ranked):
            result = event
        elif isinstance(event, Loaded | Recalled):
            _remark(event)
        else:
            assert isinstance(event, Token)
    assert result is not None, "a ranking ends with Ranked or an error"
    if as_json:
        terminal.json_line(result.to_json())
        return result
    for number, candidate in enumerate(result.candidates, 1):
        label = f"{number:>2}  {candidate.probability:>4.0%}"
        terminal.out(terminal.one_line(candidate.text), "bold", indent=10, label=label)
        alone = (
            "" if candidate.log_likelihood_alone is None else f", {candidate.log_likelihood_alone:.3f} without the past"
        )
        terminal.out(f"{candidate.log_likelihood:.3f} nats per token{alone}", style="dim", indent=10)
        for source in candidate.sources:
            terminal.out(shown_place(source), style="cyan", indent=10)
    sources(result.sources)
    return result
