"""Settings: defaults < file < environment < flags, each with its origin; mistakes are named where they stand."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from mplus_cli.errors import UsageError
from mplus_cli.settings import (
    KEYS,
    Settings,
    environment_variable,
    help_texts,
    load,
    places,
    set_value,
    size_in_bytes,
)

SHARED = ("HF_HUB_OFFLINE", "NO_COLOR", "FORCE_COLOR", "MPLUS_HOME")


@pytest.fixture(autouse=True)
def home(tmp_path: Path) -> Iterator[Path]:
    """A home of our own, and no variable of the person who runs the tests."""
    before = dict(os.environ)
    for name in (*SHARED, *map(environment_variable, KEYS)):
        os.environ.pop(name, None)
    os.environ["MPLUS_HOME"] = str(tmp_path / "home")
    yield tmp_path / "home"
    os.environ.clear()
    os.environ.update(before)


def write(text: str) -> Path:
    path = places().config_file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def refusal(call: object, *arguments: object) -> UsageError:
    with pytest.raises(UsageError) as refused:
        call(*arguments)  # type: ignore[operator]
    return refused.value


def test_mplus_home_moves_everything(home: Path) -> None:
    here = places()
    assert {here.config, here.libraries, here.models, here.state, here.config_file} == {
        home, home / "libraries", home / "models", home / "state", home / "config.toml"
    }  # fmt: skip
    assert not home.exists()  # asking makes nothing


def test_without_it_the_system_decides_and_every_path_is_absolute() -> None:
    for value in (None, ""):
        os.environ.pop("MPLUS_HOME", None)
        if value is not None:
            os.environ["MPLUS_HOME"] = value
        here = places()
        folders = [here.config, here.libraries, here.models, here.state]
        assert all(folder.is_absolute() and "mplus" in folder.parts for folder in folders)
        assert len(set(folders)) == 4


def test_a_relative_home_or_a_tilde_is_made_absolute() -> None:
    for value in ("relative", "~/mplus"):
        os.environ["MPLUS_HOME"] = value
        assert places().libraries.is_absolute()
        assert "~" not in str(places().libraries)


def test_without_anything_set_the_defaults_are_in_force() -> None:
    assert load() == Settings()
    assert set(load().origins.values()) == {"default"}
    assert set(load().origins) == set(KEYS)


def test_each_layer_wins_over_the_one_below_and_says_so() -> None:
    write('device = "cpu"\nthreads = 1\nmodel = "a"\n')
    os.environ["MPLUS_THREADS"] = "2"
    os.environ["MPLUS_MODEL"] = "b"
    settings = load({"model": "c", "dtype": None})
    assert (settings.device, settings.threads, settings.model) == ("cpu", 2, "c")
    assert (settings.origins["device"], settings.origins["threads"], settings.origins["model"]) == (
        "file", "environment", "flag"
    )  # fmt: skip
    assert settings.origins["dtype"] == "default"


def test_an_empty_variable_counts_as_not_set() -> None:
    os.environ["MPLUS_DEVICE"] = ""
    os.environ["NO_COLOR"] = ""
    assert load() == Settings()


@pytest.mark.parametrize(
    ("variable", "value", "key", "expected"),
    [
        ("MPLUS_OFFLINE", "1", "offline", True),
        ("MPLUS_OFFLINE", "yes", "offline", True),
        ("HF_HUB_OFFLINE", "1", "offline", True),
        ("HF_HUB_OFFLINE", "0", "offline", False),
        ("NO_COLOR", "1", "colour", "never"),
        ("FORCE_COLOR", "1", "colour", "always"),
        ("MPLUS_MEMORY_CAP", "300", "memory_cap", 300),
        ("MPLUS_MAX_VRAM", "8GiB", "max_vram", "8GiB"),
        ("MPLUS_DEVICE", "cuda:1", "device", "cuda:1"),
    ],
)
def test_the_environment_is_honoured(variable: str, value: str, key: str, expected: object) -> None:
    os.environ[variable] = value
    assert getattr(load(), key) == expected


def test_our_own_variable_wins_over_the_shared_one() -> None:
    os.environ |= {"HF_HUB_OFFLINE": "1", "MPLUS_OFFLINE": "no", "NO_COLOR": "1", "MPLUS_COLOUR": "auto"}
    assert (load().offline, load().colour) == (False, "auto")


def test_an_unknown_key_is_named_with_file_line_and_the_nearest() -> None:
    path = write('# mine\ndevice = "cpu"\n\ndevise = "cpu"\n')
    error = refusal(load)
    assert f"{path}, line 4" in error.message
    assert "device?" in error.remedy
    write("[table]\nx = 1\n")
    assert "line 1" in refusal(load).message


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("threads = -1", "from 0"),
        ('threads = "two"', "number"),
        ("threads = true", "number"),
        ("offline = 1", "true or false"),
        ('device = "gpu"', "cuda"),
        ('dtype = "int3"', "bfloat16"),
        ('weights = "int3"', "nf4"),
        ('colour = "blue"', "never"),
        ('library = "../x"', "letters"),
        ('model = ""', "name"),
        ("memory_cap = 1.5", "chunks"),
        ('max_vram = "much"', "8GiB"),
        ("device = []", "cuda"),
    ],
)
def test_a_bad_value_is_named_with_what_it_could_be(line: str, expected: str) -> None:
    path = write(f"# a comment\n{line}\n")
    error = refusal(load)
    assert f"{path}, line 2: {line.split()[0]} cannot be" in error.message
    assert expected in error.remedy


def test_a_bad_variable_or_flag_is_named() -> None:
    os.environ["MPLUS_THREADS"] = "many"
    assert "MPLUS_THREADS cannot be 'many'" in refusal(load).message
    del os.environ["MPLUS_THREADS"]
    assert "--memory-cap cannot be -1" in refusal(load, {"memory_cap": -1}).message


def test_a_file_that_is_no_toml_is_named_with_its_line() -> None:
    path = write("device = 'cpu'\n===\n")
    error = refusal(load)
    assert str(path) in error.message
    assert "line 2" in error.message
    path.write_bytes(b"\xff\xfe")
    assert "UTF-8" in refusal(load).message
    write("===")
    assert "config.toml" in refusal(set_value, "device", "cpu").message


def test_setting_a_value_keeps_comments_and_order() -> None:
    path = write('# mine\ndevice = "cpu"  # slow\n\n# threads\nthreads = 2\n')
    assert set_value("threads", "3") == path
    set_value("offline", "true")
    assert path.read_text() == '# mine\ndevice = "cpu"  # slow\n\n# threads\nthreads = 3\noffline = true\n'
    set_value("threads", None)
    set_value("memory-cap", "7")
    assert (load().threads, load().offline, load().memory_cap, load().device) == (0, True, 7, "cpu")


def test_the_file_is_made_for_its_owner_only(home: Path) -> None:
    before = os.umask(0)
    try:
        path = set_value("library", "novels")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_nothing_senseless_is_written(home: Path) -> None:
    assert "device?" in refusal(set_value, "devise", "cpu").remedy
    assert "number" in refusal(set_value, "threads", "many").remedy
    assert "true or false" in refusal(set_value, "offline", "perhaps").remedy
    assert not home.exists()


def test_every_setting_has_a_help_text() -> None:
    assert set(help_texts()) == set(KEYS)
    assert all(text.endswith(".") for text in help_texts().values())


def test_every_setting_is_documented_as_it_is() -> None:
    text = (Path(__file__).parents[1] / "docs" / "configuration.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| `([^`]*)` \| `(\w+)` \| (.*) \|$", text, re.MULTILINE)
    defaults = {key: getattr(Settings(), key) for key in KEYS}
    shown = {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in defaults.items()}
    assert rows == [(key, shown[key], environment_variable(key), help_texts()[key]) for key in KEYS]


@pytest.mark.parametrize(
    ("words", "size"),
    [("8GiB", 8 * 2**30), ("500 MB", 500_000_000), ("1.5gib", 3 * 2**29), ("12 b", 12), ("8", None), ("", None)],
)
def test_a_size_in_words_is_bytes(words: str, size: int | None) -> None:
    assert size_in_bytes(words) == size
