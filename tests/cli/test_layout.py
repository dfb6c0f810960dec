"""Whatever a title is made of, columns stand below each other and lines fit the terminal."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mplus_cli import layout, main, render, terminal
from mplus_cli.events import Answer, Answered, AskEvent, ChunkRead, Loaded, Opened, Source, Timing, Token

SOURCE = Source("a" * 16, "War and Peace", "Book Four", 512, "498", "label", 10, 20, "he betrayed", 0.31, 0.8, "both")
CHINESE = "吾輩は猫である：長い題名を持つ日本文学の古典的な作品集"
TITLES = st.text(st.sampled_from("ab 吾輩é́ألف👩"), max_size=60)
CELLS = st.lists(st.tuples(TITLES, TITLES), min_size=1, max_size=5)


class Screen(io.StringIO):
    """A terminal that keeps what was shown."""

    def isatty(self) -> bool:
        return True


def narrow(monkeypatch) -> Screen:
    screen = Screen()
    for stream in ("sys.stdout", "sys.stderr"):
        monkeypatch.setattr(stream, screen)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("NO_COLOR", "1")
    terminal.configure()
    return screen


@given(TITLES, st.integers(1, 70))
def test_shortened_text_is_no_wider_than_asked_and_begins_as_the_text_does(text: str, most: int) -> None:
    shown = layout.shortened(text, most)
    assert layout.cells(shown) <= most
    assert shown == text or text.startswith(shown.removesuffix("…"))


def test_text_is_shortened_between_words() -> None:
    assert layout.shortened("The Surprising Adventures", 16) == "The Surprising…"
    assert layout.shortened("The Surprising Adventures", 15) == "The Surprising…"
    assert layout.shortened(CHINESE, 11) == "吾輩は猫で…"


@given(CELLS)
def test_columns_begin_at_the_same_cell_in_every_line(rows: list[tuple[str, str]]) -> None:
    marked = [(first.strip(), f"|{second.strip()}") for first, second in rows]
    at = {layout.cells(line[: line.rindex("|")]) for line in layout.columns(marked, (False, False))}
    assert len(at) == 1


def test_a_table_that_would_break_every_word_becomes_a_list_of_names_and_values(monkeypatch) -> None:
    screen = narrow(monkeypatch)
    row = ("novels", 5, "26.4 MB", "int8", "embedded", "")
    terminal.table(("library", "documents", "size", "rows", "model", ""), [row, row], right=("documents", "size"))
    lines = ["library    novels", "documents  5", "size       26.4 MB", "rows       int8", "model      embedded"]
    assert screen.getvalue().splitlines() == [*lines, "", *lines]


@pytest.mark.parametrize("text", [CHINESE * 4, "words " * 30, "W" * 100, "Te\u0301te\u0301 " * 30])
def test_lines_begin_below_the_text_and_fit_the_terminal(monkeypatch, text: str) -> None:
    screen = narrow(monkeypatch)
    terminal.out(text, indent=8, label="    12")
    first, *others = screen.getvalue().splitlines()
    assert first.startswith("    12  ")
    assert others
    assert all(line.startswith(" " * 8) and line[8] != " " for line in others)
    assert all(layout.cells(line) <= 40 for line in (first, *others))


def test_the_place_of_a_source_never_runs_into_its_number(monkeypatch) -> None:
    screen = narrow(monkeypatch)
    render.sources([replace(SOURCE, title="Adventures " * 20, chapter="In which " * 20)])
    first, *others = [line for line in screen.getvalue().splitlines()[2:] if line.strip()]
    assert first.startswith(" 1  Adventures")
    assert all(line.startswith("    ") for line in others)
    assert "Adventures… · In which" in screen.getvalue().replace("\n    ", " ")
    assert "p. 498" in screen.getvalue()


def test_a_place_is_whole_where_nobody_looks_at_it() -> None:
    long = "Adventures " * 20
    assert render.shown_place(replace(SOURCE, title=long.strip())).startswith(long)


def test_an_error_is_wrapped_between_words(monkeypatch) -> None:
    screen = narrow(monkeypatch)
    terminal.show_error(terminal.UsageError("A library cannot be called that, as long names are.", "Choose one " * 6))
    assert all(line.rpartition(" ")[2] in "A library cannot be called that, as long names are. Choose one"
               for line in screen.getvalue().splitlines())  # fmt: skip
    assert all(line.startswith("  ") for line in screen.getvalue().split("are.\n")[1].splitlines())


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_the_words_of_a_bar_are_never_cut(monkeypatch, columns: int) -> None:
    from rich.console import Console

    monkeypatch.setattr(terminal, "err_console", lambda: Console(file=Screen(), width=columns, color_system=None))
    progress = render._BarProgress()
    progress.open(Opened("a" * 16, CHINESE * 3, 12_345, 790_000, 9, 10))
    progress.advance(ChunkRead("a" * 16, 3_692, 12_345, 1318.0, "1123", 4_740.0, title=CHINESE))
    assert progress.bar is not None
    console = Console(file=io.StringIO(), width=columns, color_system=None)
    console.print(progress.bar.get_renderable())
    progress.close()
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert shown.count("\n") == 1
    for words in ("page 1123", "1 h 19 min left", *(("3,692 of 12,345 chunks", "1,318") if columns > 40 else ("30%",))):
        assert words in shown


def test_help_is_never_wider_than_a_narrow_terminal(mplus, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    shown = mplus("doctor", "--help").out
    assert main._narrow() == 38
    assert all(len(line) <= 40 for line in shown.splitlines())
    monkeypatch.setenv("COLUMNS", "80")
    assert main._narrow() is None


def test_words_say_what_is_waited_for_until_something_is_shown(monkeypatch) -> None:
    out, err = Screen(), Screen()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", err)
    monkeypatch.setenv("TERM", "xterm")
    terminal.configure()
    waited: list[str] = []

    def events() -> Iterator[AskEvent]:
        for _ in range(500):  # another thread draws
            if render.WAITING in err.getvalue():
                break
            time.sleep(0.01)
        waited.append(err.getvalue())
        yield Loaded("tiny", "novels", 1, 9, 0.5)
        yield Token("Hélène")
        waited.append(err.getvalue())
        yield Answered(Answer("Hélène", "model", False, (), "tiny", Timing(0.5, 0.2, 1.5)))
        waited.append(err.getvalue())

    render.ask(events(), as_json=False)
    assert render.WAITING in waited[0]
    assert waited[1] == waited[2] == err.getvalue()
    assert render.WAITING not in out.getvalue()


def test_nothing_moves_where_no_terminal_looks(capsys) -> None:
    terminal.configure()
    with terminal.busy("loading") as change:
        change("recalling")
    assert capsys.readouterr() == ("", "")
