"""Laws of the picture of a log."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model.errors import TrainingError
from model.training.plot import curve, main, read_logs


def log(folder: Path, steps: int) -> Path:
    folder.mkdir()
    lines = [
        {"step": n, "loss": 1.0, "needle": 10.0 / n} | ({"exact 1": 0.5} if n % 5 == 0 else {})
        for n in range(1, steps + 1)
    ]
    (folder / "log.jsonl").write_text("\n".join(map(json.dumps, lines)), "utf-8")
    return folder


def test_runs_are_drawn_one_behind_the_other(tmp_path: Path) -> None:
    lines = read_logs([log(tmp_path / "a", 10), log(tmp_path / "b", 6)])
    assert [line["step"] for line in lines] == list(range(1, 17))
    assert curve(lines, "needle", 4)[0] == (4, pytest.approx(10 * (1 + 1 / 2 + 1 / 3 + 1 / 4) / 4))
    assert curve(lines, "exact 1", 4) == [(5, 0.5), (10, 0.5), (15, 0.5)]
    assert curve(lines, "unheard of", 4) == []


@pytest.mark.parametrize("name", ["losses.png", "losses.svg"])
def test_a_picture_is_made(tmp_path: Path, name: str) -> None:
    main([str(log(tmp_path / "a", 30)), "--out", str(tmp_path / name), "--window", "4"])
    head = (tmp_path / name).read_bytes()[:200]
    assert head.startswith(b"\x89PNG") or b"<?xml" in head


def test_a_folder_without_a_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"has no log\.jsonl"):
        read_logs([tmp_path])
