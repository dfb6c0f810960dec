"""`mplus library`: libraries as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mplus_cli import terminal
from mplus_cli.commands import common
from mplus_cli.errors import LibraryDamaged

app = common.new_app(
    """List, look at, move, check and remove libraries.

    \b
      mplus library list
      mplus library verify novels
      mplus library export novels novels.mplus
    """
)
NewName = Annotated[str, typer.Argument(metavar="NEW", help="Its new name.")]
File = Annotated[Path, typer.Argument(metavar="FILE", help="The file.")]


@app.command("list")
def list_(as_json: common.Json = False) -> None:
    """List all libraries."""
    from mplus_cli import listing, shelf

    listing.libraries(shelf.overview(common.places().libraries), as_json)


@app.command()
def show(library: common.LibraryName, as_json: common.Json = False) -> None:
    """Show one library: its model, documents and size."""
    from mplus_cli import listing, shelf

    with common.opened(library) as opened:
        listing.library(shelf.summary(opened), opened.documents(), as_json)


@app.command()
def remove(library: common.LibraryName, yes: common.Yes = False, as_json: common.Json = False) -> None:
    """Remove a library with all that was read."""
    from mplus_cli import shelf

    path = shelf.path_of(common.places().libraries, library)
    terminal.confirm(f"Remove the library {library} and everything that was read into it?", yes)
    shelf.remove(path)
    common.done(f"removed {library}", {"removed": library}, as_json)


@app.command()
def rename(library: common.LibraryName, new: NewName, as_json: common.Json = False) -> None:
    """Give a library another name."""
    from mplus_cli import shelf

    shelf.rename(common.places().libraries, library, new)
    common.done(f"{library} is now {new}", {"renamed": library, "name": new}, as_json)


@app.command()
def verify(
    library: common.LibraryName,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what can be mended without the files.")] = False,
    as_json: common.Json = False,
) -> None:
    """Recompute every checksum; names what is damaged and how to mend it."""
    from mplus_cli import listing, render

    with common.opened(library) as opened:
        damaged = listing.findings(opened.verify(), as_json)
        if damaged and repair:
            from mplus_cli.mend import mend

            render.mending(mend(opened, damaged, common.loaded()), as_json)
            damaged = listing.findings(opened.verify(), as_json)
    if damaged:
        raise typer.Exit(LibraryDamaged.exit_code)


@app.command()
def gc(library: common.LibraryName, as_json: common.Json = False) -> None:
    """Remove files that nothing names, and give unused space back."""
    from mplus_cli.words import size

    with common.opened(library) as opened:
        freed = opened.gc()
    common.done(f"freed {size(freed)}", {"freed_bytes": freed}, as_json)


@app.command("export")
def export(
    library: common.LibraryName,
    file: File,
    text: Annotated[bool, typer.Option("--text/--no-text", help="With the texts of the documents.")] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
    as_json: common.Json = False,
) -> None:
    """Write a library to one file that `import` reads; equal libraries give equal files."""
    from mplus_cli import shelf

    with common.opened(library) as opened:
        written = shelf.export(opened, file, text, overwrite)
    common.done(f"wrote {file}", {"file": str(file), "bytes": written}, as_json)


@app.command("import")
def import_(
    file: File,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Call the library so.")] = None,
    as_json: common.Json = False,
) -> None:
    """Bring in a library from a file that `export` wrote; every checksum is tested."""
    from mplus_cli import shelf

    made = shelf.import_file(common.places().libraries, file, name)
    common.done(f"imported {made.name}: {made.documents} documents", made.to_json(), as_json)
