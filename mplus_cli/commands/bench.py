"""`mplus bench`: how fast this machine writes and generates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mplus_cli.commands import common

app = common.new_app(
    """Measure how fast this machine writes memory and generates.

    \b
      mplus bench write --random reference --chunks 200 --threads 2
      mplus bench generate --checkpoint ~/checkpoints/mine --json
    """
)
Checkpoint = Annotated[
    Path | None, typer.Option("--checkpoint", metavar="DIR", help="A checkpoint in the published format.")
]
Shape = Annotated[
    str | None, typer.Option("--random", metavar="SHAPE", help="Random weights: reference, small, 8b, or numbers.")
]
Chunks = Annotated[int | None, typer.Option("--chunks", min=1, metavar="N", help="Chunks to write.")]
ChunkLength = Annotated[int | None, typer.Option("--chunk-length", min=1, metavar="N", help="Tokens in a chunk.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, metavar="N", help="Processor threads.")]


@app.command()
def write(
    checkpoint: Checkpoint = None,
    random: Shape = None,
    chunks: Chunks = None,
    chunk_length: ChunkLength = None,
    device: common.Device = None,
    dtype: common.Dtype = None,
    threads: Threads = None,
    as_json: common.Json = False,
) -> None:
    """Measure writing: tokens per second that become memory."""
    import model.bench
    from mplus_cli import listing

    given = common.given(
        checkpoint=checkpoint, random=random, chunks=chunks, chunk_length=chunk_length, device=device, dtype=dtype,
        threads=threads,
    )  # fmt: skip
    listing.measured(model.bench.write(**given), as_json)


@app.command()
def generate(
    checkpoint: Checkpoint = None,
    random: Shape = None,
    chunks: Chunks = None,
    chunk_length: ChunkLength = None,
    prompt: Annotated[int | None, typer.Option("--prompt", min=1, metavar="N", help="Tokens of the prompt.")] = None,
    new: Annotated[int | None, typer.Option("--new", min=1, metavar="N", help="Tokens to generate.")] = None,
    device: common.Device = None,
    dtype: common.Dtype = None,
    threads: Threads = None,
    as_json: common.Json = False,
) -> None:
    """Measure generating: tokens per second behind a memory of --chunks chunks."""
    import model.bench
    from mplus_cli import listing

    given = common.given(
        checkpoint=checkpoint, random=random, chunks=chunks, chunk_length=chunk_length, prompt=prompt, new=new,
        device=device, dtype=dtype, threads=threads,
    )  # fmt: skip
    listing.measured(model.bench.generate(**given), as_json)
