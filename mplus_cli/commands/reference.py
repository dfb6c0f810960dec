"""docs/commands.md, written from the commands themselves: `python -m mplus_cli.commands.reference docs/commands.md`.

A test fails when the file is stale, or when a command or an option lacks help.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from mplus_cli import terminal

HEAD = """# Commands

Written by `make docs` from the program itself; do not edit. Global flags may stand anywhere on the line. Exit codes and
the form of errors are in [errors.md](errors.md).
"""
JSON_HEAD = "\n# JSON\n\nThe shapes that scripts rely on; fields may be added, none is renamed or taken away.\n"
JSON = (
    (
        "ingest --json",
        "One object a line: `opened`, `chunk` and `document` as it goes; `done` last.",
        ("Opened", "ChunkRead", "DocumentDone", "IngestDone"),
    ),
    ("ask --json", "One object. `start` and `end` count in what `mplus docs show --text` prints.", ("Answer",)),
    (
        "next --json",
        "One object, candidates by what the past adds to their likelihood, proposals likeliest first.",
        ("Ranked",),
    ),
    ("plan --json", "One object.", ("Plan",)),
)


def commands(command: Any = None, path: tuple[str, ...] = ("mplus",)) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with its path, groups before their members."""
    from mplus_cli.main import app

    command = command if command is not None else typer.main.get_command(app)
    yield path, command
    for name, member in getattr(command, "commands", {}).items():
        yield from commands(member, (*path, name))


def reference() -> str:
    """The whole page as Markdown."""
    sections = [_section(path, command) for path, command in commands()]
    return HEAD + "".join(sections) + JSON_HEAD + "".join(_json_section(*entry) for entry in JSON)


def _section(path: tuple[str, ...], command: Any) -> str:
    usage = " ".join((*path, *_usage(command)))
    text, examples = _help(command)
    parts = [f"\n## {' '.join(path)}\n\n```\n{usage}\n```\n\n{text}\n"]
    if examples:
        parts.append(f"\n```sh\n{examples}\n```\n")
    rows = [_row(parameter) for parameter in command.params]
    if rows:
        parts.append("\n| option | what it does | default |\n|---|---|---|\n" + "".join(rows))
    return "".join(parts)


def _usage(command: Any) -> list[str]:
    if hasattr(command, "commands"):
        return ["[OPTIONS]", "COMMAND ..."]
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    words = [name if argument.required else f"[{name}]" for argument in arguments for name in [_name(argument)]]
    return ["[OPTIONS]", *words]


def _help(command: Any) -> tuple[str, str]:
    """The prose of a docstring, and its examples."""
    prose, examples = [], []
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        if paragraph.startswith("\b"):
            examples += [line.strip() for line in paragraph.splitlines()[1:]]
        else:
            prose.append(paragraph)
    return "\n\n".join(prose), "\n".join(examples)


def _name(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())


def _row(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        names = f"`{_name(parameter)}`"
    else:
        value = "" if parameter.is_flag or parameter.count else f" {parameter.metavar or parameter.name.upper()}"
        names = ", ".join(f"`{option}{value}`" for option in (*parameter.opts, *parameter.secondary_opts))
    unsaid = parameter.default is None or parameter.default is False or parameter.default in ([], (), ...)
    default = "" if unsaid else parameter.default
    if getattr(parameter, "is_flag", False) and parameter.secondary_opts:
        default = parameter.opts[0] if parameter.default else parameter.secondary_opts[0]
    shown = "" if default in ("", 0) and getattr(parameter, "count", False) else default
    return f"| {names} | {(parameter.help or '').replace('|', '&#124;')} | {shown} |\n"


def _json_section(name: str, words: str, shapes: tuple[str, ...]) -> str:
    from mplus_cli import events, planner

    lines = [f"\n## {name}\n\n{words}\n\n| object | field | type |\n|---|---|---|\n"]
    for shape in shapes:
        kind = getattr(events, shape, None) or getattr(planner, shape)
        lines += [
            f"| {shape} | `{field}` | {_type(annotation).replace('|', '&#124;')} |\n"
            for field, annotation in _fields(kind)
        ]
    return "".join(lines)


def _fields(kind: Any) -> Iterator[tuple[str, str]]:
    """Fields of an object, those of the objects within it by their path."""
    from mplus_cli import events

    nested = {
        "report": ("", events.DocumentReport),
        "documents": ("documents[].", events.DocumentReport),
        "sources": ("sources[].", events.Source),
        "candidates": ("candidates[].", events.Candidate),
        "timing": ("timing.", events.Timing),
    }
    if kind in (events.Opened, events.ChunkRead, events.DocumentDone, events.IngestDone):
        word = {"Opened": "opened", "ChunkRead": "chunk", "DocumentDone": "document", "IngestDone": "done"}
        yield "event", f'"{word[kind.__name__]}"'
    for name, annotation in inspect.get_annotations(kind).items():
        if name in nested:
            prefix, inner = nested[name]
            yield from ((prefix + field, shown) for field, shown in _fields(inner))
        else:
            yield name, str(annotation)


def _type(annotation: str) -> str:
    """An annotation as JSON calls it."""
    words = {"str": "string", "int": "number", "float": "number", "bool": "true or false"}
    if annotation.startswith("tuple["):
        return "list of strings"
    if annotation.startswith("Literal["):
        return annotation.removeprefix("Literal[").removesuffix("]").replace(", ", " or ")
    aliases = {"Status": '"read" or "already-read" or "refused"', "AnswerFrom": '"model" or "text"'}
    aliases["FoundBy"] = '"memory" or "text" or "both"'
    if annotation.startswith("dict[str, "):
        return "object of numbers"
    return aliases.get(annotation) or words.get(annotation, annotation)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(reference(), encoding="utf-8")
    else:
        terminal.raw(reference())
