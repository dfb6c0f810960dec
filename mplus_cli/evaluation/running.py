"""`mplus eval run`: which methods and tasks, which model, and a run folder that is gone on with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mplus_cli import terminal
from mplus_cli.assistant.interrupt import Interruption
from mplus_cli.errors import Interrupted, Unreadable, UsageError
from mplus_cli.models import LATENT, RAW_KV, find_model, row_format
from mplus_cli.words import count

if TYPE_CHECKING:
    from model.evaluation.common import Subject
    from model.evaluation.methods.method import Budget, Method
    from model.evaluation.suite import Prediction
    from model.evaluation.tasks.task import Limits, Task


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a run is asked to do. No names of methods or tasks: all that this model and this data folder can."""

    data: Path
    out: Path
    methods: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    items: int = 100
    seed: int = 0
    lengths: tuple[int, ...] = ()  # words
    rows: int | None = None
    passages: int = 4
    passage_tokens: int | None = None
    offload: bool = False
    encoder: Path | None = None  # a sentence-transformers folder for rag-dense
    rmt: Path | None = None  # memory tokens that were trained for rmt

    def limits(self) -> Limits:
        """As tasks take them."""
        from model.evaluation.tasks.task import Limits

        return Limits(self.items, self.seed, self.lengths)

    def budget(self) -> Budget:
        """As methods take it."""
        from model.evaluation.methods.method import Budget

        return Budget(self.rows, self.passages, self.passage_tokens, self.offload)

    def settings(self, dtype: str) -> dict[str, Any]:
        """What a run must keep when it is gone on with."""
        return {
            "items": self.items, "seed": self.seed, "lengths": list(self.lengths), "rows": self.rows,
            "passages": self.passages, "passage_tokens": self.passage_tokens, "offload": self.offload,
            "encoder": None if self.encoder is None else self.encoder.name,
            "dtype": dtype,
        } | ({"rmt": digest(self.rmt)} if self.rmt else {})  # fmt: skip


# --------------------------------------------------------------------------------------------------- what there is


def all_methods() -> dict[str, type[Method]]:
    """Methods of the model room, and those of the product, which only the program has."""
    from model.evaluation.methods import METHODS
    from mplus_cli.evaluation.product import PRODUCTS

    return PRODUCTS | METHODS


def all_tasks() -> dict[str, Task]:
    """Tasks by name."""
    from model.evaluation.tasks import TASKS

    return dict(TASKS)


def names(text: str | None) -> tuple[str, ...]:
    """`a,b` as names, each once."""
    return tuple(dict.fromkeys(filter(None, (word.strip() for word in (text or "").split(",")))))


def chosen(wanted: Sequence[str], known: Sequence[str], kind: str) -> list[str]:
    """The wanted names; raises UsageError for one that is unknown, and says what there is."""
    for name in wanted:
        if name not in known:
            raise UsageError(f"There is no {kind} {name!r}.", f"There are {', '.join(known)}.")
    return list(wanted)


def model_folder(name: str | None, models: Path) -> Path:
    """A model by name or folder, also a plain Llama, which keeps texts without memory of its own.

    Raises ModelMissing.
    """
    from model.plain import is_plain

    for folder in (Path(name), models / name) if name else ():
        if is_plain(folder):
            return folder.resolve()
    return find_model(name, models).path


def digest(file: Path) -> str:
    """Twelve digits of a file's sha256: runs with other memory tokens are other runs. Raises Unreadable."""
    from model.recurrent import COMMAND

    try:
        return sha256(file.read_bytes()).hexdigest()[:12]
    except OSError as error:
        raise Unreadable(f"{file} cannot be read: {error}.", f"This makes it: {COMMAND}") from error


def reads_plain(maker: type[Method]) -> bool:
    """Whether a method works on a Llama without memory training."""
    from model.evaluation.methods.latent import Latent, NoContext

    return maker.name != "rmt" and (not issubclass(maker, Latent) or issubclass(maker, NoContext))


def methods_for(subject: Subject, wanted: Sequence[str], rmt: Path | None = None) -> dict[str, type[Method]]:
    """The wanted methods, or all that can work on this model; raises UsageError for one that cannot.

    Without a file of memory tokens rmt is left out, which is said.
    """
    from model.recurrent import COMMAND

    known = all_methods()
    if rmt is None and "rmt" in wanted:
        raise UsageError("rmt needs trained memory tokens: --rmt FILE.", f"This makes them: {COMMAND}")
    if rmt is None and not subject.plain:
        del known["rmt"]
        if not wanted:
            terminal.warn(f"rmt is left out: it needs --rmt FILE, which `{COMMAND}` makes")
    able = {name: maker for name, maker in known.items() if not subject.plain or reads_plain(maker)}
    for name in chosen(wanted, list(known), "method"):
        if name not in able:
            raise UsageError(
                f"{name} needs a model with memory training; this is a plain Llama.", f"Methods: {', '.join(able)}."
            )
    return {name: able[name] for name in wanted or able}


def tasks_for(data: Path, wanted: Sequence[str]) -> list[Task]:
    """The wanted tasks, or all whose files are there; raises UsageError, and Unreadable where files are missing."""
    known = all_tasks()
    named = chosen(wanted, list(known), "task")
    if not data.is_dir():
        raise Unreadable(f"There is no data folder {data}.", "Name it with --data.")
    for name in named:
        if missing := known[name].missing(data):
            files = ", ".join(one.path.replace("|", " or ") for one in missing)
            raise Unreadable(
                f"{name} needs {files} in {data}.", f"`mplus eval data --data {data}` says where it is published."
            )
    found = [known[name] for name in named] or [one for one in known.values() if not one.missing(data)]
    if not found:
        raise Unreadable(f"{data} has no file of any task.", f"`mplus eval data --data {data}` says what is missing.")
    return found


# ---------------------------------------------------------------------------------------------------------- running


def run(
    folder: Path, device: str, dtype: str, wanted: Wanted, memory_dtype: str = "auto", weights: str = "auto"
) -> None:
    """Every method by every task, with progress on stderr; raises Interrupted where Ctrl-C ended it."""
    chosen(wanted.methods, list(all_methods()), "method")
    tasks = tasks_for(wanted.data, wanted.tasks)
    from model.evaluation.common import Subject
    from model.evaluation.suite import run as predictions
    from model.evaluation.suite import run_folder
    from model.plain import is_plain

    kept = row_format(RAW_KV if is_plain(folder) else LATENT, memory_dtype)
    subject = Subject(folder, device, dtype, kept, weights)
    methods = methods_for(subject, wanted.methods, wanted.rmt)
    run_folder(wanted.out, about(subject, list(methods), tasks, wanted))
    with Interruption() as interruption:
        made = predictions(
            subject,
            makers(subject, methods, wanted),
            tasks,
            wanted.data,
            wanted.limits(),
            wanted.out,
            lambda: interruption.wanted,
        )
        show(made)
    if interruption.wanted:
        raise Interrupted(f"Stopped as asked; {wanted.out} keeps what is done.", "Run the same command again to go on.")
    for name in without_items(wanted.out, tasks):
        terminal.warn(f"{name} has no items with these limits and lengths")


def makers(subject: Subject, methods: Mapping[str, type[Method]], wanted: Wanted) -> dict[str, Callable[[], Method]]:
    """How each method is made; rag-dense and rmt with what was named for them."""
    found: dict[str, Callable[[], Method]] = {}
    for name, kind in methods.items():
        more: dict[str, Path | None] = {"encoder": wanted.encoder} if name == "rag-dense" and wanted.encoder else {}
        more |= {"weights": wanted.rmt} if name == "rmt" else {}
        found[name] = partial(kind, subject, wanted.budget(), **more)
    return found


def about(subject: Subject, methods: Sequence[str], tasks: Sequence[Task], wanted: Wanted) -> dict[str, Any]:
    """run.json: model, settings, and the methods and tasks of all commands that went into this folder."""
    before = _before(wanted.out / "run.json")
    known = {one.name: {"metric": one.metric, "chance": one.chance, "about": one.about} for one in tasks}
    return {
        "model": subject.config.name,
        "fingerprint": subject.checkpoint.fingerprint,
        "limits": wanted.settings(str(subject.model.dtype).removeprefix("torch."))
        | ({"memory_dtype": subject.row_format} if subject.row_format != "bf16" else {})
        | ({"weights": subject.model.weights} if subject.model.weights != "dense" else {}),
        "device": str(subject.model.device),
        "methods": list(dict.fromkeys([*before.get("methods", []), *methods])),
        "tasks": before.get("tasks", {}) | known,
    }


def _before(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UsageError(f"{file} is damaged: {error}.", "Name another folder with --out.") from error
    return found if isinstance(found, dict) else {}


def without_items(out: Path, tasks: Sequence[Task]) -> list[str]:
    """Tasks of a finished run that had nothing to ask."""
    from model.evaluation.results import read_run

    done = {one.task for one in read_run(out).predictions}
    return [task.name for task in tasks if task.name not in done]


# --------------------------------------------------------------------------------------------------------- progress


def show(predictions: Iterator[Prediction]) -> None:
    """Say each pair of task and method when it is done, its mean so far while it runs."""
    scores: list[float] = []
    pair = ("", "")
    with _counter() as advance:
        for one in predictions:
            if (one.task, one.method) != pair:
                _said(pair, scores)
                pair, scores = (one.task, one.method), []
            scores.append(one.score)
            advance(f"{one.task} · {one.method}: {count(len(scores), 'item')}, mean {sum(scores) / len(scores):.3f}")
        _said(pair, scores)


def _said(pair: tuple[str, str], scores: Sequence[float]) -> None:
    if scores:
        mean = sum(scores) / len(scores)
        terminal.say(f"{pair[0]} · {pair[1]}: {count(len(scores), 'item')}, mean {mean:.3f}", style="dim")


@contextmanager
def _counter() -> Iterator[Callable[[str], None]]:
    """A line that changes on a terminal; nothing elsewhere."""
    if not terminal.is_animated() or terminal.is_quiet():
        yield lambda words: None
        return
    with terminal.err_console().status("loading items") as status:
        yield lambda words: status.update(terminal.one_line(words))
