"""`mplus next`: what happens next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mplus_cli.commands import common

app = common.new_app()


@app.command("next")
def next_events(
    library: common.Library = None,
    books: common.Books = [],  # noqa: B006
    after: Annotated[
        list[str], typer.Option("--after", metavar="EVENT", help="A past event; repeatable, oldest first.")
    ] = [],  # noqa: B006
    until: common.Until = None,
    choose: Annotated[
        Path | None, typer.Option("--choose", metavar="FILE", help="Candidates, one a line; - for stdin.")
    ] = None,
    option: Annotated[list[str], typer.Option("--option", metavar="EVENT", help="A candidate; repeatable.")] = [],  # noqa: B006
    top: common.Top = 3,
    count: Annotated[int, typer.Option("--count", min=1, metavar="N", help="Continuations, without candidates.")] = 3,
    max_tokens: common.MaxTokens = 48,
    temperature: common.Temperature = 0.7,
    seed: common.Seed = 0,
    model: common.Model = None,
    device: common.Device = None,
    dtype: common.Dtype = None,
    memory_cap: common.MemoryCap = None,
    max_vram: common.MaxVram = None,
    as_json: common.Json = False,
) -> None:
    """Rank possible next events by their likelihood behind the memory, or propose continuations.

    \b
      mplus next --book war-and-peace --after "Pierre inherits" --choose candidates.txt
      mplus next --until p.340 --option "They dance." --option "They quarrel."
      mplus next --book war-and-peace --until "Book Two"
    """
    from mplus_cli import render
    from mplus_cli.assistant.ask import Session
    from mplus_cli.events import NextOptions

    candidates = common.candidates(choose, option, after, until)
    settings = common.loaded(model=model, device=device, dtype=dtype, memory_cap=memory_cap, max_vram=max_vram)
    options = NextOptions(tuple(after), until, candidates, tuple(books), top, count, max_tokens, temperature, seed)
    with common.closing(Session(common.library_to_read(library, settings), settings)) as session:
        render.ranked(session.next_events(options), as_json)
