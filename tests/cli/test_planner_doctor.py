"""Plans are arithmetic; the doctor's rows say what is wrong and what to do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mplus_cli import doctor, models, planner, settings
from mplus_cli.errors import ModelMissing
from tests.cli.conftest import TEXT, book, make_library, make_model


@pytest.fixture
def model(home: Path) -> models.ModelRecord:
    return models.describe(make_model(home / "models" / "tiny"))


def test_the_bytes_of_a_plan_are_those_of_its_rows(model) -> None:
    found = planner.plan(book(), model, {}, memory_dtype="bf16")
    # 1 layer, K 4, one key-value head of 4 values, keys of 4 values, 2 bytes a value
    assert found.bytes["rows"] == found.chunks * 4 * 2 * 4 * 2
    assert found.bytes["keys"] == found.chunks * 4 * 4 * 2
    assert found.bytes["total_disk"] == sum(found.bytes[name] for name in ("rows", "keys", "text"))
    assert found.bytes["vram"] == 0
    assert planner.plan(book(), model, {}, "cuda").bytes["vram"] > 0


def test_tokens_are_counted_where_there_is_a_tokenizer_and_else_estimated(model) -> None:
    assert planner.plan(book(), model, {}).tokens == len(TEXT.replace(".", " .").split())
    (model.path / "tokenizer.json").write_text("{")
    with pytest.raises(ModelMissing, match="tokenizer"):
        planner.plan(book(), model, {})
    (model.path / "tokenizer.json").unlink()
    assert any("tokens are estimated" in warning for warning in planner.plan(book(), model, {}).warnings)


def test_a_measured_rate_replaces_the_estimate(model, home) -> None:
    guessed = planner.plan(book(), model, planner.read_rates(home / "state"))
    assert guessed.seconds["measured"] is False
    assert any("estimated" in warning for warning in guessed.warnings)
    planner.remember_rate(home / "state", model.name, "cpu", 10.0, tokens=500)
    measured = planner.plan(book(), model, planner.read_rates(home / "state"))
    assert measured.seconds["measured"] is True
    assert measured.seconds["tokens_per_second"] == pytest.approx(10.0)
    assert measured.seconds["ingest"] == pytest.approx(measured.tokens / 10, abs=0.1)


def test_a_short_reading_never_replaces_a_known_rate(home) -> None:
    for rate, tokens in ((10.0, 500), (2_000.0, 250_000), (60.0, 700), (0.0, 250_000)):
        planner.remember_rate(home / "state", "tiny", "cpu", rate, tokens)
    assert planner.read_rates(home / "state") == {"tiny on cpu": 2_000.0}


@pytest.mark.parametrize("text", ["", "[]", "{", '{"tiny on cpu": "fast"}', '{"tiny on cpu": -1}'])
def test_a_damaged_rate_file_is_no_rate(tmp_path, text) -> None:
    (tmp_path / planner.RATES).write_text(text)
    assert planner.read_rates(tmp_path) == {}


def test_plan_json_has_the_documented_shape(mplus, model, tmp_path) -> None:
    (tmp_path / "book.txt").write_text(TEXT)
    ran = mplus("plan", str(tmp_path / "book.txt"), "--model", "tiny", "--json")
    assert ran.code == 0, ran
    names = ["title", "pages", "chapters", "characters", "tokens", "chunks", "bytes", "seconds", "warnings", "mode",
             "row_format"]  # fmt: skip
    assert list(ran.json) == names
    assert set(ran.json["bytes"]) == {"rows", "keys", "text", "total_disk", "ram", "vram"}
    assert "tokens" in mplus("plan", str(tmp_path / "book.txt"), "--model", "tiny").out


def test_a_plan_is_for_one_book_and_says_so_of_a_folder(mplus, model, tmp_path) -> None:
    (tmp_path / "book.txt").write_text(TEXT)
    ran = mplus("plan", str(tmp_path), "--model", "tiny")
    assert (ran.code, "is a folder" in ran.err) == (2, True)


def test_a_plan_counts_the_memory_of_the_process_itself(mplus, model, tmp_path) -> None:
    (tmp_path / "book.txt").write_text(TEXT)
    found = mplus("plan", str(tmp_path / "book.txt"), "--model", "tiny", "--json").json["bytes"]
    assert found["ram"] > planner.RUNTIME_BYTES > 100 * found["keys"]


def test_a_plan_for_a_llama_counts_the_keys_and_values_of_every_token(mplus, home, tmp_path) -> None:
    make_model(home / "models" / "llama", trained=False)
    (tmp_path / "book.txt").write_text(TEXT)
    ran = mplus("plan", str(tmp_path / "book.txt"), "--model", "llama", "--json")
    found = ran.json
    # 1 layer, one key-value head of 4 values, 2 bytes a value; chunks of 256 tokens, a mean key for 32 of them
    assert found["bytes"]["rows"] == found["chunks"] * 256 * 2 * 4 * 2
    assert found["bytes"]["keys"] == found["chunks"] * 8 * 4 * 2
    assert found["mode"] == "raw-kv"
    assert "raw-kv" in mplus("plan", str(tmp_path / "book.txt"), "--model", "llama").out


def test_a_file_that_cannot_be_read_ends_a_plan_like_an_ingest(mplus, model, tmp_path) -> None:
    (tmp_path / "empty.epub").write_bytes(b"PK\x03\x04")
    assert mplus("plan", str(tmp_path / "empty.epub"), "--model", "tiny").code == 4


# -------------------------------------------------------------------------------------------------------------- doctor


def test_every_failing_row_has_a_remedy_and_decides_the_exit_code(mplus, novels) -> None:
    ran = mplus("doctor", "--json")
    failing = [row for row in ran.json["checks"] if not row["ok"]]
    assert all(row["remedy"] for row in failing)
    assert ran.code == (1 if failing else 0)
    assert ran.json["ok"] == (not failing)
    names = {row["name"] for row in ran.json["checks"]}
    assert {"python", "packages", "device", "memory", "disk", "permissions", "expat", "library novels"} <= names


def test_a_folder_that_others_can_read_is_reported(novels, home) -> None:
    assert all(row.ok for row in doctor._permissions(settings.places()) if home.stat().st_mode & 0o077 == 0)
    (home / "libraries").chmod(0o755)
    (row,) = doctor._permissions(settings.places())
    assert not row.ok
    assert "chmod 700" in row.remedy


def test_a_damaged_library_is_a_row_and_hides_no_other(home, novels) -> None:
    make_library(home, "whole", book("Essays", "Words. " * 50))
    (novels / "catalog.sqlite").write_bytes(b"not a database" * 100)
    found = {row.name: row.ok for row in doctor._libraries(home / "libraries")}
    assert found == {"library novels": False, "library whole": True}


def test_a_model_that_lacks_something_is_a_failing_row(home) -> None:
    make_model(home / "models" / "other", trained=False, kind="mistral")
    found = {row.name: row for row in doctor._weights(home / "models")}
    assert not found["model other"].ok
    assert "memory" in found["model other"].detail


def test_the_mode_of_a_model_is_told(home) -> None:
    make_model(home / "models" / "llama", trained=False)
    make_model(home / "models" / "tiny")
    found = {row.name: row for row in doctor._weights(home / "models")}
    assert found["model llama"].ok
    assert "raw-kv mode" in found["model llama"].detail
    assert "latent mode" in found["model tiny"].detail


def test_a_check_that_breaks_is_a_failed_check_and_the_others_still_run(home) -> None:
    home.mkdir()
    (home / "models").write_text("a file where a folder belongs")
    os.chmod(home, 0o700)
    found = list(doctor.examine(settings.places()))
    assert any(row.name == "expat" for row in found)


@pytest.mark.parametrize("name", ["mplus-8b", "memoryllm-8b", "memoryllm-8b-chat"])
def test_a_published_model_is_planned_for_before_it_is_fetched(mplus, tmp_path, name) -> None:
    (tmp_path / "book.txt").write_text(TEXT)
    ran = mplus(
        "plan", str(tmp_path / "book.txt"), "--model", name, "--device", "cuda", "--memory-dtype", "bf16", "--json"
    )
    assert ran.code == 0
    row = 2 * 1024 * 32 * 2  # keys and values of all layers, bf16
    assert ran.json["bytes"]["rows"] == ran.json["chunks"] * 256 * row
    assert 15e9 < ran.json["bytes"]["vram"] < 20e9
    assert any(f"mplus model pull {name}" in warning for warning in ran.json["warnings"])


def test_the_published_models_are_those_that_can_be_fetched() -> None:
    from mplus_cli.hub import CATALOGUE

    assert set(planner.PUBLISHED) == set(CATALOGUE)
