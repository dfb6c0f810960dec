"""Questions about a text that was read: a passage, a tale, a book, a conversation, long documents of many kinds.

The files are JSON Lines, one object a line, with question, answers, optional id, and context; where a text is long and
has many questions, context_id names it in `<set>.contexts.jsonl`, which has context_id and text. What else a set needs
stands beside it. Questions are asked in the model's own form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from model.errors import ModelError
from model.evaluation.tasks.babilong import CHANCE, STORIES
from model.evaluation.tasks.locomo import category, dated, first_answer, not_said, undecided
from model.evaluation.tasks.records import SCHEMA, Record, drawn, present, records
from model.evaluation.tasks.retention import XQUAD
from model.evaluation.tasks.task import Item, Limits, Needed, Task

SENTENCE = 64  # tokens of an answer that may be a sentence or two
SUMMARY = 320  # of an answer of about 240 words


@dataclass(frozen=True, slots=True)
class Reading:
    """A set of questions and what is particular to it.

    contexts: the file in which a line's text is looked up; without it the line's own context is read.
    keep: which lines are asked. group: what the benchmark reports by. question: as it is asked, with a seed for what is
    drawn in it. notes: fields that an item's meta keeps.
    """

    name: str
    about: str
    metric: str
    file: Needed
    source: str
    contexts: Needed | None = None
    chance: float = 0.0
    longest: int = 24
    keep: Callable[[Record], bool] = lambda one: True
    group: Callable[[Record], str] = lambda one: ""
    question: Callable[[Record, str], str] = lambda one, seed: one.text("question")
    answers: Callable[[Record], tuple[str, ...]] = lambda one: one.texts("answers")
    notes: tuple[str, ...] = ()

    def load(self, data: Path, limits: Limits) -> Iterator[Item]:
        """Items, drawn of every group."""
        texts = whole_texts(present(self.contexts, data)) if self.contexts else None
        some = [one for one in records(present(self.file, data)) if self.keep(one)]
        yield from (self.item(one, texts, limits.seed) for one in drawn(some, limits, self.name, self.group))

    def item(self, one: Record, texts: dict[str, str] | None, seed: int) -> Item:
        """One line as an item. Raises ModelError where it lacks something."""
        text = one.text("context") if texts is None else looked_up(one, texts)
        options = one.texts("options") if self.metric == "accuracy" else ()
        answers = self.answers(one)
        if options:
            answers = (one.option(options, answers[0]),)
        return Item(one.id(), (text,), self.question(one, f"{seed}/{self.name}/{one.id()}"), answers, options,
                    self.group(one), longest=self.longest, meta=one.note(*self.notes))  # fmt: skip

    def task(self) -> Task:
        """As the suite knows it."""
        needs = (self.file, self.contexts) if self.contexts else (self.file,)
        return Task(self.name, self.about, self.metric, self.load, needs, self.chance, self.source)


def whole_texts(file: Path) -> dict[str, str]:
    """Texts by context_id."""
    return {one.text("context_id"): one.text("text") for one in records(file)}


def looked_up(one: Record, texts: dict[str, str]) -> str:
    """The text that a line names. Raises ModelError where there is none."""
    name = one.text("context_id")
    if name not in texts:
        raise ModelError(f"{one.place}: no text with the context_id {name!r}", SCHEMA)
    return texts[name]


def files(name: str, published: str, licence: str) -> tuple[Needed, Needed]:
    """The questions of a set in qa/dev and its whole texts, each plain or xz."""
    found = []
    for file, fields in ((f"{name}.jsonl", "question, answers and more"), (f"{name}.contexts.jsonl", "texts")):
        found.append(Needed(f"qa/dev/{file}.xz|qa/dev/{file}", f"{published}, as JSON Lines ({fields})", licence))
    return found[0], found[1]


def named(field: str) -> Callable[[Record], str]:
    """Groups by a field."""
    return lambda one: one.text(field)


def scored_by_f1(one: Record) -> bool:
    """Questions of L-Eval whose answers it scores by F1."""
    return one.text("evaluation") == "f1"


def one_right(one: Record) -> bool:
    """Questions of L-Eval with options of which one is right; those with several cannot be ranked."""
    return bool(one.raw.get("options")) and len(one.texts("answers")) == 1 and not one.raw.get("all_correct_required")


FAIRY, FAIRY_TALES = files("fairytaleqa", "github.com/uci-soe/FairytaleQAData", "Apache-2.0")
QAMR, _ = files("qamr", "github.com/uwnlp/qamr", "MIT; text CC BY-SA")
ONESTOP, _ = files("onestopqa", "github.com/berzak/onestop-qa", "CC BY-SA 4.0")
LITERARY, LITERARY_BOOKS = files("literaryqa", "huggingface.co/datasets/sapienzanlp/LiteraryQA",
                                 "CC BY-NC: for measuring only; books free of rights")  # fmt: skip
SQUALITY, _ = files("squality", "github.com/nyu-mll/SQuALITY", "CC BY 4.0; stories free of rights")
LOCOMO, LOCOMO_TALKS = files("locomo", "github.com/snap-research/locomo", "CC BY-NC 4.0: for measuring only")
LEVAL, LEVAL_TEXTS = files("leval", "github.com/OpenLMLab/LEval", "GPL-3.0: for measuring only")
LOOGLE, LOOGLE_TEXTS = files("loogle", "github.com/bigai-nlco/LooGLE", "MIT")
HOTPOT, _ = files("hotpotqa_sample100", "hotpotqa.github.io (distractor setting)", "CC BY-SA 4.0")

FAIRYTALE, NARRATIVE = "FairytaleQA, arXiv 2203.13947", "NarrativeQA, arXiv 1712.07040, as LiteraryQA cleaned it"
LOCOMO_SOURCE, LEVAL_SOURCE = "LoCoMo, arXiv 2402.17753", "L-Eval, arXiv 2307.11088"

SETS = (
    Reading("fairytaleqa", "questions about a section of a fairy tale", "f1", FAIRY, FAIRYTALE, longest=32,
            notes=("kind", "explicit")),
    Reading("fairytaleqa-tale", "the same behind the whole tale", "f1", FAIRY, FAIRYTALE, FAIRY_TALES, longest=32,
            notes=("kind", "explicit")),
    Reading("qamr", "short questions about a short modern passage", "f1", QAMR, "QAMR, arXiv 1711.05885"),
    Reading("xquad", "SQuAD's questions about one passage", "f1", XQUAD, "XQuAD, arXiv 1910.11856"),
    Reading("onestopqa", "one of four answers to a question about news", "accuracy", ONESTOP,
            "OneStopQA, arXiv 2004.14797", chance=0.25, group=named("level")),
    Reading("onestopqa-answers", "the same, answered freely", "f1", ONESTOP, "OneStopQA, arXiv 2004.14797", longest=32,
            group=named("level")),
    Reading("babi", "twenty kinds of reasoning about a short story", "exact match", STORIES,
            "bAbI tasks, arXiv 1502.05698", chance=CHANCE, longest=12, group=named("title")),
    Reading("narrativeqa", "questions about a whole book", "f1", LITERARY, NARRATIVE, LITERARY_BOOKS, longest=32,
            notes=("title",)),
    Reading("narrativeqa-summary", "the same behind a summary of the book's plot", "f1", LITERARY, NARRATIVE,
            longest=32, notes=("title",)),
    Reading("squality", "a story retold under a question, in about 240 words", "rouge-l", SQUALITY,
            "SQuALITY, arXiv 2205.11465", longest=SUMMARY, notes=("title",)),
    Reading("locomo", "questions about a conversation over months", "f1", LOCOMO, LOCOMO_SOURCE, LOCOMO_TALKS,
            longest=32, keep=lambda one: category(one) != "adversarial", group=category, question=dated,
            answers=first_answer),
    Reading("locomo-adversarial", "what was never said: is it noticed?", "match any", LOCOMO, LOCOMO_SOURCE,
            LOCOMO_TALKS, 0.5, 32, keep=lambda one: category(one) == "adversarial", group=category, question=undecided,
            answers=not_said),
    Reading("leval", "questions about long documents of five kinds", "f1", LEVAL, LEVAL_SOURCE, LEVAL_TEXTS,
            longest=SENTENCE, keep=scored_by_f1, group=named("task")),
    Reading("leval-choice", "one of four answers, about lectures, lessons and stories", "accuracy", LEVAL, LEVAL_SOURCE,
            LEVAL_TEXTS, 0.25, keep=one_right, group=named("task")),
    Reading("loogle", "questions whose evidence lies far apart in a document", "f1", LOOGLE,
            "LooGLE, arXiv 2311.04939", LOOGLE_TEXTS, longest=SENTENCE, notes=("kind",)),
    Reading("hotpotqa", "two-hop questions over ten passages", "f1", HOTPOT, "HotpotQA, arXiv 1809.09600"),
)  # fmt: skip
READING_TASKS = tuple(one.task() for one in SETS)
