"""The loop of a training on a pretrained base: steps, their optimizer, saving and resuming to the step."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from model.errors import TrainingError
from model.training.loop import Step, Validate, validates
from model.training.lora import PROJECTORS, Learner, set_learning
from model.training.pretrained_distributed import Together
from model.training.pretrained_memory import MemoryState, first_state, refitted
from model.training.pretrained_saves import (
    read_about,
    read_learning,
    read_memory,
    saved,
    write_learning,
    write_memory,
    write_together,
)
from model.training.pretrained_stages import PretrainedStage, stage_as_dict
from model.training.pretrained_tasks import Recurrence, Teacher
from model.training.saves import read_optimizer, state_folder


def optimizer_for(learner: Learner, stage: PretrainedStage) -> torch.optim.AdamW:
    """AdamW over what learns, projectors at a rate of their own; no decay on rows and bias."""
    groups = {name: list(some.values()) for name, some in learner.groups().items()}
    adapters = groups["write adapter"] + groups["read adapter"]
    rows = groups["bos rows"] + groups["positional bias"]
    projectors = [parameter for name in PROJECTORS for parameter in groups[name]]
    rates = [(adapters, stage.learning_rate, stage.weight_decay), (rows, stage.learning_rate, 0.0)]
    rates.append((projectors, stage.projector_rate, stage.weight_decay))
    return torch.optim.AdamW(
        [{"params": some, "lr": rate, "start": rate, "weight_decay": decay} for some, rate, decay in rates if some]
    )


class PretrainedRun:
    """One folder: `state` (the last save), `stage.json`, `log.jsonl`, and at the end `model`, the checkpoint."""

    def __init__(self, folder: Path, teacher: Teacher) -> None:
        self.folder, self.teacher = folder, teacher
        self.learner, self.stage, self.together = teacher.learner, teacher.stage, teacher.together
        set_learning(self.learner)
        self.optimizer = optimizer_for(self.learner, self.stage)
        self.step = 0

    def train(self, validate: Validate | None = None, stop: Callable[[], bool] = lambda: False) -> Iterator[Step]:
        """Train up to the stage's last step; yields each step. Saves on the way, at the end and where it is left.

        Raises TrainingError on a full disk.
        """
        if self.together.first:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "stage.json").write_text(json.dumps(stage_as_dict(self.stage), indent=1), encoding="utf-8")
        self.learner.train()
        try:
            while self.step < self.stage.steps and not self.together.any(stop()):
                done = self._one()
                if validate is not None and validates(self.step, self.stage.validate_every, self.stage.steps):
                    self.learner.eval()
                    done.losses.update(validate(self.learner.model))
                    self.learner.train()
                self._log(done)
                if self.step % self.stage.save_every == 0:
                    self.save()
                yield done
        except GeneratorExit:  # left between two steps; inside of one the memory would be half a step ahead
            if self.together.count == 1:
                self.save()
            raise
        self.save()

    def _one(self) -> Step:
        started = time.perf_counter()
        for group in self.optimizer.param_groups:
            group["lr"] = self.stage.rate(self.step, group["start"])
        with half_precision(self.learner):
            task, loss, parts = self.teacher.step(self.step)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        learned = [p for p in self.learner.learning().values() if p.grad is not None]
        self.together.average(p.grad for p in learned)
        norm = torch.nn.utils.clip_grad_norm_(learned, self.stage.clip)
        if torch.isfinite(norm):  # a step with a gradient that is not a number would destroy the weights
            self.optimizer.step()
        self.step += 1
        values = {"loss": loss, "gradient": norm, **{f"{task}: {name}": part for name, part in parts.items()}}
        return Step(self.step, self._means(values), time.perf_counter() - started, self.stage.steps)

    def _means(self, values: dict[str, Tensor]) -> dict[str, float]:
        some = [value.detach().float().reshape(1).clone() for value in values.values()]
        self.together.average(some)
        return {name: value.item() for name, value in zip(values, some, strict=True)}

    def _log(self, done: Step) -> None:
        if not self.together.first:
            return
        line = {"step": done.number, "seconds": round(done.seconds, 3)}
        line |= {key: round(value, 4) for key, value in done.losses.items()}
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")

    def save(self) -> None:
        """Write the state beside the old one and rename it into place. Raises TrainingError on a full disk."""
        together = self.together
        recurrence = self.teacher.recurrence.as_dict()
        parts = []
        if together.first or self.stage.save_all_memories:
            parts.append(partial(write_memory, self.folder, together.rank, self.teacher.state, recurrence))
        if together.first:
            about = {"processes": together.count, "seed": self.stage.seed}
            parts.append(partial(write_learning, self.folder, self.learner, self.optimizer, self.step, about))
        write_together(self.folder, together, self.step, parts)

    def resume(self) -> bool:
        """Take up the last save of this folder, to the step; False where there is none.

        Without all memories in it every process goes on from the first one's, and their draws part them again.
        Raises TrainingError where it was made by another number of processes or with another seed.
        """
        if state_folder(self.folder) is None:
            return False
        state = saved(self.folder)
        about = read_about(state)
        now = {"processes": self.together.count, "seed": self.stage.seed}
        for key, value in now.items():
            if about[key] != value:
                raise TrainingError(
                    f"the run was made with {key} {about[key]}, not {value}", "resume as it was, or begin with --start"
                )
        read_learning(state, self.learner, begin=False)
        rank = self.together.rank if self.stage.save_all_memories else 0
        self.teacher.state, recurrence = read_memory(state, rank, self.together.device)
        self.teacher.recurrence = Recurrence.from_dict(recurrence)
        read_optimizer(state, self.optimizer)
        self.step = about["step"]
        return True

    def begin(self, folder: Path) -> None:
        """Begin at step 0 with the weights and the memory of another run: the stage before, or another machine."""
        state = saved(folder)
        read_learning(state, self.learner, begin=True)
        saved_ranks = len(list(state.glob("memory-*.safetensors")))
        memory, _ = read_memory(state, self.together.rank % max(1, saved_ranks), self.together.device)
        if (
            memory.rows.shape[0] != self.learner.config.layers
            or memory.rows.shape[2] != self.teacher.state.rows.shape[2]
        ):
            raise TrainingError(f"the memory in {folder} has another shape", "start from a run on the same base")
        generator = torch.Generator().manual_seed(self.stage.seed + self.together.rank)
        with half_precision(self.learner):
            self.teacher.state = refitted(self.learner.model, memory, generator)
        self.teacher.state.rows = self.teacher.state.rows.to(self.learner.model.dtype)


def half_precision(learner: Learner) -> torch.autocast:
    """bf16-mixed where the base is in bfloat16.

    Without the cache of casts: a projector cast first while nothing is recorded would lose its gradient afterwards.
    """
    model = learner.model
    return torch.autocast(model.device.type, torch.bfloat16, enabled=model.dtype == torch.bfloat16, cache_enabled=False)


def first_memory(learner: Learner, stage: PretrainedStage, together: Together) -> MemoryState:
    """A random pool; every process has its own."""
    generator = torch.Generator().manual_seed(1_000_003 * stage.seed + together.rank)
    return first_state(learner.config, generator, together.device, learner.model.dtype)
