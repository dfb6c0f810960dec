"""How fast this machine writes memory and generates: `python -m model.bench write|generate|length|recall|flops`.

Writing does all that an ingest does with tensors: the forward pass under the write adapter, the projection to read
form, shards in safetensors on disk (flushed, and removed as the next one follows). Generating reads a prompt behind a
filled memory and decodes greedily. Times are medians; the last line printed is one JSON object. `length` and
`recall` are in files of their own; `flops` measures nothing, it counts (model/evaluation/flops.py).
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.adapters import READ, WRITE
from model.bench_models import SHAPES, checkpoint_of, config_of, shape_config, shape_of
from model.checkpoint import Checkpoint
from model.errors import ModelError
from model.generate import Memory, Reader, Sampling
from model.matrices import AUTO
from model.matrices import FORMATS as MATRICES
from model.membership import ViewChunk, log_membership
from model.memory import Rows, RowTable, as_stored, join, to_bytes
from model.mplus import MPlus
from model.row_sizes import FORMATS, MOST_CHUNKS_PER_SHARD
from model.writing import WrittenChunk, write_chunks

SHARD_CHUNKS = 16
FLOP_LENGTHS = "2k,4k,8k,16k,32k,64k,128k,512k,2M"
WINDOW = 50  # chunks whose median stands for "early" and "late"


def write(
    checkpoint: Path | None = None,
    random: str | None = None,
    chunks: int = 200,
    chunk_length: int | None = None,
    device: str = "auto",
    dtype: str = "auto",
    threads: int | None = None,
    documents: int = 1,
) -> dict[str, Any]:
    """Write `chunks` chunks of random tokens; tokens per second, time per chunk early and late, memory in bytes.

    `documents`: so many texts in one batch, each of `chunks` chunks; tokens of all are counted, and the time of a chunk
    is that of one chunk of each. `late_to_early`: the median ratio of chunks that go on from the last one to chunks of
    a second document (or batch) that is `WINDOW` chunks long, in turn: a machine whose speed drifts slows both.
    """
    torch.set_num_threads(threads or torch.get_num_threads())
    loaded = checkpoint_of(checkpoint, random, WRITE, device, dtype)
    model, length = loaded.model, chunk_length or loaded.model.config.chunk_tokens
    times: list[float] = []
    anonymous: dict[int, int] = {}
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        shards = _Shards(Path(folder))
        for _ in written_together(loaded, 5, length, documents):
            pass  # the first calls allocate
        begun = time.perf_counter()
        for number, written in enumerate(written_together(loaded, chunks, length, documents), 1):
            shards.add(written.rows)
            times.append(time.perf_counter() - begun)
            if number in (min(WINDOW, chunks), chunks):
                anonymous[number] = anonymous_bytes()
        shards.flush()
        seconds = time.perf_counter() - begun
        stored = shards.bytes
        late = written_together(loaded, WINDOW, length, documents, written.newest, stages=1)
        ratio = _late_to_early(late, written_together(loaded, 2 * WINDOW, length, documents, stages=1), shards)
    each = [after - before for before, after in zip([0.0, *times], times, strict=False)]
    tokens = documents * chunks * length
    return {
        "task": "write",
        "tokens_per_second": round(tokens / seconds, 1),
        "seconds": round(seconds, 6),
        "documents": documents,
        "chunks": chunks,
        "chunk_length": length,
        "chunk_ms_early": round(1e3 * statistics.median(each[:WINDOW]), 3),
        "chunk_ms_late": round(1e3 * statistics.median(each[-WINDOW:]), 3),
        "late_to_early": round(ratio, 3),
        "anonymous_bytes_early": min(anonymous.items())[1],
        "anonymous_bytes_late": max(anonymous.items())[1],
        "row_bytes_per_token": round(stored / tokens, 1),
        **surroundings(model),
    }


def _late_to_early(late: Iterator[WrittenChunk], early: Iterator[WrittenChunk], shards: _Shards) -> float:
    """Median ratio of the seconds of one writer's next chunk to those of another's, taken in turn.

    Both take no chunk ahead: what one of them computed in the other's time would not be its own.
    """
    for written in islice(early, WINDOW):
        shards.add(written.rows)

    def seconds(writer: Iterator[WrittenChunk]) -> float:
        begun = time.perf_counter()
        shards.add(next(writer).rows)
        return time.perf_counter() - begun

    return statistics.median(seconds(late) / seconds(early) for _ in range(WINDOW))


def generate(
    checkpoint: Path | None = None,
    random: str | None = None,
    chunks: int = 40,
    chunk_length: int | None = None,
    prompt: int = 32,
    new: int = 64,
    device: str = "auto",
    dtype: str = "auto",
    threads: int | None = None,
    repeats: int = 5,
    weights: str = AUTO,
) -> dict[str, Any]:
    """Generate `new` tokens after a prompt behind `chunks` chunks; tokens per second over prefill and decoding."""
    torch.set_num_threads(threads or torch.get_num_threads())
    writer = checkpoint_of(checkpoint, random, WRITE, device, dtype)
    config, length = writer.model.config, chunk_length or writer.model.config.chunk_tokens
    with torch.inference_mode():
        background = writer.background_rows()
        rows = [as_stored(part) for part in (background,) if part is not None]
        written = list(written_rows(writer, chunks, length))  # in shards as large as a library's
        rows += [join(written[at : at + MOST_CHUNKS_PER_SHARD]) for at in range(0, chunks, MOST_CHUNKS_PER_SHARD)]
    del writer
    reader = checkpoint_of(checkpoint, random, READ, device, dtype, weights)
    view = [ViewChunk("bench", number) for number in range(chunks)]
    shipped = reader.background.pool.shape[1] if reader.background else 0
    offset = len(background) if background is not None else 0
    membership = log_membership(view, config.layers, config.memory_rows, config.pool_rows, shipped, offset)
    answering = Reader(reader.model, Memory(RowTable(rows), membership, offset))
    runs = [_generate_once(answering, random_tokens(reader.model, prompt, seed), new) for seed in range(repeats + 1)][
        1:
    ]
    total, first = (statistics.median(times) for times in zip(*runs, strict=True))
    return {
        "task": "generate",
        "tokens_per_second": round(new / total, 1),
        "seconds": round(total, 4),
        "first_token_s": round(first, 4),
        "decode_tokens_per_second": round((new - 1) / (total - first), 1) if new > 1 else None,
        "prompt": prompt,
        "new": new,
        "chunks": chunks,
        "chunk_length": length,
        "repeats": repeats,
        **surroundings(reader.model),
    }


def _generate_once(reader: Reader, ids: Tensor, new: int) -> tuple[float, float]:
    """Seconds for all tokens and for the first."""
    begun, first = time.perf_counter(), 0.0
    with torch.inference_mode():
        for _ in reader.generate(ids, Sampling(new)):
            first = first or time.perf_counter() - begun
    return time.perf_counter() - begun, first


def written_rows(loaded: Checkpoint, chunks: int, length: int) -> Iterator[Rows]:
    """Rows of random chunks, one after the other, in the format that a library stores."""
    for written in written_together(loaded, chunks, length, 1):
        yield written.rows[0]


def written_together(
    loaded: Checkpoint,
    chunks: int,
    length: int,
    documents: int,
    newest: Tensor | None = None,
    stages: int | None = None,
) -> Iterator[WrittenChunk]:
    """The same of several documents, a chunk of each in one batch, behind the newest rows of each."""
    model = loaded.model
    texts = (
        torch.cat([random_tokens(model, length, (number + 31 * document) % 97) for document in range(documents)])
        for number in range(chunks)
    )
    first = loaded.first_rows()[:, None].expand(-1, documents, -1, -1) if newest is None else newest
    return write_chunks(model, texts, first, stages=stages)


def random_tokens(model: MPlus, count: int, seed: int) -> Tensor:
    """Token ids drawn by a seed, as a prompt (1, n) on the model's device."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(model.config.llama.vocab_size, (1, count), generator=generator).to(model.device)


class _Shards:
    """Rows on their way to disk, as an ingest writes them; the file before is removed when the next one is safe."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.rows, self.bytes, self.number = folder, [], 0, 0

    def add(self, rows: list[Rows]) -> None:
        self.rows += rows
        if len(self.rows) >= SHARD_CHUNKS:
            self.flush()

    def flush(self) -> None:
        if not self.rows:
            return
        data = to_bytes(join(self.rows))
        with (self.folder / f"{self.number}.safetensors").open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        (self.folder / f"{self.number - 1}.safetensors").unlink(missing_ok=True)
        self.rows, self.bytes, self.number = [], self.bytes + len(data), self.number + 1


def flops(
    checkpoint: Path | None = None, random: str | None = None, lengths: str = FLOP_LENGTHS, prompt: int = 64,
    new: int = 64, rows: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """FLOPs and bytes of every method at every length in tokens, and the paper's table with attention counted.

    Only the configuration of a checkpoint is read. The paper's own figures stand beside the shape they are of. `rows`:
    the budget of a layer, as `mplus eval run --rows`. A plain Llama has no M+ columns and no latent methods.
    """
    from model.bench_length import parse_lengths
    from model.evaluation.flops import Asked, Held, comparison, paper_row
    from model.plain import is_plain

    config = shape_config(random or "8b") if checkpoint is None else config_of(Path(checkpoint))
    plain = checkpoint is not None and is_plain(Path(checkpoint))
    of_paper = shape_of(config) == shape_of(shape_config("8b"))
    wanted = parse_lengths(lengths)
    return {
        "task": "flops",
        "shape": shape_of(config),
        "prompt": prompt,
        "new": new,
        "rows": rows,
        "paper": [] if plain else [paper_row(config, tokens, of_paper) for tokens in wanted],
        "lengths": [comparison(config, tokens, Asked(prompt, new), Held(rows), plain) for tokens in wanted],
    }


def surroundings(model: MPlus) -> dict[str, Any]:
    """What a measurement depends on: shape, machine, versions; and the peaks of memory so far."""
    found = {
        "shape": shape_of(model.config),
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "device": str(model.device),
        "dtype": str(model.dtype).removeprefix("torch."),
        "weights": model.weights,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    if model.device.type == "cuda":
        found["peak_device_bytes"] = torch.cuda.max_memory_allocated(model.device)
    return found


def anonymous_bytes() -> int:
    """Memory of this process that no file backs, in bytes; 0 where the system does not tell."""
    try:
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Anonymous:"))


def task(name: str) -> Callable[..., dict[str, Any]]:
    """A benchmark by name."""
    from model.bench_length import length
    from model.bench_recall import recall

    return {"write": write, "generate": generate, "length": length, "recall": recall, "flops": flops}[name]


def main(arguments: list[str] | None = None) -> int:
    """Command line, for machines that have model/ alone."""
    parser = argparse.ArgumentParser(prog="python -m model.bench", description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=("write", "generate", "length", "recall", "flops"))
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--random", "--shape", metavar="SHAPE", help=f"{', '.join(SHAPES)}, or {SHAPES['reference']}")
    for name in ("--documents", "--chunks", "--chunk-length", "--prompt", "--new", "--threads", "--rows", "--layer"):
        parser.add_argument(name, type=int)
    parser.add_argument("--lengths", help="in tokens, of recall in rows, such as 2000,16k,2M (k is 1,024)")
    parser.add_argument("--folder", type=Path, help="of length and recall: where the shards lie meanwhile")
    parser.add_argument("--shards", type=Path, help="of recall: a folder of shards whose keys are searched")
    parser.add_argument("--keys", choices=("bf16", "int8", "int5"), help="of recall: their format")
    parser.add_argument("--memory-dtype", choices=list(FORMATS), help="of length: the format of the rows")
    parser.add_argument("--device")
    parser.add_argument("--dtype")
    parser.add_argument("--weights", choices=[AUTO, *MATRICES], help="of generate, length: how matrices are kept")
    parser.add_argument("--json", action="store_true", help="print the JSON line alone")
    given = {key: value for key, value in vars(parser.parse_args(arguments)).items() if value is not None}
    run, alone = task(given.pop("task")), given.pop("json")
    unknown = [name for name in given if name not in inspect.signature(run).parameters]
    if unknown:
        parser.error(f"{run.__name__} takes no --{unknown[0].replace('_', '-')}")
    try:
        result = run(**given)
    except ModelError as error:
        words = {"message": error.message, "remedy": error.remedy}
        plain = f"error: {error.message}\n  {error.remedy}"
        print(json.dumps({"error": words}) if alone else plain, file=sys.stdout if alone else sys.stderr)
        return 2
    if not alone:
        for key, value in result.items():
            for line in value if isinstance(value, list) else [value]:
                print(f"{key:26}{line}")
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
