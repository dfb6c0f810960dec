"""A conversation, typed through prompt_toolkit's own pipe, and the same from a plain pipe."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from mplus_cli import repl, terminal
from mplus_cli.documents.chunking import Chunk
from mplus_cli.documents.document import Section
from mplus_cli.errors import NotFound
from mplus_cli.events import (
    Answer,
    Answered,
    AskEvent,
    AskOptions,
    Candidate,
    NextEvent,
    NextOptions,
    Ranked,
    Source,
    Timing,
    Token,
)
from mplus_cli.library.library import Library
from tests.cli.conftest import book, make_library

TIMING = Timing(0.0, 0.0, 0.0)
SOURCE = Source("a" * 16, "War and Peace", "Book One", 1, "1", "location", 0, 6, "Pierre", 0.5, 0.9, "memory")


@dataclass
class FakeSession:
    """Answers with the question in capitals; "stop" is interrupted by the person, "broken" fails."""

    library: str
    asked: list[tuple[str, AskOptions]] = field(default_factory=list)
    closed: bool = False

    def ask(self, question: str, options: AskOptions) -> Iterator[AskEvent]:
        self.asked.append((question, options))
        yield Token(question.upper())
        if question == "stop":
            raise KeyboardInterrupt
        if question == "broken":
            raise NotFound("nothing there", "look elsewhere")
        yield Answered(Answer(question.upper(), "model", False, (SOURCE,), "tiny", TIMING))

    def next_events(self, options: NextOptions) -> Iterator[NextEvent]:
        yield Ranked((Candidate(f"after {options.after}{options.until}", -1.0, 1.0),), "tiny", TIMING, proposed=True)

    def close(self) -> None:
        self.closed = True


@dataclass
class Table:
    """Where the sessions of a conversation are kept for the test to look at."""

    sessions: list[FakeSession] = field(default_factory=list)

    def open(self, library: str) -> FakeSession:
        self.sessions.append(FakeSession(library))
        return self.sessions[-1]

    @property
    def asked(self) -> list[str]:
        return [question for session in self.sessions for question, _ in session.asked]


@pytest.fixture
def table(novels) -> Table:
    terminal.configure()
    return Table()


def type_(table: Table, keys: str, library: str = "novels") -> None:
    """Type keys at the chat; \\r is Enter, \\x04 Ctrl-D, \\x03 Ctrl-C, \\x1b Escape."""
    with create_pipe_input() as keyboard:
        keyboard.send_text(keys)
        repl.run(table.open, library, keyboard=keyboard, screen=DummyOutput())


def test_ctrl_d_leaves_and_gives_the_model_back(table) -> None:
    type_(table, "Who?\r\x04")
    assert table.asked == ["Who?"]
    assert table.sessions[0].closed


def test_nothing_is_loaded_before_the_first_question(table) -> None:
    type_(table, "/help\r/quit\r")
    assert table.sessions == []


def test_loading_is_said_once_before_the_first_answer(table, capsys) -> None:
    type_(table, "one\rtwo\r\x04")
    assert capsys.readouterr().err.count("loading the model") == 1


def test_the_conversation_goes_along_as_context(table) -> None:
    type_(table, "one\rtwo\r/clear\rthree\r/quit\r")
    contexts = [options.conversation for _, options in table.sessions[0].asked]
    assert contexts == [(), (("one", "ONE"),), ()]


def test_old_turns_leave_the_context(table) -> None:
    type_(table, "".join(f"question {n}\r" for n in range(9)) + "/quit\r")
    conversation = table.sessions[0].asked[-1][1].conversation
    assert [question for question, _ in conversation] == [f"question {n}" for n in range(4, 8)]


def test_several_lines_by_backslash_and_by_escape_enter(table) -> None:
    type_(table, "one\\\rtwo\rthree\x1b\rfour\r/quit\r")
    assert table.asked == ["one\ntwo", "three\nfour"]


def test_ctrl_c_stops_the_answer_only(table, capsys) -> None:
    type_(table, "stop\rgo on\r/quit\r")
    assert table.asked == ["stop", "go on"]
    assert "stopped" in capsys.readouterr().err


def test_ctrl_c_clears_a_half_typed_line(table) -> None:
    type_(table, "half a quest\x03whole\r/quit\r")
    assert table.asked == ["whole"]


def test_an_error_ends_the_answer_only(table, capsys) -> None:
    type_(table, "broken\r/nonsense\r/save\rwell\r/quit\r")
    assert table.asked == ["broken", "well"]
    shown = capsys.readouterr().err
    for words in ("nothing there", "look elsewhere", "There is no command /nonsense", "/save takes"):
        assert words in shown


def test_changing_the_library_begins_a_new_conversation(table, home, capsys) -> None:
    make_library(home, "essays", book("Essays", "Words. " * 60))
    type_(table, "one\r/library essays\rtwo\r/library\r/library nowhere\r/quit\r")
    assert [session.library for session in table.sessions] == ["novels", "essays"]
    assert table.sessions[0].closed
    assert table.sessions[1].asked[0][1].conversation == ()
    shown = capsys.readouterr()
    assert "* essays" in shown.out
    assert "There is no library 'nowhere'" in shown.err


def test_books_and_positions_narrow_what_is_asked(table) -> None:
    type_(table, "/book war-and-peace\r/until Book One\rone\r/book\r/until\r/reread off\rtwo\r/quit\r")
    (_, narrow), (_, wide) = table.sessions[0].asked
    assert len(narrow.books) == 1
    assert (narrow.until, narrow.reread) == ("Book One", True)
    assert (wide.books, wide.until, wide.reread) == ((), None, False)


def test_next_sources_and_save(table, tmp_path, capsys) -> None:
    file = tmp_path / "talk.md"
    type_(table, f"/sources\rWho?\r/sources\r/next They dance\r/next\r/save {file}\r/save {file}\r/quit\r")
    shown = capsys.readouterr()
    assert shown.out.count("“Pierre”") == 2
    assert "after ('They dance',)" in shown.out
    assert "Nothing was asked yet" in shown.err
    assert "exists already" in shown.err
    text = file.read_text()
    assert "## Who?" in text
    assert "> Pierre" in text


def test_questions_are_remembered_in_a_private_file(table, home) -> None:
    type_(table, "Who was it?\r/quit\r")
    history = home / "state" / "history"
    assert "Who was it?" in history.read_text()
    assert history.stat().st_mode & 0o077 == 0
    type_(table, "\x1b[A\x1b[A\r/quit\r")  # two up: past /quit
    assert table.asked == ["Who was it?", "Who was it?"]


def test_an_apostrophe_is_no_open_quote(table, capsys) -> None:
    type_(table, "/until Pierre's wedding\r/quit\r")
    assert 'has no chapter "Pierre\'s wedding"' in capsys.readouterr().err


def test_a_position_that_is_not_there_is_refused_at_once_and_the_one_before_stays(table, home, capsys) -> None:
    type_(table, "/until 1\r/until Epilogue\rone\r/quit\r")
    assert table.sessions[0].asked[0][1].until == "1"
    shown = capsys.readouterr().err
    assert "asking as of the end of “Book One”" in shown
    assert "has no chapter 'Epilogue'" in shown


def test_a_position_never_moves_to_another_book_in_silence(table, home, capsys) -> None:
    essays = replace(book("Essays", "Of boats. " * 50), sections=(Section("Of Boats", 1, 0, 500),))
    with Library.open(home / "libraries" / "novels") as library, library.writing() as writer:
        writer.begin(essays, [Chunk(0, 0, len(essays.text), 12, essays.text)])
        writer.commit(essays.id, 0, 1, b"rows", None, None)
        writer.finish(essays.id)
    type_(table, "/until 1\r/book war-and-peace\r/until Book Two\r/book essays\rone\r/quit\r")
    shown = capsys.readouterr().err
    assert "/book NAME names it" in shown
    assert "Essays has no chapter 'Book Two'" in shown
    options = table.sessions[0].asked[0][1]
    assert (len(options.books), options.until) == (1, "Book Two")
    assert options.books[0] != essays.id


def test_bytes_that_are_no_text_reach_no_session(table, monkeypatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("Who is H\udce9l\u00e8ne?\n"))
    repl.run(table.open, "novels")
    assert table.asked == ["Who is H\ufffdl\u00e8ne?"]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("/li", ["/library"]),
        ("/library ", ["novels"]),
        ("/book wa", ["war-and-peace"]),
        ("/until Book O", ["Book One"]),
        ("/reread o", ["on", "off"]),
        ("What /li", []),
        ("/library x", []),
    ],
)
def test_what_a_half_typed_word_may_become(table, line, offered) -> None:
    chat = repl.Chat(table.open, "novels")
    assert repl.completions(chat, line)[1] == offered


def test_a_completion_never_fails(table, novels) -> None:
    (novels / "catalog.sqlite").write_bytes(b"broken" * 1000)
    assert repl.completions(repl.Chat(table.open, "novels"), "/book w") == ("", [])


def test_plain_stdin_is_one_question_a_line(table, capsys, tmp_path) -> None:
    import io
    import sys

    before, sys.stdin = sys.stdin, io.StringIO("one\ntwo \\\nlines\n\n/quit\nnever\n")
    try:
        repl.run(table.open, "novels")
    finally:
        sys.stdin = before
    assert table.asked == ["one", "two \nlines"]
    assert "ONE" in capsys.readouterr().out


def test_a_failed_question_in_a_pipe_ends_the_run(table) -> None:
    import io
    import sys

    before, sys.stdin = sys.stdin, io.StringIO("broken\nnever\n")
    try:
        with pytest.raises(NotFound):
            repl.run(table.open, "novels")
    finally:
        sys.stdin = before
    assert table.asked == ["broken"]
    assert table.sessions[0].closed


def test_the_library_is_not_changed(table, novels: Path) -> None:
    before = {path: path.read_bytes() for path in novels.rglob("*") if path.is_file() and "sqlite-" not in path.name}
    type_(table, "one\r/book war-and-peace\r/quit\r")
    assert {path: path.read_bytes() for path in before} == before
