"""First weights of a model trained from scratch."""

from __future__ import annotations

import torch
from torch import nn

from model.mplus import MPlus

EMBEDDING = 0.05


def initialise(model: MPlus) -> MPlus:
    """Linear layers at 1/sqrt(inputs), what writes into the residual smaller by sqrt(2 L), small embeddings.

    Llama's own 0.02 suits widths of thousands: at a width of 192 it makes the first hundreds of steps slow.
    """
    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, nn.Linear) and not name.endswith("lm_head"):
                scale = module.in_features**-0.5
                if name.endswith(("o_proj", "down_proj")):
                    scale *= (2 * model.config.layers) ** -0.5
                module.weight.normal_(0, scale)
        model.llama.model.embed_tokens.weight.normal_(0, EMBEDDING)
        model.bos_embedding.normal_(0, EMBEDDING)
        model.start_memory.normal_(0, EMBEDDING)
    return model
