"""A training as people see it: a bar on a terminal, a line a minute in a log, JSON for a script."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from mplus_cli import terminal
from mplus_cli.render import PLAIN_SECONDS
from mplus_cli.words import duration

RECENT = 0.9  # how much of the pace of the steps before counts


class TrainingStep(Protocol):
    """What is needed of a training step: its number, of how many, its losses by name, the seconds it took."""

    @property
    def number(self) -> int: ...
    @property
    def steps(self) -> int: ...
    @property
    def losses(self) -> dict[str, float]: ...
    @property
    def seconds(self) -> float: ...


def training(steps: Iterable[TrainingStep], as_json: bool) -> None:
    """Show training steps: each as JSON, as a bar where stderr can show one, else as a line a minute."""
    if as_json:
        for step in steps:
            terminal.json_line({"step": step.number, "losses": step.losses, "seconds": step.seconds})
        return
    pace = 0.0
    with _shown() as show:
        for step in steps:
            pace = RECENT * pace + (1 - RECENT) * step.seconds if pace else step.seconds
            show(step, duration(pace * (step.steps - step.number)))


def losses_of(step: TrainingStep) -> str:
    """Losses in words."""
    return ", ".join(f"{name} {value:.3f}" for name, value in step.losses.items())


@contextmanager
def _shown() -> Iterator[Callable[[TrainingStep, str], None]]:
    """What shows a step and the time that is left, as it fits stderr."""
    if terminal.is_animated() and not terminal.is_quiet():
        with _bar() as show:
            yield show
        return
    last = -PLAIN_SECONDS

    def line(step: TrainingStep, left: str) -> None:
        nonlocal last
        if time.monotonic() - last >= PLAIN_SECONDS:
            last = time.monotonic()
            terminal.say(f"step {step.number:,} of {step.steps:,}, {left} left: {losses_of(step)}")

    yield line


@contextmanager
def _bar() -> Iterator[Callable[[TrainingStep, str], None]]:
    from rich.progress import BarColumn, Progress, TextColumn

    numbers = TextColumn("{task.completed:,} of {task.total:,} steps, {task.fields[left]} left", markup=False)
    losses = TextColumn("{task.description}", markup=False)
    with Progress(BarColumn(bar_width=16), numbers, losses, console=terminal.err_console(), transient=True) as bar:
        task = bar.add_task("", total=1, left="?")

        def show(step: TrainingStep, left: str) -> None:
            bar.update(task, completed=step.number, total=step.steps, description=losses_of(step), left=left)

        yield show
