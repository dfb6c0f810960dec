"""F1 against a table computed by hand, and the conditions of questions on passages."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.evaluation import questions
from model.evaluation.common import Subject, background_texts, held_out_books

HAND = [  # answer, right answer, F1: 2 * shared / (words of one + words of the other), articles left out
    ("Paris", "Paris", 1.0),
    ("the purse of gold", "a purse of gold", 1.0),
    ("Paris.", "paris", 1.0),
    ("purse", "purse of gold", 2 * 1 / (1 + 3)),
    ("gold of purse", "purse of gold", 1.0),
    ("dog dog", "dog", 2 * 1 / (2 + 1)),
    ("a red dog in town", "the red cat", 2 * 1 / (4 + 2)),
    ("cat", "dog", 0.0),
    ("", "dog", 0.0),
    ("", "the", 1.0),
    ("wasn’t", "wasn't", 1.0),
]


@pytest.mark.parametrize(("answer", "gold", "wanted"), HAND)
def test_f1_is_what_the_hand_computes(answer: str, gold: str, wanted: float) -> None:
    assert questions.token_f1(answer, gold) == pytest.approx(wanted)
    assert questions.token_f1(gold, answer) == pytest.approx(wanted)


def test_the_best_of_several_right_answers_counts() -> None:
    assert questions.best_f1("in Rome", ["Paris", "Rome", "in Rome"]) == 1.0


def test_an_oracle_scores_1(data: Path) -> None:
    for name in questions.SETS:
        for item in questions.read_items(data, name, 10, 0):
            assert questions.best_f1(item.answers[0], item.answers) == 1.0


def test_items_are_drawn_by_the_seed(data: Path) -> None:
    first = questions.read_items(data, "babi", 3, 0)
    assert len(first) == 3
    assert first == questions.read_items(data, "babi", 3, 0)


def test_a_prompt_with_its_passage_ends_with_the_question_and_fits_the_window(subject: Subject) -> None:
    short = questions.Item("The fox found a river.", "What did the fox find?", ("a river",))
    long = questions.Item(short.passage * 200, short.question, short.answers)
    for item, must_cut in ((short, False), (long, True)):
        prompt, cut = questions.prompt_with(subject, item)
        assert cut == must_cut
        assert len(prompt) + questions.LONGEST <= subject.config.window
        assert subject.tokenizer.decode(prompt).endswith("Question: What did the fox find? Answer:")


def test_only_the_first_condition_shows_the_passage_and_only_the_last_lacks_it(subject: Subject, data: Path) -> None:
    seen: list[tuple[int, int]] = []

    class Spy(Subject):
        def __init__(self) -> None:
            self.__dict__.update(subject.__dict__)

        def answer(self, reader, prompt, most=16):  # type: ignore[no-untyped-def]
            seen.append((len(reader.memory.table) // subject.config.memory_rows, len(prompt)))
            return "", None

    others = subject.write_all(background_texts(subject, held_out_books(data), 80))
    item = questions.Item("The fox found a river near the old tower.", "What did the fox find?", ("a river",))
    questions.answers(Spy(), item, 0, others)
    own = len(subject.lengths(len(subject.tokenizer.encode(item.passage))))
    asked = len(subject.question(item.question))
    assert [chunks for chunks, _ in seen] == [0, own, own + questions.BEHIND, questions.BEHIND]
    assert [length == asked for _, length in seen] == [False, True, True, True]
