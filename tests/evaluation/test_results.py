"""Laws of results: intervals hold the mean, nothing inside its interval is a win, only shared items are compared."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import ModelError
from model.evaluation.clusters import Scores, estimate_of, mean, mean_of_means
from model.evaluation.results import (
    BETTER,
    FEWEST,
    UNDECIDED,
    WORSE,
    differences,
    is_curve,
    mean_differences,
    means,
    outcomes,
    position,
    read_run,
    results,
    task_notes,
)
from model.evaluation.suite import Prediction, text_key
from model.evaluation.tasks.task import Item


def prediction(method: str, item: int, score: float, task: str = "qa", **changes: object) -> Prediction:
    plain: dict[str, object] = {"group": "", "said": "", "wanted": "x", "fits": True, "read_s": 1.0, "answer_s": 0.5,
                                "bytes": {"host": 10 * item}}  # fmt: skip
    return Prediction(task=task, method=method, item=str(item), score=score, **(plain | changes))  # type: ignore[arg-type]


def write_run(folder: Path, predictions: Sequence[Prediction], **about: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    plain = {"model": "tiny", "fingerprint": "f", "limits": {"seed": 0}, "tasks": {"qa": {"metric": "f1"}}}
    (folder / "run.json").write_text(json.dumps(plain | about))
    (folder / "predictions.jsonl").write_text("".join(one.line() + "\n" for one in predictions))
    return folder


def scored(**methods: Sequence[float]) -> list[Prediction]:
    return [prediction(name, item, score) for name, some in methods.items() for item, score in enumerate(some)]


def joined(*folders: Path) -> tuple:
    runs = [read_run(folder) for folder in folders]
    return outcomes(runs), task_notes(runs)


def test_scores_of_0_and_1_have_wilsons_interval_and_others_a_bootstrap(tmp_path: Path) -> None:
    found, notes = joined(write_run(tmp_path, scored(sharp=[1.0] * 10, soft=[0.25, 0.5, 0.75] * 4)))
    sharp, soft = results(found, notes)
    assert sharp.estimate.high == 1.0
    assert 0.69 < sharp.estimate.low < 0.73  # Wilson's for 10 of 10; a bootstrap would say 1
    assert soft.estimate.low < soft.estimate.value == 0.5 < soft.estimate.high
    assert (sharp.bytes, sharp.read_s, sharp.metric) == ({"host": 90}, 1.0, "f1")


def test_a_difference_whose_interval_holds_0_is_not_a_win(tmp_path: Path) -> None:
    found, notes = joined(write_run(tmp_path, scored(a=[0.6, 0.2, 0.9, 0.1] * 5, b=[0.5, 0.3, 0.8, 0.2] * 5)))
    (one,) = differences(found, notes, "b")
    assert one.estimate.low < 0 < one.estimate.high
    assert one.verdict == UNDECIDED


def test_a_clear_difference_has_a_verdict_that_turns_with_the_opponent(tmp_path: Path) -> None:
    found, notes = joined(write_run(tmp_path, scored(a=[0.9, 0.8] * 6, b=[0.1, 0.3] * 6)))
    assert [one.verdict for one in differences(found, notes, "b")] == [BETTER]
    assert [one.verdict for one in differences(found, notes, "a")] == [WORSE]


def test_where_less_is_better_the_lower_score_wins(tmp_path: Path) -> None:
    run = write_run(tmp_path, scored(a=[1.1, 1.2] * 6, b=[1.9, 2.0] * 6), tasks={"qa": {"metric": "bits per byte"}})
    found, notes = joined(run)
    assert [one.verdict for one in differences(found, notes, "b")] == [BETTER]
    assert means(found, notes) == [] or not means(found, notes)[0].tasks  # bits are no score to average with others


def test_fewer_differing_items_than_a_sign_test_needs_show_nothing(tmp_path: Path) -> None:
    few, enough = ([1.0] * count + [0.0] * 10 for count in (FEWEST - 1, FEWEST))
    found, notes = joined(write_run(tmp_path / "few", scored(a=few[: FEWEST - 1], b=[0.0] * (FEWEST - 1))))
    (one,) = differences(found, notes, "b")
    assert one.estimate.low == 1.0  # the bootstrap alone would call it certain
    assert one.verdict == UNDECIDED
    found, notes = joined(write_run(tmp_path / "enough", scored(a=enough, b=[0.0] * len(enough))))
    assert differences(found, notes, "b")[0].verdict == BETTER


def test_only_items_that_both_did_are_compared(tmp_path: Path) -> None:
    made = scored(a=[1.0] * 8, b=[0.0] * 8) + [prediction("a", item, 0.0) for item in range(8, 30)]
    found, notes = joined(write_run(tmp_path, made))
    (one,) = differences(found, notes, "b")
    assert one.estimate.count == 8
    assert one.estimate.value == 1.0


def test_misfits_count_as_0_where_more_is_better_and_are_left_out_elsewhere(tmp_path: Path) -> None:
    made = [prediction("a", item, 0.0 if item < 2 else 0.8, fits=item >= 2) for item in range(4)]
    (more,) = results(*joined(write_run(tmp_path / "more", made)))
    assert (more.estimate.value, more.estimate.count, more.unfit) == (0.4, 4, 2)
    bits = write_run(tmp_path / "bits", made, tasks={"qa": {"metric": "bits per byte"}})
    (less,) = results(*joined(bits))
    assert (less.estimate.value, less.estimate.count, less.unfit) == (0.8, 2, 2)


def test_runs_of_different_models_are_told_apart_and_of_one_model_are_joined(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", scored(a=[0.5] * 3))
    again = write_run(tmp_path / "again", [prediction("a", 2, 0.9), prediction("a", 3, 0.5)])
    other = write_run(tmp_path / "other", scored(a=[0.1] * 3), model="large", fingerprint="g")
    (together,) = results(*joined(one, again))
    assert (together.method, together.estimate.count) == ("a", 4)
    assert together.estimate.value == pytest.approx((0.5 + 0.5 + 0.9 + 0.5) / 4)
    assert [found.method for found in results(*joined(one, other))] == ["a (tiny)", "a (large)"]
    newer = write_run(tmp_path / "newer", scored(a=[0.1] * 3), fingerprint="g")
    assert [found.method for found in results(*joined(one, newer))] == ["a (tiny f)", "a (tiny g)"]


def test_items_of_another_seed_are_other_items(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", scored(a=[0.5] * 3))
    other = write_run(tmp_path / "other", scored(b=[0.1] * 3), limits={"seed": 1})
    assert differences(*joined(one, other), "a") == []


def test_groups_have_results_and_verdicts_of_their_own(tmp_path: Path) -> None:
    made = [
        prediction(method, item, float(method == "a" and group == "9000"), group=group)
        for method in "ab"
        for group in ("200", "9000")
        for item in range(8)
    ]
    found, notes = joined(write_run(tmp_path, made))
    by_group = {(one.method, one.group): one.estimate.value for one in results(found, notes, by_group=True)}
    assert by_group["a", "9000"] == 1.0
    assert by_group["a", "200"] == 0.0
    verdicts = {one.group: one.verdict for one in differences(found, notes, "b", by_group=True)}
    assert verdicts == {"200": UNDECIDED, "9000": BETTER}


def test_a_mean_over_tasks_weighs_tasks_the_same_and_takes_those_that_all_did(tmp_path: Path) -> None:
    made = [prediction("a", item, 1.0, "long") for item in range(30)] + [prediction("a", 0, 0.0, "short")]
    made += [prediction("b", item, 0.5, "long") for item in range(30)] + [prediction("b", 0, 0.5, "short")]
    made += [prediction("a", 0, 1.0, "alone")]
    found, notes = joined(write_run(tmp_path, made, tasks={}))
    first, second = means(found, notes)
    assert first.tasks == ("long", "short")
    assert (first.estimate.value, second.estimate.value) == (0.5, 0.5)
    (one,) = mean_differences(found, notes, "b")
    assert one.estimate.value == 0.0
    assert one.verdict == UNDECIDED


def test_the_interval_of_a_mean_of_means_holds_it() -> None:
    found = mean_of_means([Scores(some, [str(n) for n in range(20)]) for some in ([0.0, 1.0] * 10, [0.2, 0.4] * 10)])
    assert found.low < found.value < found.high
    assert found.value == pytest.approx(0.4)


def test_equal_scores_have_no_interval_rather_than_one_of_no_width(tmp_path: Path) -> None:
    found, notes = joined(write_run(tmp_path, scored(alone=[0.3], same=[0.5] * 9, never=[0.0] * 9)))
    alone, same, never = (one.estimate for one in results(found, notes))
    assert math.isnan(alone.low)
    assert math.isnan(same.high)
    assert never.high > 0.2  # Wilson's


def test_a_group_is_a_place_where_it_ends_with_a_number_of_its_own() -> None:
    assert position("2000") == position("qa1 2000") == 2000
    assert position("qa1") is None
    assert is_curve(["200", "qa2 1000"])
    assert not is_curve(["200", "200"])
    assert not is_curve(["hotpotqa", "200"])


def test_a_cut_last_line_is_left_out_and_a_damaged_one_in_the_middle_is_named(tmp_path: Path) -> None:
    folder = write_run(tmp_path, scored(a=[1.0, 0.0]))
    file = folder / "predictions.jsonl"
    whole = file.read_text()
    file.write_text(whole[:-20])
    assert len(read_run(folder).predictions) == 1
    file.write_text("{\n" + whole)
    with pytest.raises(ModelError, match="line 1 is damaged"):
        read_run(folder)


def test_a_folder_without_a_run_and_an_unknown_opponent_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no run: run\.json"):
        read_run(tmp_path)
    with pytest.raises(ModelError, match="no run has the method z"):
        differences(*joined(write_run(tmp_path / "run", scored(a=[1.0]))), "z")


def width(scores: Scores, metric: str = "f1") -> float:
    found = estimate_of(scores, metric)
    return found.high - found.low


def apart(scores: Scores) -> Scores:
    """The same scores, each about a text of its own."""
    return Scores(scores.values, [str(number) for number in range(len(scores.values))])


@pytest.mark.parametrize("sharp", [True, False])
def test_ten_equal_answers_about_each_text_are_as_wide_as_one_answer_about_each(sharp: bool) -> None:
    values = [1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0] if sharp else [0.9, 0.1, 0.6, 0.7, 0.2, 0.3, 0.8, 0.4]
    texts = [str(number) for number in range(8)]
    repeated = Scores(values * 10, texts * 10)
    assert width(repeated) > 2 * width(apart(repeated))
    once, many = mean(Scores(values, texts)), mean(repeated)
    assert (many.low, many.high) == pytest.approx((once.low, once.high))
    assert (many.count, once.count) == (80, 8)


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 5)), min_size=1, max_size=30))
def test_the_mean_is_that_of_the_items_however_they_share_texts(items: list[tuple[float, int]]) -> None:
    scores = Scores([value for value, _ in items], [str(text) for _, text in items])
    found = mean(scores)
    assert found.value == pytest.approx(sum(scores.values) / len(items))
    assert found.low <= found.value <= found.high
    alone = apart(scores)
    assert mean(alone).value == pytest.approx(found.value)


def test_never_right_about_two_texts_says_less_than_about_twenty(tmp_path: Path) -> None:
    two = Scores([0.0] * 20, ["a", "b"] * 10)
    assert estimate_of(two, "f1").high > 0.6 > 0.2 > estimate_of(apart(two), "f1").high
    assert math.isnan(estimate_of(Scores([0.0, 1.0] * 5, ["a"] * 10), "f1").low)  # one text says nothing of others


def test_a_lead_on_many_questions_about_few_texts_is_not_called_one(tmp_path: Path) -> None:
    made = [
        prediction(method, item, float(method == "a"), text=f"text {item % texts} of {texts}", task=f"about {texts}")
        for method in "ab"
        for texts in (FEWEST - 1, FEWEST)
        for item in range(30)
    ]
    found, notes = joined(write_run(tmp_path, made))
    verdicts = {one.task: one.verdict for one in differences(found, notes, "b")}
    assert verdicts == {f"about {FEWEST - 1}": UNDECIDED, f"about {FEWEST}": BETTER}
    assert {one.texts for one in results(found, notes)} == {FEWEST - 1, FEWEST}


def test_items_are_about_one_text_where_it_begins_alike() -> None:
    def key(*texts: str) -> str:
        return text_key(Item("1", texts, "?", ("x",)))

    book = "a long book " * 200
    assert key(book) == key(book[:1500]) == key(book, "another") != key("another", book)
    assert key("short") != key("shorter")
    assert key() == key(" ") == ""
