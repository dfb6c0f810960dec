"""The conditions of questions on passages."""

from __future__ import annotations

from pathlib import Path

from model.evaluation import questions
from model.evaluation.common import Subject, background_texts, held_out_books
from model.evaluation.metrics import best_f1


def test_an_oracle_scores_1(data: Path) -> None:
    for name in questions.SETS:
        for item in questions.read_items(data, name, 10, 0):
            assert best_f1(item.answers[0], item.answers) == 1.0


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
