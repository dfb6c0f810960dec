"""Every measurement as a command: a table, then one JSON line; what is missing is one line and exit code 2."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import pytest

COMMANDS = {
    "needles": ["--limit", "6", "--distances", "0", "10", "--crowd", "40"],
    "questions": ["--limit", "2"],
    "bits": ["--limit", "10", "--books", "1", "--scored", "8", "--text-tokens", "16"],
    "events": ["--limit", "4", "--books", "1"],
}


def call(name: str, words: list[str]) -> None:
    import_module(f"model.evaluation.{name}").main(words)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_ends_with_one_json_line_that_another_run_repeats(
    name: str, checkpoint: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = []
    for _ in range(2 if name == "events" else 1):
        call(name, [str(checkpoint), "--data", str(data), *COMMANDS[name]])
        lines.append(capsys.readouterr().out.strip().splitlines())
    found = json.loads(lines[0][-1])
    assert found["measured"] == name
    assert found["results"]
    assert lines[0][0].startswith("|")
    assert lines == lines[:1] * len(lines)


@pytest.mark.parametrize("name", COMMANDS)
def test_missing_data_is_one_line(
    name: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        call(name, [str(checkpoint), "--data", str(tmp_path)])
    assert stopped.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
