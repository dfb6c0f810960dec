"""The same Llama layer with fewer, larger operations, for inference with merged (or no) adapters.

One matrix for q, k, v and one for gate and up; the stock modules keep views of them, so nothing is stored twice. Used
where no gradient is wanted; parity with the stock layers is tested.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.layer_cache import LayerCache
from model.matrices import FORMATS, Matrix
from model.retriever import Retriever

CHUNK_KEYS = 1024  # keys up to which attention on the CPU is two plain matrix products


class FusedLayer:
    """Stands in for one `LlamaDecoderLayer`, called with the same arguments."""

    def __init__(
        self, layer: nn.Module, head_dim: int, eps: float, weights: str = "dense", device: torch.device | None = None
    ) -> None:
        """weights: a format of `model.matrices`; device: where the matrices go, as they are where none is named."""
        attention, mlp = layer.self_attn, layer.mlp
        place = attention.q_proj.weight.device if device is None else device

        def matrix(weight: Tensor) -> Matrix:
            return FORMATS[weights](weight.to(place))

        norms = layer.input_layernorm.weight, layer.post_attention_layernorm.weight
        (self.input_norm, self.post_norm), self.eps = (norm.to(place) for norm in norms), eps
        self.nothing = torch.zeros_like(self.input_norm)  # what torch.addcmul adds to
        self.query_heads = attention.q_proj.weight.shape[0] // head_dim
        self.heads = attention.k_proj.weight.shape[0] // head_dim
        self.qkv = matrix(_one_matrix([attention.q_proj, attention.k_proj, attention.v_proj]))
        self.gate_up = matrix(_one_matrix([mlp.gate_proj, mlp.up_proj]))
        self.out, self.down = matrix(attention.o_proj.weight), matrix(mlp.down_proj.weight)
        if weights != "dense":
            _forget([*attention.children(), *mlp.children()])
        self.head_dim = head_dim

    @property
    def nbytes(self) -> int:
        """Bytes of the layer's matrices."""
        return sum(matrix.nbytes for matrix in (self.qkv, self.gate_up, self.out, self.down))

    def norm(self, rows: Tensor, weight: Tensor) -> Tensor:
        """Root-mean-square norm of rows (..., d); one row alone is too short for torch's own eight operations."""
        if rows.numel() != rows.shape[-1] or rows.dtype != torch.float32 or rows.device.type != "cpu":
            return F.rms_norm(rows, rows.shape[-1:], weight, self.eps)
        flat = rows.view(-1)
        mean = torch.dot(flat, flat).item() / flat.numel()
        return torch.addcmul(self.nothing, rows, weight, value=(mean + self.eps) ** -0.5)

    def queries(self, rows: Tensor) -> Tensor:
        """Attention's queries before RoPE: (B, n, d) -> (B, n, H * hd)."""
        return self.qkv(self.norm(rows, self.input_norm), 0, self.query_heads * self.head_dim)

    def project(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Keys before RoPE and values of memory rows: (B, P, d) -> two of (B, H_kv, P, hd)."""
        both = self.qkv(self.norm(rows, self.input_norm), self.query_heads * self.head_dim)
        keys, values = both.unflatten(-1, (2, self.heads, self.head_dim)).permute(2, 0, 3, 1, 4)
        return keys, values

    def __call__(
        self,
        hidden: Tensor,
        attention_mask: Tensor | None,
        past_key_values: LayerCache,
        position_embeddings: tuple[Tensor, ...],
        layer: int,
    ) -> Tensor:
        """One decoder layer on hidden (B, n, d); mask (1, 1 or H, n, P + n) additive, None for a single query."""
        batch, count, _ = hidden.shape
        turning, flat = self.query_heads + self.heads, self.qkv(self.norm(hidden, self.input_norm))
        heads = flat.view(batch, count, -1, self.head_dim).transpose(1, 2)  # (B, H + 2 H_kv, n, hd)
        to_turn, values = heads.split((turning, self.heads), 1)
        queries, keys = rotate(to_turn, *position_embeddings).split((self.query_heads, self.heads), 1)
        seen = self._attend(queries, *past_key_values.update(keys, values, layer), attention_mask)
        hidden = self.out(seen.transpose(1, 2).reshape(batch, count, -1)).add_(hidden)
        gate, up = self.gate_up(self.norm(hidden, self.post_norm)).chunk(2, -1)
        return self.down(F.silu(gate, inplace=True).mul_(up)).add_(hidden)

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        """Grouped-query attention in the cache's format; for a chunk on the CPU two matrix products beat the kernel."""
        batch, heads, count, dim = queries.shape
        if keys.dtype != queries.dtype:
            mask = None if mask is None else mask.to(keys.dtype)
            return self._attend(queries.to(keys.dtype), keys, values, mask).to(queries.dtype)
        if queries.device.type == "cpu" and mask is None:  # queries that share keys, as rows of one head
            grouped = queries.reshape(batch, self.heads, -1, dim)
            return F.scaled_dot_product_attention(grouped, keys, values).reshape(queries.shape)
        if mask is None or queries.device.type != "cpu" or keys.shape[2] > CHUNK_KEYS:
            return F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, enable_gqa=True)
        grouped = queries.reshape(batch * self.heads, -1, dim)  # (B * H_kv, g * n, hd)
        keys, values = keys.flatten(0, 1), values.flatten(0, 1)
        copies = (1, heads // self.heads) if mask.shape[1] == 1 else (batch, heads)
        added = mask.expand(*copies, -1, -1).reshape(-1, grouped.shape[1], mask.shape[-1])  # (1 or B * H_kv, ...)
        products = torch.baddbmm(added, grouped, keys.transpose(1, 2), alpha=dim**-0.5)
        return torch.bmm(products.softmax(-1), values).view(batch, heads, count, dim)


def _forget(linears: list[nn.Module]) -> None:
    """Drop weights whose values are kept in another form."""
    for linear in linears:
        if isinstance(linear, nn.Linear):
            linear.weight = nn.Parameter(linear.weight.new_empty(0), requires_grad=False)


def _one_matrix(linears: list[nn.Linear]) -> Tensor:
    """Concatenate weights of linears that read the same input; the linears keep views of the result."""
    whole = laid_out(torch.cat([linear.weight.detach() for linear in linears]))
    start = 0
    for linear in linears:
        stop = start + linear.weight.shape[0]
        linear.weight = nn.Parameter(whole[start:stop], requires_grad=False)
        start = stop
    return whole


def laid_out(weight: Tensor) -> Tensor:
    """A matrix (out, in) in the memory order in which the CPU multiplies few rows fastest: the longer side contiguous.

    Short dot products leave a processor waiting for memory. Other number formats and devices keep their order.
    """
    if weight.device.type != "cpu" or weight.dtype != torch.float32 or weight.shape[0] <= weight.shape[1]:
        return weight
    return weight.t().contiguous().t()


def rotate(heads: Tensor, cos: Tensor, sin: Tensor, turn: Tensor | None = None) -> Tensor:
    """RoPE on queries or keys (B, H, P, hd) with cos and sin (1, P, hd), whose halves are equal.

    turn (hd, hd): the rotation of the one position that there is, as a matrix to multiply with.
    """
    if turn is not None:
        return torch.matmul(heads, turn)
    first, second = heads.chunk(2, -1)
    return torch.addcmul(heads * cos[:, None], torch.cat([-second, first], -1), sin[:, None])


def turns(cos: Tensor, sin: Tensor) -> Tensor:
    """Rotations of P positions as matrices (P, hd, hd), for `heads @ turn`: cos and sin (1, P, hd)."""
    identity = torch.eye(cos.shape[-1], dtype=cos.dtype)[None, :, None].expand(-1, -1, cos.shape[1], -1)
    return rotate(identity, cos, sin)[0].transpose(0, 1).contiguous()


class Projector:
    """Read form of new rows, all layers at once: two batched products instead of four small ones a layer.

    Made while the read adapter is the active one, so a process whose weights are merged for writing can still file
    its rows: it keeps the read adapter's k and v (an eighth of a layer's attention at 8B) beside them.
    """

    def __init__(self, layers: nn.ModuleList, retrievers: nn.ModuleList, eps: float) -> None:
        self.eps = eps
        self.norms = torch.stack([layer.input_layernorm.weight for layer in layers])[:, None]  # (L, 1, d)
        parts = [[_dense(layer.self_attn.k_proj), _dense(layer.self_attn.v_proj)] for layer in layers]
        self.key_values = parts[0][0].shape[0]
        self.second: Tensor | None = None
        for part, retriever in zip(parts, retrievers, strict=True):
            if isinstance(retriever, Retriever):
                part.append(_first(retriever.key).weight)
        if isinstance(retrievers[0], Retriever) and isinstance(retrievers[0].key, nn.Sequential):
            self.second = torch.stack([retriever.key[2].weight.T for retriever in retrievers])  # (L, 2h, h)
        self.first = torch.stack([torch.cat(part).T for part in parts])  # (L, d, 2 kv + 2h)

    def to(self, device: torch.device) -> None:
        """Take its matrices to a device."""
        self.norms, self.first = self.norms.to(device), self.first.to(device)
        self.second = None if self.second is None else self.second.to(device)

    def __call__(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Hidden rows (L, n, d) -> keys, values (L, n, kv) and retrieval keys (L, n, h)."""
        # the weights differ by layer, so they are multiplied after a norm without any
        hidden = F.rms_norm(rows, rows.shape[-1:], None, self.eps) * self.norms
        keys, values, retrieval = torch.bmm(hidden, self.first).tensor_split([self.key_values, 2 * self.key_values], -1)
        if self.second is not None:
            retrieval = torch.bmm(F.silu(retrieval), self.second)
        return keys, values, retrieval


def _first(part: nn.Module) -> nn.Linear:
    return part[0] if isinstance(part, nn.Sequential) else part


def _dense(linear: nn.Module) -> Tensor:
    """The weight of a linear with its active adapter folded in, without changing it."""
    if not hasattr(linear, "lora_A"):
        return linear.weight
    delta = sum(linear.get_delta_weight(name) for name in linear.active_adapters)
    return linear.get_base_layer().weight + delta
