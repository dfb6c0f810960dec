"""`mplus bench`: how fast this machine writes and generates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mplus_cli.commands import common

app = common.new_app(
    """Measure how fast this machine writes memory and generates; count FLOPs and bytes.

    \b
      mplus bench write --random reference --chunks 200 --threads 2
      mplus bench generate --checkpoint ~/checkpoints/mine --json
      mplus bench length --lengths 2k,64k,2M
      mplus bench recall --library novels --rows 100k,1M,10M
      mplus bench flops --shape 8b
    """
)
Checkpoint = Annotated[
    Path | None, typer.Option("--checkpoint", metavar="DIR", help="A checkpoint in the published format.")
]
Shape = Annotated[
    str | None, typer.Option("--random", metavar="SHAPE", help="Random weights: reference, small, 8b, or numbers.")
]
Chunks = Annotated[int | None, typer.Option("--chunks", min=1, metavar="N", help="Chunks to write.")]
Documents = Annotated[
    int | None, typer.Option("--documents", min=1, metavar="N", help="Documents to write in one batch.")
]
ChunkLength = Annotated[int | None, typer.Option("--chunk-length", min=1, metavar="N", help="Tokens in a chunk.")]
Lengths = Annotated[
    str | None, typer.Option("--lengths", metavar="N,N", help="Tokens, such as 2000,16k,2M; k is 1,024.")
]
Prompt = Annotated[int | None, typer.Option("--prompt", min=1, metavar="N", help="Tokens of the prompt.")]
New = Annotated[int | None, typer.Option("--new", min=1, metavar="N", help="Tokens to generate.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, metavar="N", help="Processor threads.")]


@app.command()
def write(
    checkpoint: Checkpoint = None,
    random: Shape = None,
    documents: Documents = None,
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
        checkpoint=checkpoint, random=random, documents=documents, chunks=chunks, chunk_length=chunk_length,
        device=device, dtype=dtype, threads=threads,
    )  # fmt: skip
    listing.measured(model.bench.write(**given), as_json)


@app.command()
def generate(
    checkpoint: Checkpoint = None,
    random: Shape = None,
    chunks: Chunks = None,
    chunk_length: ChunkLength = None,
    prompt: Prompt = None,
    new: New = None,
    weights: common.Weights = None,
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
        weights=weights, device=device, dtype=dtype, threads=threads,
    )  # fmt: skip
    listing.measured(model.bench.generate(**given), as_json)


@app.command()
def length(
    checkpoint: Checkpoint = None,
    random: Shape = None,
    lengths: Lengths = None,
    prompt: Prompt = None,
    new: New = None,
    folder: Annotated[Path | None, typer.Option("--folder", metavar="DIR", help="Where shards lie meanwhile.")] = None,
    memory_dtype: Annotated[
        str | None, typer.Option("--memory-dtype", metavar="FORMAT", help="How rows are kept; as in a new library.")
    ] = None,
    weights: common.Weights = None,
    device: common.Device = None,
    dtype: common.Dtype = None,
    threads: Threads = None,
    as_json: common.Json = False,
) -> None:
    """Measure writing, saving, loading, recall and decoding against the length of what was read.

    Shards are copies of one that was really written, so that 2M tokens take seconds to make.
    """
    import model.bench_length
    from mplus_cli.evaluation import bench_tables

    given = common.given(
        checkpoint=checkpoint, random=random, lengths=lengths, prompt=prompt, new=new, folder=folder, device=device,
        dtype=dtype, threads=threads, memory_dtype=memory_dtype, weights=weights,
    )  # fmt: skip
    bench_tables.length(model.bench_length.length(**given), as_json)


@app.command()
def recall(
    checkpoint: Checkpoint = None,
    random: Shape = None,
    library: common.Library = None,
    rows: Annotated[
        str | None, typer.Option("--rows", metavar="N,N", help="Rows of a layer, such as 100000,1M; k is 1,024.")
    ] = None,
    layer: Annotated[int | None, typer.Option("--layer", min=0, metavar="N", help="The layer, counted from 0.")] = None,
    keys: Annotated[str | None, typer.Option("--keys", metavar="FORMAT", help="bf16, int8 or int5.")] = None,
    folder: Annotated[Path | None, typer.Option("--folder", metavar="DIR", help="Where keys lie meanwhile.")] = None,
    dtype: common.Dtype = None,
    threads: Threads = None,
    as_json: common.Json = False,
) -> None:
    """Measure recall against the rows of a layer, beside the plain formula.

    The keys are those of --library, and moved copies of them where more rows are wanted; without it, of random tokens.
    """
    import model.bench_recall
    from mplus_cli.evaluation import bench_tables

    given = common.given(
        checkpoint=checkpoint, random=random, lengths=rows, layer=layer, keys=keys, folder=folder, dtype=dtype,
        threads=threads,
    )  # fmt: skip
    bench_tables.recall(model.bench_recall.recall(**_of_library(library) | given), as_json)


def _of_library(name: str | None) -> dict[str, Path]:
    """The shards of a library, and the model that wrote them."""
    if name is None:
        return {}
    from mplus_cli.library.library import Library
    from mplus_cli.models import find_model
    from mplus_cli.settings import places
    from mplus_cli.shelf import path_of

    folder = path_of(places().libraries, name)
    with common.closing(Library.open(folder)) as library:
        model = library.identity.name
    return {"shards": folder / "memory", "checkpoint": find_model(model, places().models).path}


@app.command()
def flops(
    checkpoint: Checkpoint = None,
    shape: Annotated[
        str | None, typer.Option("--shape", metavar="SHAPE", help="reference, small, 8b, or numbers; 8b by default.")
    ] = None,
    lengths: Lengths = None,
    prompt: Prompt = None,
    new: New = None,
    rows: Annotated[
        int | None, typer.Option("--rows", min=1, metavar="N", help="Key-value pairs a layer may hold, as in eval run.")
    ] = None,
    as_json: common.Json = False,
) -> None:
    """Count FLOPs and bytes of every method at every length, attention included; nothing is run.

    The paper's table, and what equal bytes and equal FLOPs buy full context. Only a checkpoint's config.json is read.
    """
    import model.bench
    from mplus_cli.evaluation import bench_tables

    given = common.given(checkpoint=checkpoint, random=shape, lengths=lengths, prompt=prompt, new=new, rows=rows)
    bench_tables.flops(model.bench.flops(**given), as_json)
