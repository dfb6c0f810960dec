"""InfiniteBench (arXiv 2402.13718): En.QA and En.MC, questions about whole novels whose names were changed.

M+ (arXiv 2502.00592) calls En.QA LongBook-QA. En.QA is scored by F1 as in the benchmark. In En.MC the benchmark takes
the letter that a chat model writes; here the options themselves are ranked by likelihood, which a base model can do.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from model.evaluation.tasks.records import Record, drawn, present, records
from model.evaluation.tasks.task import Item, Limits, Needed, Task

SITE, LICENCE = (
    "huggingface.co/datasets/xinrongzhang2022/InfiniteBench",
    "MIT (the benchmark's repository); each novel its own",
)
QA, CHOICE = (
    Needed(f"infinitebench/{name}.jsonl|infinitebench/{name}.jsonl.xz", SITE, LICENCE)
    for name in ("longbook_qa_eng", "longbook_choice_eng")
)
LONGEST = 40  # tokens of an answer, as in the benchmark
LETTERS = "ABCD"


def load_qa(data: Path, limits: Limits) -> Iterator[Item]:
    """En.QA."""
    for one in drawn(list(records(present(QA, data))), limits, "infinitebench-qa"):
        yield Item(one.id(), (one.text("context"),), one.text("input"), one.texts("answer"),
                   longest=LONGEST)  # fmt: skip


def load_choice(data: Path, limits: Limits) -> Iterator[Item]:
    """En.MC."""
    for one in drawn(list(records(present(CHOICE, data))), limits, "infinitebench-choice"):
        options = one.texts("options")
        yield Item(one.id(), (one.text("context"),), one.text("input"), (right(one, options),),
                   options)  # fmt: skip


def right(one: Record, options: tuple[str, ...]) -> str:
    """The right option: the file gives its text, or its text and its letter, or its letter."""
    answers = one.texts("answer")
    found = [answer for answer in answers if answer in options]
    named = [options[LETTERS.index(answer)] for answer in answers if answer in LETTERS[: len(options)]]
    return one.option(options, (found or named or answers)[0])


INFINITEBENCH_TASKS = (
    Task("infinitebench-qa", "En.QA (LongBook-QA): questions about a novel", "f1", load_qa, (QA,), 0.0,
         "InfiniteBench, arXiv 2402.13718"),
    Task("infinitebench-choice", "En.MC: one of four answers to a question about a novel", "accuracy", load_choice,
         (CHOICE,), 0.25, "InfiniteBench, arXiv 2402.13718"),
)  # fmt: skip
