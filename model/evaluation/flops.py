"""FLOPs and bytes of every method, counted analytically from a configuration, attention included.

A multiplication with its addition counts as two FLOPs; only matrix products count (norms, rotations and softmax are
below one per cent at 8B). Attention counts the pairs that a causal mask leaves; `dense` counts all pairs, as kernels
with a mask compute and as torch's FlopCounterMode counts. Adapters are merged. `read`: once a text of n tokens;
`answer`: once a prompt of so many tokens and so many new ones. Rows that came with a checkpoint are not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from model.config import MPlusConfig

VALUE_BYTES, TOKEN_BYTES = 2, 4  # a bf16 value, a token id
BLOCK = 32  # rows that raw-kv recalls together
PUBLISHED = {  # the paper, version 2, appendix E.4: tokens -> FLOPs of Llama-3.1-8B (None: out of memory) and of M+
    2048: (5.68e13, 6.92e13),
    4096: (1.13e14, 1.32e14),
    8192: (2.26e14, 2.55e14),
    16_384: (4.48e14, 5.01e14),
    32_768: (8.88e14, 9.86e14),
    65_536: (1.75e15, 1.94e15),
    131_072: (None, 3.78e15),
}


@dataclass(frozen=True, slots=True)
class Cost:
    """FLOPs of reading a text once and of one answer, and bytes that are held between them."""

    read: float
    answer: float
    held: float  # bytes
    tokens: int  # of the text that the method has anything of when it answers

    @property
    def total(self) -> float:
        """A text read, one question answered."""
        return self.read + self.answer


@dataclass(frozen=True, slots=True)
class Asked:
    """How much is asked: tokens of a prompt, and tokens of the answer."""

    prompt: int = 64
    new: int = 64


@dataclass(frozen=True, slots=True)
class Held:
    """What methods with a budget may hold; None: the model's own, as `Budget` has it."""

    rows: int | None = None
    passages: int = 4
    passage_tokens: int | None = None


class Shapes:
    """FLOPs of the parts of a model. All counts are of one sequence and of all layers, unless they say otherwise."""

    def __init__(self, config: MPlusConfig, dense: bool = False) -> None:
        self.config, self.dense, llama = config, dense, config.llama
        self.width, self.key_values, self.layers = llama.hidden_size, config.key_value_dim, config.layers
        self.queries = llama.num_attention_heads * config.head_dim
        self.bos = int(config.bos_row)

    def linear(self, tokens: float) -> float:
        """Projections and MLP of tokens that pass all layers."""
        attention = 2 * self.width * (self.queries + self.key_values)
        return 2 * tokens * self.layers * (attention + 3 * self.width * self.config.llama.intermediate_size)

    def attention(self, tokens: float, prefix: float) -> float:
        """Scores and weighted sums of tokens that see a prefix and, causally, each other."""
        pairs = tokens * (prefix + (tokens if self.dense else (tokens + 1) / 2))
        return 4 * pairs * self.queries * self.layers

    def behind(self, tokens: float, prefix: float) -> float:
        """Tokens read behind keys and values that are there."""
        return self.linear(tokens) + self.attention(tokens, prefix)

    def head(self, tokens: float) -> float:
        """The output layer."""
        return 2 * tokens * self.width * self.config.llama.vocab_size

    def decode(self, new: int, prefix: float) -> float:
        """New tokens behind a prefix, the first of which the prompt's last hidden state gives."""
        passes = max(0, new - 1)
        return (
            self.linear(passes)
            + 4 * self.queries * self.layers * (passes * prefix + passes * (passes + 1) / 2)
            + (self.head(new))
        )

    def to_keys_values(self, rows: float) -> float:
        """Keys and values of hidden rows."""
        return 4 * rows * self.width * self.key_values * self.layers

    def retriever(self, rows: float) -> float:
        """Retrieval keys of rows, or retrieval queries of tokens."""
        dim = self.config.retriever_dim
        matrices = self.width * dim if self.config.retriever_layers == 1 else 2 * dim * (self.width + dim)
        return 2 * rows * matrices * self.layers

    def write(self, tokens: int, retriever: bool = True) -> float:
        """A text becomes rows in read form, chunk by chunk, each behind the K newest rows."""
        config = self.config
        chunks = -(-tokens // config.chunk_tokens)
        if not chunks:
            return 0.0
        each, rows = tokens / chunks, config.memory_rows
        one = self.behind(max(each, rows), min(each, rows) + self.bos)
        one += self.to_keys_values(min(each, rows)) + self.to_keys_values(rows)  # the newest rows; the new ones
        return chunks * (one + (self.retriever(rows) if retriever else 0))


# ------------------------------------------------------------------------------------------------------------ methods


def rows_of(config: MPlusConfig, tokens: int) -> tuple[int, int, int]:
    """Rows of a layer after a text: all that were written, those in the pool, those that a prompt recalls."""
    rows = config.memory_rows * -(-tokens // config.chunk_tokens)
    pool = min(rows, config.pool_rows)
    return rows, pool, min(config.recall_rows, rows - pool)


def _latent(shapes: Shapes, tokens: int, asked: Asked, held: Held, scoring: float, row_bytes: float) -> Cost:
    """Latent rows with a recall that costs `scoring` FLOPs; a row takes `row_bytes` in each layer."""
    rows, pool, recalled = rows_of(shapes.config, tokens)
    if held.rows is not None:
        recalled = min(rows - pool, max(0, held.rows - pool))
    prefix = pool + recalled + shapes.bos
    answer = shapes.behind(asked.prompt, prefix) + shapes.decode(asked.new, prefix + asked.prompt)
    return Cost(shapes.write(tokens), answer + scoring, rows * row_bytes * shapes.layers, tokens)


def latent(shapes: Shapes, tokens: int, asked: Asked, held: Held) -> Cost:
    """M+: the retriever scores all rows against every token of the prompt."""
    config, rows = shapes.config, rows_of(shapes.config, tokens)[0]
    scoring = shapes.retriever(asked.prompt) + 2 * asked.prompt * rows * config.retriever_dim * shapes.layers
    return _latent(shapes, tokens, asked, held, scoring, VALUE_BYTES * (2 * shapes.key_values + config.retriever_dim))


def pool_alone(shapes: Shapes, tokens: int, asked: Asked, held: Held) -> Cost:
    """MemoryLLM: the pool, no retriever. Of a long text a share of the tokens is left, by chance."""
    pool = rows_of(shapes.config, tokens)[1]
    prefix = pool + shapes.bos
    answer = shapes.behind(asked.prompt, prefix) + shapes.decode(asked.new, prefix + asked.prompt)
    size = pool * 2 * shapes.key_values * VALUE_BYTES * shapes.layers
    return Cost(shapes.write(tokens, retriever=False), answer, size, tokens)


def by_attention(shapes: Shapes, tokens: int, asked: Asked, held: Held) -> Cost:
    """Rows recalled by attention: one mean query a key-value head, against every row."""
    scoring = 2 * asked.prompt * shapes.width * shapes.queries * shapes.layers  # the queries, made once more
    scoring += 2 * rows_of(shapes.config, tokens)[0] * shapes.key_values * shapes.layers
    return _latent(shapes, tokens, asked, held, scoring, VALUE_BYTES * 2 * shapes.key_values)


def nearest(shapes: Shapes, tokens: int, asked: Asked, held: Held) -> Cost:
    """Rows recalled by their hidden states, which are kept beside them."""
    scoring = 2 * rows_of(shapes.config, tokens)[0] * shapes.width * shapes.layers
    return _latent(shapes, tokens, asked, held, scoring, VALUE_BYTES * (2 * shapes.key_values + shapes.width))


def raw_key_values(shapes: Shapes, tokens: int, asked: Asked, held: Held) -> Cost:
    """Every token's keys and values, blocks recalled by their means; chunks are read behind what they recall."""
    config = shapes.config
    most, every = config.recall_rows + config.pool_rows if held.rows is None else held.rows, config.chunk_tokens
    query = 2 * shapes.width * shapes.queries * shapes.layers

    def recalling(before: int, count: int) -> float:
        """One pass of tokens that recall from those before."""
        blocks = -(-before // BLOCK)
        scoring = count * query + 2 * blocks * shapes.key_values * shapes.layers
        return shapes.behind(count, min(before, most) + shapes.bos) + scoring

    read = sum(recalling(start, min(every, tokens - start)) for start in range(0, tokens, every))
    prefix = min(tokens, most) + shapes.bos + asked.prompt
    answer = recalling(tokens, asked.prompt) + shapes.decode(asked.new, prefix)
    blocks = tokens / BLOCK / 2  # means of keys alone
    return Cost(read, answer, (tokens + blocks) * cache_bytes(config), tokens)


def full(shapes: Shapes, tokens: int, asked: Asked, held: Held) -> Cost:
    """The whole text in one key-value cache, kept for all questions (the suite's method reads it anew for each)."""
    seen = tokens + shapes.bos
    answer = shapes.behind(asked.prompt, seen) + shapes.decode(asked.new, seen + asked.prompt)
    return Cost(shapes.behind(tokens, shapes.bos), answer, tokens * cache_bytes(shapes.config), tokens)


def truncated(shapes: Shapes, tokens: int, asked: Asked, held: Held) -> Cost:
    """As much of the text as the window, or the budget, leaves room for."""
    return full(shapes, min(tokens, _room(shapes, asked, held)), asked, held)


def _room(shapes: Shapes, asked: Asked, held: Held) -> int:
    """Tokens of text that fit beside a prompt and its answer."""
    most = shapes.config.window if held.rows is None else held.rows
    positions = shapes.config.llama.max_position_embeddings - shapes.bos
    return max(0, min(most, positions) - asked.prompt - asked.new)


def evicting(shapes: Shapes, tokens: int, asked: Asked, held: Held) -> Cost:
    """SnapKV and H2O: all is read, then a budget of keys and values is kept, chosen with the prompt in sight.

    Bytes are those that are kept; while a text is read the whole cache stands in memory.
    """
    most = shapes.config.pool_rows + shapes.config.recall_rows if held.rows is None else held.rows
    seen = tokens + shapes.bos
    kept = min(seen + asked.prompt, most)  # the bos row and the prompt are pairs like others
    answer = shapes.behind(asked.prompt, seen) + shapes.decode(asked.new, kept)
    return Cost(shapes.behind(tokens, shapes.bos), answer, min(tokens, most) * cache_bytes(shapes.config), tokens)


def _passages(shapes: Shapes, tokens: int, asked: Asked, held: Held) -> tuple[int, int]:
    """Tokens of a passage, and tokens of all passages that a prompt sees."""
    each = held.passage_tokens or max(1, _room(shapes, asked, held) // held.passages)
    return each, min(tokens, held.passages * each)


def words(shapes: Shapes, tokens: int, asked: Asked, held: Held) -> Cost:
    """Passages found by their words: nothing is computed before a question, which reads them as text."""
    _, seen = _passages(shapes, tokens, asked, held)
    answer = shapes.behind(seen + asked.prompt, shapes.bos)
    answer += shapes.decode(asked.new, seen + asked.prompt + shapes.bos)
    return Cost(0.0, answer, tokens * TOKEN_BYTES, tokens)


def embedded(shapes: Shapes, tokens: int, asked: Asked, held: Held) -> Cost:
    """Passages found by mean-pooled states of the model: every passage and the question are read once for them."""
    each, _ = _passages(shapes, tokens, asked, held)
    count, plain = -(-tokens // each), words(shapes, tokens, asked, held)
    read = count * shapes.behind(tokens / count, shapes.bos) if count else 0.0
    finding = shapes.behind(asked.prompt, shapes.bos) + 2 * count * shapes.width
    return Cost(read, plain.answer + finding, plain.held + count * shapes.width * VALUE_BYTES, tokens)


def recurrent(shapes: Shapes, tokens: int, asked: Asked, held: Held) -> Cost:
    """RMT: segments as long as chunks between m memory tokens that are read and m that are written; m is K here."""
    config, count = shapes.config, shapes.config.memory_rows
    segments = -(-tokens // config.chunk_tokens)
    read = segments * shapes.behind(tokens / segments + 2 * count, shapes.bos) if segments else 0.0
    prefix = shapes.bos + count + asked.prompt
    answer = shapes.behind(count + asked.prompt, shapes.bos) + shapes.decode(asked.new, prefix)
    return Cost(read, answer, count * shapes.width * VALUE_BYTES, tokens)


def nothing(shapes: Shapes, tokens: int, asked: Asked, held: Held) -> Cost:
    """The prompt alone."""
    return full(shapes, 0, asked, held)


COSTS: dict[str, Callable[[Shapes, int, Asked, Held], Cost]] = {
    "mplus-latent": latent,
    "memoryllm": pool_alone,
    "memory-attn": by_attention,
    "knn": nearest,
    "raw-kv": raw_key_values,
    "rmt": recurrent,
    "full-context": full,
    "truncate-first": truncated,
    "truncate-last": truncated,
    "truncate-middle": truncated,
    "snapkv": evicting,
    "h2o": evicting,
    "rag-bm25": words,
    "rag-dense": embedded,
    "no-context": nothing,
}
TRAINED = ("mplus-latent", "memoryllm", "memory-attn", "knn", "rmt")  # methods that need memory training


# -------------------------------------------------------------------------------------------------------- comparisons


def cache_bytes(config: MPlusConfig) -> int:
    """Bytes of one token in a key-value cache, all layers."""
    return 2 * config.key_value_dim * config.layers * VALUE_BYTES


def cache_tokens_at_bytes(config: MPlusConfig, tokens: int) -> int:
    """Byte-matched: tokens of a key-value cache that take what the latent rows of a text take."""
    return int(latent(Shapes(config), tokens, Asked(), Held()).held // cache_bytes(config))


def full_tokens_at_flops(config: MPlusConfig, tokens: int, asked: Asked) -> int:
    """FLOP-matched: the longest text that full context can read and answer from at what M+ spends on `tokens`."""
    shapes, held = Shapes(config), Held()
    spent, low, high = latent(shapes, tokens, asked, held).total, 0, 2 * tokens + 1
    while full(shapes, high, asked, held).total <= spent:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if full(shapes, middle, asked, held).total <= spent else (low, middle)
    return low


def paper_row(config: MPlusConfig, tokens: int, published: bool = False) -> dict[str, Any]:
    """One line of the paper's table (appendix E.4), attention counted.

    The paper's setting: the last tokens, as many as the window holds, are the prompt; what comes before is written;
    the memory is full. mplus_hidden: with hidden rows as published, whose keys and values each prompt makes anew.
    `published`: put the paper's own figures beside it, which leave attention out and count about twice.
    """
    shapes, prompt = Shapes(config), min(tokens, config.window)
    memory = config.pool_rows + config.recall_rows + shapes.bos
    llama, linear = shapes.behind(tokens, 0), shapes.linear(tokens)
    mplus = shapes.write(tokens - prompt) + shapes.behind(prompt, memory)
    hidden = mplus + shapes.to_keys_values(memory)
    row = {"tokens": tokens, "llama": llama, "llama_without_attention": linear, "mplus": mplus, "mplus_hidden": hidden,
           "ratio": round(mplus / llama, 3), "ratio_hidden": round(hidden / llama, 3)}  # fmt: skip
    if published and tokens in PUBLISHED:
        row["paper_llama"], row["paper_mplus"] = PUBLISHED[tokens]
    return row


def comparison(config: MPlusConfig, tokens: int, asked: Asked, held: Held, plain: bool = False) -> dict[str, Any]:
    """Costs of every method at one length, and what equal bytes and equal FLOPs would buy full context.

    `plain`: of a Llama without memory training, which has no latent rows to compare with.
    """
    shapes = Shapes(config)
    costs = {
        name: cost(shapes, tokens, asked, held) for name, cost in COSTS.items() if not plain or name not in TRAINED
    }
    methods = {
        name: {"read": one.read, "answer": one.answer, "held_bytes": one.held, "tokens": one.tokens}
        for name, one in costs.items()
    }
    if plain:
        return {"tokens": tokens, "methods": methods}
    return {
        "tokens": tokens,
        "methods": methods,
        "cache_tokens_at_equal_bytes": cache_tokens_at_bytes(config, tokens),
        "full_context_tokens_at_equal_flops": full_tokens_at_flops(config, tokens, asked),
    }
