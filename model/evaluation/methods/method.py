"""One interface for every way to keep a long text: reset, read, answer, score; same weights, prompts and decoding.

A method overrides as little as it can: how a text is read, or what stands behind a prompt (`prefill`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.cache import roomy_cache
from model.errors import ModelError
from model.evaluation.common import Subject
from model.evaluation.methods.offload import Attic, offloaded_cache
from model.generate import Reader, likelihoods_behind
from model.layer_cache import LayerCache


class DoesNotFit(ModelError):
    """The texts are longer than what the method can hold: the item counts as not answered, and is counted."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a method may hold, so that methods can be compared at equal size. None: the model's own."""

    rows: int | None = None  # key-value pairs of each layer that a prompt may see beside itself
    passages: int = 4  # of retrieval-augmented generation
    passage_tokens: int | None = None
    offload: bool = False  # what was read lies in memory-mapped files, what a prompt needs of it comes layer by layer


class Method(ABC):
    """A way to keep texts. `held` are the texts read since the last reset, as token ids, in order."""

    name: str = ""
    about: str = ""

    def __init__(self, subject: Subject, budget: Budget | None = None) -> None:
        self.subject, self.model, self.budget = subject, subject.model, budget or Budget()
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.held: list[list[int]] = []
        self.attic = Attic() if self.budget.offload else None

    def read(self, text: str) -> None:
        """Take in one document, behind those before it."""
        self.held.append(self.subject.tokenizer.encode(text))

    @abstractmethod
    def prefill(self, prompt: Sequence[int], room: int) -> tuple[Tensor, LayerCache]:
        """Hidden states (1, n, d) of a prompt, before the final norm, and a cache to decode behind.

        `room`: tokens that will be decoded. Reading and asking never change what is held.
        """

    def stowed(self, tensor: Tensor) -> Tensor:
        """State that no computation needs now: where it is, or with `Budget.offload` in a memory-mapped file."""
        return tensor if self.attic is None else self.attic.tensor(tensor)

    def cache(self, room: int) -> LayerCache:
        """A cache for a prompt that is all of a method's state; with `Budget.offload` off the device."""
        return roomy_cache(self.model, room) if self.attic is None else offloaded_cache(self.model, room, self.attic)

    def bytes_held(self) -> dict[str, int]:
        """Bytes of what was read, by place: device, host, disk. Offloaded, mapped files count as disk alone."""
        return {"device": 0, "host": sum(map(len, self.held)) * 4, "disk": 0}

    def respond(self, question: str, prompt: Sequence[int], most: int) -> str:
        """Answer a question, given in words and as a prompt; methods that search text read the words."""
        return self.answer(prompt, most)

    @torch.inference_mode()
    def answer(self, prompt: Sequence[int], most: int) -> str:
        """The greedy answer up to the model's first stop string, at most `most` tokens."""
        hidden, cache = self.prefill(prompt, most)
        return self.subject.greedy(hidden, cache, most)

    @torch.inference_mode()
    def score(self, prompt: Sequence[int], options: Sequence[Sequence[int]]) -> list[list[float]]:
        """Log-likelihood (nats) of every token of every option behind the prompt: one pass for the prompt."""
        hidden, cache = self.prefill(prompt, max(map(len, options), default=0))
        tokens = [self.subject.ids(option)[0] for option in options]
        return [one.tolist() for one in likelihoods_behind(self.model, hidden, cache, tokens)]


class Prompting(Method):
    """Methods that keep no state but text: what they choose of it stands in front of the question, as text."""

    @abstractmethod
    def chosen(self, prompt: Sequence[int], room: int) -> list[int]:
        """Tokens of the texts that go in front of the prompt."""

    def prefill(self, prompt: Sequence[int], room: int) -> tuple[Tensor, LayerCache]:
        """Read the chosen text and the prompt behind an empty memory."""
        found = Reader(self.model, self.subject.memory([])).prefill(
            self.subject.ids([*self.chosen(prompt, room), *prompt]), room
        )
        return found.hidden, found.cache
