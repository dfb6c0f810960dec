"""Laws of all makers of synthetic tasks: seeds, names, lengths, and that an oracle scores 1."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from model.errors import ModelError
from model.evaluation.common import Book
from model.evaluation.metrics import METRICS, score_options
from model.evaluation.tasks import TASKS
from model.evaluation.tasks.babilong import BABILONG_TASKS
from model.evaluation.tasks.event_qa import EVENT_TASKS
from model.evaluation.tasks.haystack import Haystack, haystack, ring
from model.evaluation.tasks.language import LANGUAGE_TASKS
from model.evaluation.tasks.needle_tasks import NEEDLE_TASKS
from model.evaluation.tasks.panel import PANEL_TASKS
from model.evaluation.tasks.sort_order import SORT_TASKS
from model.evaluation.tasks.task import Limits, Task
from tests.evaluation.tasks.invented import LIMITS, likely, made

ALL = (*NEEDLE_TASKS, *BABILONG_TASKS, *SORT_TASKS, *EVENT_TASKS, *LANGUAGE_TASKS, *PANEL_TASKS)
by_name = pytest.mark.parametrize("task", ALL, ids=lambda task: task.name)


@by_name
def test_items_of_a_seed_are_always_the_same_and_have_different_names(task: Task, data: Path) -> None:
    items = made(task, data)
    assert items == made(task, data)
    assert len({one.id for one in items}) == len(items)
    assert max(Counter(one.group for one in items).values()) <= LIMITS.items


@pytest.mark.parametrize("task", [one for one in ALL if not one.name.endswith("ready") and one.name != "event-qa"],
                         ids=lambda task: task.name)  # fmt: skip
def test_another_seed_makes_other_items(task: Task, data: Path) -> None:
    texts = [{one.texts for one in made(task, data, Limits(8, seed, (200,)))} for seed in (0, 1)]
    assert len(texts[0] - texts[1]) > len(texts[0]) // 2


@by_name
def test_fewer_items_are_the_first_of_more(task: Task, data: Path) -> None:
    fewer, more = (made(task, data, Limits(count, 0, (200,))) for count in (4, 8))
    assert {one.id for one in fewer} < {one.id for one in more}
    assert [one for one in more if one.id in {few.id for few in fewer}] == fewer


@by_name
def test_every_task_is_registered_and_names_what_it_needs(task: Task, tmp_path: Path) -> None:
    assert TASKS[task.name] is task
    assert task.metric in METRICS
    with pytest.raises(ModelError, match=f"{task.name} needs"):
        task.items(tmp_path, LIMITS)


@pytest.mark.parametrize("task", [*NEEDLE_TASKS, BABILONG_TASKS[0], *SORT_TASKS[:2], EVENT_TASKS[1]],
                         ids=lambda task: task.name)  # fmt: skip
def test_texts_are_as_long_as_asked_for(task: Task, data: Path) -> None:
    for one in made(task, data):
        length = int(re.findall(r"\d+", one.group)[0 if "qa" not in one.group else -1])
        assert abs(len(one.texts[0].split()) - length) <= 0.02 * length, one.id


@pytest.mark.parametrize("task", [*LANGUAGE_TASKS, *PANEL_TASKS[1:]], ids=lambda task: task.name)
def test_what_is_read_and_its_prompt_are_as_long_together_as_asked_for(task: Task, data: Path) -> None:
    for one in made(task, data):
        assert len(f"{one.texts[0]}{one.question}".split()) == int(one.group.split()[0])


@by_name
def test_an_oracle_scores_1(task: Task, data: Path) -> None:
    metric = METRICS[task.metric]
    for one in made(task, data):
        if metric.answers:
            assert (
                metric.answers(" ".join(one.answers) if task.metric == "match all" else one.answers[0], one.answers)
                == 1
            )
        elif task.metric == "accuracy":
            assert score_options(task.metric, one.options, one.answers, likely(one, one.answers[0])) == 1
        else:
            size = len(one.answers[0].encode())
            assert score_options(task.metric, one.options, one.answers, [[-size * 0.6931472]]) == pytest.approx(1)


def test_books_are_repeated_only_where_they_are_exhausted_and_then_it_is_said(data: Path) -> None:
    total = sum(haystack(data).words)
    (once,), (twice,) = (NEEDLE_TASKS[0].items(data, Limits(1, 0, (length,))) for length in (total, total + 1))
    assert "books repeated" not in once.meta
    assert twice.meta["books repeated"] == "2 times"
    for task in (*SORT_TASKS[:2], EVENT_TASKS[1], *LANGUAGE_TASKS, *PANEL_TASKS):
        with pytest.raises(ModelError, match="without repetition"):
            task.items(data, Limits(1, 0, (total,)))


def test_a_ring_of_sentences_is_the_books() -> None:
    books: Haystack = ring([Book("a", "One fox. Two birds!\n\nThree kings."), Book("b", "  The end.")])
    assert "".join(books.sentences).strip() == "One fox. Two birds!\n\nThree kings.\n\nThe end."
    assert "".join(books.ahead(3, 4)).strip() == "The end.\n\nOne fox."
    assert books.behind(0, 3) == "kings.\n\nThe end."
    assert books.first == (0, 3)
