"""Laws of tasks with candidates: the right one is right, and neither its place nor its length tells it."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from model.errors import ModelError
from model.evaluation.common import held_out_books, wilson
from model.evaluation.events import cleaned
from model.evaluation.metrics import score_options
from model.evaluation.tasks.event_qa import EVENT_TASKS
from model.evaluation.tasks.language import LANGUAGE_TASKS
from model.evaluation.tasks.panel import PANEL_TASKS, agreement, swapped
from model.evaluation.tasks.sort_order import SORT_TASKS
from model.evaluation.tasks.task import Limits, Task
from tests.evaluation.tasks.invented import LIMITS, event_line, likely, made, plain_text, write

MADE = (*SORT_TASKS[:2], EVENT_TASKS[1], *PANEL_TASKS)
NOTICEABLE = 0.12  # above chance: what a guess by the length of the candidates may reach
of_candidates = pytest.mark.parametrize("task", MADE, ids=lambda task: task.name)


@pytest.mark.parametrize("task", SORT_TASKS, ids=lambda task: task.name)
def test_the_right_order_of_passages_is_that_of_the_text(task: Task, data: Path) -> None:
    for one in made(task, data):
        if one.plain:
            first, second = one.answers[0].strip().split(" … ")
        else:
            both = re.findall(r"Segment A: (.+) Segment B: (.+) Which of", one.question)[0]
            first, second = both if one.answers == ("A",) else both[::-1]
        text = plain_text(one.texts[0])
        assert text.index(first) + len(first) <= text.index(second)
        assert text.count(first) == text.count(second) == 1


def test_passages_are_as_far_apart_as_the_group_says(data: Path) -> None:
    for one in made(SORT_TASKS[1], data):
        length, apart = map(int, re.findall(r"\d+", one.group))
        text, (first, second) = plain_text(one.texts[0]), one.answers[0].strip().split(" … ")
        words = len(text[text.index(first) : text.index(second)].split())
        assert abs(words - max(20, length * apart / 100)) <= length / 20


@pytest.mark.parametrize("task", [EVENT_TASKS[1], PANEL_TASKS[0], PANEL_TASKS[2], *LANGUAGE_TASKS],
                         ids=lambda task: task.name)  # fmt: skip
def test_the_right_candidate_is_what_follows_in_the_book(task: Task, data: Path) -> None:
    books = cleaned("\n".join(book.text for book in held_out_books(data)))
    for one in made(task, data):
        assert cleaned(one.question + one.answers[0]) in books
        following = [option for option in one.options if cleaned(one.question + option) in books]
        assert following == list(one.answers)


def test_past_events_end_the_text_that_is_read(data: Path) -> None:
    for one in made(EVENT_TASKS[1], data):
        assert plain_text(one.texts[0]).endswith(one.question)


def test_a_mistake_is_never_in_the_book_and_changes_one_place(data: Path) -> None:
    books = cleaned("\n".join(book.text for book in held_out_books(data)))
    items = made(PANEL_TASKS[1], data)
    assert {one.group for one in items} == {f"{n} {kind}" for n in (200, 600) for kind in ("agreement", "word order")}
    for one in items:
        (wrong,) = set(one.options) - set(one.answers)
        assert one.answers[0].strip() in books
        assert wrong.strip() not in books
        changed = sum(a != b for a, b in zip(wrong.split(), one.answers[0].split(), strict=True))
        assert changed == {"agreement": 1, "word order": 2}[one.group.partition(" ")[2]]


def test_the_subjunctive_is_no_mistake() -> None:
    assert agreement("I wish it were so, if he was here.", True) is None
    assert agreement("Then he was here.", True) == "Then he were here."
    assert agreement("Then he was here.", False) is None
    assert swapped("It stood near the old house there.") == "It stood near old the house there."


@of_candidates
def test_the_right_candidate_takes_every_place_as_often(task: Task, data: Path) -> None:
    items = made(task, data, Limits(120, 0, (200,)))
    places = Counter(one.options.index(one.answers[0]) for one in items)
    assert max(places.values()) - min(places[n] for n in range(len(items[0].options))) <= 4


@of_candidates
def test_the_length_of_the_candidates_does_not_tell_the_right_one(task: Task, data: Path) -> None:
    items = made(task, data, Limits(240, 0, (200,)))
    for guess in (min, max, lambda sizes: sorted(sizes)[len(sizes) // 2]):
        hits = 0.0
        for one in items:
            sizes = list(map(len, one.options))
            best = [option for option in one.options if len(option) == guess(sizes)]
            hits += (one.answers[0] in best) / len(best)
        assert hits / len(items) <= 1 / len(items[0].options) + NOTICEABLE


@of_candidates
def test_a_guesser_who_takes_every_candidate_as_often_scores_chance(task: Task, data: Path) -> None:
    scores = [
        score_options(task.metric, one.options, one.answers, likely(one, guessed))
        for one in made(task, data)
        for guessed in one.options
    ]
    assert sum(scores) / len(scores) == pytest.approx(task.chance)


@of_candidates
def test_who_always_takes_the_first_candidate_scores_chance_within_its_interval(task: Task, data: Path) -> None:
    items = made(task, data, Limits(200, 0, (200,)))
    hits = sum(score_options(task.metric, one.options, one.answers, likely(one, one.options[0])) for one in items)
    found = wilson(int(hits), len(items))
    assert task.chance is not None
    assert found.low <= task.chance <= found.high


def test_event_files_are_read_as_far_as_they_say(data: Path) -> None:
    items = made(EVENT_TASKS[0], data)
    assert {one.texts for one in items} == {("The fox slept. It woke. ",)}
    assert {one.answers for one in items} == {("It ran.",)}
    assert items[0].question.splitlines()[1:3] == ["1. The fox slept.", "2. It woke."]


@pytest.mark.parametrize("fault", [{"answer": "It hid."}, {"answer": 9}, {"past": 3}, {"book": "lost.txt"}])
def test_an_event_line_that_is_not_as_the_schema_says_is_named(fault: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "eventqa").mkdir()
    (tmp_path / "eventqa/tale.txt").write_text("The fox slept.", "utf-8")
    write(tmp_path / "eventqa/tale.jsonl", [event_line(0), event_line(1) | fault])
    with pytest.raises(ModelError, match=r"tale\.jsonl, line 2"):
        EVENT_TASKS[0].items(tmp_path, LIMITS)
