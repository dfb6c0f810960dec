"""Laws of the method `rmt`: a state of fixed size that all that was read went through."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from model.errors import ModelError
from model.evaluation.common import Subject
from model.evaluation.methods.recurrent import Recurrent
from model.recurrent import read_behind, write_segment
from tests.evaluation.smoke import memory_tokens
from tests.training.tiny import story


@pytest.fixture(scope="module")
def tokens(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return memory_tokens(checkpoint, tmp_path_factory.mktemp("tokens") / "rmt.safetensors")


def prompt(subject: Subject) -> list[int]:
    return subject.question("What did the fox find?")


def test_an_answer_depends_on_a_segment_long_before_the_last(subject: Subject, tokens: Path) -> None:
    found = []
    for first in ("The king hid a sword.", "The miller lost a letter."):
        method = Recurrent(subject, weights=tokens)
        method.read(f"{first} {story(3, 6)}")
        assert len(method.subject.lengths(len(subject.tokenizer.encode(story(3, 6))))) > 2
        found.append(method.score(prompt(subject), [[30, 31], [40]])[0])
    assert found[0] != found[1]


def test_the_state_is_as_large_after_much_as_after_little_and_reset_forgets_it(subject: Subject, tokens: Path) -> None:
    method = Recurrent(subject, weights=tokens)
    fresh, size = method.prefill(prompt(subject), 2)[0], method.bytes_held()
    for number in range(3):
        method.read(story(number, 20))
    assert method.bytes_held() == size
    assert not torch.allclose(method.prefill(prompt(subject), 2)[0], fresh)
    method.reset()
    torch.testing.assert_close(method.prefill(prompt(subject), 2)[0], fresh)
    assert isinstance(method.answer(prompt(subject), 3), str)


def test_reading_carries_the_memory_as_training_does(subject: Subject, tokens: Path) -> None:
    method = Recurrent(subject, weights=tokens)
    ids = subject.tokenizer.encode(story(1, 2))
    carried = method.tokens.first()
    for segment in subject.ids(ids).split(list(subject.lengths(len(ids))), 1):
        carried = write_segment(method.model, method.tokens, segment, carried)
    method.read(story(1, 2))
    wanted = read_behind(method.model, subject.ids(prompt(subject)), carried)
    torch.testing.assert_close(method.prefill(prompt(subject), 2)[0], wanted)


def test_without_a_file_it_says_what_makes_one(subject: Subject) -> None:
    with pytest.raises(ModelError) as refused:
        Recurrent(subject)
    assert "model.training.recurrent" in refused.value.remedy
