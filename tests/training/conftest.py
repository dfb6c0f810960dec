"""A two-layer model, a tokenizer and a few invented books, small enough to train for seconds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from model.training.cli import Sources
from model.training.data import Corpus, Words, tokenise
from tests.training.tiny import SHAPE, story


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
        lines.append(
            {
                "id": str(number),
                "context": passage,
                "question": f"What did {first.split()[1]} do?",
                "answers": [first.split()[-1]],
            }
        )
    (folder / "fairytaleqa.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory, text_folder: Path) -> Path:
    """A work folder with a trained tokenizer."""
    from model.training.tokenizer import documents, train_tokenizer

    folder = tmp_path_factory.mktemp("work")
    train_tokenizer((str(d["text"]) for d in documents(text_folder)), SHAPE.vocabulary, folder / "tokenizer.json")
    return folder


@pytest.fixture(scope="session")
def words(work: Path) -> Words:
    """The tokenizer with its tables."""
    return Words(work / "tokenizer.json")


@pytest.fixture(scope="session")
def corpus(words: Words, text_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """The stories as tokens."""
    return tokenise(text_folder, words, tmp_path_factory.mktemp("cache") / "text.u16", "*.jsonl*", 10**6)


@pytest.fixture
def sources(text_folder: Path, question_folder: Path, work: Path) -> Sources:
    """Folders of a training."""
    return Sources(text_folder, question_folder, work)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small matrices are slower on many threads."""
    torch.set_num_threads(1)
