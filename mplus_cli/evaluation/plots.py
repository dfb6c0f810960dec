"""Pictures of a report: bars with intervals for every task, curves where a task's groups are numbers. PNG and SVG."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mplus_cli.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from model.evaluation.common import Estimate
    from model.evaluation.results import Result, TaskNote
    from mplus_cli.evaluation.report import Report

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#6a3d9a", "#7f7f7f", "#8c564b", "#17becf")
MARKERS = "os^DvP*X<>"
LINES = ("-", "--", ":")
COLUMNS, PANEL_WIDTH, BAR_HEIGHT = 3, 4.2, 0.24  # inches
ASIDE, GREY = 0.005, "#555555"  # methods stand beside each other by so much of an axis
DECADES = 2.0  # an axis that spans more is logarithmic
STYLE: Any = {
    "font.size": 9, "axes.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
    "svg.fonttype": "none", "svg.hashsalt": "mplus", "axes.axisbelow": True, "grid.color": "#dddddd",
}  # fmt: skip


def draw(report: Report, out: Path) -> list[Path]:
    """All pictures of a report. Raises UsageError where matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError as error:
        raise UsageError("Pictures need matplotlib.", 'pip install "mplus[eval]"; or leave --out away.') from error
    looks = {method: number for number, method in enumerate(report.methods)}
    files: list[Path] = []
    with matplotlib.rc_context(STYLE):
        if report.results:
            files += _saved(bars(report, looks), out / "scores")
        for task in dict.fromkeys(one.task for one in report.points):
            files += _saved(curve(report, task, looks), out / f"curve-{_file_name(task)}")
    return files


def _file_name(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _saved(figure: Figure, path: Path) -> list[Path]:
    """The figure in both formats, without a date in it."""
    files = [path.with_name(path.name + suffix) for suffix in (".png", ".svg")]
    for file in files:
        extra: dict[str, Any] = {"metadata": {"Date": None}} if file.suffix == ".svg" else {"dpi": 150}
        figure.savefig(file, bbox_inches="tight", facecolor="white", **extra)
    return files


def colour(number: int) -> str:
    """The colour of a method by its place."""
    return COLOURS[number % len(COLOURS)]


def bars(report: Report, looks: dict[str, int]) -> Figure:
    """A panel for every task, a bar for every method, with its interval; what guessing scores as a line."""
    from matplotlib.figure import Figure

    tasks = list(report.notes)
    columns = min(COLUMNS, len(tasks))
    rows = -(-len(tasks) // columns)
    figure = Figure(figsize=(PANEL_WIDTH * columns, rows * (1.1 + BAR_HEIGHT * len(looks))), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for panel, task in zip(panels, tasks, strict=False):
        shown = [one for one in report.results if one.task == task and one.estimate.count]
        _bar_panel(panel, shown, report.notes[task], looks)
        panel.set_title(task, loc="left", fontweight="bold", pad=14)
    for panel in panels[len(tasks) :]:
        panel.set_visible(False)
    return figure


def _bar_panel(panel: Axes, shown: Sequence[Result], note: TaskNote, looks: dict[str, int]) -> None:
    places = [-number for number in range(len(shown))]
    values, colours = [one.estimate.value for one in shown], [colour(looks[one.method]) for one in shown]
    if note.higher:
        panel.barh(places, values, 0.72, color=colours)
        panel.set_xlim(0, max((_top(one.estimate) for one in shown), default=1.0) * 1.05 or 1.0)
    else:  # far from 0: a bar would hide every difference
        panel.scatter(values, places, s=34, color=colours, zorder=3)
    if shown:
        panel.errorbar(values, places, xerr=_error(shown), fmt="none", ecolor="#222222", elinewidth=1, capsize=2.5)
    panel.set_yticks(places, [one.method + ("*" if one.unfit else "") for one in shown])
    panel.set_ylim(0.4 - max(1, len(shown)), 0.6)
    panel.tick_params(axis="y", length=0)
    panel.grid(axis="x")
    panel.set_xlabel(words(note) + ("; * some items did not fit" if any(one.unfit for one in shown) else ""))
    if note.chance:
        panel.axvline(note.chance, color=GREY, linewidth=1, linestyle=":", zorder=3)
        panel.annotate("chance", (note.chance, 1), xycoords=("data", "axes fraction"), fontsize=7, color=GREY,
                       ha="center", va="bottom")  # fmt: skip


def _top(estimate: Estimate) -> float:
    return estimate.high if math.isfinite(estimate.high) else estimate.value


def words(note: TaskNote) -> str:
    """A metric, and whether less of it is better."""
    return note.metric + ("" if note.higher else " (less is better)")


def _error(results: Sequence[Result]) -> tuple[list[float], list[float]]:
    """Distances to the ends of the intervals, below and above."""
    estimates = [one.estimate for one in results]
    return [one.value - one.low for one in estimates], [one.high - one.value for one in estimates]


def curve(report: Report, task: str, looks: dict[str, int]) -> Figure:
    """Scores of every method over the numbers of a task's groups, side by side at each, with their intervals."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.4, 4.2), layout="constrained")
    panel, note = figure.subplots(), report.notes[task]
    points = [one for one in report.points if one.task == task and one.estimate.count]
    places, methods = sorted({float(one.group) for one in points}), list(dict.fromkeys(one.method for one in points))
    spot = _axis(panel, places)
    for number, method in enumerate(methods):
        some = sorted((one for one in points if one.method == method), key=lambda one: float(one.group))
        _line(panel, some, [spot(float(one.group), number - (len(methods) - 1) / 2) for one in some], looks[method])
    if note.chance:
        panel.axhline(note.chance, color=GREY, linewidth=1, linestyle=":", label="chance")
    if note.higher:
        panel.set_ylim(-0.03, 1.03)
    panel.set_title(task, loc="left", fontweight="bold")
    panel.set_ylabel(words(note))
    hollow = "; hollow: items that did not fit" if any(one.unfit for one in points) else ""
    panel.set_xlabel(("passages read in between" if task.startswith("retention") else "words") + hollow)
    panel.grid(axis="y")
    panel.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8)
    return figure


def _line(panel: Axes, points: Sequence[Result], spots: Sequence[float], number: int) -> None:
    """One method: a line with whiskers; where texts did not fit, the marker is hollow."""
    values, style = [one.estimate.value for one in points], LINES[number // len(COLOURS) % len(LINES)]
    panel.errorbar(spots, values, yerr=_error(points), fmt="none", ecolor=colour(number), elinewidth=0.9, alpha=0.55)
    panel.plot(spots, values, style, color=colour(number), label=points[0].method, linewidth=1.5,
               marker=MARKERS[number % len(MARKERS)], markersize=5)  # fmt: skip
    unfit = [(spot, value) for spot, value, one in zip(spots, values, points, strict=True) if one.unfit]
    if unfit:
        marker = MARKERS[number % len(MARKERS)]
        panel.plot(
            *zip(*unfit, strict=True), marker, color=colour(number), markersize=5, markerfacecolor="white", zorder=4
        )


def _axis(panel: Axes, places: Sequence[float]) -> Callable[[float, float], float]:
    """Ticks at the measured places, on a logarithmic axis where they span more than two decades.

    Returns where a method stands that is so many steps beside a place.
    """
    from matplotlib.ticker import NullLocator

    above = [place for place in places if place > 0]
    wide = bool(above) and math.log10(above[-1] / above[0]) > DECADES
    if wide:
        panel.set_xscale("symlog" if places[0] <= 0 else "log", **({"linthresh": above[0]} if places[0] <= 0 else {}))
        panel.xaxis.set_minor_locator(NullLocator())
    if wide or len(places) <= 8:
        labels = [f"{place:,.0f}" if place == int(place) else f"{place:g}" for place in places]
        panel.set_xticks(list(places), labels)
        panel.tick_params(axis="x", labelrotation=30 if sum(map(len, labels)) > 44 else 0)
    if wide:
        step = math.log10(above[-1] / above[0]) * ASIDE
        return lambda place, steps: place * 10 ** (step * steps)
    span = (places[-1] - places[0]) * ASIDE if places else 0.0
    return lambda place, steps: place + span * steps
