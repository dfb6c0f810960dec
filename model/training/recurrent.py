"""Training of recurrent memory tokens, the baseline `rmt` of the evaluation suite, on the episodes that M+ learns from.

    python -m model.training.recurrent CHECKPOINT --text FOLDER --questions FOLDER --out FOLDER --steps 1000

An episode's chunks are the segments; the loss is that of its prompt, read behind the memory after the last of them, and
goes back through the last few segments. OUT holds rmt.safetensors (for `mplus eval run --rmt`), log.jsonl and the state
from which --resume goes on with the same batches.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from model.errors import ModelError, TrainingError
from model.mplus import MPlus
from model.recurrent import MemoryTokens, learner, learnt, read_behind, restore, save_tokens, write_segment
from model.training.attention import use_grouped_attention
from model.training.data import Batch, Words, tokenise
from model.training.loop import Step, in_bfloat16, prompt_loss, rate_at
from model.training.mixture import Mixture
from model.training.questions import read_questions
from model.training.saves import optimizer_tensors, with_moments
from model.training.stages import Stage

WEIGHTS, STATE, LOG = "rmt.safetensors", "state.safetensors", "log.jsonl"
MIXTURE = {"needle": 0.45, "repeat": 0.2, "text repeat": 0.1, "memory question": 0.15, "continuation": 0.1}
TOKEN_RATE = 4.0  # of the memory tokens, times the adapter's: they are as long as embeddings


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is trained and how; the episodes are a `Stage`'s."""

    tokens: int = 64  # m: as many as a chunk leaves rows in the model in the box
    rank: int = 16  # of the LoRA adapter; 0: memory tokens alone
    segments: int = 4  # the gradient goes back through so many
    stage: Stage = field(default_factory=Stage)


def batch_loss(model: MPlus, tokens: MemoryTokens, batch: Batch, segments: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss of a batch's prompts behind the memory of its segments, and that of every kind of episode."""
    carried, parts = tokens.first(len(batch.episodes)), dict[str, Tensor]()
    for number, ids in enumerate(batch.chunks):
        carried = carried.detach() if 0 < number <= len(batch.chunks) - segments else carried
        carried = write_segment(model, tokens, ids, carried)
    hidden = read_behind(model, batch.prompt, carried[batch.owner])
    return prompt_loss(model, hidden, batch, parts), parts


class Training:
    """One folder: weights, state and log of memory tokens that learn on a checkpoint."""

    def __init__(self, checkpoint: Path, out: Path, recipe: Recipe, mixture: Callable[[int], Mixture]) -> None:
        """mixture: episodes for chunks of so many tokens. Raises ModelError for what is no M+ checkpoint."""
        torch.manual_seed(recipe.stage.seed)
        self.checkpoint, self.out, self.recipe = checkpoint, out, recipe
        self.model, self.tokens = learner(checkpoint, recipe.tokens, recipe.rank)
        if in_bfloat16(recipe.stage):
            use_grouped_attention(self.model)
        self.mixture, self.step = mixture(self.model.config.chunk_tokens), 0
        adapter = [one for one in self.model.parameters() if one.requires_grad]
        groups = [{"params": list(self.tokens.parameters()), "scale": TOKEN_RATE}, {"params": adapter, "scale": 1.0}]
        self.optimizer = torch.optim.AdamW(
            [one for one in groups if one["params"]], betas=(0.9, 0.95), weight_decay=0.0
        )

    def train(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Step]:
        """Train to the last step; yields each. Saves on the way, at the end and on interruption."""
        self.out.mkdir(parents=True, exist_ok=True)
        try:
            while self.step < self.recipe.stage.steps and not stop():
                done = self._one()
                line = {"step": done.number, "seconds": round(done.seconds, 3)}
                line |= {key: round(value, 4) for key, value in done.losses.items()}
                with (self.out / LOG).open("a", encoding="utf-8") as log:
                    log.write(json.dumps(line) + "\n")
                if self.step % self.recipe.stage.save_every == 0:
                    self.save()
                yield done
        finally:
            self.save()

    def _one(self) -> Step:
        started, stage = time.perf_counter(), self.recipe.stage
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(stage, self.step) * group["scale"]
        batch = self.mixture.batch(self.step)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=in_bfloat16(stage)):
            loss, parts = batch_loss(self.model, self.tokens, batch, self.recipe.segments)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        learning = [one for group in self.optimizer.param_groups for one in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(learning, stage.clip)
        if torch.isfinite(norm):
            self.optimizer.step()
        self.step += 1
        values = {"loss": loss.item(), "gradient": norm.item()} | {key: one.item() for key, one in parts.items()}
        return Step(self.step, values, time.perf_counter() - started, stage.steps)

    def save(self) -> None:
        """Write state and weights beside the old ones and put them in their place. Raises TrainingError."""
        weights = {f"weights.{name}": one.contiguous() for name, one in learnt(self.model, self.tokens).items()}
        moments = {f"optimizer.{name}": one for name, one in optimizer_tensors(self.optimizer).items()}
        try:
            new = self.out / "new.safetensors"
            save_file(weights | moments, new, {"step": str(self.step)})
            os.replace(new, self.out / STATE)
            save_tokens(self.model, self.tokens, self.recipe.rank, self.checkpoint, new)
            os.replace(new, self.out / WEIGHTS)
        except (OSError, SafetensorError) as fault:
            raise TrainingError(f"step {self.step} could not be saved: {fault}", "free some disk space") from fault

    def resume(self) -> bool:
        """Take up the last save of the folder; False where there is none. Raises ModelError for one of other shape."""
        file = self.out / STATE
        if not file.is_file():
            return False
        with safe_open(file, "pt") as opened:
            self.step = int(opened.metadata()["step"])
            found = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        restore(self.model, self.tokens, _under("weights.", found))
        self.optimizer.load_state_dict(with_moments(self.optimizer, _under("optimizer.", found)))
        return True


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): one for name, one in tensors.items() if name.startswith(prefix)}


# ------------------------------------------------------------------------------------------------------- command line


def training_of(options: argparse.Namespace) -> Training:
    """The training that a command line asks for."""
    words = Words(options.checkpoint / "tokenizer.json")
    options.out.mkdir(parents=True, exist_ok=True)
    corpus = tokenise(options.text, words, options.out / "text.u16", options.pattern, options.corpus_tokens)
    questions = read_questions(options.questions) if options.questions else []
    kinds = {name: share for name, share in MIXTURE.items() if questions or name != "memory question"}
    stage = Stage(mixture=kinds, searches=0, learning_rate=options.rate, warmup=30, short=0.2, steps=options.steps,
                  batch=options.batch, seed=options.seed)  # fmt: skip
    recipe = Recipe(options.tokens, options.rank, options.segments, stage)
    return Training(
        options.checkpoint, options.out, recipe, lambda chunk: Mixture(stage, words, corpus, questions, chunk)
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    for name, about in (("text", "books"), ("questions", "question sets"), ("out", "the run's folder")):
        parser.add_argument(f"--{name}", type=Path, required=name != "questions", metavar="FOLDER", help=about)
    parser.add_argument("--pattern", default="*.jsonl*", help="files of --text")
    numbers = {"steps": 1000, "batch": 16, "tokens": 64, "rank": 16, "segments": 4, "seed": 0, "threads": 1}
    for name, value in (numbers | {"corpus-tokens": 5_000_000}).items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--rate", type=float, default=2e-3, help="learning rate of the adapter")
    parser.add_argument("--resume", action="store_true", help="go on with what --out holds")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    try:
        training = training_of(options)
        if options.resume:
            training.resume()
        for done in training.train():
            if done.number % 50 == 0 or done.number == options.steps:
                print(json.dumps({"step": done.number} | {k: round(v, 3) for k, v in done.losses.items()}), flush=True)
    except KeyboardInterrupt:
        print("stopped; --resume goes on", file=sys.stderr)
        raise SystemExit(130) from None
    except ModelError as error:
        print(f"{error.message} {error.remedy}".strip(), file=sys.stderr)
        raise SystemExit(2) from error


if __name__ == "__main__":
    main()
