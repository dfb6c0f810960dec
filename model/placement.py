"""Where the parts of a memory are while a question is asked: on the device, or on the host, one layer at a time.

Weights are always on the device. What else there is room for goes there in the order of what it saves a byte: the
prefix that every generated token attends to, the pool that every question reads, the retrieval keys that every
question scores. What is left is on the host (memory-mapped rows stay on disk until they are touched), and the next
layer's share is copied on a stream of its own while this layer computes (`model.staging`). Arithmetic only: no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from model.errors import DeviceError

if TYPE_CHECKING:
    from model.config import MPlusConfig

STREAMED_LAYERS = 2  # of what is streamed: the layer that is used and the one that comes next
WORK_TOKENS = 512  # prompt tokens whose activations are planned for


@dataclass(frozen=True, slots=True)
class Needs:
    """Bytes of the parts of a reader, all layers together, and the least that streaming one of them holds."""

    weights: int
    work: int  # activations of a prompt, the logits, a tile of scores
    prefix: int  # bos row, recalled rows, pool, prompt and answer: keys and values of every layer
    pool: int  # the pool once more, before rotation, ready for the next question
    keys: int  # retrieval keys of all rows of the view
    layers: int

    def streamed(self, size: int) -> int:
        """What is on the device of a part that is streamed."""
        return -(-size * STREAMED_LAYERS // self.layers) if size else 0


@dataclass(frozen=True, slots=True)
class Placement:
    """What stays on the device, and the bytes that it comes to; all of it where nothing limits it."""

    prefix: bool = True
    pool: bool = True
    keys: bool = True
    bytes: int = 0


def needs_of(
    config: MPlusConfig, weights: int, rows: int, width: int, tokens: int = WORK_TOKENS, keys: int | None = None
) -> Needs:
    """Bytes that asking behind `rows` rows a layer takes with numbers of `width` bytes.

    tokens: of prompt and answer. keys: bytes of all retrieval keys as they are stored; None: of numbers of that width.
    """
    pool, recalled = min(rows, config.pool_rows), min(max(0, rows - config.pool_rows), config.recall_rows)
    pair = 2 * config.key_value_dim * width
    activations = tokens * (config.llama.hidden_size * 4 + config.llama.intermediate_size * 3) * width
    logits = config.llama.vocab_size * 4
    return Needs(
        weights=weights,
        work=activations + logits,
        prefix=config.layers * (1 + recalled + pool + tokens) * pair,
        pool=config.layers * pool * pair,
        keys=config.layers * rows * config.retriever_dim * width if keys is None else keys,
        layers=config.layers,
    )


def place(needs: Needs, limit: int | None = None) -> Placement:
    """The placement that fits into `limit` bytes. Raises DeviceError where even streaming everything does not."""
    streamed = {name: needs.streamed(getattr(needs, name)) for name in ("prefix", "pool", "keys")}
    used = needs.weights + needs.work + sum(streamed.values())
    if limit is not None and used > limit:
        raise DeviceError(
            f"the model and one layer's memory take {used / 2**20:,.0f} MiB, more than {limit / 2**20:,.0f} MiB",
            "allow more, or use 4-bit weights or a smaller model",
        )
    resident = {}
    for name, least in streamed.items():
        more = getattr(needs, name) - least
        resident[name] = limit is None or used + more <= limit
        used += more * resident[name]
    return Placement(**resident, bytes=used)


EVERYTHING = Placement()
