"""RMT: what was read is m vectors, carried from segment to segment (arXiv 2207.06881)."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from pathlib import Path

import torch
from torch import Tensor

from model.cache import roomy_cache
from model.errors import ModelError
from model.evaluation.common import Subject
from model.evaluation.methods.method import Budget, Method
from model.layer_cache import LayerCache
from model.recurrent import COMMAND, load_tokens, read_behind, write_segment


class Recurrent(Method):
    """Memory tokens that the same weights with a LoRA adapter were trained to carry; `Budget.rows` changes nothing."""

    name, about = "rmt", "recurrent memory tokens, carried from segment to segment; needs a trained file"

    def __init__(self, subject: Subject, budget: Budget | None = None, weights: Path | None = None) -> None:
        """weights: the safetensors file of a training. Raises ModelError without one, or for one of other weights."""
        if weights is None:
            raise ModelError("rmt needs trained memory tokens: --rmt FILE.", f"This makes them: {COMMAND}")
        where, how = subject.model.device, str(subject.model.dtype).removeprefix("torch.")
        mine = copy(subject)
        mine.model, self.tokens = load_tokens(subject.checkpoint.folder, weights, str(where), how)
        super().__init__(mine, budget)

    def reset(self) -> None:
        """Back to the learnt first memory."""
        super().reset()
        self.carried = self.stowed(self.tokens.first())  # (1, m, d)

    @torch.inference_mode()
    def read(self, text: str) -> None:
        """Carry the memory through a document, segment by segment, each as long as a chunk of M+."""
        ids, carried = self.subject.tokenizer.encode(text), self.carried.to(self.model.device)
        if ids:
            for segment in self.subject.ids(ids).split(list(self.subject.lengths(len(ids))), 1):
                carried = write_segment(self.model, self.tokens, segment, carried)
        self.carried = self.stowed(carried)

    @torch.inference_mode()
    def prefill(self, prompt: Sequence[int], room: int) -> tuple[Tensor, LayerCache]:
        """Read a prompt behind the memory."""
        cache = roomy_cache(self.model, len(prompt) + room)
        carried = self.carried.to(self.model.device)
        return read_behind(self.model, self.subject.ids(prompt), carried, cache), cache

    def bytes_held(self) -> dict[str, int]:
        """The vectors, and nothing of the text."""
        return {"device": self.carried.nbytes * (self.attic is None), "host": 0, "disk": self.carried.nbytes}
