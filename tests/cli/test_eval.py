"""`mplus eval` and the counting half of `mplus bench`: runs that go on, reports, what is missing, what is refused."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mplus_cli.evaluation import report
from tests.cli.conftest import Ran
from tests.evaluation.smoke import checkpoint_folder, data_folder, smoke

Mplus = Callable[..., Ran]
ROOT = Path(__file__).parents[2]
METHODS = ("mplus-latent", "no-context")
TASKS = ("fairytaleqa", "onestopqa", "needle-single")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return data_folder(tmp_path_factory.mktemp("data"))


@pytest.fixture
def words(model: Path, data: Path, tmp_path: Path) -> list[str]:
    """A run of two methods by three tasks."""
    given = {"--model": model, "--data": data, "--out": tmp_path / "run", "--methods": ",".join(METHODS),
             "--tasks": ",".join(TASKS), "--limit": 2, "--lengths": "100,200", "--device": "cpu",
             "--dtype": "float32"}  # fmt: skip
    return ["eval", "run", *(str(word) for pair in given.items() for word in pair)]


def changed(words: list[str], flag: str, value: str) -> list[str]:
    place = words.index(flag)
    return [*words[: place + 1], value, *words[place + 2 :]]


def predictions(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "predictions.jsonl").read_text("utf-8").splitlines()]


def test_a_run_ends_with_a_table_or_with_one_json_line(mplus: Mplus, words: list[str], tmp_path: Path) -> None:
    ran = mplus(*words)
    assert ran.code == 0, ran.err
    assert re.search(r"needle-single\s+match all\s+no-context\s+0\.000 \[0\.000, 0\.\d+\]", ran.out)
    found = mplus(*words, "--json")
    assert len(found.out.splitlines()) == 1
    assert {(one["task"], one["method"]) for one in found.json["results"]} == {(t, m) for t in TASKS for m in METHODS}
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    assert about["tasks"]["onestopqa"] == {
        "metric": "accuracy",
        "chance": 0.25,
        "about": about["tasks"]["onestopqa"]["about"],
    }
    assert about["limits"]["lengths"] == [100, 200]
    assert "torch" in about["versions"]


def test_a_run_goes_on_where_it_stopped_and_keeps_what_it_had(mplus: Mplus, words: list[str], tmp_path: Path) -> None:
    assert mplus(*changed(words, "--tasks", "fairytaleqa")).code == 0
    first = predictions(tmp_path / "run")
    assert mplus(*words).code == 0
    then = predictions(tmp_path / "run")
    assert then[: len(first)] == first
    assert len({(one["task"], one["method"], one["item"]) for one in then}) == len(then) > len(first)
    assert set(json.loads((tmp_path / "run" / "run.json").read_text())["tasks"]) == set(TASKS)


def test_a_run_of_other_settings_does_not_mix_with_it(mplus: Mplus, words: list[str]) -> None:
    assert mplus(*words).code == 0
    for flag, value in (("--limit", "3"), ("--lengths", "100")):
        ran = mplus(*changed(words, flag, value))
        assert ran.code == 2
        assert "another limits" in ran.err
    assert mplus(*words, "--rows", "8").code == 2


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(
    mplus: Mplus, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mplus_cli.evaluation import running

    def press(made: Iterator[Any]) -> None:
        import signal

        next(made)
        signal.raise_signal(signal.SIGINT)
        list(made)

    with monkeypatch.context() as patched:
        patched.setattr(running, "show", press)
        ran = mplus(*words)
    assert ran.code == 130
    assert "Run the same command again to go on." in ran.err
    assert 1 <= len(predictions(tmp_path / "run")) <= 2
    assert mplus(*words).code == 0


@pytest.mark.parametrize(
    ("flag", "value", "code", "said"),
    [
        ("--methods", "mplus-latent,magic", 2, r"no method 'magic'.*\n.*mplus-latent, memoryllm"),
        ("--tasks", "riddles", 2, r"no task 'riddles'.*\n.*needle-single"),
        ("--data", "/nowhere", 4, "no data folder /nowhere"),
        ("--lengths", "many", 2, "'many' is no length"),
        ("--methods", "rmt", 2, r"--rmt FILE.*\n.*python -m model.training.recurrent"),
        ("--model", "nobody", 6, "no model 'nobody'"),
    ],
)
def test_what_cannot_be_run_is_named_with_what_can(
    mplus: Mplus, words: list[str], flag: str, value: str, code: int, said: str
) -> None:
    ran = mplus(*changed(words, flag, value))
    assert ran.code == code
    assert re.search(said, ran.err)


def test_a_missing_file_is_named_before_anything_is_loaded(mplus: Mplus, words: list[str], tmp_path: Path) -> None:
    ran = mplus(*changed(changed(words, "--data", str(tmp_path)), "--tasks", "quality"))
    assert ran.code == 4
    assert "quality/QuALITY" in ran.err
    assert not (tmp_path / "run").exists()


def test_a_task_without_items_is_said(mplus: Mplus, words: list[str]) -> None:
    ran = mplus(*changed(changed(words, "--tasks", "sort-ready"), "--lengths", "77"))
    assert ran.code == 0
    assert "sort-ready has no items" in ran.err


def test_a_report_is_tables_markdown_and_pictures(mplus: Mplus, words: list[str], tmp_path: Path) -> None:
    assert mplus(*words).code == 0
    out = tmp_path / "report"
    ran = mplus("eval", "report", tmp_path / "run", "--against", "no-context", "--out", out)
    assert ran.code == 0, ran.err
    assert "against no-context" in ran.out
    assert "better" not in ran.out  # random weights: nothing is shown by two items
    names = {file.name for file in out.iterdir()}
    assert {"report.md", "scores.png", "scores.svg", "curve-needle-single.png", "curve-needle-single.svg"} == names
    page = (out / "report.md").read_text("utf-8")
    assert "## Against no-context" in page
    assert "## needle-single by group" in page
    assert "![curve-needle-single](curve-needle-single.svg)" in page
    assert (out / "scores.png").read_bytes()[:4] == b"\x89PNG"


def test_runs_are_joined(mplus: Mplus, words: list[str], tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    assert mplus(*changed(changed(words, "--out", str(one)), "--methods", "no-context")).code == 0
    assert mplus(*changed(changed(words, "--out", str(other)), "--methods", "mplus-latent")).code == 0
    found = mplus("eval", "report", one, other, "--against", "no-context", "--json").json
    assert {row["method"] for row in found["results"]} == set(METHODS)
    assert {row["verdict"] for row in found["differences"]} == {"no difference shown"}


def test_a_report_of_nothing_and_against_nobody_is_refused(mplus: Mplus, words: list[str], tmp_path: Path) -> None:
    assert mplus("eval", "report", tmp_path).code == 2
    assert mplus(*changed(words, "--tasks", "onestopqa")).code == 0
    ran = mplus("eval", "report", tmp_path / "run", "--against", "magic")
    assert ran.code == 2
    assert "there are mplus-latent, no-context" in ran.err


def test_the_data_report_says_what_runs_and_where_the_rest_is(mplus: Mplus, tmp_path: Path, data: Path) -> None:
    ran = mplus("eval", "data", "--data", tmp_path, "--tasks", "quality,needle-single")
    assert ran.code == 0
    assert "0 tasks of 2 can run: none" in ran.out
    assert "missing quality/" in ran.out
    assert "licence: " in ran.out
    found = mplus("eval", "data", "--data", data, "--json").json
    assert found["missing"] == []  # the smoke run has a file for every task


def test_the_list_has_a_line_for_every_method_and_task(mplus: Mplus) -> None:
    found = mplus("eval", "list", "--json").json
    names = [one["name"] for one in found["methods"]]
    assert names[0] == "mplus"
    assert {"mplus-latent", "raw-kv", "rag-bm25"} <= set(names)
    shown = mplus("eval", "list").out
    assert all(one["about"] in shown for one in (*found["methods"], *found["tasks"]))


def test_a_plain_llama_is_read_by_methods_that_need_no_memory_training(
    mplus: Mplus, words: list[str], tmp_path: Path, model: Path
) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path / "llama"
    config = LlamaConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
                         intermediate_size=48, vocab_size=320, max_position_embeddings=512)  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes((model / "tokenizer.json").read_bytes())
    plain = changed(changed(words, "--model", str(folder)), "--tasks", "fairytaleqa")
    refused = mplus(*plain)
    assert refused.code == 2
    assert "mplus-latent needs a model with memory training" in refused.err
    assert mplus(*changed(plain, "--methods", "mplus,raw-kv,no-context")).code == 0


def test_the_smoke_run_passes_on_a_few_pairs_and_names_those_that_fail(tmp_path: Path) -> None:
    assert smoke(tmp_path, ["onestopqa", "longbench-qasper"], ["mplus", "rag-bm25", "raw-kv", "rmt"]) == []
    assert smoke(tmp_path / "again", ["onestopqa"], ["no-such-method"]) == ["onestopqa by no-such-method"]


def test_eval_help_loads_no_torch() -> None:
    code = "import sys; from mplus_cli.main import execute; execute(['eval', 'run', '-h']); assert 'torch' not in "
    code += "sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True, timeout=60)


def test_flops_are_tables_and_one_json_line(mplus: Mplus) -> None:
    ran = mplus("bench", "flops", "--shape", "8b", "--lengths", "2k,128k")
    assert ran.code == 0
    assert "6.33e+15" in ran.out
    assert [row["tokens"] for row in ran.json["paper"]] == [2048, 131_072]
    assert mplus("bench", "flops", "--shape", "nine", "--json").code == 2
    assert mplus("bench", "flops", "--checkpoint", "/nowhere").code == 6


def test_flops_of_a_checkpoint_need_its_configuration_alone(mplus: Mplus, model: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((model / "config.json").read_bytes())
    found = mplus("bench", "flops", "--checkpoint", tmp_path, "--lengths", "1k", "--json").json
    assert found["shape"]["layers"] == 2
    assert "paper_mplus" not in found["paper"][0]


def test_lengths_are_measured_by_a_command(mplus: Mplus) -> None:
    ran = mplus("bench", "length", "--random", "32x2x4x2x64x128x4x16x8", "--lengths", "64", "--device", "cpu")
    assert ran.code == 0, ran.err
    assert "copies" in ran.err
    assert ran.json["lengths"][0]["tokens"] == 64


def test_a_difference_of_nothing_has_no_minus_before_its_zero() -> None:
    from model.evaluation.common import Estimate
    from model.evaluation.results import Difference

    one = Difference("qa", "a", "b", "", Estimate(-0.0001, -0.2, 0.2, 9), "no difference shown")
    assert report.change(one) == "+0.000 [-0.200, +0.200] no difference shown"
