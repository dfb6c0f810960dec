"""A two-layer model, a tokenizer and a few invented books, small enough to train for seconds."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch

from model.training.stages import Shape, Stage

SHAPE = Shape(
    vocabulary=320, width=32, layers=2, heads=2, key_value_heads=1, feed_forward=48, rows=8, pool_chunks=3,
    recall_chunks=2, retriever=8, window=128, name="tiny",
)  # fmt: skip
NOUNS = "king queen fox bird ship tower river letter sword garden miller baker".split()
VERBS = "found lost carried hid saw bought painted followed".split()


def story(seed: int, sentences: int = 120) -> str:
    """Plain invented sentences."""
    rng = random.Random(seed)
    made = (f"The {rng.choice(NOUNS)} {rng.choice(VERBS)} the {rng.choice(NOUNS)} near the {rng.choice(NOUNS)}." for _ in range(sentences))
    return " ".join(made)


@pytest.fixture(scope="session")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one JSON Lines file of stories."""
    folder = tmp_path_factory.mktemp("text")
    lines = [json.dumps({"title": f"Tale {number}", "text": story(number)}) for number in range(6)]
    (folder / "books.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def question_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with questions in the layout of the training sets."""
    folder = tmp_path_factory.mktemp("qa")
    lines = []
    for number in range(20):
        passage = story(100 + number, 4)
        first = passage.split(". ")[0]
        lines.append({"id": str(number), "context": passage, "question": f"What did {first.split()[1]} do?", "answers": [first.split()[-1]]})
    (folder / "fairytaleqa.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory, text_folder: Path) -> Path:
    """A work folder with a trained tokenizer."""
    from model.training.tokenizer import documents, train_tokenizer

    folder = tmp_path_factory.mktemp("work")
    train_tokenizer((str(d["text"]) for d in documents(text_folder)), SHAPE.vocabulary, folder / "tokenizer.json")
    return folder


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small matrices are slower on many threads."""
    torch.set_num_threads(1)


def tiny_stage(**changes: object) -> Stage:
    """A stage of a few quick steps."""
    plain: dict[str, object] = {
        "steps": 6, "batch": 4, "chunks": (1, 2), "room": 24, "mixture": {"repeat": 1.0}, "bfloat16": False,
        "warmup": 2, "validate_every": 1000, "save_every": 1000, "searches": 1, "full_share": 0.5, "full_chunks": 8,
    }  # fmt: skip
    return Stage(**(plain | changes))  # type: ignore[arg-type]
