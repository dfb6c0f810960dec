"""Seeded tiny models: random weights, two or three layers, made in milliseconds."""

import torch
from transformers import LlamaConfig

from model.config import AdapterConfig, MPlusConfig
from model.mplus import MPlus


def tiny_config(adapters: bool = False, **changes) -> MPlusConfig:
    llama = LlamaConfig(
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=64,
        vocab_size=128,
        max_position_embeddings=4096,
        tie_word_embeddings=not adapters,
    )
    llama._attn_implementation = "sdpa"
    sizes = {"memory_rows": 8, "pool_rows": 32, "recall_rows": 16, "retriever_dim": 8, "chunk_tokens": 8, "window": 64}
    sizes |= changes
    lora = AdapterConfig(rank=4, alpha=8, dropout=0.0) if adapters else None
    return MPlusConfig(llama, adapters=lora, start_rows=True, **sizes)


def tiny_model(adapters: bool = False, seed: int = 0, **changes) -> MPlus:
    torch.manual_seed(seed)
    model = MPlus(tiny_config(adapters, **changes)).eval().requires_grad_(False)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * (0.2 if "norm" not in name else 0.1))
            if "norm" in name:
                parameter.add_(1.0)
    return model


def tokens(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 128, (1, count), generator=torch.Generator().manual_seed(seed))


def write_chunks(model: MPlus, lengths: list[int], seed: int = 0) -> list[torch.Tensor]:
    """Hidden rows (L, K, d) of chunks of these lengths, one after the other."""
    newest, rows = model.start_rows(1), []
    with torch.no_grad():
        for number, length in enumerate(lengths):
            newest, _ = model.write(tokens(length, seed + number), newest)
            rows.append(newest[:, 0])
    return rows
