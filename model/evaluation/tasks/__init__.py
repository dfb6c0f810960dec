"""Tasks by name."""

from __future__ import annotations

from model.evaluation.tasks.task import Task

TASKS: dict[str, Task] = {}
