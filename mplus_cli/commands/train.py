"""`mplus train`: train a model of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mplus_cli.commands import common
from mplus_cli.errors import Interrupted

app = common.new_app()


@app.command()
def train(
    stage: Annotated[str, typer.Argument(metavar="STAGE", help="tokenizer, or a stage of the plan.")],
    text: Annotated[Path, typer.Option("--text", metavar="FOLDER", help="JSON Lines with text, plain or xz.")],
    work: Annotated[Path, typer.Option("--work", metavar="FOLDER", help="Tokenizer and tokens, kept between stages.")],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where the run is kept.")],
    plan: Annotated[str, typer.Option("--plan", metavar="NAME", help="A plan at hand, or a TOML file.")] = "embedded",
    questions: Annotated[
        Path | None, typer.Option("--questions", metavar="FOLDER", help="JSON Lines with questions and answers.")
    ] = None,
    start: Annotated[Path | None, typer.Option("--start", metavar="FOLDER", help="The run before this one.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run in --out stopped.")] = False,
    threads: Annotated[int | None, typer.Option("--threads", min=1, metavar="N", help="Processor threads.")] = None,
    as_json: common.Json = False,
) -> None:
    """Train one stage of a model of your own; Ctrl-C saves, --resume goes on.

    \b
      mplus train tokenizer --text books/ --work work/ --out runs/tokenizer
      mplus train all --text books/ --work work/ --out runs/all
    """
    from model.training.cli import Sources, train
    from mplus_cli import render
    from mplus_cli.assistant.interrupt import Interruption

    sources = Sources(text, questions, work)
    with Interruption() as interruption:
        steps = train(
            stage, common.training_plan(plan), out, sources, resume=resume, start=start, threads=threads,
            stop=lambda: interruption.wanted,
        )  # fmt: skip
        render.training(steps, as_json)
    if interruption.wanted:
        raise Interrupted("Stopped as asked; the run is saved.", "Add --resume to go on.")
