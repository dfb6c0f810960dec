"""What a stage on a pretrained base needs: bytes of every part, floating-point operations of every task, seconds.

Sizes of weights, states and memory are exact. Activations count what autograd keeps for the backward pass, and time
assumes a sustained speed; both are estimates.
"""

from __future__ import annotations

from dataclasses import dataclass

from model.config import MPlusConfig
from model.training.pretrained_stages import PretrainedStage
from model.training.pretrained_tasks import AGAIN, CAT, FULL, ONE_CHUNK

GIB = 1 << 30
HALF, SINGLE = 2, 4  # bytes of a value in bfloat16 and float32
LEARNED_BYTES = 4 * SINGLE  # weight, gradient and two moments of AdamW
TYPICAL_DOCUMENT = 1000  # tokens, where a bucket has no upper bound
LOGIT_BYTES = HALF + 3 * SINGLE  # logits, their float32 copy, log-probabilities, gradient


@dataclass(frozen=True, slots=True)
class Machine:
    """Processes with a GPU each, whether the base lies in parts on them, and a GPU's sustained TFLOP/s."""

    processes: int = 1
    sharded: bool = False
    tflops: float = 300.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """Values in each part of a model."""

    matrices: int  # in the decoder layers
    embeddings: int  # embeddings and head
    adapters: int  # both
    projectors: int  # query, key and encoder query of all layers
    rows: int  # bos rows and bias


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes of one process by part, on its device and in its host memory, and of a save of all processes on disk;
    seconds of tasks and of the stage."""

    sizes: Sizes
    device: dict[str, float]
    host: dict[str, float]
    disk: float
    seconds: dict[str, float]
    shares: dict[str, float]
    contexts: float
    stage_seconds: float
    machine: Machine

    def __str__(self) -> str:
        lines = [f"learned values: {self.learned / 1e6:.1f} M; base: {self.base / 1e9:.2f} G"]
        for where, parts in (("on the device", self.device), ("in host memory", self.host)):
            lines.append(f"{where} of each of {self.machine.processes} process(es), GiB:")
            lines += [f"  {name:<34}{value / GIB:8.2f}" for name, value in parts.items()]
            lines.append(f"  {'together':<34}{sum(parts.values()) / GIB:8.2f}")
        lines.append(f"on disk, GiB: {self.disk / GIB:.2f} a save, twice that while one replaces another")
        lines.append(f"seconds of a step at {self.machine.tflops:g} TFLOP/s, with {self.contexts:.1f} chunks written:")
        lines += [
            f"  {name:<12}{self.seconds[name]:8.2f}  in {share:.1%} of steps" for name, share in self.shares.items()
        ]
        lines.append(f"the stage: {self.stage_seconds / 3600:.1f} hours, in each process")
        return "\n".join(lines)

    @property
    def learned(self) -> int:
        """Values that training changes."""
        return self.sizes.adapters + self.sizes.projectors + self.sizes.rows

    @property
    def base(self) -> int:
        """Values of the frozen base."""
        return self.sizes.matrices + self.sizes.embeddings


def sizes_of(config: MPlusConfig) -> Sizes:
    """Count a model's values from its configuration."""
    llama, adapters = config.llama, config.adapters
    assert adapters is not None
    width, inner, dim = llama.hidden_size, llama.intermediate_size, config.retriever_dim
    heads = llama.num_attention_heads * config.head_dim
    shapes = {
        "q_proj": (width, heads), "k_proj": (width, config.key_value_dim), "v_proj": (width, config.key_value_dim),
        "o_proj": (heads, width), "gate_proj": (width, inner), "up_proj": (width, inner), "down_proj": (inner, width),
    }  # fmt: skip
    matrices = sum(a * b for a, b in shapes.values()) + 2 * width
    low_rank = sum(adapters.rank * sum(shapes[target]) for target in adapters.targets)
    projector = width * dim if config.retriever_layers == 1 else width * 2 * dim + 2 * dim * dim
    return Sizes(
        config.layers * matrices + width,
        llama.vocab_size * width * (1 if llama.tie_word_embeddings else 2),
        2 * config.layers * low_rank,
        3 * config.layers * projector if dim else 0,
        config.layers * width + width,
    )


def estimate(config: MPlusConfig, stage: PretrainedStage, machine: Machine) -> Estimate:
    """What one stage needs on a machine."""
    sizes, layers, width = sizes_of(config), config.layers, config.llama.hidden_size
    base = HALF * (sizes.matrices + sizes.embeddings)
    learned = sizes.adapters + sizes.projectors + sizes.rows
    stored = 10 * config.merge_every * config.memory_rows if config.recall_rows else 0  # nine merges and the pending
    largest = HALF * config.llama.vocab_size * width
    device = {
        "base, bfloat16": base / machine.processes + largest if machine.sharded else float(base),
        "learned, gradients, AdamW": float(LEARNED_BYTES * learned),
        "pool": float(HALF * layers * config.pool_rows * width),
        "long-term keys": float(HALF * layers * stored * config.retriever_dim),
        "activations of the longest read": read_activations(config, stage.sentence_most),
        "logits": float(LOGIT_BYTES * stage.sentence_most * config.llama.vocab_size),
    }
    if config.retriever_dim:
        device["activations of the retriever"] = retriever_activations(config, stage.sentence_most)
    host = {"long-term rows": float(HALF * layers * stored * width), "base while it is loaded": float(base)}
    kept = machine.processes if stage.save_all_memories else 1
    memories = kept * (device["pool"] + device["long-term keys"] + host["long-term rows"])
    contexts = mean_contexts(stage)
    seconds = {name: work / machine.tflops / 1e12 for name, work in operations(config, stage, contexts).items()}
    shares = task_shares(stage)
    whole = stage.steps * sum(share * seconds[name] for name, share in shares.items())
    return Estimate(sizes, device, host, 3 * SINGLE * learned + memories, seconds, shares, contexts, whole, machine)


def read_activations(config: MPlusConfig, tokens: int, value: int = HALF) -> float:
    """Bytes that autograd keeps of a sentence read behind the full memory, `value` bytes a number.

    Of a memory row: the inputs of two adapters, and its key and value repeated for every query head. Of a token:
    norms, residuals, the linears' and adapters' inputs, queries, gate. Of a pair of both: the mask that attention
    adds. The factors of widths were fitted to what torch 2.13 keeps of models of many shapes.
    """
    width, inner = config.llama.hidden_size, config.llama.intermediate_size
    heads = config.llama.num_attention_heads * config.head_dim
    prefix = 1 + config.recall_rows + config.pool_rows
    rows = prefix * (2 * width + 2 * heads)
    own = tokens * (18 * width + 6 * inner + 4 * heads)
    return float(value * config.layers * (rows + own + tokens * (prefix + tokens)))


def retriever_activations(config: MPlusConfig, tokens: int, value: int = HALF) -> float:
    """Bytes that autograd keeps of the retriever's losses: normed pool rows, projections, and the score matrices."""
    width, dim, rows = config.llama.hidden_size, config.retriever_dim, config.pool_rows
    projected = value * (rows + tokens) * (width + 5 * dim)
    scored = SINGLE * rows * (tokens + config.memory_rows)
    return float(config.layers * (projected + scored))


def mean_contexts(stage: PretrainedStage) -> float:
    """Chunks that a document of the stage has on average."""
    total = sum(bucket.weight for bucket in stage.documents)
    mean = 0.0
    for bucket in stage.documents:
        length = TYPICAL_DOCUMENT if bucket.most > 1 << 20 or bucket.least == 0 else (bucket.least + bucket.most) / 2
        is_short = length < stage.sentence_most
        least = stage.chunk_least if is_short else stage.long_chunk_least
        chunk = (least + stage.chunk_most) / 2
        sentence = chunk if is_short else stage.sentence_most / 2
        mean += bucket.weight / total * min(stage.most_contexts(stage.steps), max(1.0, (length - sentence) / chunk))
    return mean


def task_shares(stage: PretrainedStage) -> dict[str, float]:
    """How often each task is done: a sentence comes back after one write at least, and never twice in a row."""
    again = 1 - stage.pass_ratio
    again = again / (1 + again * 2) if stage.empty_prob > 0.5 else again / (1 + again)
    rest = 1 - again
    return {
        FULL: rest * stage.full,
        CAT: rest * (1 - stage.full) * stage.cat,
        ONE_CHUNK: rest * (1 - stage.full) * (1 - stage.cat),
        AGAIN: again,
    }


def operations(config: MPlusConfig, stage: PretrainedStage, contexts: float) -> dict[str, float]:
    """Floating-point operations of a step of every task; the backward pass of a frozen matrix costs as its forward."""
    sizes, llama, layers = sizes_of(config), config.llama, config.layers
    heads = llama.num_attention_heads * config.head_dim
    chunk = (stage.long_chunk_least + stage.chunk_most) / 2

    def forward(tokens: float, prefix: float, head: bool) -> tuple[float, float, float]:
        """Matrices of the tokens, projections of the prefix, attention."""
        matrices = 2 * sizes.matrices * tokens + (2 * llama.vocab_size * llama.hidden_size * tokens if head else 0)
        project = 4 * layers * prefix * llama.hidden_size * config.key_value_dim
        return matrices, project, 4 * layers * tokens * (prefix + tokens / 2) * heads

    def with_backward(parts: tuple[float, float, float], grows: float = 1.0) -> float:
        return 2 * parts[0] + grows * parts[1] + 3.5 * parts[2]

    memory = 1 + config.recall_rows + config.pool_rows
    tokens = stage.sentence_most / 2
    projector = sizes.projectors / (3 * layers) if config.retriever_dim else 0.0
    retriever = (
        6 * layers * (projector * (config.pool_rows + tokens) + config.retriever_dim * tokens * config.pool_rows)
    )
    read = with_backward(forward(tokens, memory, True)) + retriever
    write = sum(forward(chunk, config.memory_rows, False))
    one = with_backward(forward(chunk, config.memory_rows, False), 2.0)
    return {
        FULL: with_backward(forward(stage.sentence_most, memory, True)),
        CAT: contexts * write + read,
        ONE_CHUNK: one + with_backward(forward(tokens, config.memory_rows, True), 2.0),
        AGAIN: read,
    }
