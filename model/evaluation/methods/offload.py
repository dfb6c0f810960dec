"""Where idle state of a method lies with --offload: in memory-mapped files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from model.cache import RoomyLayer, roomy_cache
from model.layer_cache import LayerCache
from model.memory import Rows, map_rows, to_bytes
from model.mplus import MPlus
from model.staging import Mover


class Attic:
    """Memory-mapped files of a temporary folder. They have no name once they are mapped, and go with what maps them."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="mplus-eval-")
        self._files = 0

    @contextmanager
    def _file(self) -> Iterator[Path]:
        self._files += 1
        file = Path(self._folder.name) / str(self._files)
        try:
            yield file
        finally:
            with suppress(OSError):  # systems that do not take away what is mapped keep it until the folder goes
                file.unlink()

    def space(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """A tensor in a file of its own, not yet filled."""
        if not prod(shape):
            return torch.empty(shape, dtype=dtype)
        with self._file() as file:
            return torch.from_file(str(file), shared=True, size=prod(shape), dtype=dtype).view(*shape)

    def tensor(self, tensor: Tensor) -> Tensor:
        """A copy in a file."""
        return self.space(tensor.shape, tensor.dtype).copy_(tensor)

    def rows(self, rows: Rows) -> Rows:
        """Rows as a library keeps them: a shard file, mapped."""
        with self._file() as file:
            file.write_bytes(to_bytes(rows))
            return map_rows(file)


class MappedLayer(RoomyLayer):
    """A cache layer in a file."""

    def __init__(self, room: int, dtype: torch.dtype | None, attic: Attic) -> None:
        super().__init__(room, dtype)
        self.attic = attic

    def _space(self, like: Tensor, count: int) -> Tensor:
        return self.attic.space((*like.shape[:2], count, like.shape[3]), like.dtype)


def offloaded_cache(model: MPlus, room: int, attic: Attic) -> LayerCache:
    """A cache of all layers off the device: on the host where that is a GPU, a layer at a time; else in files."""
    if model.device.type != "cpu":
        return roomy_cache(model, room, Mover(model.device))
    layers = roomy_cache(model, room).layers
    return LayerCache([MappedLayer(room, one.kept_dtype, attic) for one in layers])
