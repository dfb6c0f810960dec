"""Copying what is not on the device to it, one layer ahead of the layer that computes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.mplus import KeysValues


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

    def __iter__(self) -> Iterator[KeysValues]:
        return (self[layer] for layer in range(len(self)))

    def __getitem__(self, layer: int) -> KeysValues:
        """Keys and values of a layer, on the device; begins to copy those of the layer after it."""
        part = self.parts[layer]
        if self.resident:
            return part
        here = self._coming.get(layer) or self.mover.move(part)
        self._coming = {layer + 1: self.mover.move(self.parts[layer + 1])} if layer + 1 < len(self.parts) else {}
        return KeysValues(*here.arrive())
