"""`mplus eval`: every method of keeping a long text by every task, and reports with intervals."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mplus_cli import terminal
from mplus_cli.commands import common

app = common.new_app(
    """Measure a model's memory against every baseline, on your own data.

    \b
      mplus eval list
      mplus eval data --data FOLDER
      mplus eval run --data FOLDER --methods mplus,rag-bm25 --tasks fairytaleqa --out runs/first
      mplus eval report runs/first --against rag-bm25 --out report
    """
)
Data = Annotated[Path, typer.Option("--data", metavar="FOLDER", help="The data folder.")]
Names = Annotated[str | None, typer.Option("--tasks", metavar="A,B", help="Tasks; all whose files are there.")]


@app.command()
def run(
    data: Data,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="The run's folder; an old one is gone on with.")],
    model: common.Model = None,
    methods: Annotated[
        str | None, typer.Option("--methods", metavar="A,B", help="Methods; all that the model can do.")
    ] = None,
    tasks: Names = None,
    limit: Annotated[int, typer.Option("--limit", min=1, metavar="N", help="Items of a task, or of each group.")] = 100,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Draws made texts and samples.")] = 0,
    lengths: Annotated[
        str | None, typer.Option("--lengths", metavar="N,N", help="Words of made texts, such as 200,10k,1M.")
    ] = None,
    rows: Annotated[
        int | None,
        typer.Option("--rows", min=1, metavar="N", help="Key-value pairs a layer may hold; the model's own."),
    ] = None,
    passages: Annotated[int, typer.Option("--passages", min=1, metavar="N", help="Passages that are retrieved.")] = 4,
    passage_tokens: Annotated[
        int | None,
        typer.Option("--passage-tokens", min=1, metavar="N", help="Tokens of a passage; what the window has."),
    ] = None,
    encoder: Annotated[
        Path | None, typer.Option("--encoder", metavar="FOLDER", help="Of rag-dense: a sentence-transformers folder.")
    ] = None,
    rmt: Annotated[
        Path | None, typer.Option("--rmt", metavar="FILE", help="Of rmt: its trained memory tokens (safetensors).")
    ] = None,
    offload: Annotated[
        bool,
        typer.Option("--offload", help="Keep what was read in memory-mapped files, off the device."),
    ] = False,
    device: common.Device = None,
    dtype: common.Dtype = None,
    memory_dtype: common.MemoryDtype = None,
    weights: common.Weights = None,
    as_json: common.Json = False,
) -> None:
    """Run methods by tasks; Ctrl-C keeps what is done, the same command goes on.

    \b
      mplus eval run --data FOLDER --out runs/first --limit 20
    """
    from model.bench_length import parse_lengths
    from mplus_cli.evaluation import report as reports
    from mplus_cli.evaluation.running import Wanted, model_folder, names
    from mplus_cli.evaluation.running import run as run_all

    chosen = common.loaded(model=model, device=device, dtype=dtype, memory_dtype=memory_dtype, weights=weights)
    words = parse_lengths(lengths, kilo=1000, least=0) if lengths else ()
    wanted = Wanted(
        data=data, out=out, methods=names(methods), tasks=names(tasks), items=limit, seed=seed, lengths=words,
        rows=rows, passages=passages, passage_tokens=passage_tokens, offload=offload, encoder=encoder,
        rmt=rmt,
    )  # fmt: skip
    folder = model_folder(chosen.model, common.places().models)
    run_all(folder, chosen.device, chosen.dtype, wanted, chosen.memory_dtype, chosen.weights)
    found = reports.build([out])
    if as_json:
        terminal.json_line(found.to_json())
    else:
        reports.show(found)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders that `mplus eval run` made.")],
    against: Annotated[
        str | None, typer.Option("--against", metavar="METHOD", help="Compare every method with this one.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Write report.md and pictures there.")
    ] = None,
    as_json: common.Json = False,
) -> None:
    """Show what runs found, with intervals; a difference inside its interval is not called one."""
    from mplus_cli.evaluation import report as reports

    found = reports.build(runs, against)
    files = reports.write(found, out) if out is not None else []
    if as_json:
        terminal.json_line(found.to_json() | {"files": [str(file) for file in files]})
        return
    reports.show(found)
    for file in files:
        terminal.say(f"wrote {file}", style="dim")


@app.command()
def data(folder: Data, tasks: Names = None, as_json: common.Json = False) -> None:
    """Say which tasks a data folder can run, what is missing, where it is published and under which licence."""
    from mplus_cli.evaluation import inventory

    inventory.data(folder, tasks, as_json)


@app.command(name="list")
def list_(as_json: common.Json = False) -> None:
    """List the methods and the tasks."""
    from mplus_cli.evaluation import inventory

    inventory.everything(as_json)
