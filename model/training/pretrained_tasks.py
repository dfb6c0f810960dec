"""What a step does with its lesson, and what learns from it (spec, 7.2 and 7.3).

| task | writes | reads behind | gradient reaches |
|---|---|---|---|
| full | nothing | the full memory | read adapter, bos rows |
| cat | all chunks, without gradient | the full memory | read adapter, bos rows; projectors from the retriever's loss |
| one chunk | one chunk, with gradient | its K rows | write adapter, bos rows, positional bias |
| again | nothing | the full memory | as cat, without the encoder's query projectors |
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from model.adapters import READ, WRITE, using
from model.mplus import KeysValues
from model.training.lora import Learner
from model.training.losses import class_balanced_loss, weighted_cross_entropy
from model.training.pretrained_data import Documents, Lesson, joined, lesson
from model.training.pretrained_distributed import Together
from model.training.pretrained_memory import MemoryState, keep_written, mean_score, recall, write_without_gradient
from model.training.pretrained_stages import PretrainedStage

FULL, CAT, ONE_CHUNK, AGAIN = "full", "cat", "one chunk", "again"
TASKS = (FULL, CAT, ONE_CHUNK, AGAIN)


@dataclass(slots=True)
class Kept:
    """A sentence that is asked again after other documents were written."""

    sentence: tuple[int, ...]
    learn_from: int
    document: int
    writes_since: int = 0


@dataclass(slots=True)
class Recurrence:
    """When the kept sentence comes back: never twice in a row, never before something else was written."""

    kept: Kept | None = None
    just_asked: bool = False

    def ready(self) -> bool:
        """Whether the next step may ask it."""
        return self.kept is not None and self.kept.writes_since > 0 and not self.just_asked

    def asked(self, let_go: bool) -> None:
        """It was asked; `let_go`: the next written document's sentence takes its place."""
        self.just_asked = True
        if let_go:
            self.kept = None

    def passed(self, given: Lesson | None) -> None:
        """Another task was done; `given` is its lesson where it was written."""
        self.just_asked = False
        if given is None:
            return
        if self.kept is None:
            self.kept = Kept(given.sentence, given.learn_from, given.document)
        else:
            self.kept.writes_since += 1

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a save."""
        kept = self.kept
        one = None if kept is None else [list(kept.sentence), kept.learn_from, kept.document, kept.writes_since]
        return {"kept": one, "just_asked": self.just_asked}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Recurrence:
        """The inverse of `as_dict`."""
        one = values["kept"]
        return cls(None if one is None else Kept(tuple(one[0]), *one[1:]), values["just_asked"])


def draw_task(rng: random.Random, stage: PretrainedStage, may_ask_again: bool) -> str:
    """The kind of a step; the same in all processes, which share `rng`'s seed."""
    again, full, cat = rng.random(), rng.random(), rng.random()
    if may_ask_again and again < 1 - stage.pass_ratio:
        return AGAIN
    if full < stage.full:
        return FULL
    return CAT if cat < stage.cat else ONE_CHUNK


@dataclass(slots=True)
class Seeker:
    """The retriever's losses of one sentence, gathered layer by layer while it is read (spec, 7.3)."""

    learner: Learner
    state: MemoryState
    document: int
    queries: int  # the first so many tokens of the sentence ask
    written: bool  # whether the newest rows ask too, through the encoder's projectors
    losses: list[Tensor] = field(default_factory=list)
    encoder_losses: list[Tensor] = field(default_factory=list)

    def learn(self, layer: int, hidden: Tensor) -> None:
        """Loss of one layer from the hidden states (1, n, d) that enter it; nothing but projectors gets a gradient."""
        model = self.learner.model
        with torch.no_grad():
            rows = model.normed(layer, self.state.rows[layer][None])[0]
            asking = model.normed(layer, hidden[:, : self.queries])[0]
        retriever = model.retrievers[layer]
        keys = retriever.key(rows)
        self.losses.append(self._loss(layer, retriever.query(asking), keys))
        if self.written:
            queries = self.learner.encoder_queries[layer](rows[-model.config.memory_rows :])
            self.encoder_losses.append(self._loss(layer, queries, keys))

    def _loss(self, layer: int, queries: Tensor, keys: Tensor) -> Tensor:
        found = mean_score(queries, keys)
        positive = (self.state.owners[layer] == self.document).to(found.device)
        return class_balanced_loss(found, positive, ~positive)

    def parts(self) -> dict[str, Tensor]:
        """Mean over layers of the sentence's loss, and of the newest rows' loss where something was written."""
        named = {"retriever": self.losses, "encoder retriever": self.encoder_losses}
        return {name: torch.stack(losses).mean() for name, losses in named.items() if losses}


def memory_prefix(learner: Learner, state: MemoryState, seeker: Seeker | None) -> Callable[[int, Tensor], KeysValues]:
    """The full memory of every layer, recalled rows before the pool; the seeker learns on the way."""
    model = learner.model

    def prefix_of(layer: int, hidden: Tensor) -> KeysValues:
        if seeker is not None:
            seeker.learn(layer, hidden)
        rows = torch.cat([recall(model, state, layer, hidden), state.rows[layer]])
        return model.project_layer(layer, rows[None])

    return prefix_of


def language_loss(learner: Learner, hidden: Tensor, ids: Tensor, learn_from: int) -> Tensor:
    """Cross-entropy of tokens from `learn_from` on: hidden (1, n, d) before the final norm, ids (1, n)."""
    start = min(max(1, learn_from), ids.shape[1] - 1)
    logits = learner.model.logits(hidden[:, start - 1 : -1])[0]
    return weighted_cross_entropy(logits, ids[0, start:], torch.ones(ids.shape[1] - start, device=ids.device))


class Teacher:
    """Gives steps their tasks and computes their losses; owns the memory of a process."""

    def __init__(
        self, learner: Learner, stage: PretrainedStage, state: MemoryState, source: Documents,
        instruction: tuple[int, ...], together: Together,
    ) -> None:  # fmt: skip
        self.learner, self.stage, self.state, self.source = learner, stage, state, source
        self.instruction, self.together = instruction, together
        self.recurrence = Recurrence()

    def step(self, number: int) -> tuple[str, Tensor, dict[str, Tensor]]:
        """Task, loss and its parts of one step; the memory and the kept sentence move on."""
        shared = random.Random(f"{self.stage.seed}/task/{number}")
        own = random.Random(f"{self.stage.seed}/{self.together.rank}/{number}")
        generator = torch.Generator().manual_seed(own.getrandbits(60))
        torch.manual_seed(own.getrandbits(60))  # dropout: a resumed step drops what an unbroken one does
        task = draw_task(shared, self.stage, self.recurrence.ready())
        if task == AGAIN:
            parts = self.again(own)
            self.recurrence.asked(let_go=shared.random() < self.stage.empty_prob)
        else:
            given = self.lesson(task, own, number)
            doing = {FULL: self.full, CAT: self.cat, ONE_CHUNK: self.one_chunk}[task]
            parts = doing(given, own, generator)
            self.recurrence.passed(None if task == FULL else given)
        return task, torch.stack(list(parts.values())).sum(), parts

    def lesson(self, task: str, rng: random.Random, step: int) -> Lesson:
        """What a step is given: one chunk or many; only written documents are repeated."""
        most = 1 if task == ONE_CHUNK else self.stage.most_contexts(step)
        return lesson(rng, self.source, self.stage, most, () if task == FULL else self.instruction)

    def full(self, given: Lesson, rng: random.Random, generator: torch.Generator) -> dict[str, Tensor]:
        """Contexts and sentence as text behind the full memory: keeps what the base can do."""
        return self._read(joined(given, self.stage.sentence_most), 1, None)

    def cat(self, given: Lesson, rng: random.Random, generator: torch.Generator) -> dict[str, Tensor]:
        """Write all chunks without gradient, read the sentence behind the full memory."""
        count = len(given.contexts)
        pace = self.together.most(count) - count if self.together.sharded else 0
        write_without_gradient(self.learner.model, self.state, given.contexts, given.document, generator, pace)
        return self._read(given.sentence, given.learn_from, self._seeker(given.document, given.sentence, rng, True))

    def again(self, rng: random.Random) -> dict[str, Tensor]:
        """Ask the kept sentence; other documents have been written since its own."""
        kept = self.recurrence.kept
        assert kept is not None, "nothing is kept to be asked again"
        return self._read(kept.sentence, kept.learn_from, self._seeker(kept.document, kept.sentence, rng, False))

    def one_chunk(self, given: Lesson, rng: random.Random, generator: torch.Generator) -> dict[str, Tensor]:
        """Write one chunk and read the sentence behind its rows, all with the write adapter and with gradient."""
        model = self.learner.model
        with using(model, WRITE):
            chunk, ids = self._ids(given.contexts[-1]), self._ids(given.sentence)
            new, _ = model.write(chunk, self.state.newest(model.config.memory_rows))
            hidden = model.read(ids, lambda layer, _: model.project_layer(layer, new[layer]))
        keep_written(model, self.state, new[:, 0], given.document, generator)
        return {"language": language_loss(self.learner, hidden, ids, given.learn_from)}

    def _seeker(self, document: int, sentence: tuple[int, ...], rng: random.Random, written: bool) -> Seeker | None:
        if not self.learner.config.retriever_dim:
            return None
        return Seeker(self.learner, self.state, document, rng.randint(1, len(sentence)), written)

    def _read(self, tokens: tuple[int, ...], learn_from: int, seeker: Seeker | None) -> dict[str, Tensor]:
        ids = self._ids(tokens)
        with using(self.learner.model, READ):
            hidden = self.learner.model.read(ids, memory_prefix(self.learner, self.state, seeker))
        parts = {"language": language_loss(self.learner, hidden, ids, learn_from)}
        return parts if seeker is None else parts | seeker.parts()

    def _ids(self, tokens: tuple[int, ...]) -> Tensor:
        return torch.tensor([tokens], device=self.together.device)
