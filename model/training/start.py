"""First weights of a model trained from scratch: small, and with the beginnings of a copying circuit."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from model.mplus import MPlus

EMBEDDING = 1.0
CONSTANT = 6.0  # length of the part that all token embeddings share: what heads that look at positions need
HEAD = 0.15  # how strongly the head reads what was copied
SHARP = 45.0  # squared length of each frequency pair in the head that looks one token back
SHARP_PAIRS = 4
MATCH = 3.0  # scale of the queries and keys that compare a token with the tokens before stored ones
SLOW = 3e-2  # radians a position: only slower frequencies compare content over the length of a memory
COPY = 3.0
PREVIOUS = 1.5  # strength of what the first head tells about the token before
QUIET = 0.2  # other heads and MLPs start this much smaller: they would drown the circuit


def initialise(model: MPlus, copying: bool = True, frequencies: Tensor | None = None) -> MPlus:
    """Linear layers at 1/sqrt(inputs), embeddings at length sqrt(d), what writes into the residual small.

    Small embeddings (0.05) let the layers outgrow them a hundredfold: rows then hardly hold which token they are.
    frequencies: log_frequencies of the text, where the head is a matrix of its own.
    """
    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, nn.Linear) and not name.endswith("lm_head"):
                scale = module.in_features**-0.5
                if name.endswith(("o_proj", "down_proj")):
                    scale *= QUIET * (2 * model.config.layers) ** -0.5
                module.weight.normal_(0, scale)
        embeddings = model.llama.model.embed_tokens.weight.normal_(0, EMBEDDING)
        model.bos_embedding.normal_(0, EMBEDDING)
        model.start_memory.normal_(0, EMBEDDING)
        basis = torch.linalg.qr(torch.randn(embeddings.shape[1], 1 + model.config.head_dim))[0].T
        direction, copied = basis[0], basis[1:]  # the shared direction; where copied tokens are written
        for rows in (embeddings, model.bos_embedding, model.start_memory):
            rows -= rows @ basis.T @ basis
        picked = torch.linalg.qr(torch.randn(embeddings.shape[1], model.config.head_dim))[0].T
        picked -= picked @ basis.T @ basis
        start_head(model, embeddings @ picked.T @ copied, direction, frequencies)
        for rows in (embeddings, model.bos_embedding, model.start_memory):
            rows += CONSTANT * direction
        if copying and model.config.layers > 1:
            begin_copying(model, direction, picked, copied)
    return model


@torch.no_grad()
def start_head(model: MPlus, written: Tensor, direction: Tensor, frequencies: Tensor | None) -> None:
    """The head begins by reading what the copying head writes, and token frequencies along the shared direction."""
    head = model.llama.lm_head.weight
    head.copy_(HEAD * written)
    if frequencies is not None:
        head += frequencies[:, None] * direction / constant_seen(len(direction))


def constant_seen(width: int) -> float:
    """Length of the shared part of a token's embedding after the input norm."""
    return CONSTANT / math.hypot(CONSTANT, EMBEDDING * math.sqrt(width)) * math.sqrt(width)


@torch.no_grad()
def begin_copying(model: MPlus, direction: Tensor, picked: Tensor, copied: Tensor) -> None:
    """Give layer 0 a head that looks one token back, and layer 1 a head that finds and copies what followed.

    Copying is the first transition that memory needs, and the slowest to appear by itself. In layer 1 the query of
    a token is compared with what the first head left in each row about the token before it; the value is the row's
    own token. Training is free to undo all of it.
    """
    size = model.config.head_dim
    speeds = model.llama.model.rotary_emb.inv_freq.float()  # (hd / 2,)
    first, second = model.layer(0).self_attn, model.layer(1).self_attn
    seen = constant_seen(len(direction))
    back = torch.zeros(size)
    back[:SHARP_PAIRS] = math.sqrt(SHARP) / seen
    half = size // 2
    turned = torch.cat([back[:half] * speeds.cos(), back[:half] * speeds.sin()])
    first.q_proj.weight[:size] = back[:, None] * direction
    first.k_proj.weight[:size] = turned[:, None] * direction
    slow = torch.cat([speeds, speeds]) < SLOW
    value, out = first.v_proj.weight[:size], first.o_proj.weight[:, :size]
    out.copy_(torch.linalg.qr(torch.randn(len(direction), size))[0] * PREVIOUS)
    value -= (value @ direction)[:, None] * direction
    second.q_proj.weight[:size] = MATCH * value * slow[:, None]
    second.k_proj.weight[:size] = MATCH * out.T / out.norm(dim=0)[:, None] * slow[:, None]
    second.v_proj.weight[:size] = picked
    second.o_proj.weight[:, :size] = COPY * copied.T


def log_frequencies(tokens: Tensor, vocabulary: int) -> Tensor:
    """Logarithms of token counts, centred: (V,)."""
    counts = torch.bincount(tokens, minlength=vocabulary).float() + 1
    logs = counts.log()
    return logs - logs.mean()
