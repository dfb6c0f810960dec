"""Laws of runs: what is done is not done again, a cut line is done again, texts are read once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from model.errors import ModelError
from model.evaluation import suite
from model.evaluation.common import Subject
from model.evaluation.methods.latent import Latent, NoContext
from model.evaluation.tasks.task import Item, Limits, Needed, Task, by_texts

TEXTS = ("The fox hid the king.", "The queen found a river.")


def load(folder: Path, limits: Limits) -> Iterator[Item]:
    for number in range(limits.items):
        text = TEXTS[number % 2]
        yield Item(str(number), (text,), "What did the fox hide?", ("the king",), longest=3)
        yield Item(f"{number} chosen", (text,), "Who?", ("king",), ("king", "river"), plain=True)


def tiny(metric: str) -> Task:
    wanted = metric == "accuracy"
    return Task(
        "tiny", "", metric, lambda data, limits: (one for one in load(data, limits) if bool(one.options) == wanted)
    )


class Counting(Latent):
    """Counts its readings."""

    count = 0

    def read(self, text: str) -> None:
        type(self).count += 1
        super().read(text)


def run(subject: Subject, out: Path, metric: str = "f1", items: int = 4) -> list[suite.Prediction]:
    makers = {"mplus-latent": lambda: Counting(subject), "no-context": lambda: NoContext(subject)}
    return list(suite.run(subject, makers, [tiny(metric)], out, Limits(items), out))


def test_every_item_is_done_once_with_every_method(subject: Subject, tmp_path: Path) -> None:
    Counting.count = 0
    made = run(subject, tmp_path)
    wanted = {(method, str(number)) for method in ("mplus-latent", "no-context") for number in range(4)}
    assert {(one.method, one.item) for one in made} == wanted
    assert len(made) == 8
    assert Counting.count == 2  # each text once
    assert run(subject, tmp_path) == []
    lines = (tmp_path / suite.PREDICTIONS).read_text("utf-8").splitlines()
    assert [json.loads(line)["item"] for line in lines] == [one.item for one in made]


def test_a_line_cut_by_a_crash_is_done_again(subject: Subject, tmp_path: Path) -> None:
    run(subject, tmp_path)
    file = tmp_path / suite.PREDICTIONS
    whole = file.read_text("utf-8")
    file.write_text(whole[:-30], "utf-8")
    (again,) = run(subject, tmp_path)
    assert json.loads(whole.splitlines()[-1])["item"] == again.item
    assert len(file.read_text("utf-8").splitlines()) == 8


def test_candidates_are_ranked_and_the_best_is_said(subject: Subject, tmp_path: Path) -> None:
    for one in run(subject, tmp_path, "accuracy"):
        assert one.said in ("king", "river")
        assert one.score == float(one.said == "king")


def test_a_run_of_other_settings_is_refused(tmp_path: Path) -> None:
    suite.run_folder(tmp_path, {"fingerprint": "a", "limits": 1})
    suite.run_folder(tmp_path, {"fingerprint": "a", "limits": 1})
    with pytest.raises(ModelError, match="another limits"):
        suite.run_folder(tmp_path, {"fingerprint": "a", "limits": 2})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    task = replace(tiny("f1"), needs=(Needed("longbench/*.jsonl", "somewhere", "MIT"),))
    with pytest.raises(ModelError, match=r"tiny needs longbench/\*\.jsonl"):
        task.items(tmp_path, Limits())


def test_items_about_one_text_stand_together_in_the_order_of_the_texts() -> None:
    items = list(load(Path(), Limits(4)))
    ordered = by_texts(items)
    assert [one.texts for one in ordered] == [(TEXTS[0],)] * 4 + [(TEXTS[1],)] * 4
    assert sorted(one.id for one in ordered) == sorted(one.id for one in items)
