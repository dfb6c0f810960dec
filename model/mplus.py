"""M+ on stock Llama layers: memory enters a layer only as a prefix of keys and values.

Only prompt (or chunk) rows become queries, and the residual never carries memory rows on, so a stock
`LlamaDecoderLayer` with a cache whose first positions are the memory computes M+ exactly. Weights live here; memory is
a value that is passed in and handed back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from model.adapters import READ, WRITE, add_adapters, lora_layers, merge, using
from model.bare import BareLlama, LlamaSizes
from model.config import MPlusConfig
from model.fused import FusedLayer, Projector, laid_out, rotate, turns
from model.layer_cache import GrowingLayer, LayerCache
from model.matrices import Dense, EightBit, Matrix
from model.retriever import Retriever

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM


class KeysValues(NamedTuple):
    """Keys before RoPE and values of memory rows in one layer: each (B, H_kv, P, hd)."""

    keys: Tensor
    values: Tensor


TURNS = 64  # positions whose rotations are made at once
PrefixOf = Callable[[int, Tensor], KeysValues]  # (layer, hidden entering it (B, n, d)) -> the memory that it sees


class MPlus(nn.Module):
    """A Llama, its per-layer bos rows, positional bias of new rows, first context, and retriever."""

    def __init__(self, config: MPlusConfig) -> None:
        super().__init__()
        self.config = config
        width, layers = config.llama.hidden_size, config.layers
        self.llama = llama_of(config)
        self.bos_embedding = nn.Parameter(nn.init.normal_(torch.empty(layers, 1, width), std=0.02))
        self.new_memory_positional_emb = nn.Parameter(torch.zeros(1, 1, width))
        self.start_memory = nn.Parameter(nn.init.normal_(torch.empty(layers, config.memory_rows, width), std=0.02))
        self.retrievers = nn.ModuleList(
            Retriever(width, config.retriever_dim, config.retriever_layers) if config.retriever_dim else nn.Identity()
            for _ in range(layers)
        )
        self.lora_layers: list[nn.Module] = []
        self.fused: list[FusedLayer] = []
        self.weights = "dense"  # the format of the layers' matrices
        self.head: Matrix | None = None
        self.projector: Projector | None = None
        self.bos_prefix: list[KeysValues] = []
        self._frames: dict[tuple[int, int, torch.dtype], tuple[Tensor, Tensor, Tensor | None]] = {}
        self._turns: tuple[int, Tensor, Tensor, Tensor] | None = None
        if config.adapters is not None:
            add_adapters(self.llama.model, config.adapters)
            self.lora_layers = lora_layers(self.llama.model)
        if config.rope_bf16:
            round_rotary_frequencies(self.llama)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.llama.model.embed_tokens.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the weights."""
        return self.llama.model.embed_tokens.weight.dtype

    def layer(self, index: int) -> nn.Module:
        """The stock decoder layer."""
        return self.llama.model.layers[index]

    def normed(self, index: int, rows: Tensor) -> Tensor:
        """Rows after the layer's input norm, what all its projections read."""
        return self.layer(index).input_layernorm(rows)

    def project_layer(self, index: int, rows: Tensor) -> KeysValues:
        """Read form of hidden rows in one layer: (B, P, d) -> keys before RoPE and values (B, H_kv, P, hd)."""
        if self.fused:
            return KeysValues(*self.fused[index].project(rows))
        attention, hidden = self.layer(index).self_attn, self.normed(index, rows)
        return KeysValues(*(self.as_heads(part(hidden)) for part in (attention.k_proj, attention.v_proj)))

    def as_heads(self, flat: Tensor) -> Tensor:
        """(B, P, H_kv * hd) -> (B, H_kv, P, hd)."""
        return flat.unflatten(-1, (-1, self.config.head_dim)).transpose(1, 2)

    def attention_query(self, index: int, hidden: Tensor) -> Tensor:
        """What a layer's attention asks with, before RoPE: (B, n, d) -> (B, n, H * hd)."""
        if self.fused:
            return self.fused[index].queries(hidden)
        return self.layer(index).self_attn.q_proj(self.normed(index, hidden))

    def query(self, index: int, hidden: Tensor) -> Tensor:
        """Retrieval queries of hidden states entering a layer: (B, n, d) -> (B, n, h)."""
        return self.retrievers[index].query(self.normed(index, hidden))

    def key(self, index: int, rows: Tensor) -> Tensor:
        """Retrieval keys of memory rows: (B, P, d) -> (B, P, h)."""
        return self.retrievers[index].key(self.normed(index, rows))

    def rotary(self, positions: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin at positions (P,): each (1, P, hd)."""
        return self.llama.model.rotary_emb(like, positions[None])

    def place(self, start: int, count: int, like: Tensor) -> tuple[Tensor, ...]:
        """cos and sin of n positions from `start` on, each (1, n, hd), as `step` takes them.

        One position of fused layers on the CPU has its rotation as a matrix (hd, hd) with them: one small product
        instead of seven operations a layer.
        """
        if count > 1 or not self.fused or like.dtype != torch.float32 or like.device.type != "cpu":
            return self.rotary(torch.arange(start, start + count, device=like.device), like)
        first, at = start - start % TURNS, start % TURNS
        if self._turns is None or self._turns[0] != first:
            both = self.rotary(torch.arange(first, first + TURNS), like)
            self._turns = first, *both, turns(*both)
        _, cos, sin, matrices = self._turns
        return cos.narrow(1, at, 1), sin.narrow(1, at, 1), matrices[at]

    def embed(self, ids: Tensor) -> Tensor:
        """Token embeddings: (B, n) -> (B, n, d)."""
        return self.llama.model.embed_tokens(ids)

    def logits(self, hidden: Tensor) -> Tensor:
        """Final norm and head: (..., d) -> (..., V)."""
        norm = self.llama.model.norm
        if self.head is None:
            return self.llama.lm_head(norm(hidden))
        return self.head(self.fused[0].norm(hidden, norm.weight))

    def start_rows(self, batch: int = 1) -> Tensor:
        """First context of a document: (L, B, K, d)."""
        return self.start_memory[:, None].expand(-1, batch, -1, -1)

    def layers_behind(
        self,
        hidden: Tensor,
        prefix_of: PrefixOf,
        cache: LayerCache | None = None,
        before: Callable[[int, Tensor], Tensor] = lambda index, hidden: hidden,
        layers: range | None = None,
    ) -> Iterator[Tensor]:
        """Run hidden (B, n, d) through the decoder behind a memory prefix; yields the output of every layer.

        `before` may change what enters a layer. The bos row of each layer is put in front of the prefix here, and
        positions are counted from it, the same in all layers. layers: some of them only.
        """
        layers = range(self.config.layers) if layers is None else layers
        if cache is None:
            cache = LayerCache([GrowingLayer() for _ in range(self.config.layers)])
        for index in layers:
            prefix = self._with_bos(index, prefix_of(index, hidden))
            if index == layers.start:
                length, count = prefix.keys.shape[2], hidden.shape[1]
                cos, sin, mask = self._frame(count, length, hidden)
                here = cos[:, length:], sin[:, length:]
            cache.update(rotate(prefix.keys, cos[:, :length], sin[:, :length]), prefix.values, index)
            hidden = self.step(index, before(index, hidden), mask, cache, here)
            yield hidden

    def _frame(self, count: int, length: int, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """cos, sin (1, P + n, hd) and mask of n rows behind P; the last two are kept: chunks have one of two lengths.

        Threads that write different layers share them.
        """
        key = (count, length, hidden.dtype)
        frame = self._frames.get(key)
        if frame is None:
            cos, sin = self.rotary(torch.arange(length + count, device=hidden.device), hidden)
            frame = cos, sin, self.mask(count, length)
            if self.fused:
                self._frames = {**dict(list(self._frames.items())[-1:]), key: frame}
        return frame

    def step(
        self, index: int, hidden: Tensor, mask: Tensor | None, cache: LayerCache, rotary: tuple[Tensor, ...]
    ) -> Tensor:
        """One decoder layer on hidden (B, n, d) behind its cache: the stock layer, or its fused form."""
        if self.fused:
            return self.fused[index](hidden, mask, cache, rotary, index)
        return self.layer(index)(hidden, attention_mask=mask, past_key_values=cache, position_embeddings=rotary)

    def mask(self, count: int, prefix: int) -> Tensor | None:
        """Who sees whom: (1, 1, n, P + n), boolean for the stock layers, additive for the fused ones; None for n 1."""
        allowed = visible(count, prefix, self.device)
        if allowed is None or not self.fused:
            return allowed
        return torch.zeros(allowed.shape, dtype=self.dtype, device=self.device).masked_fill_(~allowed, -torch.inf)

    @torch.no_grad()
    def specialise(self, role: str, weights: str = "dense", device: torch.device | None = None) -> None:
        """Fold the adapter of a role, "write" or "read", into the weights and compute with fused layers from now on.

        Not reversible, and for inference only. A writer keeps a projector of the read adapter for its rows. weights:
        a format of `model.matrices`; matrices are taken to `device` one after the other, so that a model that fits it
        in four bits only need never be there as a whole.
        """
        eps = self.config.llama.rms_norm_eps
        if role == WRITE or not self.lora_layers:
            with using(self, READ):
                self.projector = Projector(self.llama.model.layers, self.retrievers, eps)
        merge(self.llama.model, role)
        self.lora_layers = []
        place = self.device if device is None else device
        self.fused = [
            FusedLayer(layer.to(place) if weights == "dense" else layer, self.config.head_dim, eps, weights, place)
            for layer in self.llama.model.layers
        ]
        self.to(place)
        self.weights, self.head = weights, self._head(weights)
        if self.projector is not None:
            self.projector.to(place)
        self.bos_prefix = [self.project_layer(i, row[None]) for i, row in enumerate(self.bos_embedding)]

    def _head(self, weights: str) -> Matrix:
        """The head in a format of its own: one that is tied to the embeddings stays theirs, four bits are too few."""
        linear, tied = self.llama.lm_head, self.config.llama.tie_word_embeddings
        if weights == "int8" and not tied:
            head = EightBit(linear.weight)
            linear.weight = nn.Parameter(linear.weight.new_empty(0), requires_grad=False)
            return head
        if not tied:
            linear.weight = nn.Parameter(laid_out(linear.weight.detach()), requires_grad=False)
        return Dense(linear.weight)

    def weight_bytes(self) -> int:
        """Bytes of all weights, in the form in which they are kept."""
        inside = {id(p) for layer in self.llama.model.layers for p in layer.parameters() if p.ndim == 2}
        rest = sum(p.nbytes for p in self.parameters() if not self.fused or id(p) not in inside)
        eight_bits = self.head.nbytes if isinstance(self.head, EightBit) else 0
        return rest + eight_bits + sum(layer.nbytes for layer in self.fused)

    def _with_bos(self, index: int, prefix: KeysValues) -> KeysValues:
        if not self.config.bos_row:
            return prefix
        if self.bos_prefix:
            bos = self.bos_prefix[index]
        else:
            bos = self.project_layer(index, self.bos_embedding[index][None].to(self.dtype))
        batch = prefix.keys.shape[0]
        return KeysValues(
            *(torch.cat([one.expand(batch, -1, -1, -1), many], 2) for one, many in zip(bos, prefix, strict=True))
        )

    def read(self, ids: Tensor, prefix_of: PrefixOf, cache: LayerCache | None = None) -> Tensor:
        """Hidden states of a prompt behind a memory: (B, n) -> (B, n, d), before the final norm."""
        *_, hidden = self.layers_behind(self.embed(ids), prefix_of, cache)
        return hidden

    def write(self, ids: Tensor, newest: Tensor) -> tuple[Tensor, Tensor]:
        """Turn a chunk into memory behind the newest rows (spec, 4.1).

        ids (B, n), newest (L, B, K, d) -> new rows (L, B, K, d), and the hidden states of the chunk (B, n, d) before
        the final norm. A chunk shorter than K has its first K - n rows re-processed from the newest ones.
        """
        hidden, short = self.enter(ids)
        hidden, rows = self.write_layers(hidden, short, newest, range(self.config.layers))
        return torch.stack(rows), hidden[:, short:]

    def enter(self, ids: Tensor) -> tuple[Tensor, int]:
        """What enters the first layer for a chunk (B, n): (B, max(n, K), d), and how many rows it is short of K."""
        short = max(0, self.config.memory_rows - ids.shape[1])
        return torch.nn.functional.pad(self.embed(ids), (0, 0, short, 0)), short

    def write_layers(
        self, hidden: Tensor, short: int, newest: Sequence[Tensor], layers: range
    ) -> tuple[Tensor, list[Tensor]]:
        """The part of `write` that some layers do: what enters them (B, max(n, K), d) -> what leaves them, new rows.

        newest, new rows: (B, K, d) for each of these layers.
        """
        count = self.config.memory_rows

        def prefix_of(index: int, hidden: Tensor) -> KeysValues:
            return self.project_layer(index, newest[index - layers.start][:, : count - short])

        def before(index: int, hidden: Tensor) -> Tensor:
            if short:
                hidden = torch.cat([newest[index - layers.start][:, count - short :], hidden[:, short:]], 1)
            biased = hidden[:, -count:] + self.new_memory_positional_emb
            return torch.cat([hidden[:, :-count], biased], 1) if hidden.shape[1] > count else biased

        outputs = list(self.layers_behind(hidden, prefix_of, before=before, layers=layers))
        return outputs[-1], [output[:, -count:] for output in outputs]


def visible(count: int, prefix: int, device: torch.device) -> Tensor | None:
    """Every query sees the whole prefix; queries are causal among themselves: (1, 1, n, P + n), None for one query."""
    if count == 1:
        return None
    return torch.ones(count, prefix + count, dtype=torch.bool, device=device).tril(prefix)[None, None]


def llama_of(config: MPlusConfig) -> LlamaForCausalLM | BareLlama:
    """The stock Llama, or, where the configuration has bare sizes, modules that only hold its weights."""
    if isinstance(config.llama, LlamaSizes):
        return BareLlama(config.llama)
    from transformers import LlamaForCausalLM

    return LlamaForCausalLM(config.llama)


def round_rotary_frequencies(llama: LlamaForCausalLM | BareLlama) -> None:
    """Round the rotary frequencies to bf16, after their scaling: the published weights were trained so."""
    buffer = llama.model.rotary_emb.inv_freq
    buffer.copy_(buffer.to(torch.bfloat16))
