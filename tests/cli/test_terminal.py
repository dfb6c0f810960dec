"""Nothing that a book, a file name or an error holds can steer a terminal."""

from __future__ import annotations

import ast
import io
import json
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mplus_cli import terminal
from tests.cli.conftest import book, make_library

ROOT = Path(__file__).parents[2]
BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
HOSTILE = "\x1b]0;gone\x07War\x1b[31m and \x9b2J\u202ePeace\x1b]52;c;aGk=\x1b\\\x07"
TEXTS = st.text(st.one_of(st.characters(), st.sampled_from("\x1b\x07\x9b\x9d\x90[]m;\\\r\n\t" + BIDI)))


def dangerous(text: str) -> list[str]:
    return [
        sign for sign in text if sign not in "\n\t" and (unicodedata.category(sign) in ("Cc", "Cs") or sign in BIDI)
    ]


@given(TEXTS)
def test_clean_text_holds_no_control_characters(text: str) -> None:
    assert not dangerous(terminal.clean(text))


@given(TEXTS)
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    assert terminal.clean(terminal.clean(text)) == terminal.clean(text)


@given(TEXTS)
def test_neutral_text_keeps_every_offset(text: str) -> None:
    shown = terminal.neutral(text)
    assert not dangerous(shown)
    assert len(shown) == len(text)
    assert all(a == b or b == terminal.REPLACEMENT for a, b in zip(text, shown, strict=True))


@given(st.text(st.characters(blacklist_categories=("Cc", "Cs"), blacklist_characters=BIDI)))
def test_harmless_text_stays_as_it_is(text: str) -> None:
    assert terminal.clean(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]8;;https://example.org\x07link\x1b]8;;\x07", "link"),
        ("\x1b]0;title\x1b\\text", "text"),
        ("\x1bPq#0\x1b\\picture", "picture"),
        ("a stray \x1b] keeps its line", "a stray ] keeps its line"),
        ("a\r\nb\rc", "a\nb\nc"),
    ],
)
def test_whole_sequences_are_taken_out(text: str, shown: str) -> None:
    assert terminal.clean(text) == shown


def test_a_hostile_title_reaches_no_stream(mplus, home) -> None:
    make_library(home, "novels", book(title=HOSTILE))
    for arguments in (
        ("library", "list"),
        ("library", "show", "novels"),
        ("docs", "list"),
        ("docs", "show", "1"),
        ("docs", "list", "--json"),
        ("docs", "show", "no\x1b[31msuch"),
    ):
        ran = mplus(*arguments)
        assert not dangerous(ran.out + ran.err), arguments
        assert "\\u001b" not in ran.out


def test_shown_text_keeps_its_offsets(mplus, home) -> None:
    text = "Before \x1b[31mred\u202e after. " * 200
    make_library(home, "novels", book(text=text))
    shown = mplus("docs", "show", "1", "--text").out
    assert len(shown) == len(text)
    assert not dangerous(shown)
    assert mplus("docs", "show", "1", "--text", "--json").json["text"] == shown


class Screen(io.StringIO):
    """A terminal that keeps what was shown."""

    def isatty(self) -> bool:
        return True


def narrow(monkeypatch) -> Screen:
    screen = Screen()
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("NO_COLOR", "1")
    terminal.configure()
    return screen


def test_every_line_of_an_indented_text_is_indented(monkeypatch) -> None:
    screen = narrow(monkeypatch)
    terminal.out("word " * 20, indent=4)
    lines = screen.getvalue().rstrip("\n").split("\n")
    assert len(lines) > 1
    assert all(line.startswith("    word") and len(line) <= 40 for line in lines)


def test_a_narrow_table_breaks_words_and_never_a_number(monkeypatch) -> None:
    screen = narrow(monkeypatch)
    terminal.table(("name", "title", "chunks"), [("a-long-name-" * 5, "Title " * 9, "1,604,900")], right=("chunks",))
    assert "1,604,900" in screen.getvalue()
    assert all(len(line) <= 40 for line in screen.getvalue().splitlines())


def test_json_knows_no_infinite_numbers(capsys) -> None:
    terminal.json_line({"left": float("inf"), "list": [float("nan"), 1.5]})
    assert json.loads(capsys.readouterr().out) == {"left": None, "list": [None, 1.5]}


def test_only_the_terminal_prints() -> None:
    allowed = {"terminal.py"}
    for path in sorted((ROOT / "mplus_cli").rglob("*.py")):
        if path.name in allowed:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {
            node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not names & {"print", "Console"}, path
        assert not re.search(r"sys\.std(out|err)\.write|typer\.(echo|secho|prompt|confirm)\(", path.read_text()), path
