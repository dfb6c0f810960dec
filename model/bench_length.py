"""Writing, saving, loading, recalling and decoding against the length of what was read: `mplus bench length`.

A writer's state is the K newest rows of each layer, whatever it has read, so a few chunks of random tokens are written
at every length. The memory in front of a question is as long as it says: its shards are files of their own, mapped as
a library's are, each a copy of the shard of those chunks. Copies score alike, and take the time that others take.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.adapters import READ, WRITE
from model.bench import anonymous_bytes, random_tokens, surroundings, written_rows
from model.bench_models import checkpoint_of
from model.checkpoint import Checkpoint
from model.errors import ModelError
from model.generate import Memory, Reader, RetrievalTrace, Sampling
from model.matrices import AUTO
from model.membership import ViewChunk, log_membership
from model.memory import ReadRows, Rows, RowTable, as_stored, join, map_rows, to_bytes
from model.mplus import KeysValues, MPlus
from model.plain import is_plain, plain_llama
from model.raw import RawReader, RawWriter, first_chunks, raw_memory
from model.row_sizes import DEFAULT, FORMATS, MOST_CHUNKS_PER_SHARD, chunks_per_shard

LENGTHS = "2000,20000,200000"
WARM_UP, REPEATS = 2, 3
UNITS = {"k": 1, "m": 2}
FILLED = "shards are copies of one of {chunks} chunks that were really written; random tokens"


def parse_lengths(text: str, kilo: int = 1024, least: int = 1) -> tuple[int, ...]:
    """`2000,16k,2M` as numbers, ascending; k is `kilo`, M its square. Raises ModelError for what is no length."""
    found = []
    for word in filter(None, (part.strip().lower() for part in text.split(","))):
        unit = UNITS.get(word[-1], 0)
        digits = word[:-1] if unit else word
        if not digits.isdecimal() or int(digits) < least:
            raise ModelError(f"{word!r} is no length.", "Give numbers such as 2000,16k,2M.")
        found.append(int(digits) * kilo**unit)
    if not found:
        raise ModelError("No length was given.", "Give numbers such as 2000,16k,2M.")
    return tuple(sorted(set(found)))


def length(
    checkpoint: Path | None = None,
    random: str | None = None,
    lengths: str = LENGTHS,
    prompt: int = 32,
    new: int = 32,
    device: str = "auto",
    dtype: str = "auto",
    threads: int | None = None,
    folder: Path | None = None,
    memory_dtype: str = DEFAULT,
    weights: str = AUTO,
) -> dict[str, Any]:
    """Times and bytes at every length, in tokens; `folder`: where the shards lie meanwhile, in the row format
    `memory_dtype` (of a plain Llama always bf16). Raises ModelError for a format or a length that makes no sense.

    Lengths whose shards the disk cannot take are reported as such. Times are in seconds, medians of three questions
    after two others.
    """
    if threads:
        torch.set_num_threads(threads)
    if memory_dtype not in FORMATS:
        raise ModelError(f"There is no row format {memory_dtype!r}.", f"Give one of {', '.join(FORMATS)}.")
    wanted = parse_lengths(lengths)
    plain = checkpoint is not None and is_plain(checkpoint)
    if plain:
        assert checkpoint is not None
        loaded = plain_llama(checkpoint, device, dtype)
        shard, writing, peak = _write(loaded, raw_rows(loaded.model), len(wanted))
    else:
        writer = checkpoint_of(checkpoint, random, WRITE, device, dtype)
        written = written_rows(writer, WARM_UP + len(wanted) * MOST_CHUNKS_PER_SHARD, writer.model.config.chunk_tokens)
        stored = (as_stored(rows, memory_dtype) for rows in written)
        shard, writing, peak = _write(writer, stored, len(wanted))
        loaded = checkpoint_of(checkpoint, random, READ, device, dtype, weights)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=folder) as place:
        shards = Shards(Path(place), shard, loaded.model.config.memory_rows, plain)
        for tokens, seconds in zip(wanted, writing, strict=True):
            chunks = -(-tokens // loaded.model.config.chunk_tokens)
            if not shards.fit(chunks):
                rows.append({"tokens": tokens, "fits": False, "disk_bytes": shards.bytes_of(chunks)})
                continue
            rows.append({"tokens": tokens, "fits": True, **seconds, **_at(loaded, shards, chunks, prompt, new)})
    about = {
        "task": "length",
        "mode": "raw-kv" if plain else "latent",
        "memory_dtype": shard.row_format,
        "filled": FILLED.format(chunks=shards.each),
        "prompt": prompt,
        "new": new,
    }
    return {**about, "lengths": rows, "write_peak_device_bytes": peak, **surroundings(loaded.model)}


def raw_rows(model: MPlus) -> Iterator[ReadRows]:
    """Rows of random chunks of a plain Llama, one after the other, each behind the newest rows."""
    writer = RawWriter(model)
    for number in count():
        yield writer.read(random_tokens(model, model.config.chunk_tokens, number % 97)[0].tolist())


def _write(loaded: Checkpoint, chunks: Iterator[Rows], times: int) -> tuple[Rows, list[dict[str, float]], int]:
    """Rows of a shard, the rate of writing one of as many chunks each time, and the device's peak bytes."""
    model, size = loaded.model, loaded.model.config.chunk_tokens
    rates: list[dict[str, float]] = []
    with torch.inference_mode():
        rows = list(islice(chunks, WARM_UP))  # the first calls allocate
        each = chunks_per_shard(len(to_bytes(rows[0])))
        for _ in range(times):
            seconds = timed(model, lambda: rows.extend(islice(chunks, each)))
            rates.append({"write_tokens_per_second": round(each * size / seconds, 1)})
            del rows[:-each]
    return join(rows), rates, peak_device_bytes(model)


class Shards:
    """Shard files of a memory that grows from length to length."""

    def __init__(self, folder: Path, rows: Rows, chunk_rows: int, raw: bool = False) -> None:
        """raw: rows have the mean keys of blocks in the place of retrieval keys."""
        self.folder, self.data, self.chunk_rows, self.raw = folder, to_bytes(rows), chunk_rows, raw
        self.each = len(rows) // chunk_rows  # chunks of a shard
        self.files: list[Path] = []

    def count(self, chunks: int) -> int:
        """Shards of so many chunks; the last one is whole, and a question sees what it needs of it."""
        return -(-chunks // self.each)

    def bytes_of(self, chunks: int) -> int:
        """Bytes on disk of so many chunks."""
        return self.count(chunks) * len(self.data)

    def fit(self, chunks: int) -> bool:
        """Whether the disk can take what is missing, and a tenth more."""
        missing = self.bytes_of(chunks) - len(self.files) * len(self.data)
        return missing * 1.1 <= shutil.disk_usage(self.folder).free

    def save(self, chunks: int) -> int:
        """Write the shards that are missing, each flushed; returns the bytes that were written."""
        before = len(self.files)
        for number in range(before, self.count(chunks)):
            self.files.append(self.folder / f"{number}.safetensors")
            with self.files[-1].open("wb") as file:
                file.write(self.data)
                file.flush()
                os.fsync(file.fileno())
        return (len(self.files) - before) * len(self.data)

    def load(self, chunks: int) -> list[Rows]:
        """The rows, memory-mapped."""
        blocks = [map_rows(file) for file in self.files[: self.count(chunks)]]
        rest = chunks - (len(blocks) - 1) * self.each
        last = (
            first_chunks(blocks[-1], [self.chunk_rows] * rest)
            if self.raw
            else blocks[-1].part(0, rest * self.chunk_rows)
        )
        return [*blocks[:-1], last]


def _at(loaded: Checkpoint, shards: Shards, chunks: int, prompt: int, new: int) -> dict[str, Any]:
    """Everything but writing at one length."""
    model = loaded.model
    if model.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(model.device)
    saved = 0

    def save() -> None:
        nonlocal saved
        saved = shards.save(chunks)

    seconds = timed(model, save)
    readers: list[Timed] = []
    load = timed(model, lambda: readers.append(_reader(loaded, shards.load(chunks), chunks, shards.raw)))
    asked = [_ask(readers[0], random_tokens(model, prompt, seed), new) for seed in range(WARM_UP + REPEATS)][WARM_UP:]
    recall, first, each = (statistics.median(times) for times in zip(*asked, strict=True))
    return {
        "chunks": chunks,
        "recall_s": round(recall, 5),
        "first_token_s": round(first, 5),
        "decode_s_per_token": round(each, 5),
        "save_bytes_per_second": round(saved / seconds) if saved else None,
        "load_s": round(load, 5),
        "peak_device_bytes": peak_device_bytes(model),
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,  # mapped pages are in it
        "anonymous_bytes": anonymous_bytes(),
        "disk_bytes": shards.bytes_of(chunks),
    }


def _reader(loaded: Checkpoint, blocks: Sequence[Rows], chunks: int, raw: bool) -> Timed:
    if raw:
        memory = raw_memory(loaded.model.config, blocks, [loaded.model.config.chunk_tokens] * chunks)
        return TimedRawReader(loaded.model, memory)
    config, background = loaded.model.config, loaded.background_rows()
    view = [ViewChunk("bench", number) for number in range(chunks)]
    shipped = loaded.background.pool.shape[1] if loaded.background else 0
    offset = len(background) if background is not None else 0
    membership = log_membership(view, config.layers, config.memory_rows, config.pool_rows, shipped, offset)
    front = [background] if background is not None else []
    return Timed(loaded.model, Memory(RowTable([*front, *blocks]), membership))


class Timed(Reader):
    """A reader that knows how long its recalls took."""

    recalling = 0.0  # seconds, of all layers since it was set back

    def _recalled(self, layer: int, hidden: Tensor, trace: RetrievalTrace) -> KeysValues:
        found: list[KeysValues] = []
        recall = super()._recalled
        self.recalling += timed(self.model, lambda: found.append(recall(layer, hidden, trace)))
        return found[0]


class TimedRawReader(Timed, RawReader):
    """Of raw keys and values."""


def _ask(reader: Timed, ids: Tensor, new: int) -> tuple[float, float, float]:
    """Seconds of the recall, to the first token, and of each later one."""
    reader.recalling, stamps = 0.0, [time.perf_counter()]
    with torch.inference_mode():
        for _ in reader.generate(ids, Sampling(new)):
            stamps.append(time.perf_counter())
    later = (stamps[-1] - stamps[1]) / (len(stamps) - 2) if len(stamps) > 2 else 0.0
    return reader.recalling, stamps[1] - stamps[0], later


def timed(model: MPlus, run: Callable[[], object]) -> float:
    """Seconds that something took, the device's work included."""
    begun = _now(model)
    run()
    return _now(model) - begun


def _now(model: MPlus) -> float:
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    return time.perf_counter()


def peak_device_bytes(model: MPlus) -> int:
    """The most that was allocated on a GPU since the counter was set back; 0 on the CPU."""
    return torch.cuda.max_memory_allocated(model.device) if model.device.type == "cuda" else 0
