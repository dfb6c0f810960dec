"""`mplus completion`: the script that teaches a shell to complete mplus."""

from __future__ import annotations

import importlib
from typing import Annotated, Any, Literal

import typer

from mplus_cli import terminal
from mplus_cli.commands import common

app = common.new_app()


@app.command()
def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], typer.Argument(metavar="SHELL", help="bash, zsh or fish.")],
) -> None:
    """Print the completion script of a shell.

    \b
      mplus completion bash > ~/.local/share/bash-completion/completions/mplus
      mplus completion zsh > ~/.zfunc/_mplus
      mplus completion fish > ~/.config/fish/completions/mplus.fish
    """
    make: Any = importlib.import_module("typer.completion").get_completion_script
    terminal.raw(make(prog_name="mplus", complete_var="_MPLUS_COMPLETE", shell=shell) + "\n")
