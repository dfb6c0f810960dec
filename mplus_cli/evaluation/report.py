"""Reports of runs: tables on the terminal and in Markdown, one object for scripts. Plots are in plots.py."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mplus_cli import terminal
from mplus_cli.words import size

if TYPE_CHECKING:
    from model.evaluation.common import Estimate
    from model.evaluation.results import Difference, Mean, Result, Run, TaskNote

NAME = "report.md"
INTERVALS = """Intervals are 95 %: a bootstrap that draws texts, since questions about one text are not independent;
Wilson's where every score is 0 or 1 and every text has one question. Differences are paired, over the items that both
methods did. "better" and "worse" stand only where the interval of the difference leaves out 0 and at least six texts
differ; many comparisons at once will show some by chance. Items that a method cannot hold count as 0, and are left out
of bits per byte."""


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that a report says."""

    runs: tuple[Run, ...]
    notes: dict[str, TaskNote]
    results: list[Result]
    groups: list[Result]
    points: list[Result]  # of curves: groups by their number alone
    means: list[Mean]
    against: str
    differences: list[Difference]
    group_differences: list[Difference]
    mean_differences: list[Difference]

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        from model.evaluation.common import jsonable

        lists = ("results", "groups", "means", "differences", "group_differences", "mean_differences")
        found = {name: [asdict(one) for one in getattr(self, name)] for name in lists}
        notes = {name: asdict(note) for name, note in self.notes.items()}
        plain = jsonable(
            {"runs": [str(run.folder) for run in self.runs], "tasks": notes, "against": self.against, **found}
        )
        assert isinstance(plain, dict)
        return plain

    @property
    def methods(self) -> list[str]:
        """In order of appearance."""
        return list(dict.fromkeys(one.method for one in self.results))


def build(folders: Sequence[Path], against: str | None = None) -> Report:
    """Read runs and compute what a report says. Raises ModelError for folders that hold none, or an unknown method."""
    from model.evaluation import results as found

    runs = [found.read_run(folder) for folder in folders]
    notes, items = found.task_notes(runs), found.outcomes(runs)
    curves = [task for task in notes if found.is_curve({one.prediction.group for one in items if one.task == task})]
    several = {task for task in notes if len({one.prediction.group for one in items if one.task == task}) > 1}
    grouped = [one for one in items if one.task in several]
    points = found.at_positions([one for one in items if one.task in curves])
    return Report(
        runs=tuple(runs),
        notes=notes,
        results=found.results(items, notes),
        groups=found.results(grouped, notes, by_group=True),
        points=found.results(points, notes, by_group=True),
        means=found.means(items, notes),
        against=against or "",
        differences=found.differences(items, notes, against) if against else [],
        group_differences=_grouped_differences(items, several, notes, against) if against else [],
        mean_differences=found.mean_differences(items, notes, against) if against else [],
    )


def _grouped_differences(items: Any, several: set[str], notes: dict[str, TaskNote], against: str) -> list[Difference]:
    from model.evaluation.results import differences

    grouped = [one for one in items if one.task in several]
    if against not in {one.method for one in grouped}:
        return []
    return differences(grouped, notes, against, by_group=True)


# -------------------------------------------------------------------------------------------------------------- words


def score(estimate: Estimate) -> str:
    """`0.412 [0.350, 0.470]`; `[–]` where equal scores leave no interval."""
    if not estimate.count:
        return "–"
    interval = f"{estimate.low:.3f}, {estimate.high:.3f}" if math.isfinite(estimate.low) else "–"
    return f"{estimate.value:.3f} [{interval}]"


def change(one: Difference | None) -> str:
    """`+0.050 [0.010, 0.090] better`."""
    if one is None:
        return "–"
    value, low, high = (round(number, 3) + 0.0 for number in (one.estimate.value, one.estimate.low, one.estimate.high))
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}] {one.verdict}"


def cell(one: Result | None) -> str:
    """A score and, where there are any, how many items did not fit."""
    if one is None:
        return "–"
    return score(one.estimate) + (f" ({one.unfit} did not fit)" if one.unfit else "")


# ----------------------------------------------------------------------------------------------------------- terminal


def show(report: Report) -> None:
    """Results, means and differences as tables on stdout."""
    if not report.results:
        terminal.say("These runs hold no predictions yet.")
        return
    compared = {(one.task, one.method): one for one in report.differences}
    head = ("task", "metric", "method", "score", "n", "no fit", "read s", "answer s")
    rows = [
        (one.task, one.metric, one.method, score(one.estimate), one.estimate.count, one.unfit or "",
         f"{one.read_s:.2f}", f"{one.answer_s:.2f}",
         *([change(compared.get((one.task, one.method)))] if report.against else []))
        for one in sorted(report.results, key=lambda one: list(report.notes).index(one.task))
    ]  # fmt: skip
    versus = (f"against {report.against}",) if report.against else ()
    terminal.table((*head, *versus), rows, right=("n", "no fit", "read s", "answer s"))
    _show_means(report)


def _show_means(report: Report) -> None:
    if not report.means or len(report.means[0].tasks) < 2:
        return
    compared = {one.method: one for one in report.mean_differences}
    terminal.out()
    tasks = len(report.means[0].tasks)
    head = ("method", f"mean over {tasks} tasks", *([f"against {report.against}"] if report.against else []))
    rows = [
        (one.method, score(one.estimate), *([change(compared.get(one.method))] if report.against else []))
        for one in report.means
    ]
    terminal.table(head, rows)


# ----------------------------------------------------------------------------------------------------------- Markdown


def markdown(report: Report, pictures: Sequence[Path] = ()) -> str:
    """The whole report as one Markdown page; `pictures`, beside it, are shown at its end."""
    parts = ["# Evaluation\n", *_runs(report), INTERVALS + "\n", *_scores(report), *_comparison(report)]
    parts += [*_groups(report), *_costs(report)]
    if pictures:
        parts += ["## Pictures\n", *(f"![{file.stem}]({file.name})\n" for file in pictures)]
    return "\n".join(parts)


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(one).replace("|", "\\|") for one in line) + " |" for line in lines) + "\n"


def _runs(report: Report) -> list[str]:
    rows = [
        (run.folder.name, run.about.get("model", ""), str(run.about.get("fingerprint", ""))[:12],
         _listed(run.about.get("limits")), run.about.get("device", ""), _listed(run.about.get("versions")))
        for run in report.runs
    ]  # fmt: skip
    return [_table(("run", "model", "fingerprint", "settings", "device", "versions"), rows)]


def _listed(values: dict[str, object] | None) -> str:
    """`items 100, seed 0`; what was not set is left out."""
    return ", ".join(f"{key} {value}" for key, value in (values or {}).items() if value not in (None, [], False))


def _scores(report: Report) -> list[str]:
    found = {(one.task, one.method): one for one in report.results}
    rows = []
    for task, note in report.notes.items():
        chance = "" if note.chance is None else f"{note.chance:.2f}"
        counts = max((one.estimate.count, one.texts) for one in report.results if one.task == task)
        cells = [cell(found.get((task, method))) for method in report.methods]
        rows.append([task, note.metric + ("" if note.higher else ", less is better"), *counts, chance, *cells])
    if report.means and len(report.means[0].tasks) > 1:
        means = {one.method: score(one.estimate) for one in report.means}
        cells = [means.get(method, "–") for method in report.methods]
        rows.append([f"mean over {len(report.means[0].tasks)} tasks that all did", *[""] * 4, *cells])
    return ["## Scores\n", _table(("task", "metric", "items", "texts", "chance", *report.methods), rows)]


def _comparison(report: Report) -> list[str]:
    if not report.against:
        return []
    found = {(one.task, one.method): one for one in (*report.differences, *report.mean_differences)}
    others = [method for method in report.methods if method != report.against]
    tasks = [*report.notes, *(["mean"] if report.mean_differences else [])]
    rows = [[task, *(change(found.get((task, method))) for method in others)] for task in tasks]
    return [f"## Against {report.against}\n", _table(("task", *others), rows)]


def _groups(report: Report) -> list[str]:
    found = {(one.task, one.group, one.method): one for one in report.groups}
    compared = {(one.task, one.group, one.method): one for one in report.group_differences}
    parts = []
    for task in dict.fromkeys(one.task for one in report.groups):
        groups = list(dict.fromkeys(one.group for one in report.groups if one.task == task))
        methods = [method for method in report.methods if any((task, group, method) in found for group in groups)]
        rows = [[group, *(cell(found.get((task, group, method))) for method in methods)] for group in groups]
        parts += [f"## {task} by group\n", _table(("group", *methods), rows)]
        others = [method for method in methods if method != report.against]
        if report.against and any((task, group, other) in compared for group in groups for other in others):
            rows = [[group, *(change(compared.get((task, group, other))) for other in others)] for group in groups]
            parts += [f"Against {report.against}:\n", _table(("group", *others), rows)]
    return parts


def _costs(report: Report) -> list[str]:
    rows = [
        (one.task, one.method, f"{one.read_s:.3f}", f"{one.answer_s:.3f}",
         *(size(one.bytes.get(place, 0)) for place in ("device", "host", "disk")))
        for one in report.results
    ]  # fmt: skip
    head = ("task", "method", "read, s", "answer, s", "device", "host", "disk")
    return ["## Time and bytes\n\nMedians of seconds; the most bytes that were held.\n", _table(head, rows)]


def write(report: Report, out: Path) -> list[Path]:
    """report.md and the pictures, as PNG and SVG, in a folder; returns the files."""
    from mplus_cli.evaluation.plots import draw

    out.mkdir(parents=True, exist_ok=True)
    drawn = draw(report, out)
    (out / NAME).write_text(markdown(report, [file for file in drawn if file.suffix == ".svg"]), encoding="utf-8")
    return [out / NAME, *drawn]
