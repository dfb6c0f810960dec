"""`mplus ingest`: read books into a library."""

from __future__ import annotations

from typing import Annotated

import typer

from mplus_cli.commands import common
from mplus_cli.errors import Unreadable

app = common.new_app()


@app.command()
def ingest(
    paths: Annotated[list[str], typer.Argument(metavar="PATHS...", help="Files, folders, patterns; - for stdin.")],
    library: common.Library = None,
    password: Annotated[str | None, typer.Option("--password", metavar="WORD", help="For encrypted PDFs.")] = None,
    encoding: Annotated[
        str | None, typer.Option("--encoding", metavar="NAME", help="Of text files, where the guess is wrong.")
    ] = None,
    model: common.Model = None,
    device: common.Device = None,
    dtype: common.Dtype = None,
    memory_dtype: common.MemoryDtype = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Parse and cut into chunks; write nothing.")] = False,
    as_json: common.Json = False,
) -> None:
    """Read books into a library: EPUB, PDF, HTML, Markdown, text.

    \b
      mplus ingest war_and_peace.epub --library novels
      mplus ingest papers/ 'more/*.pdf' --library thesis
      curl -s https://example.org/page.html | mplus ingest - --library web

    Ctrl-C keeps what was read; the same command goes on where it stopped. What is there already is not read again.
    """
    from mplus_cli import render
    from mplus_cli.assistant.ingest import ingest as read_all
    from mplus_cli.events import IngestOptions

    settings = common.loaded(model=model, device=device, dtype=dtype, memory_dtype=memory_dtype)
    name = common.library_to_write(library, settings)
    options = IngestOptions(password, encoding, model, device, dtype, dry_run)
    done = render.ingest(read_all(common.piped(paths), name, settings, options), as_json)
    common.after_ingest(done, name, settings, dry_run)
    if any(report.status == "refused" for report in done.documents):
        raise typer.Exit(Unreadable.exit_code)
