"""A tiny model whose weights are large enough that every token counts, and its checkpoint folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from model.checkpoint import save
from model.evaluation.common import Subject
from model.mplus import MPlus
from model.training.tokenizer import train_tokenizer
from tests.training.tiny import Shape, story

SHAPE = Shape(vocabulary=320, width=32, layers=2, heads=4, key_value_heads=2, feed_forward=48, rows=8, pool_chunks=3,
              recall_chunks=2, retriever=8, window=128, name="text")  # fmt: skip
QUESTION = "What did the fox find?"


def strong_model(bos_row: bool) -> MPlus:
    """Two key-value heads of two query heads each."""
    torch.manual_seed(1)
    config = replace(SHAPE.config(), bos_row=bos_row)
    config.llama.max_position_embeddings = 512
    model = MPlus(config).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        drawn = torch.randn_like(parameter) * 0.2 + float("norm" in name)
        parameter.copy_(drawn.bfloat16())  # as it will be saved
    return model


def saved(folder: Path, bos_row: bool) -> Subject:
    """The model as a subject of measurement."""
    save(strong_model(bos_row), folder)
    train_tokenizer((story(number) for number in range(4)), SHAPE.vocabulary, folder / "tokenizer.json")
    return Subject(folder, "cpu", "float32")
