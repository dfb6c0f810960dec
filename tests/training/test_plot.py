"""Laws of the picture of a log."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model.errors import TrainingError
from model.training.plot import belongs, curve, main, read_logs


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


def test_a_step_done_again_after_a_fault_counts_once(tmp_path: Path) -> None:
    folder = log(tmp_path / "a", 4)
    with (folder / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write('\n{"step": 3, "needle": 7.0}\n{"step": 4, "needle": 8.0}\n')
    lines = read_logs([folder])
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert lines[2]["needle"] == 7.0


def test_quantities_of_a_task_are_shown_by_what_is_behind_its_name() -> None:
    assert belongs("cat: language", ("language",))
    assert belongs("exact 4 full", ("exact",))
    assert not belongs("loss", ("language", "exact"))


@pytest.mark.parametrize("name", ["losses.png", "losses.svg"])
def test_a_picture_is_made(tmp_path: Path, name: str) -> None:
    main([str(log(tmp_path / "a", 30)), "--out", str(tmp_path / name), "--window", "4"])
    head = (tmp_path / name).read_bytes()[:200]
    assert head.startswith(b"\x89PNG") or b"<?xml" in head


def test_a_folder_without_a_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"has no log\.jsonl"):
        read_logs([tmp_path])
