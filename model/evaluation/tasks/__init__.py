"""Tasks by name."""

from __future__ import annotations

from model.evaluation.tasks.babilong import BABILONG_TASKS
from model.evaluation.tasks.event_qa import EVENT_TASKS
from model.evaluation.tasks.infinitebench import INFINITEBENCH_TASKS
from model.evaluation.tasks.language import LANGUAGE_TASKS
from model.evaluation.tasks.longbench import LONGBENCH_TASKS
from model.evaluation.tasks.needle_tasks import NEEDLE_TASKS
from model.evaluation.tasks.panel import PANEL_TASKS
from model.evaluation.tasks.quality import QUALITY_TASKS
from model.evaluation.tasks.reading import READING_TASKS
from model.evaluation.tasks.retention import RETENTION_TASKS
from model.evaluation.tasks.sort_order import SORT_TASKS
from model.evaluation.tasks.task import Task

ALL: tuple[Task, ...] = (
    *NEEDLE_TASKS,
    *BABILONG_TASKS,
    *SORT_TASKS,
    *EVENT_TASKS,
    *LANGUAGE_TASKS,
    *PANEL_TASKS,
    *LONGBENCH_TASKS,
    *INFINITEBENCH_TASKS,
    *RETENTION_TASKS,
    *READING_TASKS,
    *QUALITY_TASKS,
)
TASKS: dict[str, Task] = {one.name: one for one in ALL}
