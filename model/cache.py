"""The cache that a prompt is read into: with room for what comes, on the device or on the host."""

from __future__ import annotations

import torch
from torch import Tensor

from model.layer_cache import LayerCache
from model.mplus import MPlus
from model.staging import Coming, Mover


class RoomyLayer:
    """A cache layer with room for what comes: appending writes in place instead of copying the whole prefix."""

    def __init__(self, room: int, dtype: torch.dtype | None = None) -> None:
        self.room, self.length, self.kept_dtype = room, 0, dtype
        self.dropped = 0  # positions in front that are no longer held
        self.keys = self.values = self._keys = self._values = torch.zeros(0, 0, 0, 0)

    def update(self, key_states: Tensor, value_states: Tensor) -> tuple[Tensor, Tensor]:
        """Append (B, H, n, hd) and return everything so far; grows by half where the room is used up."""
        if self.kept_dtype is not None:
            key_states, value_states = key_states.to(self.kept_dtype), value_states.to(self.kept_dtype)
        if not self.length:
            self._keys = self._values = key_states[:, :, :0]
        end = self.length + key_states.shape[2]
        if end > self._keys.shape[2]:
            self._grow(key_states, max(end + self.room, end * 3 // 2 if self.length else 0))
        self._keys.narrow(2, self.length, end - self.length).copy_(key_states)
        self._values.narrow(2, self.length, end - self.length).copy_(value_states)
        self._hold(end)
        return self.keys, self.values

    def _grow(self, like: Tensor, room: int) -> None:
        for name in ("_keys", "_values"):
            old = getattr(self, name)
            new = self._space(like, room)
            new[:, :, : self.length] = old[:, :, : self.length]
            setattr(self, name, new)

    def _space(self, like: Tensor, count: int) -> Tensor:
        """Room for so many positions of keys or values like (B, H, n, hd)."""
        return like.new_empty(*like.shape[:2], count, like.shape[3])

    def crop_to(self, length: int) -> None:
        """Forget everything behind a position."""
        self._hold(length)

    def _hold(self, length: int) -> None:
        self.length = length
        self.keys, self.values = self._keys.narrow(2, 0, length), self._values.narrow(2, 0, length)

    def keep(self, rows: Tensor, room: int) -> None:
        """Forget all but some positions, every key-value head its own: (H_kv, n), ascending.

        Keys are rotated already, so what is appended next stands where it would have stood. `room` positions are kept
        free behind what is kept.
        """
        index, count = rows[None, :, :, None].expand(-1, -1, -1, self.keys.shape[3]), rows.shape[1]
        kept = self.keys.gather(2, index), self.values.gather(2, index)
        self.room, self.dropped, self.length = room, self.dropped + self.length - count, 0
        self._grow(self.keys, count + room)
        self._keys[:, :, :count], self._values[:, :, :count] = kept
        self._hold(count)


class Carousel:
    """Which layer of a cache on the host is on the device: the one that computes, and the next one on its way."""

    def __init__(self, mover: Mover) -> None:
        self.mover = mover
        self.layers: list[HostLayer] = []
        self._layer: HostLayer | None = None
        self._here: tuple[Tensor, ...] = ()
        self._coming: tuple[HostLayer, Coming] | None = None

    def take(self, layer: HostLayer) -> tuple[Tensor, ...]:
        """Keys and values that a layer holds, on the device; nothing where it holds nothing."""
        if self._layer is layer:
            return self._here
        coming, self._coming, self._layer, self._here = self._coming, None, None, ()
        if not layer.length:
            return ()
        here = coming[1] if coming and coming[0] is layer else self.mover.move((layer.keys, layer.values))
        follower = self.layers[layer.index + 1] if layer.index + 1 < len(self.layers) else None
        if follower is not None and follower.length:
            self._coming = follower, self.mover.move((follower.keys, follower.values))
        return here.arrive()

    def keep(self, layer: HostLayer, here: tuple[Tensor, ...]) -> None:
        """A layer's keys and values as they now are on the device."""
        self._layer, self._here = layer, here

    def forget(self) -> None:
        """What was copied is no longer what the layers hold."""
        self._layer, self._here, self._coming = None, (), None


class HostLayer(RoomyLayer):
    """A cache layer whose keys and values are on the host; they are on the device while the layer computes."""

    def __init__(self, room: int, carousel: Carousel, index: int) -> None:
        super().__init__(room)
        self.carousel, self.index = carousel, index

    def update(self, key_states: Tensor, value_states: Tensor) -> tuple[Tensor, Tensor]:
        """Append (B, H, n, hd), and return everything so far on the device."""
        before, new = self.carousel.take(self), (key_states, value_states)
        super().update(*(part.cpu() for part in new))
        keys, values = (torch.cat(pair, 2) for pair in zip(before, new, strict=True)) if before else new
        self.carousel.keep(self, (keys, values))
        return keys, values

    def _space(self, like: Tensor, count: int) -> Tensor:
        """The same on the host, page-locked where a GPU will copy from it."""
        return self.carousel.mover.host(super()._space(like, count))

    def crop_to(self, length: int) -> None:
        """Forget everything behind a position."""
        super().crop_to(length)
        self.carousel.forget()

    def keep(self, rows: Tensor, room: int) -> None:
        """Forget all but some positions (H_kv, n)."""
        super().keep(rows.cpu(), room)
        self.carousel.forget()


def roomy_cache(model: MPlus, room: int, mover: Mover | None = None) -> LayerCache:
    """A cache of all layers; `room` positions are kept free behind the prefix. With a mover it is on the host.

    On the CPU fused layers attend in float32: bf16 matrix kernels are compiled anew for every length there, which
    costs more than a decoding step.
    """
    count = model.config.layers
    if mover is not None:
        carousel = Carousel(mover)
        carousel.layers = [HostLayer(room, carousel, index) for index in range(count)]
        return LayerCache(carousel.layers)
    dtype = torch.float32 if model.fused and model.device.type == "cpu" else None
    return LayerCache([RoomyLayer(room, dtype) for _ in range(count)])
