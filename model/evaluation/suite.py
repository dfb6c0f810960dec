"""Runs: every method by every task, an item at a time, in a folder that can be gone on with.

A run folder holds run.json (what was asked for, versions, the model's fingerprint) and predictions.jsonl, one line an
item. What stands there is not done again; metrics are computed from it, never stored apart.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from model.errors import ModelError
from model.evaluation.common import Subject
from model.evaluation.methods.method import DoesNotFit, Method
from model.evaluation.metrics import METRICS, chosen, score_options
from model.evaluation.tasks.task import Item, Limits, Task, by_texts

RUN, PREDICTIONS = "run.json", "predictions.jsonl"
PACKAGES = ("mplus", "torch", "transformers", "tokenizers", "peft")
BEGINNING = 1000  # characters by which a text is known
Maker = Callable[[], Method]


@dataclass(frozen=True, slots=True)
class Prediction:
    """How one item went with one method."""

    task: str
    method: str
    item: str
    group: str
    score: float
    said: str  # the answer, or the chosen candidate
    wanted: str
    fits: bool  # False: the texts are longer than the method can hold, the score is 0
    read_s: float  # of the texts; where another method wrote a text before, with the seconds that it took then
    answer_s: float
    bytes: dict[str, int]
    text: str = ""  # what items about the same text share

    def line(self) -> str:
        """As it stands in predictions.jsonl."""
        return json.dumps(asdict(self), ensure_ascii=False)


def run_folder(out: Path, about: dict[str, Any]) -> Path:
    """Make a run folder, or go on with one of the same settings. Raises ModelError where they differ."""
    out.mkdir(parents=True, exist_ok=True)
    file = out / RUN
    if file.exists():
        before = json.loads(file.read_text("utf-8"))
        differing = [key for key in ("model", "fingerprint", "limits") if before.get(key) != about.get(key)]
        if differing:
            raise ModelError(
                f"{out} holds a run with another {' and '.join(differing)}", "name another folder with --out"
            )
    file.write_text(json.dumps(about | {"versions": versions()}, indent=1), "utf-8")
    return out


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def done_before(out: Path) -> set[tuple[str, str, str]]:
    """(task, method, item) of every whole line of a run folder; a line cut by a crash is taken away."""
    file = out / PREDICTIONS
    if not file.exists():
        return set()
    whole = []
    for line in file.read_text("utf-8").splitlines():
        try:
            whole.append(json.loads(line))
        except ValueError:
            break
    file.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in whole), "utf-8")
    return {(one["task"], one["method"], one["item"]) for one in whole}


def run(
    subject: Subject,
    methods: dict[str, Maker],
    tasks: Sequence[Task],
    data: Path,
    limits: Limits,
    out: Path,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Prediction]:
    """Every method by every task; yields predictions as they are made and written to `out`."""
    done = done_before(out)
    with (out / PREDICTIONS).open("a", encoding="utf-8") as file:
        for task in tasks:
            items = by_texts(task.items(data, limits))
            for name, make in methods.items():
                left = [item for item in items if (task.name, name, item.id) not in done]
                for prediction in _run_method(subject, name, make, task, left):
                    file.write(prediction.line() + "\n")
                    file.flush()
                    yield prediction
                    if stop():
                        return


def _run_method(subject: Subject, name: str, make: Maker, task: Task, items: Sequence[Item]) -> Iterator[Prediction]:
    if not items:
        return
    method, texts, read_s, fits = make(), None, 0.0, True
    for item in items:
        if item.texts != texts:
            texts, started, spared = item.texts, time.perf_counter(), subject.written.spared_s
            fits = _read(method, item)
            read_s = time.perf_counter() - started + subject.written.spared_s - spared
        started = time.perf_counter()
        try:
            score, said = ask(subject, method, task, item) if fits else (0.0, "")
            here = fits
        except DoesNotFit:
            score, said, here = 0.0, "", False
        seconds = time.perf_counter() - started
        yield Prediction(task.name, name, item.id, item.group, score, said, item.answers[0], here, round(read_s, 4),
                         round(seconds, 4), method.bytes_held(), text_key(item))  # fmt: skip


def _read(method: Method, item: Item) -> bool:
    method.reset()
    try:
        for text in item.texts:
            method.read(text)
    except DoesNotFit:
        return False
    return True


def text_key(item: Item) -> str:
    """What items about the same text share: twelve digits over its beginning; nothing where nothing is read.

    The beginning alone, because tasks ask about a book as far as some page, or about a passage with others behind it.
    """
    start = next((text[:BEGINNING] for text in item.texts if text.strip()), "")
    return sha256(start.encode()).hexdigest()[:12] if start else ""


def prompt_of(subject: Subject, item: Item) -> list[int]:
    """The tokens that are asked: the item's own wording, the model's question form, or the plain text."""
    if item.plain:
        return subject.tokenizer.encode(item.question)
    if item.prompt:
        return subject.tokenizer.encode(item.prompt.replace("{question}", item.question))
    return subject.question(item.question)


def ask(subject: Subject, method: Method, task: Task, item: Item) -> tuple[float, str]:
    """Score and answer of an item: generated, or the best of its candidates."""
    prompt, metric = prompt_of(subject, item), METRICS[task.metric]
    if metric.answers is not None:
        said = method.respond(item.question, prompt, item.longest)
        return metric.answers(said, item.answers), said
    joint = "" if item.plain else " "
    found = method.score(prompt, [subject.tokenizer.encode(joint + option) for option in item.options])
    return score_options(task.metric, item.options, item.answers, found), item.options[chosen(found)]
