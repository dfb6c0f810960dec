"""`mplus doctor`: is this machine able to read and answer?"""

from __future__ import annotations

import typer

from mplus_cli.commands import common
from mplus_cli.errors import MplusError

app = common.new_app()


@app.command()
def doctor(as_json: common.Json = False) -> None:
    """Check device, memory, disk, weights, libraries, permissions and versions; exit 1 if one is not well.

    \b
      mplus doctor
    """
    from mplus_cli import listing
    from mplus_cli.doctor import examine

    if listing.checks(examine(common.places()), as_json):
        raise typer.Exit(MplusError.exit_code)
