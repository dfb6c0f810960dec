"""Where the parts of a memory are while a question is asked: on the device, or on the host, one layer at a time.

Weights are always on the device. What else there is room for goes there in the order of what it saves a byte: the
prefix that every generated token attends to, the pool that every question reads, the retrieval keys that every
question scores. What is left is on the host (memory-mapped rows stay on disk until they are touched), and the next
layer's share is copied on a stream of its own while this layer computes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.config import MPlusConfig
from model.errors import DeviceError
from model.mplus import KeysValues

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


def needs_of(config: MPlusConfig, weights: int, rows: int, width: int, tokens: int = WORK_TOKENS) -> Needs:
    """Bytes that asking behind `rows` rows a layer takes with numbers of `width` bytes; `tokens`: prompt and answer."""
    pool, recalled = min(rows, config.pool_rows), min(max(0, rows - config.pool_rows), config.recall_rows)
    pair = 2 * config.key_value_dim * width
    activations = tokens * (config.llama.hidden_size * 4 + config.llama.intermediate_size * 3) * width
    logits = config.llama.vocab_size * 4
    return Needs(
        weights=weights,
        work=activations + logits,
        prefix=config.layers * (1 + recalled + pool + tokens) * pair,
        pool=config.layers * pool * pair,
        keys=config.layers * rows * config.retriever_dim * width,
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


@dataclass(frozen=True, slots=True)
class Coming:
    """Tensors that are being copied to the device, and what says that they are there."""

    tensors: tuple[Tensor, ...]
    ready: torch.cuda.Event | None = None

    def arrive(self) -> tuple[Tensor, ...]:
        """The tensors. The device, not the host, waits for them; their memory is the computing stream's from here."""
        if self.ready is not None:
            current = torch.cuda.current_stream(self.tensors[0].device)
            current.wait_event(self.ready)
            for tensor in self.tensors:
                tensor.record_stream(current)
        return self.tensors


class Mover:
    """Copies tensors to the device; where it is a GPU, ahead of time and on a stream of its own."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def host(self, tensor: Tensor) -> Tensor:
        """A tensor on the host, page-locked where a GPU will copy from it."""
        return tensor.cpu().pin_memory() if self.stream is not None else tensor.cpu()

    def move(self, tensors: Sequence[Tensor]) -> Coming:
        """Begin to copy tensors to the device."""
        if self.stream is None:
            return Coming(tuple(tensor.to(self.device) for tensor in tensors))
        with torch.cuda.stream(self.stream):
            copies = tuple(tensor.to(self.device, non_blocking=True) for tensor in tensors)
            return Coming(copies, self.stream.record_event())


class Staged:
    """Keys and values of all layers: on the device, or one layer at a time with the next one on its way."""

    def __init__(self, parts: Iterable[KeysValues], mover: Mover, resident: bool) -> None:
        self.mover, self.resident = mover, resident
        place = (lambda part: mover.move(part).arrive()) if resident else (lambda part: map(mover.host, part))
        self.parts = [KeysValues(*place(part)) for part in parts]
        self._coming: dict[int, Coming] = {}

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, layer: int) -> KeysValues:
        """Keys and values of a layer, on the device; begins to copy those of the layer after it."""
        part = self.parts[layer]
        if self.resident:
            return part
        here = self._coming.get(layer) or self.mover.move(part)
        self._coming = {layer + 1: self.mover.move(self.parts[layer + 1])} if layer + 1 < len(self.parts) else {}
        return KeysValues(*here.arrive())
