"""`mplus config`: settings and where they come from."""

from __future__ import annotations

from typing import Annotated

import typer

from mplus_cli.commands import common

app = common.new_app(
    """Show and change settings. Flags come before MPLUS_* variables, they before config.toml, it before defaults.

    \b
      mplus config show
      mplus config set library novels
    """
)


@app.command()
def show(as_json: common.Json = False) -> None:
    """Show every setting, its value and where it comes from."""
    from mplus_cli import listing, settings

    listing.config(settings.load(), settings.KEYS, as_json)


@app.command("set")
def set_(
    key: Annotated[str, typer.Argument(metavar="KEY", help="A setting of `mplus config show`.")],
    value: Annotated[
        str | None, typer.Argument(metavar="VALUE", help="Its new value; without one, the default.")
    ] = None,
    as_json: common.Json = False,
) -> None:
    """Write one setting to config.toml; comments there are kept."""
    from mplus_cli import settings

    path = settings.set_value(key, value)
    common.done(
        f"{key} = {value}" if value else f"{key} is the default again", {"key": key, "file": str(path)}, as_json
    )
