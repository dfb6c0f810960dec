"""`mplus chat`: questions one after the other, with commands that begin with a slash.

On a terminal prompt_toolkit gives history, completion and several lines; without one, every line of standard input is a
question. The conversation is context for the next question; the library is never changed.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mplus_cli import render, settings, shelf, terminal
from mplus_cli.errors import NotFound, UsageError
from mplus_cli.events import Answer, AskEvent, AskOptions, NextEvent, NextOptions
from mplus_cli.failures import as_mplus_error
from mplus_cli.library.shards import private_folder
from mplus_cli.words import readable

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.document import Document
    from prompt_toolkit.input import Input
    from prompt_toolkit.key_binding import KeyBindings
    from prompt_toolkit.output import Output

    from mplus_cli.library.library import Library

CONVERSATION_TURNS = 4  # earlier questions that go along; a small model's prompt holds no more
HELP = (
    ("/library [NAME]", "show the libraries, or change to one"),
    ("/book [NAME ...]", "ask only these books; without a name, all"),
    ("/until [WHERE]", "ask as of a reading position: a chapter, p.340, 50%; without one, the end"),
    ("/next [EVENT]", "what happens next, after an event or at the reading position"),
    ("/sources", "show the sources of the last answer again"),
    ("/reread [on|off]", "read the recalled pages again before answering, or answer from memory alone"),
    ("/clear", "forget the conversation"),
    ("/save FILE", "write the conversation to a Markdown file"),
    ("/help", "this list"),
    ("/quit", "leave (also Ctrl-D)"),
)


class Asking(Protocol):
    """What the chat needs of `assistant.ask.Session`."""

    def ask(self, question: str, options: AskOptions) -> Iterable[AskEvent]:
        """Answer a question; the last event is Answered."""

    def next_events(self, options: NextOptions) -> Iterable[NextEvent]:
        """Propose what happens next; the last event is Ranked."""

    def close(self) -> None:
        """Give model and memory back."""


@dataclass(slots=True)
class Chat:
    """The state of a conversation; `handle` takes one line of a person."""

    open_session: Callable[[str], Asking]
    library: str
    books: tuple[str, ...] = ()
    until: str | None = None
    reread: bool = True
    turns: list[tuple[str, Answer]] = field(default_factory=list)
    session: Asking | None = None

    def handle(self, line: str) -> bool:
        """Answer a question or carry out a command; False when the person wants to leave."""
        words = readable(line).strip()
        if not words:
            return True
        if words.startswith("/"):
            return self._command(words)
        self._ask(words)
        return True

    def close(self) -> None:
        """Give model and memory back."""
        if self.session is not None:
            self.session.close()
        self.session = None

    def _opened(self) -> Asking:
        if self.session is None:
            terminal.say("loading the model and the library", style="dim")
            self.session = self.open_session(self.library)
        return self.session

    def _ask(self, question: str) -> None:
        earlier = tuple((asked, answer.answer) for asked, answer in self.turns[-CONVERSATION_TURNS:])
        options = AskOptions(books=self.books, until=self.until, reread=self.reread, conversation=earlier)
        answer = render.ask(self._opened().ask(question, options), as_json=False)
        self.turns.append((question, answer))

    def _command(self, line: str) -> bool:
        name, *arguments = _split(line)
        commands: dict[str, Callable[[list[str]], None]] = {
            "/library": self._library,
            "/book": self._book,
            "/until": self._until,
            "/next": self._next,
            "/sources": self._sources,
            "/reread": self._reread,
            "/clear": self._clear,
            "/save": self._save,
            "/help": self._help,
        }
        if name in ("/quit", "/exit"):
            return False
        if name not in commands:
            raise UsageError(f"There is no command {name}.", "/help lists the commands.")
        commands[name](arguments)
        return True

    def _library(self, arguments: list[str]) -> None:
        folder = settings.places().libraries
        if not arguments:
            for name in shelf.names(folder):
                terminal.out(f"{'*' if name == self.library else ' '} {name}")
            return
        self.library = shelf.path_of(folder, " ".join(arguments)).name
        self.close()
        self.books, self.until = (), None
        self.turns.clear()
        terminal.say(f"asking {self.library}")

    def _book(self, arguments: list[str]) -> None:
        with shelf.open_named(settings.places().libraries, self.library) as library:
            found = [library.find(argument) for argument in arguments]
            books = tuple(record.id for record in found)
            if self.until is not None:  # a position that a book does not have must not be forgotten in silence
                self._place(library, books, self.until)
        self.books = books
        terminal.say(f"asking {', '.join(record.title for record in found) or 'all books'}")

    def _until(self, arguments: list[str]) -> None:
        until = " ".join(arguments)
        name = "the end"
        if until:
            with shelf.open_named(settings.places().libraries, self.library) as library:
                name = self._place(library, self.books, until)
        self.until = until or None
        terminal.say(f"asking as of {name}")

    def _place(self, library: Library, books: tuple[str, ...], until: str) -> str:
        """A reading position as people call it; raises NotFound, UsageError where there is no single book."""
        from mplus_cli.assistant.position import position

        documents = [library.record(book) for book in dict.fromkeys(books)] or library.documents()
        if len(documents) != 1:
            raise UsageError("A reading position belongs to one book.", "/book NAME names it; /until alone ends it.")
        return position(library, documents[0], until)[1]

    def _next(self, arguments: list[str]) -> None:
        after = (" ".join(arguments),) if arguments else ()
        if not after and self.until is None:
            raise UsageError("What comes next depends on what came before.", "/next EVENT, or set /until WHERE first.")
        render.ranked(self._opened().next_events(NextOptions(after, self.until, books=self.books)), as_json=False)

    def _sources(self, arguments: list[str]) -> None:
        if not self.turns:
            raise NotFound("Nothing was asked yet.", "Ask something first.")
        render.sources(self.turns[-1][1].sources)

    def _reread(self, arguments: list[str]) -> None:
        if arguments not in ([], ["on"], ["off"]):
            raise UsageError("/reread takes on or off.", "/reread on, or /reread off.")
        self.reread = arguments == ["on"] if arguments else not self.reread
        terminal.say("re-reading the recalled pages" if self.reread else "answering from memory alone")

    def _clear(self, arguments: list[str]) -> None:
        self.turns.clear()
        terminal.say("the conversation is forgotten")

    def _save(self, arguments: list[str]) -> None:
        if len(arguments) != 1:
            raise UsageError("/save takes the name of a file.", "/save talk.md")
        path = Path(arguments[0]).expanduser()
        if path.exists():
            raise UsageError(f"{path} exists already.", "Choose another name.")
        path.write_text(self.markdown(), encoding="utf-8")
        terminal.say(f"wrote {path}")

    def _help(self, arguments: list[str]) -> None:
        terminal.table(("", ""), HELP, header=False)
        terminal.out("Alt-Enter or a backslash at the end of a line goes on in the next one; Ctrl-C stops an answer.")

    def markdown(self) -> str:
        """The conversation as Markdown: questions, answers, sources with their quotes."""
        parts = [f"# {terminal.one_line(self.library)}\n"]
        for question, answer in self.turns:
            parts.append(f"\n## {terminal.one_line(question)}\n\n{terminal.clean(answer.answer).strip()}\n")
            for source in answer.sources:
                place = terminal.one_line(render.place_words(source))
                parts.append(f"\n> {terminal.one_line(source.quote)}\n>\n> {place}\n")
        return "".join(parts)


def _split(line: str) -> list[str]:
    """Words of a command line; quotes hold words together, and a lone apostrophe is a letter."""
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


# ------------------------------------------------------------------------------------------------------------ running


def run(
    open_session: Callable[[str], Asking],
    library: str,
    books: tuple[str, ...] = (),
    keyboard: Input | None = None,
    screen: Output | None = None,
) -> None:
    """Talk until the person leaves. `keyboard` and `screen` are prompt_toolkit's, for tests."""
    chat = Chat(open_session, library, books)
    interactive = keyboard is not None or terminal.is_terminal(sys.stdin)
    try:
        lines = _typed(chat, keyboard, screen) if interactive else _piped()
        for line in lines:
            if not _carry_out(chat, line, interactive):
                break
    finally:
        chat.close()


def _carry_out(chat: Chat, line: str, interactive: bool) -> bool:
    """One line; in a conversation an error or Ctrl-C ends the answer only, in a pipe it ends the run."""
    if not interactive:
        return chat.handle(line)
    try:
        return chat.handle(line)
    except KeyboardInterrupt:
        terminal.say("\nstopped")
    except Exception as error:
        terminal.show_error(as_mplus_error(error))
    return True


def _piped() -> Iterator[str]:
    """Questions from standard input, one a line; a backslash at the end joins it with the next."""
    pending = ""
    for line in sys.stdin:
        pending += line.rstrip("\n")
        if pending.endswith("\\"):
            pending = pending[:-1] + "\n"
            continue
        yield pending
        pending = ""
    if pending:
        yield pending


def _typed(chat: Chat, keyboard: Input | None, screen: Output | None) -> Iterator[str]:
    """Lines from the keyboard until Ctrl-D; Ctrl-C clears the line."""
    prompt = _prompt_session(chat, keyboard, screen)
    terminal.say(f"{chat.library}: ask, or /help; Ctrl-D leaves", style="dim")
    while True:
        try:
            yield prompt.prompt("> ")
        except KeyboardInterrupt:
            continue
        except EOFError:
            return


def _prompt_session(chat: Chat, keyboard: Input | None, screen: Output | None) -> PromptSession[str]:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import Completer, Completion
    from prompt_toolkit.history import FileHistory

    class Words(Completer):
        """Commands, then names of libraries, books or files."""

        def get_completions(self, document: Document, complete_event: object) -> Iterator[Completion]:
            typed, offered = completions(chat, document.text_before_cursor)
            yield from (Completion(word, start_position=-len(typed)) for word in offered)

    return PromptSession(
        history=FileHistory(str(history_file())),
        completer=Words(),
        complete_while_typing=False,
        key_bindings=_keys(),
        input=keyboard,
        output=screen,
        enable_open_in_editor=False,
    )


def history_file() -> Path:
    """Where questions are remembered for the arrow keys; readable by its owner only."""
    path = private_folder(settings.places().state) / "history"
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600))
    return path


def _keys() -> KeyBindings:
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

    keys = KeyBindings()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @keys.add("enter")
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.document.text_before_cursor.endswith("\\"):
            buffer.delete_before_cursor(1)
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    return keys


def completions(chat: Chat, line: str) -> tuple[str, list[str]]:
    """The word being typed, and what it may become: a command, then what that command takes."""
    if not line.startswith("/"):
        return "", []
    command, space, rest = line.partition(" ")
    if not space:
        names = sorted(entry.split()[0] for entry, _ in HELP)
        return line, [name for name in names if name.startswith(line)]
    with suppress(Exception):  # a completion that fails offers nothing
        typed = rest.rpartition(" ")[2] if command == "/book" else rest
        return typed, [word for word in _words_for(chat, command) if word.startswith(typed)]
    return "", []


def _words_for(chat: Chat, command: str) -> list[str]:
    folder = settings.places().libraries
    if command == "/library":
        return shelf.names(folder)
    if command == "/book":
        with shelf.open_named(folder, chat.library) as library:
            return [record.slug for record in library.documents()]
    if command == "/until":
        with shelf.open_named(folder, chat.library) as library:
            ids = chat.books or tuple(record.id for record in library.documents())
            return [terminal.one_line(section.title) for id_ in ids for section in library.sections(id_)]
    return ["on", "off"] if command == "/reread" else []
