"""Events as people and scripts see them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from rich.console import Console

from mplus_cli import events, render, terminal, words
from mplus_cli.errors import Interrupted, NotFound
from mplus_cli.events import (
    Answer,
    Answered,
    Candidate,
    ChunkRead,
    DocumentDone,
    DocumentReport,
    Event,
    IngestDone,
    Loaded,
    Opened,
    Ranked,
    Recalled,
    Source,
    Timing,
    Token,
)

SOURCE = Source("a" * 16, "War and Peace", "Book Four", 512, "498", "label", 10, 20, "he betrayed", 0.31, 0.8, "both")
TIMING = Timing(0.5, 0.2, 1.5)
REPORT = DocumentReport("a" * 16, "War and Peace", "read", chunks=3, tokens=900, pages_read=9, pages_total=10,
                        skipped=("page 4: damaged",))  # fmt: skip
REFUSED = DocumentReport("", "scan.pdf", "refused", reason="no text\x1b[31m layer", remedy="Run OCR on it.")


@pytest.fixture(autouse=True)
def plain() -> None:
    terminal.configure()


def answer(**changes: object) -> Answer:
    values = {"answer": "Hélène", "answer_from": "model", "abstained": False, "sources": (SOURCE,), "model": "tiny"}
    return Answer(**{**values, "timing": TIMING, **changes})  # type: ignore[arg-type]


def question(found: Answer) -> Iterator[events.AskEvent]:
    yield Loaded("tiny", "novels", 1, 9, 0.5)
    yield Recalled((SOURCE,))
    yield Token(" Hél")
    yield Token("ène\x1b[2J")
    yield Answered(found)


def reading() -> Iterator[Event]:
    yield Opened("a" * 16, "War and Peace", 3, 900, 9, 10, warnings=("guessed encoding: cp1252",))
    for number in (1, 2, 3):
        yield ChunkRead("a" * 16, number, 3, 800.0, f"p. {number}", 3.0 - number, title="War and Peace")
    yield DocumentDone(REPORT)
    yield DocumentDone(REFUSED)
    yield IngestDone((REPORT, REFUSED), 800.0, 1.2)


def test_ingest_json_is_one_object_a_line_and_ends_with_done(capsys) -> None:
    render.ingest(reading(), as_json=True)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lines] == ["opened", *["chunk"] * 3, "document", "document", "done"]
    done = lines[-1]
    assert {"event", "documents", "tokens_per_second", "seconds"} == set(done)
    wanted = {"id", "title", "status", "reason", "chunks", "tokens", "pages_read", "pages_total", "skipped"}
    assert wanted <= set(done["documents"][0])
    assert done["documents"][0]["skipped"] == ["page 4: damaged"]


def test_ingest_for_people_names_what_was_read_skipped_and_refused(capsys) -> None:
    done = render.ingest(reading(), as_json=False)
    shown = capsys.readouterr()
    assert done.tokens_per_second == 800.0
    assert "read War and Peace · 9 of 10 pages, 3 chunks" in shown.out
    for phrase in (
        "3 chunks, 900 tokens",
        "guessed encoding",
        "page 4: damaged",
        "refused scan.pdf: no text layer",
        "OCR",
    ):
        assert phrase in shown.err
    assert "\x1b" not in shown.out + shown.err


def test_quiet_hides_no_refusal(capsys) -> None:
    terminal.configure(quiet=True)
    named = DocumentReport("", "scan.pdf", "refused", reason="scan.pdf: no text layer")
    render.ingest(iter([DocumentDone(named), IngestDone((named,), 0.0, 0.0)]), as_json=False)
    assert capsys.readouterr().err == "refused scan.pdf: no text layer\n"


def test_an_interrupted_ingest_passes_its_error_on() -> None:
    def stopped() -> Iterator[Event]:
        yield Opened("a" * 16, "War and Peace", 3, 900, 9, 10)
        raise Interrupted("Stopped as asked.")

    with pytest.raises(Interrupted):
        render.ingest(stopped(), as_json=False)


def test_what_was_asked_for_is_not_called_an_error(capsys) -> None:
    terminal.show_error(Interrupted("Stopped as asked."))
    terminal.show_error(NotFound("There is no library tales."))
    shown = capsys.readouterr().err
    assert shown.startswith("Stopped as asked.\n  Run the same command again")
    assert "error: There is no library tales." in shown


@pytest.mark.parametrize(
    ("share", "found_by", "words"),
    [
        (0.31, "both", "31% of the recalled rows"),
        (0.003, "memory", "less than 1% of the recalled rows"),
        (0.3, "text", "30% of the recalled rows"),
        (0.0, "text", "no row of it recalled"),
        (0.0, "memory", "no row of it recalled"),
    ],
)
def test_shares_are_said_as_people_say_them(share: float, found_by: str, words: str) -> None:
    assert render.recalled_words(replace(SOURCE, share=share, found_by=found_by)) == words


def test_ask_json_is_one_object_of_the_documented_shape(capsys) -> None:
    render.ask(question(answer()), as_json=True)
    shown = json.loads(capsys.readouterr().out)
    assert {"answer", "abstained", "sources", "model", "timing"} <= set(shown)
    assert set(shown["sources"][0]) == {name.name for name in Source.__dataclass_fields__.values()}
    assert shown["timing"] == {"load_s": 0.5, "first_token_s": 0.2, "total_s": 1.5}


def test_an_answer_says_whose_words_it_is_and_names_its_sources(capsys) -> None:
    render.ask(question(answer()), as_json=False)
    shown = capsys.readouterr().out
    assert shown.startswith("Hélène\n(the model's words)\n")
    for phrase in (
        "War and Peace · Book Four · p. 498 (page 512 of the file)",
        "“he betrayed”",
        "31% of the recalled rows",
    ):
        assert phrase in shown
    assert "the memory and full-text search" in shown
    assert "\x1b" not in shown


BOOKS: dict[str, object] = {"answer": "She left.", "answer_from": "text"}  # where the model's own words find no support


def test_words_of_the_book_are_shown_once_in_their_context(capsys) -> None:
    source = replace(SOURCE, quote="It rained. She left.", sentence="She left.")
    render.ask(question(answer(**BOOKS, model_words="Hél", sources=(source,))), as_json=False)
    shown = capsys.readouterr().out
    assert shown.count("“It rained. She left.”") == 1
    assert "(the book, word for word)" in shown
    assert "    the passage above" in shown.splitlines()
    assert "the model's words)" not in shown.split("She left")[1]


def test_words_of_the_book_are_shown_without_any_source(capsys) -> None:
    render.ask(question(answer(**BOOKS, sources=())), as_json=False)
    assert capsys.readouterr().out.splitlines() == ["“She left.”", "(the book, word for word)"]


@pytest.mark.parametrize("said", ["“Certainly,” he said.", 'He said "no".', "«Oui», dit-elle."])
def test_a_quote_with_quotation_marks_of_its_own_gets_no_others(said: str, capsys) -> None:
    render.sources([replace(SOURCE, quote=f"{said} She left.")])
    assert f"    {said} She left." in capsys.readouterr().out.splitlines()


def test_the_sentence_that_was_found_is_bold_within_its_quote(monkeypatch, capsys) -> None:
    console = Console(force_terminal=True, color_system="standard")
    monkeypatch.setattr(terminal, "out_console", lambda: console)
    render.sources([replace(SOURCE, quote="It rained. She left.", sentence="She left.")])
    assert "It rained. \x1b[1mShe left.\x1b[0m" in capsys.readouterr().out


def test_a_reading_that_goes_on_says_where_with_thousands_apart(capsys) -> None:
    opened = Opened("a" * 16, "War and Peace", 12_000, 768_000, 9, 10, "resumed", 2_933)
    end = IngestDone((REPORT,), 800.0, 1.0)
    render.ingest(iter([opened, DocumentDone(REPORT), end]), as_json=False)
    assert "12,000 chunks, 768,000 tokens, going on at chunk 2,934" in capsys.readouterr().err


def test_an_abstention_is_said_and_the_nearest_passages_are_shown(capsys) -> None:
    render.ask(question(answer(answer="", abstained=True)), as_json=False)
    shown = capsys.readouterr().out
    assert "I have not read that" in shown
    assert "Nearest passages" in shown


def test_next_events_are_listed_likeliest_first(capsys) -> None:
    result = Ranked(
        (Candidate("They dance.", -1.2, 0.7, (SOURCE,)), Candidate("They quarrel.", -2.0, 0.3)), "tiny", TIMING
    )
    render.ranked(iter([Loaded("tiny", "novels", 1, 9, 0.5), result]), as_json=False)
    shown = capsys.readouterr().out
    assert shown.index("They dance.") < shown.index("They quarrel.")
    assert "70%" in shown
    render.ranked(iter([result]), as_json=True)
    assert json.loads(capsys.readouterr().out)["candidates"][0]["log_likelihood"] == -1.2


@pytest.mark.parametrize(
    ("kind", "label", "page", "words"),
    [
        ("index", "", 12, "page 12"),
        ("label", "xii", 12, "p. xii (page 12 of the file)"),
        ("label", "12", 12, "p. 12"),
        ("page-list", "98", 12, "p. 98"),
        ("location", "12", 12, "location 12"),
    ],
)
def test_a_page_is_called_what_it_is(kind, label, page, words) -> None:
    source = Source("a", "T", "", page, label, kind, 0, 1, "q", 0.1, 0.1, "text")
    assert render.page_words(source) == words


@pytest.mark.parametrize(
    ("value", "shown"), [(999, "999 B"), (1_500, "1.5 kB"), (123e6, "123 MB"), (2.5e9, "2.5 GB"), (3e12, "3.0 TB")]
)
def test_sizes_for_people(value, shown) -> None:
    assert words.size(value) == shown


@pytest.mark.parametrize(("value", "shown"), [(1.25, "1.2 s"), (59, "59 s"), (200, "3 min 20 s"), (4000, "1 h 06 min")])
def test_durations_for_people(value, shown) -> None:
    assert words.duration(value) == shown


def test_every_event_has_its_json() -> None:
    kinds = [kind for _, kind in inspect.getmembers(events, inspect.isclass) if hasattr(kind, "to_json")]
    assert {Opened, ChunkRead, DocumentDone, IngestDone, Loaded, Recalled, Token, Answered, Ranked} <= set(kinds)
