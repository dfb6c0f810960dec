"""`mplus train`: train a model."""

from __future__ import annotations

import typer

from mplus_cli.commands import common

app = common.new_app()


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def train(context: typer.Context) -> None:
    """Train a model of your own; what follows goes to `python -m model.training`.

    \b
      mplus train --config embedded

    docs/training.md names the configurations and their options.
    """
    from model.training.train import main

    code = main(context.args)
    if code:
        raise typer.Exit(code)
