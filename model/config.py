"""The sizes of an M+ model. K, N, R, L, d as in the paper: rows a chunk, pool rows, recalled rows, layers, width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from model.bare import LlamaSizes, plain_sizes

if TYPE_CHECKING:
    from transformers import LlamaConfig

OFFICIAL_TARGETS = ("q_proj", "k_proj", "v_proj", "up_proj", "down_proj", "gate_proj")
MEMORY_KEYS = (
    "num_tokens", "num_blocks", "num_ltm_blocks", "lora_config", "add_decoder_lora", "add_bos_embedding",
    "add_selector", "selector_hidden_dim", "num_selector_layers", "update_ltm_frequency",
    "initial_rf_when_moving_stm_to_ltm", "decay_frequency", "ltm_initial_size", "mplus",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """LoRA adapters `write` and, where the model has one, `read` (paper, section 4)."""

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.1
    targets: tuple[str, ...] = OFFICIAL_TARGETS
    read: bool = True  # False: one adapter serves writing and reading (MemoryLLM)


@dataclass(frozen=True, slots=True)
class MPlusConfig:
    """Everything that shapes an M+ model beyond its Llama."""

    llama: LlamaConfig | LlamaSizes  # sizes alone: for inference with fused layers, where transformers is not needed
    memory_rows: int  # K: rows that a chunk leaves in every layer
    pool_rows: int  # N: short-term rows of every layer
    recall_rows: int  # R: long-term rows recalled in every layer
    retriever_dim: int = 0  # width of retrieval keys; 0: no retriever
    retriever_layers: int = 2
    chunk_tokens: int = 512
    window: int = 2048  # prompt tokens that the model was trained for
    adapters: AdapterConfig | None = None
    bos_row: bool = True
    start_rows: bool = False  # learned first context instead of a shipped pool
    neighbours: int = 0  # rows on either side, of the same chunk, that a recalled row brings with it; not in the paper
    rope_bf16: bool = False  # rotary frequencies rounded to bf16, as the published model runs
    published: bool = False  # a published M+ checkpoint: in bf16 its rotary frequencies are always rounded
    merge_every: int = 60  # released policy: writes between merges
    initial_frequency: float = 10.0  # released policy: life counter of a merged row
    decay: float = 1.0
    prompt: str = "Question: {question} Answer:"
    stop: tuple[str, ...] = ("\n",)
    name: str = "mplus"
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def layers(self) -> int:
        """L, the number of decoder layers."""
        return self.llama.num_hidden_layers

    @property
    def head_dim(self) -> int:
        """Values per attention head."""
        return self.llama.head_dim or self.llama.hidden_size // self.llama.num_attention_heads

    @property
    def key_value_dim(self) -> int:
        """Values of one row's key (or value) over all key-value heads."""
        return self.llama.num_key_value_heads * self.head_dim

    def reach(self, layer: int) -> int:
        """How far a recalled row's neighbours reach; not at all in a layer that is named for ranking chunks."""
        return 0 if layer in self.extra.get("citing_layers", ()) else self.neighbours

    @property
    def ranking_layers(self) -> Sequence[int]:
        """The layers whose scores rank chunks for sources: those that the checkpoint names, else all."""
        return self.extra.get("citing_layers") or range(self.layers)


def from_official(raw: dict[str, Any], bare: bool = False) -> MPlusConfig:
    """Read a config.json of the published M+ and MemoryLLM checkpoints, or one that `to_dict` wrote.

    bare: sizes alone of a Llama that is plain enough, for a model that will only compute with fused layers.
    """
    ours = raw.get("mplus", {})
    rows = raw["num_tokens"]
    blocks, recalled = raw.get("num_blocks", 50), raw.get("num_ltm_blocks", 0)
    selector = raw.get("selector_hidden_dim", 256) if raw.get("add_selector", False) else 0
    return MPlusConfig(
        llama=(plain_sizes(raw) if bare else None) or llama_config(raw),
        memory_rows=rows,
        pool_rows=(blocks - recalled) * rows,
        recall_rows=recalled * rows,
        retriever_dim=selector,
        retriever_layers=raw.get("num_selector_layers", 1),
        adapters=_adapters(raw),
        bos_row=raw.get("add_bos_embedding", False),
        merge_every=raw.get("update_ltm_frequency", 60),
        initial_frequency=float(raw.get("initial_rf_when_moving_stm_to_ltm", 10)),
        decay=float(raw.get("decay_frequency", 1)),
        chunk_tokens=ours.get("chunk_tokens", 512),
        window=ours.get("window", raw.get("max_seq_length", 2048)),
        start_rows=ours.get("start_rows", False),
        neighbours=ours.get("neighbours", 0),
        rope_bf16=ours.get("rope_bf16", raw.get("torch_dtype", raw.get("dtype")) == "bfloat16" and not ours),
        published="MPlus" in raw.get("architectures", ()) and not ours,
        prompt=ours.get("prompt", "Question: {question} Answer:"),
        stop=tuple(ours.get("stop", ("\n",))),
        name=ours.get("name", raw.get("_name_or_path") or "mplus"),
        extra=dict(ours.get("extra", {})),
    )


def llama_config(raw: dict[str, Any]) -> LlamaConfig:
    """The stock Llama part of a config.json."""
    from transformers import LlamaConfig

    ignored = (*MEMORY_KEYS, "model_type", "architectures", "transformers_version", "torch_dtype", "dtype")
    config = LlamaConfig(**{key: value for key, value in raw.items() if key not in ignored})
    config._attn_implementation = "sdpa"
    return config


def _adapters(raw: dict[str, Any]) -> AdapterConfig | None:
    lora = raw.get("lora_config")
    if lora is None:
        return None
    return AdapterConfig(
        rank=lora["r"],
        alpha=lora["lora_alpha"],
        dropout=lora.get("lora_dropout", 0.0),
        targets=tuple(lora["target_modules"]),
        read=raw.get("add_decoder_lora", False),
    )


def to_dict(config: MPlusConfig) -> dict[str, Any]:
    """A config.json in the published layout; what that layout cannot say stands under "mplus"."""
    assert not isinstance(config.llama, LlamaSizes), "a bare model is for inference: it cannot be saved"
    raw = config.llama.to_diff_dict()
    raw.update(
        architectures=["MPlus"],
        num_tokens=config.memory_rows,
        num_blocks=(config.pool_rows + config.recall_rows) // config.memory_rows,
        num_ltm_blocks=config.recall_rows // config.memory_rows,
        add_selector=config.retriever_dim > 0,
        selector_hidden_dim=config.retriever_dim,
        num_selector_layers=config.retriever_layers,
        add_bos_embedding=config.bos_row,
        update_ltm_frequency=config.merge_every,
        initial_rf_when_moving_stm_to_ltm=config.initial_frequency,
        decay_frequency=config.decay,
    )
    if config.adapters is not None:
        raw["add_decoder_lora"] = config.adapters.read
        raw["lora_config"] = {
            "r": config.adapters.rank,
            "lora_alpha": config.adapters.alpha,
            "lora_dropout": config.adapters.dropout,
            "target_modules": list(config.adapters.targets),
        }
    raw["mplus"] = {
        "chunk_tokens": config.chunk_tokens,
        "window": config.window,
        "start_rows": config.start_rows,
        "neighbours": config.neighbours,
        "rope_bf16": config.rope_bf16,
        "prompt": config.prompt,
        "stop": list(config.stop),
        "name": config.name,
        "extra": config.extra,
    }
    return raw
