"""One run for a GPU: writing against the computed limit, a first token, device bytes, limits obeyed.

`python -m model.bench_targets --random 8b` takes less than ten minutes on one large GPU; `--random small --device cpu`
tries every part in seconds. Rows are random: a shard of them stands in for every shard of a long text, as in
`mplus bench length`. Each part prints its line when it is done, so a run that is cut off has told what it had.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from model.adapters import READ, WRITE
from model.bench import SHARD_CHUNKS, random_tokens, written_rows
from model.bench_length import parse_lengths, peak_device_bytes, timed
from model.bench_models import SHAPES, checkpoint_of, shape_config
from model.checkpoint import Checkpoint, resolve
from model.errors import ModelError
from model.evaluation.flops import Shapes
from model.generate import Memory, Reader, Sampling
from model.membership import ViewChunk, log_membership
from model.memory import ReadRows, RowTable, join
from model.mplus import MPlus
from model.placement import EVERYTHING, Placement, needs_of, place

MIB = 2**20
SIDE = 8192  # of the square matrices whose product is the device's measured rate
QUESTION, ANSWER = 64, 32
FOUR_BIT_MIB = 7000  # the device memory that weights in four bits are wanted to fit
REPEATS = 5


def matrix_rate(model: MPlus, side: int = SIDE) -> float:
    """FLOPs a second of a large square product on a model's device and in its format, the best of five."""
    one, other = (torch.randn(side, side, device=model.device, dtype=model.dtype) for _ in range(2))
    times = [timed(model, lambda: one @ other) for _ in range(REPEATS + 2)]
    return 2 * side**3 / min(times[2:])


def writing(loaded: Checkpoint, rate: float, chunks: int) -> dict[str, Any]:
    """Tokens a second of writing, and their share of what the device's matrix rate allows."""
    model, length = loaded.model, loaded.model.config.chunk_tokens
    with torch.inference_mode():
        for _ in written_rows(loaded, 4, length):
            pass
        taken = timed(model, lambda: sum(len(rows) for rows in written_rows(loaded, chunks, length)))
    reached = chunks * length / taken
    limit = rate / (Shapes(model.config).write(chunks * length) / (chunks * length))
    return {"tokens_per_second": round(reached), "limit_tokens_per_second": round(limit),
            "share_of_limit": round(reached / limit, 3), "matrix_tflops": round(rate / 1e12, 1)}  # fmt: skip


def long_memory(model: MPlus, shard: ReadRows, tokens: int) -> Memory:
    """The memory of so many tokens: one shard's rows again and again, held once."""
    config = model.config
    shards = max(1, -(-tokens // (config.chunk_tokens * SHARD_CHUNKS)))
    view = [ViewChunk("bench", number) for number in range(shards * SHARD_CHUNKS)]
    return Memory(RowTable([shard] * shards), log_membership(view, config.layers, config.memory_rows, config.pool_rows))


def asking(model: MPlus, memory: Memory, placement: Placement) -> dict[str, Any]:
    """Seconds to a first token, warm, and of a whole answer; most bytes on the device meanwhile."""
    reset_peak(model.device)
    reader = Reader(model, memory, placement)
    prompt = random_tokens(model, QUESTION, 1)
    with torch.inference_mode():
        firsts = [timed(model, lambda: reader.prefill(prompt, ANSWER)) for _ in range(REPEATS + 2)][2:]
        whole = timed(model, lambda: list(reader.generate(prompt, Sampling(ANSWER))))
    return {"first_token_ms": round(1e3 * statistics.median(firsts), 2),
            "decode_tokens_per_second": round((ANSWER - 1) / max(1e-9, whole - statistics.median(firsts)), 1),
            "peak_device_mib": peak_mib(model)}  # fmt: skip


def reset_peak(device: torch.device) -> None:
    """Count the device's bytes from here."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak_mib(model: MPlus) -> float | None:
    """Most MiB that were allocated on a GPU; None where there is none."""
    return round(peak_device_bytes(model) / MIB, 1) if model.device.type == "cuda" else None


def placed(model: MPlus, tokens: int, limit_mib: int | None) -> Placement:
    """Where a memory of so many tokens goes under a limit."""
    config = model.config
    rows = -(-tokens // config.chunk_tokens) * config.memory_rows
    needs = needs_of(config, model.weight_bytes(), rows, model.dtype.itemsize, QUESTION + ANSWER)
    return place(needs, None if limit_mib is None else limit_mib * MIB)


def limited(model: MPlus, shard: ReadRows, tokens: int, limit_mib: int) -> dict[str, Any]:
    """`asking` under a limit, or the sentence that says why it cannot be."""
    try:
        placement = placed(model, tokens, limit_mib)
    except ModelError as error:
        return {"limit_mib": limit_mib, "refused": error.message}
    found = asking(model, long_memory(model, shard, tokens), placement)
    peak = found["peak_device_mib"]
    return {"limit_mib": limit_mib, "planned_mib": round(placement.bytes / MIB, 1), **found,
            "obeyed": peak is None or peak <= limit_mib}  # fmt: skip


def parts(random: str, device: str, dtype: str, chunks: int, tokens: int, many: int, limits: tuple[int, ...]) -> (
    Iterator[tuple[str, dict[str, Any]]]
):  # fmt: skip
    """Every part by name, in the order of what is most wanted."""
    where, number_format = resolve(device, dtype)
    writer = checkpoint_of(None, random, WRITE, device, dtype)
    rate = matrix_rate(writer.model, SIDE if where.type == "cuda" else 512)
    yield "write", writing(writer, rate, chunks)
    with torch.inference_mode():
        shard = join(list(islice(written_rows(writer, SHARD_CHUNKS, writer.model.config.chunk_tokens), SHARD_CHUNKS)))
    del writer
    reset_peak(where)
    model = checkpoint_of(None, random, READ, device, dtype, "dense").model
    yield "ask", {"tokens": tokens, **asking(model, long_memory(model, shard, tokens), EVERYTHING)}
    for limit in limits:
        yield f"ask within {limit} MiB", {"tokens": tokens, **limited(model, shard, tokens, limit)}
    yield "ask behind much", {"tokens": many, **limited(model, shard, many, 24 * 1024)}
    del model
    reset_peak(where)
    within = f"ask within {FOUR_BIT_MIB} MiB, 4-bit weights"
    yield within, {"tokens": tokens, **four_bit(random, where, number_format, shard, tokens)}


def four_bit(
    random: str, device: torch.device, dtype: torch.dtype, shard: ReadRows, tokens: int
) -> dict[str, Any]:  # fmt: skip
    """`limited` with weights in four bits, or why that cannot be."""
    torch.manual_seed(0)
    try:
        with torch.device(device):
            model = MPlus(shape_config(random)).to(dtype).eval().requires_grad_(False)
        model.specialise(READ, "nf4", device)
    except ModelError as error:
        return {"refused": f"{error.message} {error.remedy}"}
    weights = round(model.weight_bytes() / MIB, 1)
    return {"weights_mib": weights, **limited(model, shard, tokens, FOUR_BIT_MIB)}


def main(arguments: list[str] | None = None) -> int:
    """Command line; the last line is one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m model.bench_targets", description=__doc__.splitlines()[0])
    parser.add_argument("--random", default="8b", metavar="SHAPE", help=f"{', '.join(SHAPES)}, or numbers")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--chunks", type=int, default=64, help="written for the rate of writing")
    parser.add_argument("--tokens", default="128k", help="read before the question")
    parser.add_argument("--many", default="1000000", help="read before the question under --max-vram 24GiB")
    parser.add_argument("--limits", type=int, nargs="*", default=[18_000, 16_200], help="MiB of device memory")
    parser.add_argument("--out", type=Path, help="a JSON Lines file that gets every part as it ends")
    given = parser.parse_args(arguments)
    results: dict[str, Any] = {}
    try:
        (tokens,), (many,) = parse_lengths(given.tokens), parse_lengths(given.many)
        some = parts(given.random, given.device, given.dtype, given.chunks, tokens, many, tuple(given.limits))
        for name, found in some:
            results[name] = found
            print(f"{name}: {json.dumps(found)}", flush=True)
            if given.out is not None:
                with given.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"part": name, **found}) + "\n")
    except ModelError as error:
        print(f"error: {error.message}\n  {error.remedy}", file=sys.stderr)
        return 1
    print(json.dumps({"task": "targets", "random": given.random, "torch": torch.__version__, **results}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
