"""The one place that prints: results on stdout, messages on stderr, and nothing that could steer a terminal.

Books, file names and errors may hold escape sequences. Everything that is shown passes `clean` (sequences are taken
out) or `neutral` (each dangerous character becomes U+FFFD, so that offsets into the text stay true).
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TextIO

from mplus_cli import layout
from mplus_cli.errors import Interrupted, MplusError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

Colour = Literal["auto", "always", "never"]

_ESCAPE_SEQUENCE = re.compile(  # only whole sequences are taken out: a stray introducer must not eat the line
    r"\x1b\][^\n\x07\x1b]*(?:\x07|\x1b\\)"  # operating system command: title, clipboard, hyperlink
    r"|\x1b[PX^_][^\n\x1b]*\x1b\\"  # device control and other strings
    r"|\x1b\[[0-?]*[ -/]*[@-~]"  # control sequence: colour, cursor, erase
    r"|\x1b[ -/]*[0-Z\\^-~]"  # short sequences: reset, character sets
)
_DANGEROUS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 without tab and newline, delete, C1
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidirectional controls
    "\ud800-\udfff]"  # lone surrogates, which no stream can encode
)
REPLACEMENT = "\ufffd"
BLOCK = 1 << 16  # characters written at once: one larger write can miss that the reader of a pipe went away


def clean(text: str) -> str:
    """Text without control sequences, control characters and bidirectional controls; newlines and tabs stay."""
    return _DANGEROUS.sub("", _ESCAPE_SEQUENCE.sub("", text.replace("\r\n", "\n").replace("\r", "\n")))


def one_line(text: str) -> str:
    """Clean text on one line, for titles and errors."""
    return " ".join(clean(text).split())


def neutral(text: str) -> str:
    """Text of the same length whose control characters are U+FFFD, for text that others address by offset."""
    return _DANGEROUS.sub(REPLACEMENT, text)


def neutral_values(value: Any) -> Any:
    """A JSON value whose strings are neutral and whose numbers are finite (JSON knows no others: null)."""
    if isinstance(value, str):
        return neutral(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {neutral(str(key)): neutral_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [neutral_values(item) for item in value]
    return value


# ------------------------------------------------------------------------------------------------------------ streams


@dataclass(slots=True)
class _Streams:
    """How this process talks: its two consoles (made at the first use: rich is not free) and its flags."""

    out: Console | None = None
    err: Console | None = None
    colour: Colour = "auto"
    quiet: bool = False
    verbose: bool = False
    debug: bool = False
    json: bool = False


_streams = _Streams()


def configure(
    *, colour: Colour = "auto", quiet: bool = False, verbose: bool = False, debug: bool = False, json: bool = False
) -> None:
    """Set how this process talks; called before a command runs. `json` asks for errors as JSON, too.

    colour: "never" leaves no escape sequence in any stream, "always" leaves them in pipes, too.
    """
    global _streams
    _streams = _Streams(None, None, colour, quiet, verbose, debug, json)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def debugging() -> bool:
    """True with --debug: tracebacks are wanted."""
    return _streams.debug


def is_quiet() -> bool:
    """True with --quiet: only results and errors are wanted."""
    return _streams.quiet


def wants_json() -> bool:
    """True with --json."""
    return _streams.json


def _no_escapes(stream: TextIO) -> bool:
    """True where not even bold is wanted: --no-color, NO_COLOR (wins over FORCE_COLOR), a dumb terminal, a pipe."""
    if _streams.colour == "never" or os.environ.get("NO_COLOR"):
        return True
    if _streams.colour == "always" or os.environ.get("FORCE_COLOR"):
        return False
    return os.environ.get("TERM") == "dumb" or not is_terminal(stream)


def is_terminal(stream: TextIO) -> bool:
    """True when a person looks at the stream, whatever FORCE_COLOR says."""
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


def shows_stdout() -> bool:
    """True when a person watches stdout, so that an answer may be streamed to it."""
    return is_terminal(sys.stdout)


def is_animated() -> bool:
    """True when stderr can show a moving progress bar."""
    return is_terminal(sys.stderr) and os.environ.get("TERM") != "dumb"


def can_prompt() -> bool:
    """True when a person can be asked: stdin and stderr are both terminals."""
    return is_terminal(sys.stdin) and is_terminal(sys.stderr)


def _console(stderr: bool) -> Console:
    from rich.console import Console

    class QuietPipeConsole(Console):
        """A reader that went away ends the process like SIGPIPE would, without a word."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    stream = sys.stderr if stderr else sys.stdout
    wanted = not _no_escapes(stream)
    colour_system: Any = ("auto" if is_terminal(stream) else "standard") if wanted else None
    width = None if is_terminal(stream) or os.environ.get("COLUMNS") else 400  # tables in pipes are not cut
    return QuietPipeConsole(
        stderr=stderr, color_system=colour_system, markup=False, emoji=False, highlight=False, width=width
    )


def out_console() -> Console:
    """The console of results."""
    if _streams.out is None:
        _streams.out = _console(stderr=False)
    return _streams.out


def err_console() -> Console:
    """The console of messages and progress."""
    if _streams.err is None:
        _streams.err = _console(stderr=True)
    return _streams.err


# -------------------------------------------------------------------------------------------------------------- words


def out(text: str = "", style: str = "", end: str = "\n", indent: int = 0, label: str = "", strong: str = "") -> None:
    """A result for people on stdout; wrapped by words on a terminal, never in a pipe.

    indent: cells before every line; label: what stands there before the first; strong: words of the text in bold.
    """
    _words(out_console(), sys.stdout, text, style, end, indent, label, strong)


def _words(
    console: Console,
    to: TextIO,
    text: str,
    style: str = "",
    end: str = "\n",
    indent: int = 0,
    label: str = "",
    strong: str = "",
) -> None:
    """Clean text on a console; where a person looks at the stream, each line begins at the indent."""
    from rich.text import Text

    lead = label + " " * (indent - layout.cells(label))
    shown = Text(clean(text))
    if strong:
        shown.highlight_words([clean(strong)], "bold")
    lines = shown.wrap(console, max(1, console.width - indent), overflow="fold") if is_terminal(to) else [shown]
    for number, line in enumerate(lines, 1):
        first = Text(lead if number == 1 else " " * indent)
        console.print(first + line, style=style, end=end if number == len(lines) else "\n", soft_wrap=True)


def stream(text: str) -> None:
    """A piece of a streamed result, shown at once; the terminal wraps it."""
    sys.stdout.write(clean(text))
    sys.stdout.flush()


def raw(text: str) -> None:
    """Text on stdout character for character (neutral), so that offsets into it stay true."""
    for start in range(0, len(text), BLOCK):
        sys.stdout.write(neutral(text[start : start + BLOCK]))
        sys.stdout.flush()


def say(text: str = "", style: str = "", *, always: bool = False) -> None:
    """A message on stderr; silent with --quiet, unless it must be seen `always`."""
    if _streams.quiet and not always:
        return
    _words(err_console(), sys.stderr, text, style)


def detail(text: str) -> None:
    """A message on stderr for those who asked with -v."""
    if _streams.verbose:
        say(text, style="dim")


def warn(text: str) -> None:
    """A warning on stderr."""
    say(f"warning: {one_line(text)}", style="yellow")


def json_line(value: Any) -> None:
    """One JSON object on one line of stdout."""
    plain_ascii = (getattr(sys.stdout, "encoding", None) or "ascii").lower().replace("-", "") != "utf8"
    sys.stdout.write(json.dumps(neutral_values(value), ensure_ascii=plain_ascii, allow_nan=False) + "\n")
    sys.stdout.flush()


def table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], right: Sequence[str] = (), header: bool = True
) -> None:
    """A table on stdout: `right` names the columns of numbers. In a pipe no line is cut.

    On a terminal too narrow for its columns, every row is a list of names and values.
    """
    found = [[one_line(str(cell)) for cell in row] for row in rows]
    kept = [at for at, name in enumerate(columns) if not header or name or any(row[at] for row in found)]
    names, found = [columns[at] for at in kept], [[row[at] for at in kept] for row in found]
    numbers = [name in right for name in names]
    if _no_escapes(sys.stdout) and not is_terminal(sys.stdout):  # no rich: most of the time that a short list takes
        for line in layout.columns([names, *found] if header else found, numbers):
            sys.stdout.write(line + "\n")
    elif header and is_terminal(sys.stdout) and not layout.fits([names, *found], numbers, out_console().width):
        _records(names, found)
    else:
        _grid(names, found, numbers, header)


def _records(names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Rows below each other, a line for each cell that is not empty."""
    indent = max(map(layout.cells, names)) + layout.GAP
    for number, row in enumerate(rows):
        if number:
            out()
        for name, cell in zip(names, row, strict=True):
            if cell:
                out(cell, indent=indent, label=name)


def _grid(names: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[bool], header: bool) -> None:
    """Rows side by side, wrapped to the width of the terminal."""
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, pad_edge=False, header_style="bold", show_edge=False, show_header=header)
    for name, number in zip(names, numbers, strict=True):  # a number is never broken: half of it is another number
        grid.add_column(name, justify="right" if number else "left", overflow="fold", no_wrap=number)
    for row in rows:
        grid.add_row(*(Text(cell) for cell in row))
    out_console().print(grid)


@contextmanager
def busy(words: str) -> Iterator[Callable[[str], None]]:
    """Words that move on a terminal while the block runs and then go away: call what it gives with others."""
    if not is_animated() or _streams.quiet:
        yield lambda words: None
        return
    from rich.status import Status

    with Status(words, console=err_console(), spinner_style="dim") as status:
        yield status.update


@contextmanager
def byte_bar(words: str) -> Iterator[Callable[[int, int], None]]:
    """A bar of bytes on stderr while the block runs: call what it gives with bytes done and in all."""
    if not is_animated() or _streams.quiet:
        yield lambda done, total: None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress("{task.description}", *columns, console=err_console(), transient=True) as bar:
        task = bar.add_task(words, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def confirm(question: str, yes: bool) -> None:
    """Ask before something is destroyed; --yes answers beforehand, and where nobody can be asked it is required."""
    if yes:
        return
    if not can_prompt():
        raise UsageError(f"{one_line(question)} Nobody can be asked here.", "Add --yes to answer beforehand.")
    sys.stderr.write(f"{one_line(question)} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise MplusError("Nothing was changed.", "Answer y, or add --yes.")


# ------------------------------------------------------------------------------------------------------------- errors


def error_json(error: MplusError) -> dict[str, Any]:
    """An error as scripts see it."""
    return {
        "error": {
            "class": type(error).__name__,
            "message": one_line(error.message),
            "remedy": one_line(error.remedy),
            "exit_code": error.exit_code,
        }
    }


def show_error(error: MplusError) -> None:
    """One line and a remedy on stderr, or an object on stdout with --json; the traceback only with --debug."""
    if _streams.debug:
        sys.stderr.write(clean("".join(traceback.format_exception(error))))
    if _streams.json:
        json_line(error_json(error))
        return
    from rich.text import Text

    wrap = is_terminal(sys.stderr)
    label = ("", "") if isinstance(error, Interrupted) else ("error: ", "bold red")  # what was asked for is no error
    err_console().print(Text.assemble(label, one_line(error.message)), soft_wrap=not wrap)
    if error.remedy:
        _words(err_console(), sys.stderr, one_line(error.remedy), "dim", indent=2)
