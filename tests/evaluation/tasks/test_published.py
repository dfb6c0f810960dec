"""Laws of the loaders of published benchmarks, on files of our own invention in the benchmarks' forms."""

from __future__ import annotations

import json
import lzma
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from model.errors import ModelError
from model.evaluation.metrics import METRICS, match_any
from model.evaluation.tasks import ALL, TASKS
from model.evaluation.tasks.data_report import missing, ready, report
from model.evaluation.tasks.longbench import LONGBENCH_TASKS
from model.evaluation.tasks.quality import stripped
from model.evaluation.tasks.task import Item, Limits, Needed, Task, by_texts

PROMPT = "Read the tale.\n\nTale: {context}\n\nBe brief.\n\nQuestion: {input}\nAnswer:"
FOX = {"question": "What did the fox find?", "answers": ["a key", "a small key"], "context": "The fox found a key."}
CHOICE = {"options": ["a key", "a hat", "a nut", "a pin"]}


def lines(file: Path, *rows: dict[str, Any]) -> Path:
    """Write a JSON Lines file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join(map(json.dumps, rows))
    file.write_bytes(lzma.compress(text.encode()) if file.suffix == ".xz" else text.encode())
    return file


def items(name: str, data: Path, count: int = 100, seed: int = 0, lengths: tuple[int, ...] = ()) -> list[Item]:
    return TASKS[name].items(data, Limits(count, seed, lengths))


def words(name: str, count: int) -> str:
    return " ".join(f"{name}{number}" for number in range(count))


def longbench(data: Path, name: str = "qasper", count: int = 1) -> Path:
    rows = [{"input": f"Who is {n}?", "context": f"{n} is a fox {{x}}.", "answers": ["a fox", "fox"], "length": 5,
             "_id": f"id{n}"} for n in range(count)]  # fmt: skip
    lines(data / "longbench" / "dataset2prompt.json", {name: PROMPT})
    lines(data / "longbench" / "dataset2maxlen.json", {name: 128})
    return lines(data / "longbench" / f"{name}.jsonl", *rows)


def squad(data: Path, articles: int = 4, passages: int = 3) -> None:
    """Articles with passages of 240 words; every other answer is too long."""
    asked = [
        {
            "title": f"T{article}",
            "paragraphs": [
                {
                    "context": f"a{article}p{passage} is king. {words(f'w{article}x{passage}y', 240)}",
                    "qas": [
                        {"id": f"{article}-{passage}", "question": "Who is king?",
                         "answers": [{"text": f"a{article}p{passage}" + " the great old one" * (passage % 2)}]}
                    ],
                }
                for passage in range(passages)
            ],
        }
        for article in range(articles)
    ]  # fmt: skip
    lines(data / "squad" / "dev-v1.1.json", {"data": asked, "version": "1.1"})


def talk(data: Path) -> None:
    """LoCoMo's form: a question of every category about one conversation."""
    lines(data / "qa/dev/locomo.contexts.jsonl", {"context_id": "c", "title": "A and B", "text": "(D1:1) A: Hello."})
    some = [{"id": f"q{n}", "context": None, "context_id": "c", "question": f"What {n}?", "answers": ["hello; hi"],
             "category": n} for n in range(1, 6)]  # fmt: skip
    some[4]["adversarial_answer"] = "a trap"
    lines(data / "qa/dev/locomo.jsonl", *some)


def test_longbench_field_for_field(tmp_path: Path) -> None:
    longbench(tmp_path)
    (item,) = items("longbench-qasper", tmp_path)
    expected = Item("1/id0", ("Read the tale.\n\nTale: 0 is a fox {x}.",), "Who is 0?", ("a fox", "fox"), longest=128,
                    prompt="\n\nBe brief.\n\nQuestion: {question}\nAnswer:", meta={"length": "5"})  # fmt: skip
    assert item == expected


@pytest.mark.parametrize("task", LONGBENCH_TASKS, ids=lambda task: task.name)
def test_text_and_prompt_are_longbenchs_prompt_letter_for_letter(task: Task, tmp_path: Path) -> None:
    longbench(tmp_path, task.name.removeprefix("longbench-"))
    (item,) = items(task.name, tmp_path)
    asked = item.texts[0] + item.prompt.replace("{question}", item.question)
    assert asked == PROMPT.replace("{context}", "0 is a fox {x}.").replace("{input}", "Who is 0?")


def test_a_longbench_prompt_without_context_is_refused(tmp_path: Path) -> None:
    longbench(tmp_path)
    lines(tmp_path / "longbench" / "dataset2prompt.json", {"qasper": "Question: {input}"})
    with pytest.raises(ModelError, match=r"dataset2prompt\.json: the prompt of qasper"):
        items("longbench-qasper", tmp_path)


def test_infinitebench_qa_field_for_field(tmp_path: Path) -> None:
    lines(tmp_path / "infinitebench" / "longbook_qa_eng.jsonl",
          {"id": 7, "context": "A novel.", "input": "Who?", "answer": ["Ann", "Anne"], "options": []})  # fmt: skip
    assert items("infinitebench-qa", tmp_path) == [Item("1/7", ("A novel.",), "Who?", ("Ann", "Anne"), longest=40)]


@pytest.mark.parametrize("answer", [["a nut"], ["a nut", "C"], "C", ["C"]])
def test_infinitebench_choice_takes_the_answer_as_text_or_letter(answer: object, tmp_path: Path) -> None:
    row = {"id": 0, "context": "A novel.", "input": "What?", "answer": answer} | CHOICE
    lines(tmp_path / "infinitebench" / "longbook_choice_eng.jsonl", row)
    (item,) = items("infinitebench-choice", tmp_path)
    assert (item.answers, item.options) == (("a nut",), tuple(CHOICE["options"]))


def test_retention_reads_the_passage_first_and_others_behind_it(tmp_path: Path) -> None:
    squad(tmp_path)
    found = items("retention-squad", tmp_path, lengths=(0, 300, 900))
    assert [one.group for one in found[:3]] == ["0", "1", "3"]
    for one in found:
        own = one.answers[0]
        assert one.texts[0].startswith(f"{own} is king")
        assert len(set(one.texts)) == 1 + int(one.group)
        assert not any(text.startswith(own[:2]) for text in one.texts[1:])  # of other articles
        assert match_any(f"It is {own}, I think.", one.answers) == 1


def test_retention_keeps_questions_with_short_answers(tmp_path: Path) -> None:
    squad(tmp_path)
    found = items("retention-squad", tmp_path, lengths=(300,))
    assert sorted(one.answers[0] for one in found) == [f"a{article}p{passage}" for article in range(4)
                                                       for passage in (0, 2)]  # fmt: skip


def test_fewer_unrelated_passages_are_the_first_of_more(tmp_path: Path) -> None:
    squad(tmp_path)
    few, more = items("retention-squad", tmp_path, 1, lengths=(300, 900))
    assert few.texts == more.texts[:2]


def test_retention_says_how_many_passages_it_lacks(tmp_path: Path) -> None:
    squad(tmp_path)
    with pytest.raises(ModelError, match="only 9 unrelated passages of 225 to 375 words, 10 are needed"):
        items("retention-squad", tmp_path, lengths=(3000,))


def test_retention_of_natural_questions_takes_four_words(tmp_path: Path) -> None:
    squad(tmp_path)
    rows = [{"id": n, "question": "Who?", "answers": [words("n", n)], "context": "Some text."} for n in range(3, 6)]
    lines(tmp_path / "nq" / "mine.jsonl.xz", *rows)
    found = items("retention-nq", tmp_path, lengths=(300,))
    assert [one.id for one in found] == ["1/3/1", "2/4/1"]


def test_retention_of_xquad_goes_on_with_books(data: Path, tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "valid_books.jsonl").write_bytes((data / "text" / "valid_books.jsonl").read_bytes())
    rows = [FOX | {"title": title, "context": words(f"{title}{n}", 130)} for title in "ab" for n in range(2)]
    lines(tmp_path / "qa/dev/xquad_en.jsonl", *rows)
    (item,) = items("retention-xquad", tmp_path, 1, lengths=(1500,))
    sizes = [len(text.split()) for text in item.texts]
    assert sizes[0] == 130
    assert len(sizes) == 6
    assert all(225 <= size <= 375 for size in sizes[1:])
    assert len(set(item.texts)) == 6


def test_readings_field_for_field(tmp_path: Path) -> None:
    for name in ("qamr", "xquad_en", "hotpotqa_sample100", "fairytaleqa", "babi", "squality"):
        lines(tmp_path / "qa/dev" / f"{name}.jsonl", FOX | {"id": "x", "title": "qa1", "kind": "action"})
    expected = Item("1/x", ("The fox found a key.",), "What did the fox find?", ("a key", "a small key"))
    for name in ("qamr", "xquad", "hotpotqa"):
        assert items(name, tmp_path) == [expected]
    (tale,), (story,), (retold,) = (items(name, tmp_path) for name in ("fairytaleqa", "babi", "squality"))
    assert (tale.texts, tale.meta) == (("The fox found a key.",), {"kind": "action"})
    assert (story.group, story.longest) == ("qa1", 12)
    assert retold.longest == 320


@pytest.mark.parametrize(
    ("task", "file"), [("fairytaleqa-tale", "fairytaleqa"), ("narrativeqa", "literaryqa"), ("loogle", "loogle")]
)
def test_whole_texts_are_looked_up(task: str, file: str, tmp_path: Path) -> None:
    lines(tmp_path / "qa/dev" / f"{file}.contexts.jsonl.xz", {"context_id": "t", "text": "The whole tale."})
    lines(tmp_path / "qa/dev" / f"{file}.jsonl.xz", FOX | {"context_id": "t"})
    (item,) = items(task, tmp_path)
    assert item.texts == ("The whole tale.",)
    lines(tmp_path / "qa/dev" / f"{file}.jsonl.xz", FOX | {"context_id": "other"})
    with pytest.raises(ModelError, match=rf"{file}\.jsonl\.xz, line 1: no text with the context_id 'other'"):
        items(task, tmp_path)


def test_the_summary_is_read_where_the_book_is_not(tmp_path: Path) -> None:
    lines(tmp_path / "qa/dev/literaryqa.jsonl", FOX | {"context_id": "t", "title": "Fox"})
    (item,) = items("narrativeqa-summary", tmp_path)
    assert (item.texts, item.meta) == (("The fox found a key.",), {"title": "Fox"})


def test_onestopqa_ranks_options_or_answers_freely(tmp_path: Path) -> None:
    lines(tmp_path / "qa/dev/onestopqa.jsonl", FOX | CHOICE | {"level": "Ele"})
    (ranked,), (free,) = items("onestopqa", tmp_path), items("onestopqa-answers", tmp_path)
    assert (ranked.options, ranked.answers, ranked.group) == (tuple(CHOICE["options"]), ("a key",), "Ele")
    assert (free.options, free.answers) == ((), ("a key", "a small key"))


def test_locomo_asks_its_categories_as_the_benchmark_does(tmp_path: Path) -> None:
    talk(tmp_path)
    some = {one.group: one for one in items("locomo", tmp_path)}
    assert set(some) == {"multi-hop", "temporal", "open-domain", "single-hop"}
    assert some["temporal"].question == "What 2? Use DATE of CONVERSATION to answer with an approximate date."
    assert some["open-domain"].answers == ("hello",)
    assert some["single-hop"].answers == ("hello; hi",)
    assert {one.texts for one in some.values()} == {("(D1:1) A: Hello.",)}


def test_locomos_traps_are_a_choice_in_drawn_order(tmp_path: Path) -> None:
    talk(tmp_path)
    asked = {items("locomo-adversarial", tmp_path, seed=seed)[0].question for seed in range(8)}
    head, none = "What 5? Select the correct answer:", "Not mentioned in the conversation"
    assert asked == {f"{head} {none} or a trap.", f"{head} a trap or {none}."}
    (item,) = items("locomo-adversarial", tmp_path)
    assert match_any(none, item.answers) == 1
    assert match_any("a trap", item.answers) == 0


def test_leval_keeps_what_can_be_scored(tmp_path: Path) -> None:
    lines(tmp_path / "qa/dev/leval.contexts.jsonl", {"context_id": "t", "text": "A lecture."})
    exam = {"evaluation": "exam", "task": "tpo", "context_id": "t", "context": None}
    lines(
        tmp_path / "qa/dev/leval.jsonl",
        FOX | exam | {"evaluation": "f1", "task": "contracts"},
        FOX | exam | {"evaluation": "rouge", "task": "news"},
        FOX | exam | CHOICE | {"answers": ["a key"], "all_correct_required": False},
        FOX | exam | CHOICE | {"answers": ["a key", "a hat"], "all_correct_required": True},
    )
    assert [(one.id, one.group) for one in items("leval", tmp_path)] == [("1", "contracts")]
    assert [(one.id, one.answers) for one in items("leval-choice", tmp_path)] == [("3", ("a key",))]


def test_quality_field_for_field(tmp_path: Path) -> None:
    asked = [{"question": "What?", "gold_label": 3, "difficult": hard} | CHOICE for hard in (0, 1)]
    article = {"article_id": "20007", "article": "<p>One &amp; two</p><p>3 < 4</p>", "questions": asked}
    lines(tmp_path / "quality" / "QuALITY.v1.0.1.dev", article)
    easy, hard = items("quality", tmp_path)
    assert easy == Item("1/20007/1", ("One & two\n\n3 < 4",), "What?", ("a nut",), tuple(CHOICE["options"]), "easy")
    assert (hard.id, hard.group) == ("1/20007/2", "hard")
    assert by_texts([easy, hard]) == [easy, hard]


def test_text_without_html_stays_as_it_is() -> None:
    text = "If x < 3 and y > 4,\nthen go.\n\nElse stay."
    assert stripped(text) == text
    assert stripped("a<br/>b <!-- no -->c <i class='x'>d</i>") == "a\n\nb c d"


def test_what_is_damaged_is_named_with_file_and_line(tmp_path: Path) -> None:
    file = lines(tmp_path / "qa/dev/qamr.jsonl", FOX, FOX)
    for second, fault in (
        ("{broken", "qamr.jsonl, line 2: not JSON"),
        ("[1]", "qamr.jsonl, line 2: not an object"),
        ('{"question": "Who?", "context": "A fox."}', "qamr.jsonl, line 2: no field «answers»"),
        ('{"question": "Who?", "answers": ["a"]}', "qamr.jsonl, line 2: no field «context»"),
        ('{"question": " ", "answers": ["a"], "context": "A fox."}', "qamr.jsonl, line 2: no field «question»"),
        ('{"question": "Who?", "answers": [], "context": "A fox."}', "qamr.jsonl, line 2: no field «answers»"),
    ):
        file.write_text(f"{json.dumps(FOX)}\n{second}\n", "utf-8")
        with pytest.raises(ModelError) as raised:
            items("qamr", tmp_path)
        assert raised.value.message.startswith(fault)
        assert raised.value.remedy


def test_a_cut_archive_is_named(tmp_path: Path) -> None:
    file = lines(tmp_path / "qa/dev/qamr.jsonl.xz", FOX)
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(ModelError, match=r"qamr\.jsonl\.xz, line \d: damaged"):
        items("qamr", tmp_path)


def test_faults_inside_a_line_are_named_too(tmp_path: Path) -> None:
    lines(tmp_path / "quality/QuALITY.v1.0.1.dev", {"article": "A.", "questions": [{"question": "What?"} | CHOICE]})
    with pytest.raises(ModelError, match="line 1, questions 1: no field «gold_label»"):
        items("quality", tmp_path)
    squad(tmp_path)
    file = tmp_path / "squad" / "dev-v1.1.json"
    file.write_text(file.read_text("utf-8").replace('"id": "1-2"', '"key": 1'), "utf-8")
    with pytest.raises(ModelError, match=r"dev-v1\.1\.json, data 2, paragraphs 3, qas 1: no field «id»"):
        items("retention-squad", tmp_path, lengths=(300,))


def test_a_right_option_that_is_no_option_is_refused(tmp_path: Path) -> None:
    lines(tmp_path / "qa/dev/onestopqa.jsonl", FOX | CHOICE | {"level": "Ele", "answers": ["a cow"]})
    with pytest.raises(ModelError, match="the answer 'a cow' is none of the options"):
        items("onestopqa", tmp_path)


def test_draws_are_the_same_for_a_seed_and_differ_between_seeds(tmp_path: Path) -> None:
    longbench(tmp_path, count=40)
    first = items("longbench-qasper", tmp_path, 10)
    assert items("longbench-qasper", tmp_path, 10) == first
    assert items("longbench-qasper", tmp_path, 10, seed=1) != first
    assert len({one.id for one in first}) == 10
    assert len(items("longbench-qasper", tmp_path, 100)) == 40


def test_limits_hold_for_every_group(tmp_path: Path) -> None:
    rows = [FOX | {"title": f"qa{1 + n % 3}"} for n in range(30)] + [FOX | {"title": "qa9"}]
    lines(tmp_path / "qa/dev/babi.jsonl", *rows)
    found = items("babi", tmp_path, 4)
    assert Counter(one.group for one in found) == {"qa1": 4, "qa2": 4, "qa3": 4, "qa9": 1}
    assert len({one.id for one in found}) == len(found)


def test_the_data_report_says_what_is_there_and_what_waits(tmp_path: Path) -> None:
    here, away = Needed("a/*.jsonl|b.jsonl", "site a", "MIT"), Needed("c.json", "site c", "CC0-1.0")
    needs = {"one": (here,), "two": (here, away), "three": (away,)}
    tasks = [Task(name, "", "f1", lambda *_: iter(()), some) for name, some in needs.items()]
    lines(tmp_path / "b.jsonl", {})
    assert [(one.task, one.needed, one.found) for one in report(tmp_path, tasks)] == [
        ("one", "a/*.jsonl", "b.jsonl"), ("two", "a/*.jsonl", "b.jsonl"), ("two", "c.json", None),
        ("three", "c.json", None),
    ]  # fmt: skip
    assert ready(tmp_path, tasks) == ["one"]
    (waiting,) = missing(tmp_path, tasks)
    assert (waiting.needed, waiting.tasks, waiting.published, waiting.licence) == (
        "c.json", ("two", "three"), "site c", "CC0-1.0",
    )  # fmt: skip


def test_every_task_has_a_name_of_its_own_a_known_metric_and_licensed_files() -> None:
    assert len(TASKS) == len(ALL)
    for task in ALL:
        assert task.metric in METRICS, task.name
        assert task.chance is None or 0 <= task.chance < 1, task.name
        assert task.about, task.name
        assert task.source, task.name
        for one in task.needs:
            assert one.licence, task.name
            assert one.published, task.name


def test_every_task_stands_in_the_docs_with_its_metric_and_its_files() -> None:
    page = (Path(__file__).parents[3] / "docs" / "evaluation-tasks.md").read_text("utf-8")
    rows = {row.split("`")[1]: row for row in page.splitlines() if row.startswith("| `")}
    for task in ALL:
        assert f"| {task.metric} |" in rows[task.name], task.name
        for one in task.needs:
            assert any(name.removesuffix(".xz") in rows[task.name] for name in one.path.split("|")), task.name
