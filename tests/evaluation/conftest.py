"""A two-layer checkpoint with random weights, and a data folder of invented books and questions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from model.checkpoint import save
from model.evaluation.common import Subject
from model.mplus import MPlus
from model.training.tokenizer import train_tokenizer
from tests.training.tiny import SHAPE, story

SETS = ("fairytaleqa", "xquad_en", "onestopqa", "babi")


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """text/valid_books.jsonl and qa/dev/*.jsonl."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "text").mkdir()
    (folder / "qa" / "dev").mkdir(parents=True)
    books = [{"title": f"Tale {number}", "text": story(number, 300)} for number in range(3)]
    (folder / "text" / "valid_books.jsonl").write_text("\n".join(map(json.dumps, books)), "utf-8")
    for name in SETS:
        lines = [
            {"context": story(50 + n, 3), "question": "What did the fox find?", "answers": ["the king", "a river"]}
            for n in range(4)
        ]
        (folder / "qa" / "dev" / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)), "utf-8")
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder."""
    folder = tmp_path_factory.mktemp("checkpoint")
    torch.manual_seed(0)
    save(MPlus(SHAPE.config()), folder)
    train_tokenizer((story(number) for number in range(4)), SHAPE.vocabulary, folder / "tokenizer.json")
    return folder


@pytest.fixture(scope="session")
def subject(checkpoint: Path) -> Subject:
    """The checkpoint, loaded for measuring."""
    torch.set_num_threads(1)
    return Subject(checkpoint, "cpu", "float32")
