"""`mplus train`: train a model of one's own."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import typer

from mplus_cli import terminal
from mplus_cli.commands import common
from mplus_cli.errors import TERMINATED, Interrupted

app = common.new_app()


@app.command()
def train(
    stage: Annotated[str, typer.Argument(metavar="STAGE", help="tokenizer, or a stage of the plan.")],
    text: Annotated[Path, typer.Option("--text", metavar="FOLDER", help="JSON Lines with text, plain or xz.")],
    work: Annotated[Path, typer.Option("--work", metavar="FOLDER", help="Tokenizer and tokens, kept between stages.")],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where the run is kept.")],
    plan: Annotated[
        str, typer.Option("--plan", "--config", metavar="NAME", help="A plan at hand, or a TOML file.")
    ] = "embedded",
    questions: Annotated[
        Path | None, typer.Option("--questions", metavar="FOLDER", help="JSON Lines with questions and answers.")
    ] = None,
    start: Annotated[Path | None, typer.Option("--start", metavar="FOLDER", help="The run before this one.")] = None,
    base: Annotated[
        Path | None, typer.Option("--base", metavar="FOLDER", help="The Llama under adapters, for plans with a [base].")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run in --out stopped.")] = False,
    threads: Annotated[int | None, typer.Option("--threads", min=1, metavar="N", help="Processor threads.")] = None,
    as_json: common.Json = False,
) -> None:
    """Train one stage of a model of your own; Ctrl-C saves, --resume goes on.

    \b
      mplus train tokenizer --text data/text --questions data/qa/train --work work/ --out runs/tokenizer
      mplus train all --text data/text --questions data/qa/train --work work/ --out runs/all
      mplus train 1 --plan 8b --base llama-3.1-8b/ --text data/text --work work/ --out runs/1

    A plan says which files of --text it reads; your own needs no more than some numbers changed (docs/training.md).
    """
    from model.training.cli import Sources, train
    from mplus_cli import render_training
    from mplus_cli.assistant.interrupt import Interruption

    sources = Sources(text, questions, work)
    with Interruption(signal.SIGTERM) as interruption:
        steps = train(
            stage, common.training_plan(plan), out, sources, resume=resume, start=start, base=base, threads=threads,
            stop=lambda: interruption.wanted,
        )  # fmt: skip
        render_training.training(steps, as_json)
    if interruption.number == signal.SIGTERM:
        terminal.say("Stopped as asked; the run is saved. Add --resume to go on.")
        raise typer.Exit(TERMINATED)
    if interruption.wanted:
        raise Interrupted("Stopped as asked; the run is saved.", "Add --resume to go on.")
