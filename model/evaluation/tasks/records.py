"""Lines of a task's files: what a line must hold is asked for by name, and what it lacks is said with file and line."""

from __future__ import annotations

import json
import lzma
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from model.errors import ModelError
from model.evaluation.tasks.task import Limits, Needed
from model.training.tokenizer import json_lines

T = TypeVar("T")
SCHEMA = "docs/evaluation-tasks.md says what a line needs"


@dataclass(frozen=True, slots=True)
class Record:
    """An object of a file, and where it stands: "xquad.jsonl, line 3"."""

    raw: dict[str, Any]
    place: str
    line: int = 0

    def id(self, name: str = "id") -> str:
        """The number of the line and, where there is one, the line's own id: no two lines have the same."""
        return f"{self.line}/{self.raw[name]}" if name in self.raw else str(self.line)

    def text(self, name: str, *others: str) -> str:
        """The field as text, under the first of its names that is there. Raises ModelError where it is none."""
        found = next((self.raw[one] for one in (name, *others) if self.raw.get(one) is not None), None)
        if isinstance(found, bool) or not isinstance(found, (str, int, float)) or not str(found).strip():
            raise self.lacks(name, "text")
        return str(found)

    def texts(self, name: str) -> tuple[str, ...]:
        """The field as texts, at least one; a single text is a list of one. Raises ModelError where it is none."""
        found = self.raw.get(name)
        some = found if isinstance(found, list) else [found]
        if not some or any(not isinstance(one, (str, int, float)) or not str(one).strip() for one in some):
            raise self.lacks(name, "text or list of texts")
        return tuple(map(str, some))

    def parts(self, name: str) -> list[Record]:
        """The field as a list of objects. Raises ModelError where it is none."""
        found = self.raw.get(name)
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise self.lacks(name, "list of objects")
        return [Record(one, f"{self.place}, {name} {number}", number) for number, one in enumerate(found, 1)]

    def option(self, options: Sequence[str], right: str) -> str:
        """The right option, which must be one of them. Raises ModelError where it is not."""
        if right not in options:
            raise ModelError(f"{self.place}: the answer {right!r} is none of the options", SCHEMA)
        return right

    def note(self, *names: str) -> dict[str, str]:
        """Those of the named fields that are there, as the meta of an item."""
        return {name: str(self.raw[name]) for name in names if self.raw.get(name) not in (None, "")}

    def lacks(self, name: str, kind: str) -> ModelError:
        """What to raise for a field that is missing or of another kind."""
        return ModelError(f"{self.place}: no field «{name}» ({kind})", SCHEMA)


def records(file: Path) -> Iterator[Record]:
    """Objects of a JSON Lines file, plain or xz. Raises ModelError, with file and line, for what is damaged."""
    number, lines = 0, json_lines(file)
    while True:
        number += 1
        try:
            raw = next(lines, None)
        except (OSError, EOFError, lzma.LZMAError, UnicodeDecodeError) as fault:
            raise ModelError(f"{file.name}, line {number}: damaged ({fault})", "copy the file again") from fault
        if raw is None:
            return
        if not isinstance(raw, dict):
            raise ModelError(f"{file.name}, line {number}: not an object", SCHEMA)
        yield Record(raw, f"{file.name}, line {number}", number)


def document(file: Path) -> Record:
    """The one object of a JSON file. Raises ModelError where it is damaged."""
    try:
        raw = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as fault:
        raise ModelError(f"{file.name}: not JSON ({fault})", "copy the file again") from fault
    if not isinstance(raw, dict):
        raise ModelError(f"{file.name}: not an object", SCHEMA)
    return Record(raw, file.name)


def present(needed: Needed, data: Path) -> Path:
    """A file that `Task.items` has found to be there."""
    file = needed.found(data)
    assert file, "checked by Task.items"
    return file


def drawn(some: Sequence[T], limits: Limits, name: str, group: Callable[[T], str] = lambda one: "") -> list[T]:
    """At most `limits.items` of every group, drawn with the seed and the task's name, in their order."""
    places: dict[str, list[int]] = {}
    for place, one in enumerate(some):
        places.setdefault(group(one), []).append(place)
    rng, chosen = random.Random(f"{limits.seed}/{name}"), list[int]()
    for found in places.values():
        chosen += rng.sample(found, min(limits.items, len(found)))
    return [some[place] for place in sorted(chosen)]
