"""A Llama that holds weights and has no layers of its own to run: what inference with fused layers needs.

Its modules have the names that transformers gives them, so the same files fill it. It exists because importing
transformers' Llama takes longer than importing torch: a question asked once waits for both. What it does not know
(biases, scaled rotary positions, adapters) is left to the stock modules.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class LlamaSizes:
    """The sizes of a plain Llama, under the names of transformers' `LlamaConfig`."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    rms_norm_eps: float
    tie_word_embeddings: bool
    rope_theta: float


def plain_sizes(raw: dict[str, Any]) -> LlamaSizes | None:
    """The sizes in a config.json that names them all and asks for nothing but a plain Llama; else None."""
    rope = raw.get("rope_parameters")
    plain = (
        isinstance(rope, dict)
        and set(rope) == {"rope_type", "rope_theta"}
        and rope["rope_type"] == "default"
        and raw.get("hidden_act") == "silu"
        and not any(raw.get(name) for name in ("attention_bias", "mlp_bias", "lora_config", "quantization_config"))
    )
    if not plain:
        return None
    known = {**raw, "rope_theta": rope["rope_theta"]}
    names = [field.name for field in fields(LlamaSizes)]
    return (
        None if any(known.get(name) is None for name in names) else LlamaSizes(**{name: known[name] for name in names})
    )


class Rotary(nn.Module):
    """Rotary positions without scaling; `inv_freq` (hd / 2,) as transformers computes it."""

    inv_freq: Tensor

    def __init__(self, sizes: LlamaSizes) -> None:
        super().__init__()
        # on the processor, wherever the weights are: no arithmetic on the meta device, which imports a compiler
        speeds = torch.arange(0, sizes.head_dim, 2, device="cpu").float() / sizes.head_dim
        self.register_buffer("inv_freq", 1.0 / sizes.rope_theta**speeds, persistent=False)

    @torch.no_grad()
    def forward(self, like: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin at positions (B, P), each (B, P, hd), in the number format of `like`."""
        half = positions[..., None].float() * self.inv_freq.float()
        angles = torch.cat([half, half], -1)
        return angles.cos().to(like.dtype), angles.sin().to(like.dtype)


class BareLlama(nn.Module):
    """Stands in for `LlamaForCausalLM` where `FusedLayer`s compute: `model` with its layers, and `lm_head`."""

    def __init__(self, sizes: LlamaSizes) -> None:
        super().__init__()
        width, words = sizes.hidden_size, sizes.vocab_size
        self.model = nn.Module()
        self.model.embed_tokens = nn.Embedding(words, width)
        self.model.layers = nn.ModuleList(_layer(sizes) for _ in range(sizes.num_hidden_layers))
        self.model.norm = nn.RMSNorm(width, sizes.rms_norm_eps)
        self.model.rotary_emb = Rotary(sizes)
        self.lm_head = nn.Linear(width, words, bias=False)


def _layer(sizes: LlamaSizes) -> nn.Module:
    width, inner = sizes.hidden_size, sizes.intermediate_size
    queries, keys = (heads * sizes.head_dim for heads in (sizes.num_attention_heads, sizes.num_key_value_heads))
    layer = nn.Module()
    layer.self_attn = _linears(
        q_proj=(width, queries), k_proj=(width, keys), v_proj=(width, keys), o_proj=(queries, width)
    )
    layer.mlp = _linears(gate_proj=(width, inner), up_proj=(width, inner), down_proj=(inner, width))
    layer.input_layernorm = nn.RMSNorm(width, sizes.rms_norm_eps)
    layer.post_attention_layernorm = nn.RMSNorm(width, sizes.rms_norm_eps)
    return layer


def _linears(**shapes: tuple[int, int]) -> nn.ModuleDict:
    return nn.ModuleDict({name: nn.Linear(*shape, bias=False) for name, shape in shapes.items()})
