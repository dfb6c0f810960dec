"""LongBench (arXiv 2308.14508): its six English question-answering sets, with its own files, prompts and lengths.

LongBench's prompt is an instruction, {context}, and an end with {input}. What stands before {context}, and the context
itself, is the text that is read; what stands after it is what is asked. So `full-context` sees LongBench's prompt
letter for letter, and a truncation of the text cuts where LongBench cuts, in the middle of the context. Methods that do
not put the text in front of the question (a memory, retrieval) read the text first, and are then asked with the end of
the prompt, which gives the instruction again. Methods that search the text search with the question alone.

Of several answers the best counts. The 8k and 16k columns of the published tables are a truncation of the text to that
many tokens, which is a method's matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from model.errors import ModelError
from model.evaluation.tasks.records import Record, document, drawn, present, records
from model.evaluation.tasks.task import Item, Limits, Needed, Task

SITE = "huggingface.co/datasets/THUDM/LongBench (data.zip)"
PROMPTS, LONGEST = (
    Needed(f"longbench/{name}.json|longbench/config/{name}.json", f"github.com/THUDM/LongBench, config/{name}.json",
           "MIT")
    for name in ("dataset2prompt", "dataset2maxlen")
)  # fmt: skip
# the licence of every set; what LongBench added is MIT
SETS = {
    "2wikimqa": ("two-hop questions over Wikipedia passages", "Apache-2.0"),
    "hotpotqa": ("two-hop questions over Wikipedia passages", "CC BY-SA 4.0"),
    "musique": ("two- to four-hop questions over Wikipedia passages", "CC BY 4.0"),
    "qasper": ("questions about a scientific article", "CC BY 4.0"),
    "multifieldqa_en": ("questions about one text of many kinds", "MIT"),
    "narrativeqa": ("questions about a book or a film script", "Apache-2.0; each text its own"),
}


def halves(prompts: Record, name: str) -> tuple[str, str]:
    """LongBench's prompt before and after the context; {input} becomes {question}. Raises ModelError for others."""
    head, found, tail = prompts.text(name).partition("{context}")
    if not found or tail.count("{input}") != 1:
        raise ModelError(f"{prompts.place}: the prompt of {name} has no {{context}} with {{input}} behind it",
                         f"take the file from {PROMPTS.published}")  # fmt: skip
    return head, tail.replace("{input}", "{question}")


def longest(record: Record, name: str) -> int:
    """Tokens that LongBench allows an answer of a set."""
    found = record.raw.get(name)
    if not isinstance(found, int) or found < 1:
        raise record.lacks(name, "a number of tokens")
    return found


def load(name: str, file: Needed, data: Path, limits: Limits) -> Iterator[Item]:
    """Items of one set."""
    head, tail = halves(document(present(PROMPTS, data)), name)
    most = longest(document(present(LONGEST, data)), name)
    for one in drawn(list(records(present(file, data))), limits, f"longbench-{name}"):
        yield Item(one.id("_id"), (head + one.text("context"),), one.text("input"), one.texts("answers"), longest=most,
                   prompt=tail, meta=one.note("length"))  # fmt: skip


def _task(name: str) -> Task:
    about, licence = SETS[name]
    file = Needed(f"longbench/{name}.jsonl|longbench/{name}.jsonl.xz|longbench/data/{name}.jsonl", SITE, licence)
    return Task(f"longbench-{name}", about, "f1", partial(load, name, file), (file, PROMPTS, LONGEST), 0.0,
                "LongBench, arXiv 2308.14508")  # fmt: skip


LONGBENCH_TASKS = tuple(map(_task, SETS))
