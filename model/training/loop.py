"""The training loop: one step, the optimizer's schedule, saving and resuming to the step."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.devices import cpu_has_bf16
from model.mplus import MPlus
from model.training.bank import Bank
from model.training.data import Batch
from model.training.losses import weighted_cross_entropy
from model.training.memory import (
    Searcher,
    Written,
    full_memory,
    live,
    no_memory,
    own_memory,
    padded,
    search_losses,
    targets_of,
    write_chunks,
)
from model.training.mixture import Mixture
from model.training.muon import MuonAdamW
from model.training.pointing import Pointers, pointers_of
from model.training.retriever import Shelves, only_projections
from model.training.stages import Stage, as_dict

Validate = Callable[[MPlus], dict[str, float]]


@dataclass(frozen=True, slots=True)
class Step:
    """What a step reports."""

    number: int
    losses: dict[str, float]
    seconds: float
    steps: int  # of its stage


def rate_at(stage: Stage, step: int) -> float:
    """Learning rate: warm-up, constant, then a linear fall to a tenth."""
    start = stage.steps * (1 - stage.decay)
    fall = 1.0 if step < start else 1 - 0.9 * (step - start) / max(1.0, stage.steps - start)
    return stage.learning_rate * min(1.0, (step + 1) / max(1, stage.warmup)) * fall


def validates(step: int, every: int, steps: int) -> bool:
    """Whether a run of so many steps measures itself behind this one: every so many, and at the last."""
    return step == steps or step % every == 0


def in_bfloat16(stage: Stage) -> bool:
    """Whether products are computed in bf16: only where the processor has it; elsewhere it is eight times slower."""
    return stage.bfloat16 and cpu_has_bf16()


def optimizer_for(model: MPlus, stage: Stage) -> MuonAdamW:
    """AdamW over all parameters that learn, no decay on vectors; Muon for inner matrices where the stage says so."""
    rows = [model.llama.model.embed_tokens.weight, model.bos_embedding, model.start_memory]
    learning = {
        name: p for name, p in model.named_parameters() if p.requires_grad and all(p is not row for row in rows)
    }
    matrices = {name: p for name, p in learning.items() if p.ndim == 2}
    inner = [p for name, p in matrices.items() if "lm_head" not in name] if stage.muon else []
    rest = [p for p in matrices.values() if all(p is not one for one in inner)]
    decay = stage.weight_decay
    groups: list[dict[str, Any]] = [
        {"params": rest, "weight_decay": decay, "scale": 1.0, "muon": False},
        {"params": [p for p in learning.values() if p.ndim != 2], "weight_decay": 0.0, "scale": 1.0, "muon": False},
        {
            "params": [p for p in rows if p.requires_grad],
            "weight_decay": 0.0,
            "scale": stage.embedding_rate,
            "muon": False,
        },
        {"params": inner, "weight_decay": decay, "scale": stage.muon, "muon": True},
    ]
    groups = [group for group in groups if group["params"]]
    return MuonAdamW(groups, lr=stage.learning_rate, betas=(0.9, 0.95), fused=True)


def batch_loss(
    model: MPlus, batch: Batch, mixture: Mixture, step: int, bank: Bank | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """All losses of a batch: answers (and the prompt), language of the written chunks, retriever.

    `bank`: rows of earlier steps, among which the batch's own are looked for; its texts are added to it.
    """
    stage, generator = mixture.stage, mixture.generator(step)
    parts: dict[str, Tensor] = {}
    if not batch.chunks:
        hidden = model.read(batch.prompt, no_memory(model, len(batch.prompts)))
        loss = prompt_loss(model, hidden, batch, parts)
        return loss, parts
    written = write_chunks(model, batch.chunks, stage.gradient_chunks)
    others = bank.valid if bank is not None and bank.filled else None
    searcher = Searcher(model, written, stage.through, others)
    pointers = pointers_of(batch, model.config.memory_rows) if stage.pointing else Pointers.none()
    hidden = model.read(batch.prompt, main_memory(model, batch, mixture, searcher, step, generator, pointers))
    loss = prompt_loss(model, hidden, batch, parts)
    pointing = pointers.loss()
    if pointing is not None:
        parts["pointing"] = pointing
        loss = loss + stage.pointing * pointing
    if stage.language_weight:
        parts["language"] = language_loss(model, batch, written, stage, generator)
        loss = loss + stage.language_weight * parts["language"]
    if batch.searches:
        learn_searches(model, batch, searcher, generator)
    if searcher.losses and stage.search_weight:
        parts["search"], parts["found"] = searcher.loss(), torch.stack(searcher.hits).nanmean()
        loss = loss + stage.search_weight * parts["search"]
    if bank is not None:
        bank.add(written.rows.detach()[:, batch.language][:, :, ~written.borrowed].flatten(1, 2))
        if stage.bank_texts:
            bank.add(text_rows(model, mixture, step))
    return loss, parts


@torch.no_grad()
def text_rows(model: MPlus, mixture: Mixture, step: int) -> Tensor:
    """Rows of book text without facts: (L, bank_texts * 2 * K, d). A novel is full of them, a batch of facts is not."""
    chunk, rng = model.config.chunk_tokens, random.Random(f"{mixture.stage.seed}/{step}/bank")
    texts = torch.tensor([mixture.corpus.passage(rng, 2 * chunk) for _ in range(mixture.stage.bank_texts)])
    return write_chunks(model, texts.split(chunk, 1)).rows.flatten(1, 2)


def main_memory(
    model: MPlus,
    batch: Batch,
    mixture: Mixture,
    searcher: Searcher,
    step: int,
    generator: torch.Generator,
    pointers: Pointers,
) -> Callable[[int, Tensor], object]:
    """The memory behind which the prompts are read: the episode's own chunks, or a long simulated life."""
    stage, config = mixture.stage, model.config
    rng = random.Random(f"{stage.seed}/{step}/memory")
    own = len(batch.chunks)
    if not batch.full or len(batch.episodes) < 3:
        return own_memory(model, searcher.written, batch.owner, pointers)
    most = max(own, min(stage.full_chunks, own * len(batch.episodes)))
    count = rng.randint(own, most)
    life = live(searcher.written, (config.memory_rows, config.pool_rows), count, generator, rng.random() < 0.5)
    mask = torch.zeros(batch.prompt.shape)
    asked = []
    for number, (owner, one) in enumerate(zip(batch.owner.tolist(), batch.prompts, strict=True)):
        mask[number, : one.asked[0].question[1] if one.asked else len(one.prompt)] = 1
        asked.append((owner, one.asked[0].support if one.asked else (), one.kind != "memory question"))
    targets = targets_of(batch, searcher.written, config.memory_rows, asked)
    return full_memory(model, searcher, life, batch.owner, mask, targets, rng.random() < 0.5, pointers)


def learn_searches(model: MPlus, batch: Batch, searcher: Searcher, generator: torch.Generator) -> None:
    """The retriever's loss of the inverse cloze questions, half of the time behind some rows of the batch."""
    ids, mask = padded(batch.searches)
    targets = targets_of(
        batch, searcher.written, model.config.memory_rows, [(s.episode, s.support, True) for s in batch.searches]
    )
    flat = searcher.written.rows.flatten(1, 2)
    pool = None
    if torch.rand((), generator=generator) < 0.5:
        pool = flat[:, torch.randperm(flat.shape[1], generator=generator)[:96].sort().values].detach()
    search_losses(model, searcher, ids, mask, targets, pool)


def prompt_loss(model: MPlus, hidden: Tensor, batch: Batch, parts: dict[str, Tensor]) -> Tensor:
    """Cross-entropy of the prompt tokens by their weights; keeps the loss of each kind of episode apart."""
    weights = batch.weights[:, 1:]
    chosen = weights > 0
    logits = model.logits(hidden[:, :-1][chosen]).float()
    targets, weighed = batch.prompt[:, 1:][chosen], weights[chosen]
    loss = weighted_cross_entropy(logits, targets, weighed)
    with torch.no_grad():
        each = torch.nn.functional.cross_entropy(logits.detach(), targets, reduction="none")
        owner = torch.arange(len(batch.prompts))[:, None].expand_as(weights)[chosen]
        strong = weighed > 0.2
        for kind in {e.kind for e in batch.prompts}:
            mine = torch.tensor([e.kind == kind for e in batch.prompts])[owner] & strong
            if mine.any():
                parts[kind] = each[mine].mean()
    return loss


def language_loss(model: MPlus, batch: Batch, written: Written, stage: Stage, generator: torch.Generator) -> Tensor:
    """Cross-entropy of the next token inside the written chunks, on a share of the positions."""
    hidden, targets = [], []
    for chunk, last in zip(batch.chunks, written.hidden, strict=True):
        hidden.append(last[:, :-1][batch.language].flatten(0, 1))
        targets.append(chunk[:, 1:][batch.language].flatten())
    flat, goal = torch.cat(hidden), torch.cat(targets)
    if not len(goal):
        return flat.sum() * 0
    keep = torch.rand(len(goal), generator=generator) < stage.language_share
    keep[0] = True
    return torch.nn.functional.cross_entropy(model.logits(flat[keep]).float(), goal[keep])


class Run:
    """One folder: state.json, model.safetensors and optimizer.safetensors of the last save, log.jsonl."""

    def __init__(self, folder: Path, model: MPlus, mixture: Mixture) -> None:
        self.folder, self.model, self.mixture, self.stage = folder, model, mixture, mixture.stage
        self.shelves = Shelves(model, mixture.words, mixture.corpus, mixture.questions, mixture.stage)
        if self.stage.alone or self.stage.frozen:
            only_projections(model)
        self.optimizer = optimizer_for(model, self.stage)
        self.bank = Bank.empty(model.config.layers, self.stage.bank_rows, model.config.llama.hidden_size)
        self.step = 0

    def train(self, validate: Validate | None = None, stop: Callable[[], bool] = lambda: False) -> Iterator[Step]:
        """Train up to the stage's last step; yields each step. Saves on the way, at the end and where it is left.

        Raises TrainingError on a full disk.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "stage.json").write_text(json.dumps(as_dict(self.stage), indent=1), encoding="utf-8")
        self.model.train()
        try:
            while self.step < self.stage.steps and not stop():
                done = self._one()
                if validate is not None and validates(self.step, self.stage.validate_every, self.stage.steps):
                    self.model.eval()
                    done.losses.update(validate(self.model))
                    self.model.train()
                self._log(done)
                if self.step % self.stage.save_every == 0:
                    self.save()
                yield done
        except GeneratorExit:  # left between two steps; inside of one the weights would be half a step ahead
            self.save()
            raise
        self.save()

    def _one(self) -> Step:
        started = time.perf_counter()
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(self.stage, self.step) * group["scale"]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=in_bfloat16(self.stage)):
            if self.stage.alone:
                loss, parts = self.shelves.loss(self.step)
            else:
                loss, parts = batch_loss(self.model, self.mixture.batch(self.step), self.mixture, self.step, self.bank)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        learning = [p for p in self.model.parameters() if p.grad is not None]
        norm = torch.nn.utils.clip_grad_norm_(learning, self.stage.clip)
        if torch.isfinite(norm):  # a step with a gradient that is not a number would destroy the weights
            self.optimizer.step()
        self.step += 1
        if "found" in parts and not torch.isfinite(parts["found"]):  # no row was to be found: no loss either
            parts = {name: part for name, part in parts.items() if name not in ("found", "search")}
        values = {"loss": loss.item(), "gradient": norm.item()} | {k: v.item() for k, v in parts.items()}
        return Step(self.step, values, time.perf_counter() - started, self.stage.steps)

    def _log(self, done: Step) -> None:
        line = {"step": done.number, "seconds": round(done.seconds, 3)}
        line |= {key: round(value, 4) for key, value in done.losses.items()}
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")

    def save(self) -> None:
        """Write the state beside the old one and rename it into place: a save is whole, or the old one stands."""
        from model.training.saves import write_state

        write_state(self.folder, self.model, self.optimizer, self.step, self.bank.state())

    def resume(self, weights_only: bool = False) -> bool:
        """Take up the last save of this folder; False where there is none.

        `weights_only`: begin again at step 0 with its weights (another machine, or a next stage).
        """
        from model.training.saves import read_bank, read_optimizer, read_step, read_weights, state_folder

        state = state_folder(self.folder)
        if state is None:
            return False
        read_weights(state, self.model)
        if not weights_only:
            read_optimizer(state, self.optimizer)
            self.bank.restore(read_bank(state))
            self.step = read_step(state)
        return True
