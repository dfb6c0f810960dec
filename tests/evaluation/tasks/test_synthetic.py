"""Laws of the makers of synthetic tasks: what is asked for stands in the text once, and nothing else gives it away."""

from __future__ import annotations

import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest

from model.errors import ModelError
from model.evaluation.common import Book, held_out_books, wilson
from model.evaluation.events import cleaned
from model.evaluation.metrics import METRICS, score_options
from model.evaluation.needles import value_count
from model.evaluation.tasks import TASKS
from model.evaluation.tasks.babilong import ANSWERS, BABILONG_TASKS, answers_of
from model.evaluation.tasks.event_qa import EVENT_TASKS
from model.evaluation.tasks.haystack import Haystack, depths, haystack, ring
from model.evaluation.tasks.language import LANGUAGE_TASKS
from model.evaluation.tasks.needle_tasks import NEEDLE_TASKS
from model.evaluation.tasks.panel import PANEL_TASKS, agreement, swapped
from model.evaluation.tasks.sort_order import SORT_TASKS
from model.evaluation.tasks.task import Item, Limits, Task
from model.training.needles import value
from tests.training.tiny import NOUNS, VERBS

ALL = (*NEEDLE_TASKS, *BABILONG_TASKS, *SORT_TASKS, *EVENT_TASKS, *LANGUAGE_TASKS, *PANEL_TASKS)
NUMBERS = NEEDLE_TASKS[:-1]
LIKELY = [one for one in ALL if one.metric == "accuracy"]
MADE = [one for one in LIKELY if one.name not in ("event-qa", "sort-ready")]
LIMITS = Limits(8, 0, (200, 600))
NOTICEABLE = 0.12  # above chance: what a guess by the length of the candidates may reach
ROOMS = ("bathroom", "bedroom", "garden", "hallway", "kitchen", "office")

by_name = pytest.mark.parametrize("task", ALL, ids=lambda task: task.name)
of_needles = pytest.mark.parametrize("task", NEEDLE_TASKS, ids=lambda task: task.name)
of_candidates = pytest.mark.parametrize("task", MADE, ids=lambda task: task.name)


def novel(seed: int, sentences: int) -> str:
    """Paragraphs with people, agreement, and words that come back."""
    rng, made = random.Random(seed), []
    for number in range(sentences):
        one, two, three = rng.sample(NOUNS, 3)
        pronoun = rng.choice(("He was", "She is", "They were", "We are"))
        made.append(f"The {rng.choice(('old', 'quiet', 'young'))} {one} {rng.choice(VERBS)} the {two} near my {three}.")
        made.append(f"{pronoun} with the {two} of chapter {number}, and then came the {one}.")
    return "\n\n".join(" ".join(made[start : start + 5]) for start in range(0, len(made), 5))


def write(file: Path, lines: Sequence[object]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(map(json.dumps, lines)), "utf-8")


def babi(task: str, number: int) -> dict[str, object]:
    rng = random.Random(f"{task}/{number}")
    rooms = rng.sample(ROOMS, 3)
    facts = [f"{name} moved to the {room}." for name, room in zip(("Mary", "John", "Sandra"), rooms, strict=True)]
    asked = {"title": task, "question": "Where is John?", "answers": [rooms[1]], "support": [facts[1]]}
    return asked | {"id": f"{task}-{number}", "context": "\n".join(facts)}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Books, stories, and the ready-made sets, all of our own."""
    folder = tmp_path_factory.mktemp("synthetic")
    write(folder / "text/valid_books.jsonl", [{"title": f"Tale {n}", "text": novel(n, 400)} for n in range(3)])
    stories = [babi(task, number) for task in ("qa1", "qa10", "qa2") for number in range(8)]
    write(folder / "qa/dev/babi.jsonl", stories)
    ready = [
        {**one, "task": one["title"], "target_words": 200, "context": f"It rained. {one['context']}"} for one in stories
    ]
    write(folder / "qa/dev/babilong_resampled.jsonl", ready)
    segments = {
        "context": "One fox came. Two birds went.",
        "excerpt_words": 200,
        "segment_a": "Two birds",
        "segment_b": "One fox",
    }
    write(
        folder / "qa/dev/booksort_resampled.jsonl",
        [{"id": f"pair {n}", "answers": ["B"], **segments} for n in range(4)],
    )
    (folder / "eventqa").mkdir()
    (folder / "eventqa/tale.txt").write_text("The fox slept. It woke. It ran.", "utf-8")
    write(folder / "eventqa/tale.jsonl", [event_line(number) for number in range(6)])
    return folder


def event_line(number: int) -> dict[str, object]:
    candidates = [f"It {word}." for word in ("ran", "sang", "flew", "swam", "died", "wept")]
    return {"id": f"e{number}", "book": "tale.txt", "until": 24, "past": ["The fox slept.", "It woke."],
            "candidates": candidates, "answer": 0 if number % 2 else "It ran."}  # fmt: skip


def made(task: Task, data: Path, limits: Limits = LIMITS) -> list[Item]:
    items = task.items(data, limits)
    assert items
    return items


def plain_text(text: str) -> str:
    return " ".join(text.split())


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
        stated = dict(re.findall(r"for (\S+) is: (\d{7})\.", one.texts[0])[::-1])
        pairs = re.findall(r"for (\S+) is: (\d{7})\.", one.texts[0])
        wanted = {number for key, number in pairs if key in one.question}
        assert wanted == set(one.answers)
        others = [number for number in stated.values() if number not in wanted]
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


def likely(one: Item, chosen: str) -> list[list[float]]:
    return [[-1.0 if option == chosen else -2.0] for option in one.options]


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


def test_books_are_repeated_only_where_they_are_exhausted_and_then_it_is_said(data: Path) -> None:
    total = sum(haystack(data).words)
    (once,), (twice,) = (NEEDLE_TASKS[0].items(data, Limits(1, 0, (length,))) for length in (total, total + 1))
    assert "books repeated" not in once.meta
    assert twice.meta["books repeated"] == "2 times"
    for task in (*SORT_TASKS[:2], EVENT_TASKS[1], *LANGUAGE_TASKS, *PANEL_TASKS):
        with pytest.raises(ModelError, match="without repetition"):
            task.items(data, Limits(1, 0, (total,)))


def test_a_text_without_room_for_its_needles_is_refused(data: Path) -> None:
    with pytest.raises(ModelError, match="no room"):
        NEEDLE_TASKS[3].items(data, Limits(1, 0, (50,)))


def test_a_ring_of_sentences_is_the_books() -> None:
    books: Haystack = ring([Book("a", "One fox. Two birds!\n\nThree kings."), Book("b", "  The end.")])
    assert "".join(books.sentences).strip() == "One fox. Two birds!\n\nThree kings.\n\nThe end."
    assert "".join(books.ahead(3, 4)).strip() == "The end.\n\nOne fox."
    assert books.behind(0, 3) == "kings.\n\nThe end."
    assert books.first == (0, 3)


@pytest.mark.parametrize("count", [3, 10, 100])
def test_any_number_of_depths_leaves_no_gap_of_twice_its_share(count: int) -> None:
    found = sorted(depths(random.Random(0), 0, count))
    gaps = [b - a for a, b in zip(found, [*found[1:], found[0] + 1], strict=True)]
    assert max(gaps) < 2 / count
