"""Recall against the number of rows of a layer, beside the plain formula: `mplus bench recall`.

The keys are those of a library's shards, or of chunks of random tokens; where more rows are wanted than there are, the
rest are copies, moved at random by a part of the keys' own spread, so that none scores like another. They lie in a file
that is mapped, as a library's are. The prompts are questions, read by the model behind the real rows.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from model.adapters import READ, WRITE
from model.bench import SHARD_CHUNKS, anonymous_bytes, random_tokens, surroundings, written_rows
from model.bench_length import parse_lengths
from model.bench_models import checkpoint_of
from model.checkpoint import Checkpoint
from model.errors import ModelError
from model.generate import Memory, Reader
from model.key_formats import Int8Keys, Keys, encode_keys, widened
from model.membership import ViewChunk, log_membership
from model.memory import Rows, RowTable, map_rows
from model.row_formats import Coded
from model.row_sizes import FORMATS, group_rows
from model.scoring import Best, search
from model.tokenizer import TextTokenizer

LENGTHS = "100000,300000,1000000"
BLOCK_ROWS = 4096  # rows of a block, as of a shard of the embedded model
KEYS = ("bf16", "int8", "int5")  # formats of rows whose keys differ
MOST_TENSORS = 3  # of a block of keys
MOVED = 0.3  # how far copies are moved, of the keys' standard deviation
QUESTIONS = (
    "Who was the captain of the ship?",
    "Where did the old man keep his letters?",
    "Why did she refuse to marry him?",
    "What did the doctor find in the garden that morning?",
    "How old was the boy when his father died?",
)


class Keyed(NamedTuple):
    """Keys of one layer (M, h) bf16 as they were written, and what prompts ask of that layer, (n, h) each."""

    keys: Tensor
    queries: list[Tensor]


def recall(
    checkpoint: Path | None = None,
    random: str | None = None,
    lengths: str = LENGTHS,
    shards: Path | None = None,
    layer: int | None = None,
    keys: str = "bf16",
    dtype: str = "auto",
    threads: int | None = None,
    folder: Path | None = None,
) -> dict[str, Any]:
    """Seconds, bytes, and the share of the best rows that is found, at every length in rows; on the CPU.

    shards: a folder of shard files, such as a library's `memory`; layer: by default the first that ranks no chunks;
    keys: one of `KEYS`; folder: where the keys lie meanwhile. Medians over the questions, after one to warm up, in turn
    with `plain_best`, whose rows are the best ones; processor seconds are those of all threads. Raises ModelError for
    shards that hold no rows.
    """
    if threads:
        torch.set_num_threads(threads)
    loaded = checkpoint_of(checkpoint, random, READ, "cpu", dtype)
    config = loaded.model.config
    free = [number for number in range(config.layers) if number not in config.ranking_layers]
    chosen = layer if layer is not None else (free or [config.layers - 1])[0]
    if not 0 <= chosen < config.layers or keys not in KEYS:
        raise ModelError(
            "There is no such layer, or no such format of keys.", f"Layers count from 0; {', '.join(KEYS)}."
        )
    with torch.inference_mode():
        real = keyed(loaded, written(checkpoint, random, dtype) if shards is None else mapped(shards), chosen)
        found = [_at(real, number, config.recall_rows, keys, folder) for number in parse_lengths(lengths)]
    about = {"task": "recall", "layer": chosen, "keys": keys, "recalled": config.recall_rows}
    return {**about, "written_rows": len(real.keys), "rows": found, **surroundings(loaded.model)}


def mapped(folder: Path) -> list[Rows]:
    """The rows of all shard files of a folder. Raises ModelError where there are none, CheckpointError for others."""
    files = sorted(Path(folder).glob("*.safetensors"))
    if not files:
        raise ModelError(f"{folder} holds no shards.", "Name a library's folder `memory`.")
    return [map_rows(file) for file in files]


def written(checkpoint: Path | None, random: str | None, dtype: str) -> list[Rows]:
    """Rows of a few chunks of random tokens."""
    loaded = checkpoint_of(checkpoint, random, WRITE, "cpu", dtype)
    return list(islice(written_rows(loaded, SHARD_CHUNKS, loaded.model.config.chunk_tokens), SHARD_CHUNKS))


def keyed(loaded: Checkpoint, blocks: Sequence[Rows], layer: int) -> Keyed:
    """Keys of a layer, and what the questions, read behind these rows, ask of it."""
    config, table = loaded.model.config, RowTable(blocks)
    view = [ViewChunk("bench", number) for number in range(len(table) // config.memory_rows)]
    membership = log_membership(view, config.layers, config.memory_rows, config.pool_rows)
    reader = AskedReader(loaded.model, Memory(table, membership))
    for ids in prompts(loaded):
        reader.prefill(ids)
    stored = [block.widened().retrieval[layer].bfloat16() for block in table.blocks]
    return Keyed(torch.cat(stored), reader.asked[layer :: config.layers])


class AskedReader(Reader):
    """A reader that keeps what its prompts asked of every layer, one after the other."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.asked: list[Tensor] = []

    def _find(self, layer: int, hidden: Tensor) -> tuple[Best, Tensor]:
        self.asked.append(self.model.query(layer, hidden)[0])
        return super()._find(layer, hidden)


def prompts(loaded: Checkpoint) -> list[Tensor]:
    """Questions in the model's own words, (1, n) each; random tokens where it has no tokenizer."""
    if not (loaded.folder / "tokenizer.json").exists():
        return [random_tokens(loaded.model, 20, seed) for seed in range(len(QUESTIONS))]
    tokenizer, words = TextTokenizer.from_folder(loaded.folder), loaded.model.config.prompt
    return [torch.tensor([tokenizer.encode(words.format(question=question))]) for question in QUESTIONS]


def _at(real: Keyed, number: int, count: int, keys: str, folder: Path | None) -> dict[str, Any]:
    """Both ways of finding the best rows at one number of rows."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        blocks = many_keys(Path(place), real.keys, number, keys)
        _compare(real.queries[0], blocks, count)
        asked = [_compare(queries, blocks, count) for queries in real.queries]
        anonymous = anonymous_bytes()
    wall, cpu, plain, plain_cpu, share = zip(*asked, strict=True)
    return {
        "rows": number,
        "copies": max(0, number - len(real.keys)),
        "recall_s": round(statistics.median(wall), 4),
        "plain_s": round(statistics.median(plain), 4),
        "recall_cpu_s": round(statistics.median(cpu), 4),
        "plain_cpu_s": round(statistics.median(plain_cpu), 4),
        "found": round(statistics.mean(share), 4),
        "least_found": round(min(share), 4),
        "bytes": sum(block.nbytes for block in blocks),
        "anonymous_bytes": anonymous,
    }


def _compare(queries: Tensor, blocks: Sequence[Keys], count: int) -> tuple[float, float, float, float, float]:
    """Seconds and processor seconds of recall and of the plain formula, and the share of its rows that recall finds."""
    found, wall, cpu = _timed(lambda: search(queries, blocks, count).rows)
    best, plain, plain_cpu = _timed(lambda: plain_best(queries, blocks, count))
    share = float(torch.isin(best, found).float().mean()) if len(best) else 1.0
    return wall, cpu, plain, plain_cpu, share


def plain_best(queries: Tensor, blocks: Sequence[Keys], count: int) -> Tensor:
    """The best rows by the formula as it stands: mean over the tokens of sigmoid(q . k), in float32, block by block."""
    scores = [(queries.float() @ widened(block, queries.device).T).sigmoid().mean(0) for block in blocks]
    return torch.cat(scores).topk(min(count, sum(map(len, blocks)))).indices


def _timed(run: Callable[[], Tensor]) -> tuple[Tensor, float, float]:
    begun, used = time.perf_counter(), time.process_time()
    found = run()
    return found, time.perf_counter() - begun, time.process_time() - used


def many_keys(folder: Path, real: Tensor, number: int, keys: str) -> list[Keys]:
    """So many keys in blocks, mapped from files: the real ones (M, h) first, then copies that were moved."""
    shapes: list[list[torch.Size]] = []
    kinds: list[torch.dtype] = []
    with ExitStack() as stack:
        files = [stack.enter_context((folder / str(file)).open("wb")) for file in range(MOST_TENSORS)]
        for part in _parts(real, number):
            stored = _stored(part, keys)
            tensors = (stored,) if isinstance(stored, Tensor) else stored.tensors()
            shapes.append([tensor.shape for tensor in tensors])
            kinds = [tensor.dtype for tensor in tensors]
            for file, tensor in zip(files, tensors, strict=False):
                file.write(tensor.contiguous().view(torch.uint8).numpy().tobytes())
    columns = [_column(folder / str(file), kind, [one[file] for one in shapes]) for file, kind in enumerate(kinds)]
    return [_keys(parts, keys) for parts in zip(*columns, strict=True)]


def _stored(part: Tensor, keys: str) -> Keys:
    return part if keys == "bf16" else encode_keys(part[None], FORMATS[keys].retrieval, group_rows(len(part))).layer(0)


def _keys(tensors: Sequence[Tensor], keys: str) -> Keys:
    if keys == "bf16":
        return tensors[0]
    return Int8Keys(*tensors) if keys == "int8" else Coded(FORMATS[keys].retrieval, *tensors)


def _column(path: Path, kind: torch.dtype, shapes: Sequence[torch.Size]) -> list[Tensor]:
    """The tensors of a file that holds one after the other, mapped."""
    sizes = [shape.numel() for shape in shapes]
    whole = torch.from_file(str(path), size=sum(sizes), dtype=kind)
    return [part.view(shape) for part, shape in zip(whole.split(sizes), shapes, strict=True)]


def _parts(real: Tensor, number: int) -> Iterator[Tensor]:
    """Blocks of bf16 keys, so many rows together."""
    spread, generator = MOVED * real.float().std(0), torch.Generator().manual_seed(0)
    first = True
    while number > 0:
        for part in real.split(BLOCK_ROWS):
            some = part[:number]
            noise = 0 if first else spread * torch.randn(some.shape, generator=generator)
            yield (some.float() + noise).bfloat16()
            number -= len(some)
        first = False
