"""What all command modules share: typer apps, options that mean the same everywhere, input, last words."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mplus_cli import terminal
from mplus_cli.commands import complete
from mplus_cli.errors import NotFound, UsageError

if TYPE_CHECKING:  # imported by the functions that need them: `mplus --help` needs none of it
    from mplus_cli.documents.document import Document
    from mplus_cli.events import IngestDone
    from mplus_cli.library.library import Library as OpenLibrary
    from mplus_cli.models import ModelRecord
    from mplus_cli.settings import Places, Settings

__all__ = ["closing"]

CONTEXT = {"help_option_names": ["-h", "--help"]}


def new_app(help_text: str | None = None) -> typer.Typer:
    """A typer app with our habits: -h, plain help that starts in 0.1 s, our own errors."""
    return typer.Typer(
        help=help_text,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        no_args_is_help=help_text is not None,
        context_settings=CONTEXT,
    )


Library = Annotated[
    str | None,
    typer.Option("--library", "-l", metavar="NAME", help="The library.", autocompletion=complete.libraries),
]
LibraryName = Annotated[str, typer.Argument(metavar="LIBRARY", help="The library.", autocompletion=complete.libraries)]
Book = Annotated[
    str, typer.Argument(metavar="BOOK", help="Title, short name or id.", autocompletion=complete.documents)
]
Books = Annotated[
    list[str],
    typer.Option("--book", "-b", metavar="BOOK", help="Only this book; repeatable.", autocompletion=complete.documents),
]
Until = Annotated[
    str | None,
    typer.Option("--until", metavar="WHERE", help="Reading position: a chapter (title or number), `p.340`, or `50%`."),
]
Top = Annotated[int, typer.Option("--top", min=0, metavar="N", help="Sources shown.")]
MaxTokens = Annotated[int, typer.Option("--max-tokens", min=1, metavar="N", help="Longest answer, in tokens.")]
Temperature = Annotated[float, typer.Option("--temperature", min=0.0, metavar="T", help="0 takes the likeliest word.")]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="For temperatures above 0.")]
Model = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", metavar="NAME", help="A model at hand, or its folder.", autocompletion=complete.models
    ),
]
Device = Annotated[str | None, typer.Option("--device", metavar="DEVICE", help="cpu, cuda, cuda:1.")]
Dtype = Annotated[str | None, typer.Option("--dtype", metavar="TYPE", help="float32 or bfloat16.")]
Weights = Annotated[
    str | None, typer.Option("--weights", metavar="FORMAT", help="auto, dense, int8 or nf4; as the setting.")
]
MemoryDtype = Annotated[
    str | None,
    typer.Option(
        "--memory-dtype", metavar="FORMAT", help="How a new library keeps its rows: bf16, fp8, int8, int5, int4.",
        autocompletion=complete.memory_dtypes,
    ),
]  # fmt: skip
MemoryCap = Annotated[
    int | None,
    typer.Option("--memory-cap", min=0, metavar="CHUNKS", help="Recall from the newest so many chunks only; 0: all."),
]
MaxVram = Annotated[
    str | None,
    typer.Option(
        "--max-vram", metavar="SIZE", help="Most memory of a GPU to take, such as 8GiB; the rest is streamed."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Results, and errors, as JSON on stdout.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


# ------------------------------------------------------------------------------------------------ what was asked for


def places() -> Places:
    """Where mplus keeps its files."""
    from mplus_cli import settings

    return settings.places()


def loaded(**flags: object) -> Settings:
    """The settings in force with the flags of this command; a flag that was not given is None."""
    from mplus_cli import settings

    return settings.load(flags)


def given(**values: object) -> dict[str, Any]:
    """Only what was given, so that the callee's own defaults stand."""
    return {key: value for key, value in values.items() if value is not None}


def is_offline() -> bool:
    """True where no connection may be opened."""
    return loaded().offline


def library_to_read(flag: str | None, chosen: Settings) -> str:
    """The library that a reading command means; raises NotFound, UsageError."""
    from mplus_cli import shelf

    return shelf.meant(places().libraries, flag, chosen.library)


def library_to_write(flag: str | None, chosen: Settings) -> str:
    """The library that an ingest writes, which need not exist; raises UsageError."""
    from mplus_cli import shelf

    return shelf.checked_name(flag or chosen.library)


def opened(flag: str | None) -> OpenLibrary:
    """The library that a reading command means, open."""
    from mplus_cli import shelf

    return shelf.open_named(places().libraries, library_to_read(flag, loaded()))


def model_of(chosen: Settings) -> ModelRecord:
    """The model that the settings name; raises ModelMissing."""
    from mplus_cli import models

    return models.find_model(chosen.model, places().models)


def device_kind(chosen: Settings) -> str:
    """cpu or cuda, without asking torch: `auto` takes a GPU where its driver is loaded."""
    if chosen.device != "auto":
        return chosen.device.split(":")[0]
    return "cuda" if Path("/proc/driver/nvidia/version").exists() else "cpu"


# -------------------------------------------------------------------------------------------------------------- input


def piped(paths: Sequence[str]) -> list[str]:
    """The inputs as they are; raises UsageError where `-` would wait for a person to type a book."""
    if "-" in paths and terminal.is_terminal(sys.stdin):
        raise UsageError("`-` reads standard input, and nothing is piped in.", "Pipe something in, or name a file.")
    return list(paths)


def from_stdin(words: str) -> str:
    """The words themselves, or standard input where they are `-`; raises UsageError where there are none."""
    found = sys.stdin.read() if piped([words]) == ["-"] else words
    if not found.strip():
        raise UsageError("The question is empty.", "Ask with at least one word.")
    return found.strip()


def candidates(file: Path | None, options: Sequence[str], after: Sequence[str], until: str | None) -> tuple[str, ...]:
    """Candidate events from a file (one a line) and from options.

    Raises UsageError where no past was given, where an event is empty, and for a file without events.
    """
    if not after and until is None:
        raise UsageError("What comes next depends on what came before.", "Give --after EVENT or --until WHERE.")
    if not all(event.strip() for event in (*after, *options)):
        raise UsageError("An event is empty.", "Give --after and --option words.")
    lines: list[str] = []
    if file is not None:
        piped_in = piped([str(file)]) == ["-"]
        text = sys.stdin.read() if piped_in else file.read_text(encoding="utf-8", errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if not lines:
            raise UsageError(f"{'Standard input' if piped_in else file} names no events.", "Write one a line.")
    return (*lines, *options)


def training_plan(name: str) -> Path:
    """A TOML file, or a plan of the package by name; raises NotFound."""
    import importlib.util

    spec = importlib.util.find_spec("model")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = Path(spec.submodule_search_locations[0]) / "training" / "configs"
    known = {path.stem: path for path in sorted(folder.glob("*.toml"))}
    if name not in known and not Path(name).is_file():
        raise NotFound(f"There is no training plan {name!r}.", f"Known: {', '.join(known)}; or a TOML file.")
    return known.get(name) or Path(name)


def parsed(book: str, password: str | None, encoding: str | None) -> Document:
    """A document from a file or standard input; raises Unreadable, NotFound, UsageError for a folder."""
    from mplus_cli.documents.read import read

    if Path(book).is_dir():
        raise UsageError(f"{book} is a folder.", "Name one of its files; `mplus ingest` takes folders.")
    source = "-" if piped([book]) == ["-"] else Path(book)
    return read(source, password=password, encoding=encoding)


# ------------------------------------------------------------------------------------------------------------- output


def done(words: str, result: dict[str, Any], as_json: bool) -> None:
    """Say that something was done: an object for scripts, a message for people."""
    if as_json:
        terminal.json_line(result)
    else:
        terminal.say(words)


def after_ingest(end: IngestDone, library: str, chosen: Settings, dry_run: bool) -> None:
    """Keep the rate for the next plan, and say what can be done now."""
    from mplus_cli import planner

    if dry_run:
        return
    tokens = sum(report.tokens for report in end.documents if report.status == "read")
    if tokens:
        kind = device_kind(chosen)
        planner.remember_rate(places().state, model_of(chosen).name, kind, end.tokens_per_second, tokens)
    if not terminal.wants_json() and any(report.status != "refused" for report in end.documents):
        flag = "" if library == chosen.library else f" --library {shlex.quote(library)}"
        terminal.say(f'try: mplus ask{flag} "..."', style="dim")
