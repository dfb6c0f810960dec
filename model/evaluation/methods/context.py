"""Text in front of the question, as a prompt: all of it, or what of its beginning, end or both ends fits a window."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from model.adapters import READ, using
from model.cache import RoomyLayer, roomy_cache
from model.evaluation.methods.method import DoesNotFit, Prompting
from model.generate import Reader
from model.layer_cache import LayerCache
from model.mplus import KeysValues, MPlus

TILE = 1024  # queries that attend at a time, so that no mask of n by n is made
AfterLayer = Callable[[int, Tensor, RoomyLayer], None]  # (layer, hidden entering it (1, n, d), its cache)


@torch.no_grad()
def read_long(
    model: MPlus,
    front: Sequence[KeysValues],
    ids: Tensor,
    room: int,
    after: AfterLayer | None = None,
    cache: LayerCache | None = None,
) -> tuple[Tensor, LayerCache]:
    """Read a long prompt (1, n) behind rows of every layer: hidden states (1, n, d) before the final norm, the cache.

    Layer by layer, and in a layer a tile of queries at a time; the same as all at once. `after` is called when a layer
    is done and may shorten its cache. `room` positions are kept free for decoding. `cache`: an empty one that is not on
    the device.
    """
    cache = roomy_cache(model, ids.shape[1] + room) if cache is None else cache
    hidden, entered = model.embed(ids), []
    first, rest = hidden[:, :TILE], hidden[:, TILE:]

    def note(_: int, entering: Tensor) -> Tensor:
        entered[:] = [entering]
        return entering

    with using(model, READ):
        for index, output in enumerate(model.layers_behind(first, lambda layer, _: front[layer], cache, note)):
            first, entering = output, torch.cat([*entered, rest], 1)
            rest = _rest(model, index, rest, cache)
            if after is not None:
                after(index, entering, cache.layers[index])
    return torch.cat([first, rest], 1), cache


def _rest(model: MPlus, index: int, hidden: Tensor, cache: LayerCache) -> Tensor:
    """One layer on what comes behind the first tile (1, n, d)."""
    start, count = cache.layers[index].length, hidden.shape[1]
    cos, sin = model.rotary(torch.arange(start, start + count, device=hidden.device), hidden)
    outputs = [hidden[:, :0]]
    for low in range(0, count, TILE):
        tile, rotary = hidden[:, low : low + TILE], (cos[:, low : low + TILE], sin[:, low : low + TILE])
        outputs.append(model.step(index, tile, model.mask(tile.shape[1], start + low), cache, rotary))
    return torch.cat(outputs, 1)


class TextInFront(Prompting):
    """Text in front of the prompt, behind nothing but the rows that every prompt of the checkpoint has in front."""

    @cached_property
    def front(self) -> list[KeysValues]:
        """The pool that came with the checkpoint, empty for most: (1, H_kv, P, hd) of every layer."""
        return Reader(self.model, self.subject.memory([])).pool

    @cached_property
    def newline(self) -> list[int]:
        """What ends a text, as in training and in re-reading."""
        return self.subject.tokenizer.encode("\n")

    @property
    def positions(self) -> int:
        """Tokens that the weights have positions for, behind the rows in front."""
        known = self.model.config.llama.max_position_embeddings
        return known - self.front[0].keys.shape[2] - int(self.model.config.bos_row)

    def space(self, prompt: Sequence[int], room: int) -> int:
        """Tokens of text that fit beside a prompt and its answer: the budget, else the window of the model."""
        most = self.model.config.window if self.budget.rows is None else self.budget.rows
        return max(0, min(most, self.positions) - len(prompt) - room)

    def check_fit(self, tokens: int, prompt: Sequence[int], room: int) -> None:
        """Raise DoesNotFit where text, prompt and answer need more positions than the weights know."""
        needed = tokens + len(prompt) + room
        if needed > self.positions:
            raise DoesNotFit(
                f"{needed} tokens are more than the {self.positions} positions of this model.", "Leave this method out."
            )

    def joined(self, texts: Sequence[Sequence[int]]) -> list[int]:
        """Texts one behind the other, a newline between them."""
        found: list[int] = []
        for text in texts:
            found += [*(self.newline if found else ()), *text]
        return found

    def end(self, prompt: Sequence[int]) -> list[int]:
        """What stands between text and prompt: a newline before a question, nothing before text to go on from."""
        asked = self.subject.tokenizer.encode(self.model.config.prompt.split("{question}")[0].rstrip())
        return self.newline if any(self.held) and asked and list(prompt[: len(asked)]) == asked else []

    def prefill(self, prompt: Sequence[int], room: int) -> tuple[Tensor, LayerCache]:
        """Read the chosen text and the prompt. Raises DoesNotFit where they have no positions."""
        return self.read_through([*self.chosen(prompt, room), *prompt], room)

    def read_through(self, ids: Sequence[int], room: int) -> tuple[Tensor, LayerCache]:
        """Read tokens as they are."""
        return read_long(self.model, self.front, self.subject.ids(ids), room)


class FullContext(TextInFront):
    """Everything, every time: what attention over the whole text makes of it."""

    name, about = "full-context", "the whole text as a prompt in front of the question"

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self.cache_bytes = 0  # of the last prompt

    def chosen(self, prompt: Sequence[int], room: int) -> list[int]:
        """All texts. Raises DoesNotFit."""
        text = self.joined(self.held) + self.end(prompt)
        self.check_fit(len(text), prompt, room)
        return text

    def read_through(self, ids: Sequence[int], room: int) -> tuple[Tensor, LayerCache]:
        """Read tokens, and note how large their cache is."""

        def after(layer: int, entering: Tensor, held: RoomyLayer) -> None:
            self.after_layer(layer, entering, held, room)

        empty = self.cache(len(ids) + room)
        hidden, cache = read_long(self.model, self.front, self.subject.ids(ids), room, after, empty)
        self.cache_bytes = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
        return hidden, cache

    def after_layer(self, layer: int, entering: Tensor, held: RoomyLayer, room: int) -> None:
        """What becomes of a layer's cache once everything was read: nothing."""

    def bytes_held(self) -> dict[str, int]:
        """Keys and values of the last prompt are on the device, the text on the host.

        Offloaded they are on the host of a GPU, or in files.
        """
        held = super().bytes_held()
        if self.attic is None:
            return held | {"device": self.cache_bytes}
        place = "disk" if self.model.device.type == "cpu" else "host"
        return held | {place: held[place] + self.cache_bytes}


class Truncate(TextInFront):
    """As much of the text as fits the budget, or the model's window."""

    def chosen(self, prompt: Sequence[int], room: int) -> list[int]:
        """What is left of all texts."""
        text, end = self.joined(self.held), self.end(prompt)
        left = self.space(prompt, room) - len(end)
        return [*(text if len(text) <= left else self.cut(text, left)), *end] if left > 0 else []

    @abstractmethod
    def cut(self, text: list[int], left: int) -> list[int]:
        """`left` tokens, at least one, of a longer text."""


class TruncateFirst(Truncate):
    """The beginning."""

    name, about = "truncate-first", "the first tokens of the text that fit the window"

    def cut(self, text: list[int], left: int) -> list[int]:
        """The first tokens."""
        return text[:left]


class TruncateLast(Truncate):
    """The end."""

    name, about = "truncate-last", "the last tokens of the text that fit the window"

    def cut(self, text: list[int], left: int) -> list[int]:
        """The last tokens."""
        return text[-left:]


class TruncateMiddle(Truncate):
    """Both ends, as LongBench truncates (arXiv 2308.14508)."""

    name, about = "truncate-middle", "both ends of the text that fit the window; LongBench's truncation"

    def cut(self, text: list[int], left: int) -> list[int]:
        """The first and the last tokens, half of each."""
        return text[: left // 2] + text[len(text) - (left - left // 2) :]
