"""Laws of needles and BABILong: what is asked for stands in the text once, and nothing else is right."""

from __future__ import annotations

import json
import random
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from model.errors import ModelError
from model.evaluation.common import wilson
from model.evaluation.metrics import METRICS
from model.evaluation.needles import value_count
from model.evaluation.tasks.babilong import ANSWERS, BABILONG_TASKS, answers_of
from model.evaluation.tasks.haystack import depths, haystack
from model.evaluation.tasks.needle_tasks import NEEDLE_TASKS
from model.evaluation.tasks.task import Limits, Task
from model.training.needles import value
from tests.evaluation.tasks.invented import ROOMS, made, plain_text

NUMBERS = NEEDLE_TASKS[:-1]
of_needles = pytest.mark.parametrize("task", NEEDLE_TASKS, ids=lambda task: task.name)


@of_needles
def test_a_needle_stands_in_the_text_once_and_where_its_depth_says(task: Task, data: Path) -> None:
    for one in made(task, data):
        text, needle = one.texts[0], one.meta["needle"]
        assert text.count(needle) == 1
        share = len(text.split(needle)[0].split()) / len(text.split())
        assert share == pytest.approx(float(one.meta["depth"].split()[0]), abs=1e-4)


@of_needles
def test_depths_are_spread_evenly(task: Task, data: Path) -> None:
    found = [float(depth) for one in made(task, data, Limits(80, 0, (600,))) for depth in one.meta["depth"].split()]
    quarters = Counter(min(3, int(depth * 4)) for depth in found)
    assert all(abs(quarters[n] / len(found) - 0.25) < 0.08 for n in range(4)), quarters


@of_needles
def test_wanted_answers_stand_in_the_text(task: Task, data: Path) -> None:
    assert all(answer in one.texts[0] for one in made(task, data) for answer in one.answers)


@pytest.mark.parametrize("task", NUMBERS, ids=lambda task: task.name)
def test_numbers_of_other_keys_are_never_right(task: Task, data: Path) -> None:
    match = METRICS["match all"].answers
    assert match
    for one in made(task, data):
        pairs = re.findall(r"for (\S+) is: (\d{7})\.", one.texts[0])
        wanted = {number for key, number in pairs if key in one.question}
        assert wanted == set(one.answers)
        others = [number for key, number in pairs if key not in one.question]
        assert match(" ".join(others), one.answers) == 0
        assert len(pairs) == {"needle-single": 1}.get(task.name, 4)


def test_facts_of_a_text_differ_in_question_and_value(data: Path) -> None:
    by_text = defaultdict(list)
    for one in made(NEEDLE_TASKS[-1], data, Limits(36, 0, (200, 600))):
        by_text[one.texts].append(one)
    assert {len(some) for some in by_text.values()} == {4, 6}
    for some in by_text.values():
        assert len({one.question for one in some}) == len({one.answers for one in some}) == len(some)
        assert len({one.meta["kind"] for one in some}) == 1, "only the name tells"


@pytest.mark.parametrize("task", BABILONG_TASKS, ids=lambda task: task.name)
def test_facts_of_a_story_stand_in_the_text_in_their_order(task: Task, data: Path) -> None:
    stories = {one["id"]: one for one in map(json.loads, (data / "qa/dev/babi.jsonl").read_text().splitlines())}
    for one in made(task, data):
        facts = str(stories[one.id.split("/")[-1]]["context"]).splitlines()
        places = [plain_text(one.texts[0]).index(fact) for fact in facts]
        assert places == sorted(places)
        assert one.group.split()[0] in ("qa1", "qa2", "qa10")


def test_without_its_facts_a_babilong_text_is_book_text(data: Path) -> None:
    books = plain_text("".join(haystack(data).sentences * 2))
    for one in made(BABILONG_TASKS[0], data):
        rest = plain_text(re.sub(r"(Mary|John|Sandra) moved to the \w+\.", "", one.texts[0]))
        assert rest in books


def test_stories_that_fill_more_than_half_a_text_are_left_out(data: Path) -> None:
    assert BABILONG_TASKS[0].items(data, Limits(8, 0, (29,))) == []
    assert len(BABILONG_TASKS[0].items(data, Limits(8, 0, (30,)))) == 24


def test_what_somebody_carries_may_be_listed_in_any_order_and_a_path_may_not() -> None:
    assert set(answers_of({"answers": ["milk,apple"]}, "qa8")) == {"milk, apple", "apple, milk"}
    assert answers_of({"answers": ["n,e"]}, "qa19") == ("n, e",)


def test_a_guesser_of_numbers_scores_nothing_and_one_of_values_chance(data: Path) -> None:
    rng, match, exact = random.Random(2), METRICS["match all"].answers, METRICS["exact match"].answers
    assert match
    assert exact
    for one in made(NUMBERS[0], data):
        assert match(str(rng.randrange(10**6, 10**7)), one.answers) == 0
    items = made(NEEDLE_TASKS[-1], data, Limits(600, 0, (200,)))
    hits = sum(exact(value(rng, one.meta["kind"], True), one.answers) for one in items)
    found, expected = (
        wilson(int(hits), len(items)),
        sum(1 / value_count(one.meta["kind"]) for one in items) / len(items),
    )
    assert found.low <= expected <= found.high
    assert NEEDLE_TASKS[-1].chance == pytest.approx(expected, abs=0.01)


def test_a_guesser_of_rooms_scores_the_chance_of_its_task(data: Path) -> None:
    rng, match = random.Random(3), METRICS["match any"].answers
    assert match
    items = [one for one in made(BABILONG_TASKS[0], data, Limits(8, 0, tuple(range(100, 140)))) if "qa1 " in one.group]
    found = wilson(int(sum(match(rng.choice(ROOMS), one.answers) for one in items)), len(items))
    assert found.low <= 1 / ANSWERS[0] <= found.high


def test_a_text_without_room_for_its_needles_is_refused(data: Path) -> None:
    with pytest.raises(ModelError, match="no room"):
        NEEDLE_TASKS[3].items(data, Limits(1, 0, (50,)))


@pytest.mark.parametrize("count", [3, 10, 100])
def test_any_number_of_depths_leaves_no_gap_of_twice_its_share(count: int) -> None:
    found = sorted(depths(random.Random(0), 0, count))
    gaps = [b - a for a, b in zip(found, [*found[1:], found[0] + 1], strict=True)]
    assert max(gaps) < 2 / count
