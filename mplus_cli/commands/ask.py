"""`mplus ask`: a question, answered with its sources."""

from __future__ import annotations

from typing import Annotated

import typer

from mplus_cli.commands import common
from mplus_cli.errors import Abstained

app = common.new_app()


@app.command()
def ask(
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="In words; - reads it from stdin.")],
    library: common.Library = None,
    books: common.Books = [],  # noqa: B006
    until: common.Until = None,
    top: common.Top = 5,
    max_tokens: common.MaxTokens = 64,
    temperature: common.Temperature = 0.0,
    seed: common.Seed = 0,
    strict: Annotated[bool, typer.Option("--strict", help="Abstain, exit 9, where no passage supports it.")] = False,
    reread: Annotated[
        bool,
        typer.Option(
            "--reread/--no-reread",
            help="Read the recalled pages again first; or answer from memory alone, in the model's words.",
        ),
    ] = True,
    text: Annotated[bool, typer.Option("--text/--no-text", help="Let full-text search help the memory.")] = True,
    model: common.Model = None,
    device: common.Device = None,
    dtype: common.Dtype = None,
    memory_cap: common.MemoryCap = None,
    max_vram: common.MaxVram = None,
    as_json: common.Json = False,
) -> None:
    """Answer a question from a library, with the pages behind the answer.

    \b
      mplus ask --library novels "Who betrayed Pierre?"
      mplus ask --library novels --book war-and-peace --until "Book Two" "Whom does Natasha love?"
      echo "What is the duel about?" | mplus ask --json -

    Asking never changes a library.
    """
    from mplus_cli import render
    from mplus_cli.assistant.ask import Session
    from mplus_cli.events import AskOptions

    settings = common.loaded(model=model, device=device, dtype=dtype, memory_cap=memory_cap, max_vram=max_vram)
    asked = common.from_stdin(question)
    options = AskOptions(tuple(books), until, top, max_tokens, temperature, seed, strict, reread, text)
    with common.closing(Session(common.library_to_read(library, settings), settings)) as session:
        answer = render.ask(session.ask(asked, options), as_json)
    if strict and answer.abstained:
        raise typer.Exit(Abstained.exit_code)
