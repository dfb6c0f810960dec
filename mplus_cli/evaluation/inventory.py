"""What the evaluation suite has: methods, tasks, and which of the tasks' files lie in a data folder."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from mplus_cli import terminal
from mplus_cli.errors import Unreadable
from mplus_cli.evaluation.running import all_methods, all_tasks, chosen, names
from mplus_cli.words import count


def everything(as_json: bool) -> None:
    """Methods and tasks, a line each."""
    methods, tasks = all_methods(), all_tasks()
    if as_json:
        fields = ("name", "about", "metric", "chance", "source")
        found = [{field: getattr(one, field) for field in fields} for one in tasks.values()]
        said = [{"name": name, "about": maker.about} for name, maker in methods.items()]
        terminal.json_line({"methods": said, "tasks": found})
        return
    terminal.table(("method", ""), [(name, maker.about) for name, maker in methods.items()])
    terminal.out()
    terminal.table(("task", "metric", ""), [(one.name, one.metric, one.about) for one in tasks.values()])


def data(folder: Path, wanted: str | None, as_json: bool) -> None:
    """Which tasks a folder can run, and where the rest is published. Raises Unreadable, UsageError."""
    from model.evaluation.tasks import data_report

    known = all_tasks()
    tasks = [known[name] for name in chosen(names(wanted), list(known), "task") or known]
    if not folder.is_dir():
        raise Unreadable(f"There is no data folder {folder}.", "Name it with --data.")
    ready, missing = data_report.ready(folder, tasks), data_report.missing(folder, tasks)
    if as_json:
        rows = [asdict(one) for one in data_report.report(folder, tasks)]
        terminal.json_line({"ready": ready, "missing": [asdict(one) for one in missing], "files": rows})
        return
    terminal.out(f"{count(len(ready), 'task')} of {len(tasks)} can run: {', '.join(ready) or 'none'}")
    for one in missing:
        terminal.out(f"\nmissing {' or '.join(one.names)}", style="bold")
        terminal.out(f"  for {', '.join(one.tasks)}")
        terminal.out(f"  {one.published}")
        terminal.out(f"  licence: {one.licence}", style="dim")
