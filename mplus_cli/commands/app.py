"""What all command modules share: how their typer apps are made, and the options that mean the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mplus_cli.commands import complete

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
Json = Annotated[bool, typer.Option("--json", help="Results, and errors, as JSON on stdout.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Folder = Annotated[Path, typer.Argument(metavar="FOLDER")]
