"""The stages of training as dataclasses, and their files."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from transformers import LlamaConfig

from model.config import MPlusConfig
from model.errors import TrainingError

KINDS = (
    "repeat", "text repeat", "needle", "cloze", "memory question", "continuation",
    "prompt question", "prompt cloze", "prompt needle",
)  # fmt: skip
ASKED_OF_PASSAGES = ("memory question", "prompt question")  # kinds that are made of question files


@dataclass(frozen=True)
class Shape:
    """Sizes of a model trained from scratch."""

    vocabulary: int = 4096
    width: int = 192
    layers: int = 4
    heads: int = 6
    head: int = 0  # values of a head; 0: width / heads
    key_value_heads: int = 2
    feed_forward: int = 512
    rows: int = 64  # K, and the tokens of a chunk where `chunk` is 0
    chunk: int = 0  # tokens of a chunk that leaves fewer rows than it has tokens
    pool_chunks: int = 8
    recall_chunks: int = 4
    retriever: int = 48
    neighbours: int = 0  # rows on either side that a recalled row brings
    window: int = 1024
    tied: bool = False  # one matrix for embeddings and head
    citing_layers: tuple[int, ...] = ()  # whose retriever ranks chunks for sources; none named: all
    hold_back: bool = False  # whether the model's own words are the answer only where the text supports them
    name: str = "embedded"

    def config(self) -> MPlusConfig:
        """The configuration of the model."""
        llama = LlamaConfig(
            vocab_size=self.vocabulary,
            hidden_size=self.width,
            intermediate_size=self.feed_forward,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.key_value_heads,
            head_dim=self.head or self.width // self.heads,
            max_position_embeddings=4096,
            rope_theta=500_000.0,
            rms_norm_eps=1e-5,
            tie_word_embeddings=self.tied,
            bos_token_id=None,
            eos_token_id=1,
            pad_token_id=0,
            attn_implementation="sdpa",
        )
        extra = {"citing_layers": list(self.citing_layers), "hold_back": self.hold_back}
        return MPlusConfig(
            llama=llama,
            memory_rows=self.rows,
            pool_rows=self.pool_chunks * self.rows,
            recall_rows=self.recall_chunks * self.rows,
            retriever_dim=self.retriever,
            chunk_tokens=self.chunk or self.rows,
            window=self.window,
            start_rows=True,
            neighbours=self.neighbours,
            name=self.name,
            extra={name: value for name, value in extra.items() if value},
        )


@dataclass(frozen=True)
class Stage:
    """One stage: how many steps of what, with which losses."""

    steps: int = 1000
    batch: int = 16
    chunks: tuple[int, ...] = (1, 1, 2, 4)  # chunks written per episode; one is drawn a step
    short: float = 0.0  # share of steps with short chunks: fewer rows to choose from, so copying appears sooner
    room: int = 96  # prompt tokens
    mixture: dict[str, float] = field(default_factory=lambda: {"needle": 0.7, "repeat": 0.3})
    long_share: float = 0.0  # share of steps with long prompts (re-reading), behind a memory or none
    long_batch: int = 6
    long_room: int = 352
    long_mixture: dict[str, float] = field(default_factory=lambda: {"prompt question": 0.5, "prompt cloze": 0.5})
    one_type: float = 0.7
    cloze: float = 0.4
    pairs: float = 0.4
    questions: int = 4
    density: tuple[int, ...] = (1, 2, 3)  # facts in 64 tokens of text; one is drawn an episode
    alike: float = 0.0  # share of fact episodes whose kind and names are those of the steps before: look-alikes
    sayings: float = 0.0  # share of the facts that are told in sentences of the books
    full_share: float = 0.0  # share of steps behind a memory with distractors, drops and recall
    full_chunks: int = 32  # most chunks of such a memory
    full_questions: int = 2  # prompts of an episode behind it, at most
    bank_rows: int = 0  # rows of earlier steps that long-term memory holds beside them
    bank_texts: int = 0  # texts of two chunks that are written to it in every step, without gradient: no facts in them
    searches: int = 0  # inverse cloze questions per episode, for the retriever
    search_weight: float = 0.3
    through: bool = False  # whether the retriever's loss may reach the model below its projections
    lexical: bool = False  # whether the projections start anew, from the words that question and row share
    lexical_layers: tuple[int, ...] = ()  # which of them; none named: all
    frozen: bool = False  # whether only the projections learn, from batches like those of other stages
    alone: bool = False  # the retriever alone, against the rows of whole books; all else is frozen
    streams: int = 12  # books, passages and facts written side by side for it
    stream_chunks: int = 240
    refill: int = 450  # steps until other texts are written
    others: int = 5000  # rows that each of its questions is compared with
    pointing: float = 0.0  # weight of the loss that tells attention which row holds a value
    language_weight: float = 0.5
    language_share: float = 0.5  # share of written tokens whose prediction is computed
    learning_rate: float = 1.5e-3
    embedding_rate: float = 8.0  # times the learning rate: embeddings start at length sqrt(d), other weights below 1
    muon: float = 0.0  # Muon's rate for all matrices but embeddings and head, times the learning rate; 0: AdamW for all
    warmup: int = 50
    decay: float = 0.3  # share of the steps over which the rate falls to a tenth
    weight_decay: float = 0.05
    clip: float = 1.0
    gradient_chunks: int = 8
    bfloat16: bool = True  # on processors that have it
    validate_every: int = 500
    save_every: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        for kind in (*self.mixture, *self.long_mixture):
            if kind not in KINDS:
                raise TrainingError(f"no episodes of kind «{kind}»", f"kinds are: {', '.join(KINDS)}")

    @property
    def asks(self) -> bool:
        """Whether question files are wanted."""
        drawn = [self.mixture, *([self.long_mixture] if self.long_share else [])]
        return any(some.get(kind, 0) > 0 for some in drawn for kind in ASKED_OF_PASSAGES)


@dataclass(frozen=True)
class Plan:
    """A configuration file: the model's shape, the data, and the stages by name."""

    shape: Shape
    stages: dict[str, Stage]
    data: dict[str, Any]


def read_plan(file: Path) -> Plan:
    """Read a TOML configuration. Raises TrainingError, naming the key, where it says something unknown.

    A stage takes what it does not say from the stage above it that it is `like`, or from [stage.all].
    """
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as fault:
        raise TrainingError(f"no configuration {file}", "see model/training/configs for examples") from fault
    except tomllib.TOMLDecodeError as fault:
        raise TrainingError(f"{file.name} is not TOML: {fault}", "repair the line it names") from fault
    common = raw.get("stage", {}).pop("all", {})
    stages: dict[str, Stage] = {}
    for name, settings in raw.get("stage", {}).items():
        like = settings.pop("like", None)
        if like is not None and like not in stages:
            raise TrainingError(f"stage.{name} is like «{like}», which is no stage above it", "name one that is")
        start, changes = (stages[like], settings) if like else (Stage(), common | settings)
        stages[name] = _fill(start, changes, f"stage.{name}")
    return Plan(_fill(Shape(), raw.get("model", {}), "model"), stages, raw.get("data", {}))


def _fill(start: Any, changes: dict[str, Any], where: str) -> Any:
    known = {one.name for one in fields(start)}
    for key in changes:
        if key not in known:
            raise TrainingError(f"unknown setting {where}.{key}", f"settings are: {', '.join(sorted(known))}")
    return replace(start, **{k: tuple(v) if isinstance(v, list) else v for k, v in changes.items()})


def as_dict(stage: Stage) -> dict[str, Any]:
    """A stage as plain values, for the run folder."""
    return asdict(stage)
