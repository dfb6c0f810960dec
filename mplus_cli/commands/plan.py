"""`mplus plan`: what a book will take, before it is read."""

from __future__ import annotations

from typing import Annotated

import typer

from mplus_cli.commands import common

app = common.new_app()


@app.command()
def plan(
    book: Annotated[str, typer.Argument(metavar="BOOK", help="A file; - for stdin.")],
    password: Annotated[str | None, typer.Option("--password", metavar="WORD", help="For encrypted PDFs.")] = None,
    encoding: Annotated[str | None, typer.Option("--encoding", metavar="NAME", help="Of a text file.")] = None,
    model: common.Model = None,
    device: common.Device = None,
    memory_dtype: common.MemoryDtype = None,
    as_json: common.Json = False,
) -> None:
    """Say what reading a book will take: chunks, tokens, time, memory, disk. Loads no model, writes nothing.

    A published model need not be at hand yet: its sizes are known, its tokens estimated.

    \b
      mplus plan war_and_peace.epub
      mplus plan thesis.pdf --model mplus-8b --device cuda --json
    """
    from mplus_cli import listing, planner
    from mplus_cli.errors import ModelMissing

    settings = common.loaded(model=model, device=device, memory_dtype=memory_dtype)
    document = common.parsed(book, password, encoding)
    try:
        record = common.model_of(settings)
    except ModelMissing:
        found = planner.not_at_hand(settings.model)
        if found is None:
            raise
        record = found
    rates = planner.read_rates(common.places().state)
    made = planner.plan(document, record, rates, common.device_kind(settings), settings.memory_dtype)
    listing.plan(made, as_json)
