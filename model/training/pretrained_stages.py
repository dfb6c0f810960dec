"""The three stages of the paper for a pretrained base (spec, 7.4) as dataclasses, and their configuration file."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from model.config import AdapterConfig, MPlusConfig
from model.errors import TrainingError
from model.training.lora import base_config


@dataclass(frozen=True)
class Bucket:
    """Documents of `least`..`most` tokens, and how often one of them is drawn."""

    least: int
    most: int
    weight: float


SHORT = 2048  # tokens: shorter documents end in their last chunk, longer ones in a sentence
LONG_LENGTHS = ((4096, 8192), (8192, 16384), (16384, 32768), (32768, 65536))


def buckets(long_share: float, short_share: float) -> tuple[Bucket, ...]:
    """The paper's mixture: each of the four long lengths with `long_share`, documents below 4,096 with the rest."""
    return (*(Bucket(least, most, long_share) for least, most in LONG_LENGTHS), Bucket(0, 4096, short_share))


@dataclass(frozen=True)
class PretrainedStage:
    """One stage. The defaults are those of stage 1; `STAGES` has all three."""

    steps: int = 22_500
    learning_rate: float = 4.6e-5
    final_share: float = 0.1  # of the learning rate, reached linearly after `decay_steps`
    decay_steps: int = 100_000
    projector_rate: float = 1e-4
    warmup: int = 100  # steps; a run that starts from weights alone warms its new optimizer up again
    weight_decay: float = 0.01
    clip: float = 1.0
    pool_blocks: int = 50  # N / K
    recall_blocks: int = 0  # R / K; 0: no long-term memory
    merge_every: int = 60
    retriever: bool = False
    full: float = 0.1  # share of steps that model contexts and sentence as text behind the full memory
    cat: float = 0.8  # of the others: share that write without gradient and read behind the full memory
    repeat: float = 0.1  # share of written documents whose sentence repeats them
    pass_ratio: float = 0.8  # 1 - share of steps that ask a kept sentence again
    empty_prob: float = 1.0  # with which a kept sentence is let go after that
    contexts: tuple[tuple[int, int], ...] = ((100_000, 50), (200_000, 100), (0, 200))  # (up to step, most chunks)
    chunk_least: int = 16
    chunk_most: int = 512
    long_chunk_least: int = 16  # in documents of SHORT tokens and more
    sentence_least: int = 16
    sentence_most: int = SHORT
    documents: tuple[Bucket, ...] = (Bucket(0, 1 << 30, 1.0),)
    validate_every: int = 500
    save_every: int = 200
    save_all_memories: bool = True  # False: only the first process's, and a resumed run is no longer exact
    seed: int = 0

    def most_contexts(self, step: int) -> int:
        """Chunks that a step may write."""
        return next((most for until, most in self.contexts if step <= until), self.contexts[-1][1])

    def rate(self, step: int, start: float) -> float:
        """A learning rate that begins at `start`: warm-up, and a linear fall to `final_share` of it."""
        fall = 1 - (1 - self.final_share) * min(1.0, step / max(1, self.decay_steps))
        return start * min(1.0, (step + 1) / max(1, self.warmup)) * fall


STAGES = {
    "1": PretrainedStage(),
    "2": PretrainedStage(
        steps=20_000,
        learning_rate=4.6e-6,
        final_share=1.0,
        retriever=True,
        full=0.05,
        cat=0.9,
        long_chunk_least=384,
        documents=buckets(0.2, 0.2),
    ),
    "3": PretrainedStage(
        steps=40_000,
        learning_rate=4.6e-6,
        final_share=1.0,
        retriever=True,
        pool_blocks=40,
        recall_blocks=10,
        full=0.05,
        cat=0.8,
        empty_prob=0.2,
        contexts=((20_000, 100), (0, 200)),
        long_chunk_least=384,
        documents=buckets(0.025, 0.9),
    ),
}


@dataclass(frozen=True)
class Base:
    """Where the base is, and in which format it computes; "auto": bfloat16 on a GPU, float32 on the CPU."""

    checkpoint: str = ""
    dtype: str = "auto"
    name: str = "mplus"


@dataclass(frozen=True)
class MemoryShape:
    """Sizes that all stages share."""

    rows: int = 256  # K
    retriever_dim: int = 256
    retriever_layers: int = 2


@dataclass(frozen=True)
class Text:
    """Which documents are read."""

    pattern: str = "*.jsonl*"
    skip: int = 0  # documents
    most: int = 3_000_000


@dataclass(frozen=True)
class PretrainedPlan:
    """A configuration file with a [base]."""

    base: Base
    memory: MemoryShape
    adapters: AdapterConfig
    text: Text
    stages: dict[str, PretrainedStage] = field(default_factory=lambda: dict(STAGES))

    def config(self, stage: PretrainedStage) -> MPlusConfig:
        """The model that a stage trains. Raises TrainingError where the base is no Llama."""
        with_retriever = stage.retriever and self.memory.retriever_dim > 0
        return MPlusConfig(
            llama=base_config(Path(self.base.checkpoint)),
            memory_rows=self.memory.rows,
            pool_rows=stage.pool_blocks * self.memory.rows,
            recall_rows=stage.recall_blocks * self.memory.rows,
            retriever_dim=self.memory.retriever_dim if with_retriever else 0,
            retriever_layers=self.memory.retriever_layers,
            chunk_tokens=stage.chunk_most,
            window=stage.sentence_most,
            adapters=self.adapters,
            merge_every=stage.merge_every,
            name=self.base.name,
        )


def read_toml(file: Path) -> dict[str, Any]:
    """A configuration file as it stands. Raises TrainingError where it is missing or no TOML."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as fault:
        raise TrainingError(f"no configuration {file}", "see model/training/configs for examples") from fault
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise TrainingError(f"{file.name} is not TOML: {fault}", "repair the line it names") from fault


def has_base(file: Path) -> bool:
    """Whether a configuration trains adapters on a pretrained base."""
    return "base" in read_toml(file)


def read_pretrained_plan(file: Path, base: Path | None = None) -> PretrainedPlan:
    """Read a configuration; `base` replaces base.checkpoint, which is relative to the file.

    Raises TrainingError, naming the key, where it says something unknown.
    """
    raw = read_toml(file)
    stages = raw.pop("stage", {})
    common = stages.pop("all", {})
    parts = {"base": Base(), "memory": MemoryShape(), "adapters": AdapterConfig(), "text": Text()}
    for key in raw:
        if key not in parts:
            raise TrainingError(f"unknown section [{key}]", f"sections are: {', '.join([*parts, 'stage'])}")
    found = {key: filled(start, raw.get(key, {}), key) for key, start in parts.items()}
    if base is not None or found["base"].checkpoint:
        checkpoint = base if base is not None else file.parent / found["base"].checkpoint
        found["base"] = replace(found["base"], checkpoint=str(checkpoint.resolve()))
    else:
        raise TrainingError("no base is named", "set base.checkpoint in the configuration, or give --base FOLDER")
    made = {name: filled(STAGES[name], common, "stage.all") for name in STAGES}
    for name, changes in stages.items():
        start = STAGES.get(str(changes.get("like", name)))
        if start is None:
            raise TrainingError(f"stage «{name}» is like none of the paper's", 'add like = "1", "2" or "3" to it')
        made[name] = filled(start, {**common, **{k: v for k, v in changes.items() if k != "like"}}, f"stage.{name}")
    return PretrainedPlan(**found, stages=made)


def filled(start: Any, changes: dict[str, Any], where: str) -> Any:
    """A dataclass with some fields changed; lists become tuples, and document buckets their class."""
    known = {one.name for one in fields(start)}
    for key in changes:
        if key not in known:
            raise TrainingError(f"unknown setting {where}.{key}", f"settings are: {', '.join(sorted(known))}")
    values = {key: _as_tuple(value) for key, value in changes.items()}
    if "documents" in values:
        values["documents"] = tuple(Bucket(*entry) for entry in values["documents"])
    return replace(start, **values)


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(one) for one in value) if isinstance(value, list) else value


def stage_as_dict(stage: PretrainedStage) -> dict[str, Any]:
    """A stage as plain values, for the run folder."""
    return asdict(stage)
