"""What runs found: scores with intervals, paired differences with verdicts, means over tasks, counts of misfits.

Everything is computed from run folders as `suite.py` writes them. Intervals are 95 %, over texts where several
questions are about one (`clusters.py`). A difference whose interval holds 0 is no difference that was shown.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from model.errors import ModelError
from model.evaluation.clusters import Scores, bootstrapped, estimate_of, mean, mean_of_means
from model.evaluation.common import Estimate
from model.evaluation.metrics import METRICS
from model.evaluation.suite import PREDICTIONS, RUN, Prediction

FEWEST = 6  # texts that must differ before a verdict: with fewer even a sign test cannot reach 5 %
BETTER, WORSE, UNDECIDED = "better", "worse", "no difference shown"
NUMBER_AT_END = re.compile(r"(?:^|.*\s)(\d+(?:\.\d+)?)$")
ItemKey = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TaskNote:
    """What a run says about a task: its metric, whether more is better, and what guessing scores."""

    metric: str
    higher: bool = True
    chance: float | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """A run folder: what was asked for, and what was found."""

    folder: Path
    about: dict[str, Any]
    predictions: tuple[Prediction, ...]

    def task(self, name: str) -> TaskNote:
        """What run.json says about a task; a task that it does not know counts as one where more is better."""
        said = self.about.get("tasks", {})
        raw = said.get(name, {}) if isinstance(said, dict) else {}
        metric = str(raw.get("metric", ""))
        return TaskNote(metric, METRICS[metric].higher if metric in METRICS else True, raw.get("chance"))


@dataclass(frozen=True, slots=True)
class Outcome:
    """One item with one method, as reports know them. `unit`: what two methods must share to be compared."""

    task: str
    method: str
    unit: ItemKey
    prediction: Prediction

    @property
    def text(self) -> str:
        """What items about the same text share; of a line that does not say it, the item itself."""
        return self.prediction.text or "\0".join(self.unit)


@dataclass(frozen=True, slots=True)
class Result:
    """Scores of a method over the items of a task, or of one group of it.

    unfit: items whose texts the method cannot hold. They count as 0 where more is better; they are left out elsewhere.
    texts: how many the items are about. read_s, answer_s: medians. bytes: the most that was held, by place.
    """

    task: str
    method: str
    group: str
    metric: str
    estimate: Estimate
    texts: int
    unfit: int
    read_s: float
    answer_s: float
    bytes: dict[str, int]


@dataclass(frozen=True, slots=True)
class Difference:
    """Method minus opponent over the items that both did; the verdict knows whether more is better."""

    task: str
    method: str
    against: str
    group: str
    estimate: Estimate
    verdict: str


@dataclass(frozen=True, slots=True)
class Mean:
    """Mean over tasks of a method's mean scores, each task counting the same."""

    method: str
    tasks: tuple[str, ...]
    estimate: Estimate


# ------------------------------------------------------------------------------------------------------------ reading


def read_run(folder: Path) -> Run:
    """A run folder; a last line cut by a crash is left out. Raises ModelError where there is no run."""
    if not (folder / RUN).is_file():
        raise ModelError(f"{folder} holds no run: {RUN} is missing", "name a folder that `mplus eval run --out` made")
    try:
        about = json.loads((folder / RUN).read_text("utf-8"))
    except ValueError as error:
        raise ModelError(f"{folder / RUN} is damaged: {error}", "run again into another folder") from error
    file = folder / PREDICTIONS
    lines = file.read_text("utf-8").splitlines() if file.is_file() else []
    return Run(folder, about, tuple(_predictions(file, lines)))


def _predictions(file: Path, lines: Sequence[str]) -> Iterable[Prediction]:
    for number, line in enumerate(lines, 1):
        try:
            yield Prediction(**json.loads(line))
        except (ValueError, TypeError) as error:
            if number == len(lines):
                return
            raise ModelError(f"{file}, line {number} is damaged: {error}", "run again into another folder") from error


def outcomes(runs: Sequence[Run]) -> list[Outcome]:
    """All items of all runs. Where runs differ in model or settings, the method's name says in what.

    What stands in several runs with the same name is taken from the last one.
    """
    found: dict[tuple[str, str, ItemKey], Outcome] = {}
    for run, suffix in zip(runs, suffixes(runs), strict=True):
        limits = run.about.get("limits") or {}
        for one in run.predictions:
            unit = (str(limits.get("seed", 0)), one.group, one.item, one.wanted)
            outcome = Outcome(one.task, one.method + suffix, unit, one)
            found[one.task, outcome.method, unit] = outcome
    return list(found.values())


def suffixes(runs: Sequence[Run]) -> list[str]:
    """What tells the runs apart, as ` (model, rows 64)`; nothing where they agree or there is one."""
    names = [_setting(run) for run in runs]
    keys = [key for key in names[0] if len({one[key] for one in names}) > 1] if names else []
    models = {one["model"] for one in names}
    if len({name for _, name in models}) < len(models):  # versions of one model: the fingerprint tells them apart
        for one in names:
            fingerprint, name = one["model"]
            one["model"] = fingerprint, f"{name} {fingerprint[:8]}".strip()
    words = [", ".join(one[key][1] for key in keys if one[key][1]) for one in names]
    return [f" ({text})" if text else "" for text in words]


def _setting(run: Run) -> dict[str, tuple[str, str]]:
    """What may tell a run from others: a key, and how it is said."""
    about, limits = run.about, run.about.get("limits") or {}
    model = str(about.get("model", ""))
    rows, passages, tokens = limits.get("rows"), limits.get("passages"), limits.get("passage_tokens")
    return {
        "model": (str(about.get("fingerprint", model)), model),
        "dtype": (str(limits.get("dtype")), str(limits.get("dtype") or "")),
        "memory_dtype": (kept := str(limits.get("memory_dtype", "bf16")), f"rows in {kept}"),
        "weights": (matrices := str(limits.get("weights", "dense")), f"weights {matrices}"),
        "rows": (str(rows), "" if rows is None else f"rows {rows}"),
        "passages": (f"{passages} of {tokens}", f"passages {passages}" + (f" of {tokens}" if tokens else "")),
        "offload": (str(limits.get("offload")), "offload" if limits.get("offload") else ""),
    }


def task_notes(runs: Sequence[Run]) -> dict[str, TaskNote]:
    """What is known about every task of the runs, in the order in which they were run.

    Raises ModelError where runs disagree about a task's metric.
    """
    found: dict[str, TaskNote] = {}
    for run in runs:
        for name in dict.fromkeys(one.task for one in run.predictions):
            before, here = found.get(name), run.task(name)
            if before is not None and before.metric != here.metric:
                raise ModelError(f"the runs score {name} by {before.metric} and by {here.metric}", "report them apart")
            found[name] = here
    return found


def position(group: str) -> float | None:
    """The number that a group ends with, as a word of its own (`2000`, `qa1 2000`); None where there is none."""
    found = NUMBER_AT_END.match(group)
    return float(found.group(1)) if found else None


def is_curve(groups: Iterable[str]) -> bool:
    """Whether groups are places on an axis: each ends with a number, and the numbers differ."""
    places = {position(group) for group in groups}
    return None not in places and len(places) > 1


def at_positions(found: Sequence[Outcome]) -> list[Outcome]:
    """The same outcomes with the number alone as group, for curves: kinds at one length are pooled."""
    return [
        replace(one, prediction=replace(one.prediction, group=f"{position(one.prediction.group):g}")) for one in found
    ]


# ------------------------------------------------------------------------------------------------------------ scoring


def counted(found: Iterable[Outcome], note: TaskNote) -> list[Outcome]:
    """Outcomes that enter a mean: a text that did not fit scores 0, which says nothing where less is better."""
    return [one for one in found if note.higher or one.prediction.fits]


def results(found: Sequence[Outcome], notes: Mapping[str, TaskNote], by_group: bool = False) -> list[Result]:
    """Results of every task and method, or of each of their groups, in order of appearance."""
    cells: dict[tuple[str, str, str], list[Outcome]] = defaultdict(list)
    for one in found:
        cells[one.task, one.method, one.prediction.group if by_group else ""].append(one)
    return [_result(key, some, notes[key[0]]) for key, some in cells.items()]


def _result(key: tuple[str, str, str], some: Sequence[Outcome], note: TaskNote) -> Result:
    task, method, group = key
    places = {place for one in some for place in one.prediction.bytes}
    scores = scores_of(counted(some, note))
    return Result(
        task,
        method,
        group,
        note.metric,
        estimate_of(scores, note.metric),
        len(set(scores.texts)),
        sum(not one.prediction.fits for one in some),
        median(one.prediction.read_s for one in some),
        median(one.prediction.answer_s for one in some),
        {place: max(one.prediction.bytes.get(place, 0) for one in some) for place in sorted(places)},
    )


def scores_of(found: Iterable[Outcome]) -> Scores:
    """The scores of outcomes, with their texts."""
    scores = Scores()
    for one in found:
        scores.add(one.prediction.score, one.text)
    return scores


def verdict(difference: Estimate, differing: int, higher: bool) -> str:
    """What a difference shows; nothing where its interval holds 0 or too few texts differ."""
    if differing < FEWEST or not (difference.low > 0 or difference.high < 0):
        return UNDECIDED
    return BETTER if (difference.value > 0) == higher else WORSE


def differences(
    found: Sequence[Outcome], notes: Mapping[str, TaskNote], against: str, by_group: bool = False
) -> list[Difference]:
    """Every other method minus `against`, over the items that both did.

    Raises ModelError where no run has that method.
    """
    paired = pairs(found, notes, against, by_group)
    return [
        Difference(
            task, method, against, group, some := mean(scores), verdict(some, scores.differing(), notes[task].higher)
        )
        for (task, method, group), scores in paired.items()
    ]


def pairs(
    found: Sequence[Outcome], notes: Mapping[str, TaskNote], against: str, by_group: bool = False
) -> dict[tuple[str, str, str], Scores]:
    """Differences of scores, item by item, for every (task, method, group)."""
    methods = list(dict.fromkeys(one.method for one in found))
    if against not in methods:
        raise ModelError(f"no run has the method {against}", f"there are {', '.join(methods)}")
    kept = [one for task, note in notes.items() for one in counted((o for o in found if o.task == task), note)]
    opponent = {(one.task, one.unit): one.prediction.score for one in kept if one.method == against}
    paired: dict[tuple[str, str, str], Scores] = defaultdict(Scores)
    for one in kept:
        if one.method != against and (one.task, one.unit) in opponent:
            group = one.prediction.group if by_group else ""
            paired[one.task, one.method, group].add(one.prediction.score - opponent[one.task, one.unit], one.text)
    return dict(paired)


# -------------------------------------------------------------------------------------------------------------- means


def shared_tasks(found: Sequence[Outcome], notes: Mapping[str, TaskNote]) -> list[str]:
    """Tasks where more is better and that every method did: only over these are means comparable."""
    methods = {one.method for one in found}
    did = {(one.task, one.method) for one in found}
    return [task for task, note in notes.items() if note.higher and all((task, one) in did for one in methods)]


def means(found: Sequence[Outcome], notes: Mapping[str, TaskNote]) -> list[Mean]:
    """Mean over the shared tasks of every method."""
    tasks, scores = shared_tasks(found, notes), defaultdict[str, dict[str, Scores]](dict)
    for one in found:
        if one.task in tasks:
            scores[one.method].setdefault(one.task, Scores()).add(one.prediction.score, one.text)
    return [
        Mean(method, tuple(tasks), bootstrapped(mean_of_means(list(some.values())))) for method, some in scores.items()
    ]


def mean_differences(found: Sequence[Outcome], notes: Mapping[str, TaskNote], against: str) -> list[Difference]:
    """Every other method minus `against` in the mean over the shared tasks, paired item by item."""
    tasks = shared_tasks(found, notes)
    by_method: dict[str, list[Scores]] = defaultdict(list)
    for (task, method, _), scores in pairs(found, notes, against).items():
        if task in tasks:
            by_method[method].append(scores)
    made = []
    for method, some in by_method.items():
        if len(some) == len(tasks):  # both did the same items of each
            estimate = mean_of_means(some)
            made.append(
                Difference(
                    "mean", method, against, "", estimate, verdict(estimate, sum(one.differing() for one in some), True)
                )
            )
    return made
