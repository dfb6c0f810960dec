"""What a data folder has for which task: every file that a task needs, where it is, and where it is published."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from model.evaluation.tasks.task import Task


@dataclass(frozen=True, slots=True)
class Row:
    """A file of a task. found: its path in the data folder, None where it is missing."""

    task: str
    needed: str  # the first of its accepted names
    found: str | None
    published: str
    licence: str


@dataclass(frozen=True, slots=True)
class Missing:
    """A file that is missing, and the tasks that wait for it."""

    needed: str
    names: tuple[str, ...]  # all that are accepted
    tasks: tuple[str, ...]
    published: str
    licence: str


def report(data: Path, tasks: Iterable[Task]) -> list[Row]:
    """A row for every file of every task, in the order of the tasks."""
    return [
        Row(task.name, one.path.split("|")[0], (file := one.found(data)) and file.relative_to(data).as_posix(),
            one.published, one.licence)
        for task in tasks for one in task.needs
    ]  # fmt: skip


def ready(data: Path, tasks: Iterable[Task]) -> list[str]:
    """Names of the tasks that can run."""
    return [task.name for task in tasks if not task.missing(data)]


def missing(data: Path, tasks: Iterable[Task]) -> list[Missing]:
    """Every missing file once, with the tasks that need it."""
    found: dict[str, Missing] = {}
    for task in tasks:
        for one in task.missing(data):
            before = found.get(one.path)
            waiting = (*before.tasks, task.name) if before else (task.name,)
            names = tuple(one.path.split("|"))
            found[one.path] = Missing(names[0], names, waiting, one.published, one.licence)
    return list(found.values())
