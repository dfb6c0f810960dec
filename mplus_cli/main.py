"""The `mplus` command: global options, commands loaded at the first use, errors turned into exit codes.

Every command is a module of `mplus_cli.commands` with an `app`. None of them imports torch before it needs it.
"""

from __future__ import annotations

import errno
import importlib
import os
import shutil
import signal
import sys
from collections.abc import Iterator, MutableMapping, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from mplus_cli import terminal
from mplus_cli.commands.common import CONTEXT
from mplus_cli.errors import TERMINATED, MplusError
from mplus_cli.failures import as_mplus_error

if TYPE_CHECKING:
    from mplus_cli.settings import Settings

COMMANDS = (  # in the order of a first day with mplus
    "ingest",
    "ask",
    "chat",
    "next",
    "library",
    "docs",
    "plan",
    "model",
    "doctor",
    "config",
    "bench",
    "eval",
    "train",
    "completion",
)
GLOBAL_FLAGS = ("--no-color", "--offline", "--debug", "--quiet", "--verbose", "-q", "-v")
COMPLETE_VARIABLE = "_MPLUS_COMPLETE"
LEAST_HELP = 50  # cells that typer gives help even where the terminal has fewer
BROKEN_PIPE = 141


class LazyCommands(MutableMapping[str, Any]):
    """The table of commands; a command's module is imported when the command is looked up."""

    def __init__(self) -> None:
        self.loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in COMMANDS:
            raise KeyError(name)
        if name not in self.loaded:
            module = importlib.import_module(f"mplus_cli.commands.{name}")
            self.loaded[name] = typer.main.get_command(module.app)
            self.loaded[name].name = name
            _settle_help(self.loaded[name])
        return self.loaded[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self.loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self.loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


def _settle_help(command: Any) -> None:
    """Give --help a value: typer coerces one that is missing through pydantic, which takes 0.1 s to import."""
    command.get_help_option(typer.Context(command, help_option_names=CONTEXT["help_option_names"])).default = False
    members = getattr(command, "commands", {})
    for member in () if isinstance(members, LazyCommands) else members.values():
        _settle_help(member)


class MplusGroup(TyperGroup):
    """The root: its commands are lazy, and its flags may stand anywhere on the line."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = LazyCommands()

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Move global flags to the front: `mplus ask -q ...` is `mplus -q ask ...`."""
        return super().parse_args(ctx, hoist(args))


def hoist(arguments: Sequence[str]) -> list[str]:
    """Arguments with the global flags in front; what stands after `--` is left alone."""
    end = list(arguments).index("--") if "--" in arguments else len(arguments)
    flags = [word for word in arguments[:end] if word in GLOBAL_FLAGS]
    return [*flags, *(word for word in arguments[:end] if word not in GLOBAL_FLAGS), *arguments[end:]]


app = typer.Typer(
    cls=MplusGroup,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings=CONTEXT,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        terminal.raw(f"mplus {version('mplus')}\n")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only results and errors.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more about what happens.")] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="Plain text; NO_COLOR does the same.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Refuse whatever needs the network.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Read books into a long-term memory, ask for months, get the page with the answer.

    \b
      mplus ingest war_and_peace.epub --library novels
      mplus ask --library novels "Who betrayed Pierre?"
      mplus chat --library novels

    Nothing is sent anywhere: only `mplus model pull` uses the network. The flags below may stand anywhere on the line.
    """
    chosen = _preferences()
    colour: terminal.Colour = "never" if no_color else chosen.colour  # type: ignore[assignment]
    terminal.configure(colour=colour, quiet=quiet, verbose=verbose, debug=debug, json=terminal.wants_json())
    if offline or chosen.offline:
        os.environ["MPLUS_OFFLINE"] = os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"


def _preferences() -> Settings:
    """The settings in force; their defaults where they make no sense, so that `mplus config` can mend them."""
    from mplus_cli import settings

    try:
        return settings.load()
    except MplusError:
        return settings.Settings()


# ------------------------------------------------------------------------------------------------------------ running


def run(arguments: Sequence[str] | None = None) -> NoReturn:
    """The program: run a command line and leave with its exit code."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(execute(sys.argv[1:] if arguments is None else arguments))


def execute(arguments: Sequence[str]) -> int:
    """Run a command line; returns the exit code of docs/errors.md. Errors are shown, never raised."""
    before = list(arguments)[: list(arguments).index("--")] if "--" in arguments else arguments
    colour: terminal.Colour = "never" if "--no-color" in before else "auto"
    terminal.configure(colour=colour, debug="--debug" in before, json="--json" in before)
    command: Any = typer.main.get_command(app)
    _settle_help(command)
    try:
        if COMPLETE_VARIABLE in os.environ:
            _complete(command)
        with command.make_context("mplus", list(arguments) or ["--help"], terminal_width=_narrow()) as context:
            command.invoke(context)
        sys.stdout.flush()
        return 0
    except typer.Exit as leaving:
        return leaving.exit_code
    except (BrokenPipeError, KeyboardInterrupt, typer.Abort, Exception) as error:
        return _end(error)


def _narrow() -> int | None:
    """The width of help on a terminal narrower than typer's least, else None: typer's own."""
    width = shutil.get_terminal_size().columns - 2
    return max(width, 24) if width < LEAST_HELP else None


def _terminate(signum: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(TERMINATED)


def _complete(command: Any) -> None:
    importlib.import_module("typer.completion").completion_init()
    command.main(prog_name="mplus", complete_var=COMPLETE_VARIABLE)


def _end(error: BaseException) -> int:
    """Show an error; returns its exit code."""
    if isinstance(error, BrokenPipeError) or (isinstance(error, OSError) and error.errno == errno.EPIPE):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes once more at its end
        return BROKEN_PIPE
    shown = as_mplus_error(error)
    try:
        terminal.show_error(shown)
    except BrokenPipeError:
        return BROKEN_PIPE
    return shown.exit_code


if __name__ == "__main__":
    run()
