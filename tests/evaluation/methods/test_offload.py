"""Laws of --offload: the same answers, and state in files instead of on the device and in memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from model.evaluation.common import Subject
from model.evaluation.methods import METHODS
from model.evaluation.methods.method import Budget, Method
from model.evaluation.methods.offload import Attic
from tests.evaluation.smoke import memory_tokens
from tests.training.tiny import story

QUESTION = "What did the fox find?"
STATEFUL = [name for name in METHODS if not name.startswith(("rag-bm25", "truncate", "no-context"))]


@pytest.fixture(scope="module")
def tokens(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return memory_tokens(checkpoint, tmp_path_factory.mktemp("tokens") / "rmt.safetensors")


def having_read(subject: Subject, name: str, tokens: Path, offload: bool) -> Method:
    more = {"weights": tokens} if name == "rmt" else {}
    method = METHODS[name](subject, Budget(rows=40, passage_tokens=8, offload=offload), **more)  # type: ignore[arg-type]
    for number in range(2):
        method.read(story(number, 4))
    return method


@pytest.mark.parametrize("name", STATEFUL)
def test_answers_are_the_same_and_nothing_idle_is_on_the_device(subject: Subject, tokens: Path, name: str) -> None:
    here, away = (having_read(subject, name, tokens, offload) for offload in (False, True))
    prompt = subject.question(QUESTION)
    for _ in range(2):
        assert here.score(prompt, [[30, 31], [40]]) == away.score(prompt, [[30, 31], [40]])
        assert here.answer(prompt, 4) == away.answer(prompt, 4)
    held, stowed = here.bytes_held(), away.bytes_held()
    assert stowed["device"] == 0 < held["device"]
    assert stowed["disk"] > 0
    assert stowed["host"] <= max(held["host"], held["device"])


def test_files_have_no_name_once_they_are_mapped_and_keep_what_they_hold() -> None:
    attic, wanted = Attic(), torch.randn(3, 5).bfloat16()
    kept = attic.tensor(wanted)
    assert list(Path(attic._folder.name).iterdir()) == []
    assert torch.equal(kept, wanted)
    assert attic.tensor(wanted[:0]).shape == (0, 5)


def test_reset_forgets_what_was_offloaded(subject: Subject, tokens: Path) -> None:
    method = having_read(subject, "mplus-latent", tokens, True)
    method.reset()
    assert method.bytes_held()["disk"] == 0
