"""The command line: exit codes, errors, confirmation, JSON, and what each command says."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer

from mplus_cli import errors, main, terminal
from mplus_cli.commands import reference
from mplus_cli.failures import as_mplus_error
from tests.cli.conftest import TEXT, book, make_library

ROOT = Path(__file__).parents[2]
COMMANDS = list(reference.commands())


def script(*arguments: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "mplus_cli.main", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        **options,
    )


# ---------------------------------------------------------------------------------------------------------- help, docs


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=[" ".join(path) for path, _ in COMMANDS])
def test_every_command_and_option_has_help(path, command) -> None:
    assert (command.help or "").strip()[:1].isupper(), path
    for parameter in command.params:
        assert parameter.help, (path, parameter.name)


def test_every_leaf_prints_its_help(mplus) -> None:
    for path, command in COMMANDS:
        for flag in ("-h", "--help"):
            ran = mplus(*path[1:], flag)
            assert ran.code == 0, path
            assert "Usage: " in ran.out, path
        assert command is not None


def test_commands_page_is_fresh() -> None:
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert page == reference.reference(), "docs/commands.md is stale: make docs"


def test_exit_codes_page_equals_the_error_tree() -> None:
    lines = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip(" `") for cell in line.split("|")[1:3]] for line in lines if line.startswith("| ")]
    documented = {name: int(code) for code, name in cells if name not in ("", "class")}
    tree = {"MplusError": errors.MplusError.exit_code}
    tree |= {kind.__name__: kind.exit_code for kind in errors.MplusError.__subclasses__()}
    assert documented == tree
    assert {code for code, name in cells if not name} == {"0", str(main.BROKEN_PIPE), str(main.TERMINATED)}


def test_version_is_the_packages(mplus) -> None:
    assert 'version = "' + mplus("--version").out.split()[1] + '"' in (ROOT / "pyproject.toml").read_text()


# --------------------------------------------------------------------------------------------------------------- start


@pytest.mark.parametrize(
    "arguments", [("--help",), ("library", "list"), ("docs", "list"), ("config", "show"), ("ask", "-h")]
)
def test_light_commands_import_no_torch(arguments, novels) -> None:
    code = (
        "import sys\nfrom mplus_cli.main import execute\n"
        f"code = execute({list(arguments)!r})\n"
        "heavy = [name for name in ('torch', 'transformers', 'peft', 'numpy') if name in sys.modules]\n"
        "sys.exit(99 if heavy else code)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=60).returncode == 0


@pytest.mark.parametrize("arguments", [("--help",), ("library", "list"), ("config", "show", "--json")])
def test_what_people_wait_for_imports_neither_pydantic_nor_rich(arguments, novels) -> None:
    code = (
        "import sys\nfrom mplus_cli.main import execute\n"
        f"code = execute({list(arguments)!r})\n"
        "sys.exit(99 if {'pydantic', 'rich', 'huggingface_hub'} & set(sys.modules) else code)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=60).returncode == 0


def test_help_starts_in_a_blink() -> None:
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        assert script("--help").returncode == 0
        times.append(time.perf_counter() - begun)
    assert min(times) < 0.6  # 0.15 s on an idle machine; the promise of 0.3 s is measured in docs/performance.md


# --------------------------------------------------------------------------------------------------------------- errors


def test_a_typo_suggests_the_nearest_command(mplus) -> None:
    ran = mplus("ingset", "book.epub")
    assert ran.code == 2
    assert "'ingest'" in ran.err
    assert "'list'" in mplus("library", "lst").err
    assert "--library" in mplus("ask", "--libary", "x", "why").err


def test_a_missing_library_suggests_the_nearest_name(mplus, novels) -> None:
    ran = mplus("library", "show", "novel")
    assert ran.code == 3
    assert ran.out == ""
    assert ran.err.startswith("error: There is no library 'novel'.\n  Did you mean novels?")


@pytest.mark.parametrize(
    ("arguments", "kind", "code"),
    [
        (("library", "show", "nothing", "--json"), "NotFound", 3),
        (("ask", "--json"), "UsageError", 2),
        (("--json-please", "ask", "--json"), "UsageError", 2),
        (("docs", "list", "--json", "--library", "../x"), "UsageError", 2),
        (("model", "show", "nothing", "--json"), "ModelMissing", 6),
        (("plan", "no/such.epub", "--json"), "Unreadable", 4),
        (("config", "set", "colr", "never", "--json"), "UsageError", 2),
    ],
)
def test_errors_are_json_where_json_was_asked_for(mplus, arguments, kind, code) -> None:
    ran = mplus(*arguments)
    assert ran.code == code
    assert ran.json["error"]["class"] == kind
    assert ran.json["error"]["exit_code"] == code
    assert all(ran.json["error"][part] for part in ("message", "remedy"))
    assert len(ran.out.splitlines()) == 1


def test_an_error_is_one_line_and_a_remedy_and_no_traceback(mplus) -> None:
    ran = mplus("library", "show", "x")
    assert ran.code == 3
    assert len(ran.err.splitlines()) == 2
    assert "Traceback" not in ran.err
    assert "Traceback" in mplus("library", "show", "x", "--debug").err


def test_an_unexpected_error_leaves_its_traceback_in_a_private_file(home) -> None:
    try:
        raise ZeroDivisionError("a fault of ours")
    except ZeroDivisionError as error:
        shown = as_mplus_error(error)
    log = home / "state" / "errors.log"
    assert shown.exit_code == 1
    assert str(log) in shown.remedy
    assert "a fault of ours" in log.read_text()
    assert log.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (KeyboardInterrupt(), errors.Interrupted),
        (typer.Abort(), errors.Interrupted),
        (OSError(28, "No space left on device", "x"), errors.NotEnoughSpace),
        (PermissionError(13, "Permission denied", "x"), errors.MplusError),
        (FileNotFoundError(2, "No such file or directory", "x"), errors.NotFound),
        (MemoryError(), errors.NotEnoughSpace),
        (errors.LibraryLocked("busy"), errors.LibraryLocked),
    ],
)
def test_errors_of_the_system_have_their_place_in_the_tree(error, kind) -> None:
    assert type(as_mplus_error(error)) is kind


def test_errors_of_the_model_room_have_their_place_in_the_tree() -> None:
    from model.errors import CheckpointError, DeviceError

    assert as_mplus_error(CheckpointError("no weights", "pull them")).exit_code == 6
    assert as_mplus_error(DeviceError("no cuda", "use cpu")).exit_code == 2
    assert as_mplus_error(DeviceError("no cuda", "use cpu")).remedy == "use cpu"


# -------------------------------------------------------------------------------------------------------------- signals


def test_a_reader_that_goes_away_ends_the_program_quietly(home) -> None:
    make_library(home, "long", book(text="x" * 2_000_000))
    words = [sys.executable, "-m", "mplus_cli.main", "docs", "show", "1", "--text"]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.read(3) == b"xxx"
        child.stdout.close()
        assert child.wait(timeout=20) == main.BROKEN_PIPE
        assert child.stderr.read() == b""


SLEEPER = """
import sys, time
from mplus_cli import main
from mplus_cli.commands import common, doctor

doctor.app = common.new_app()

@doctor.app.command()
def wait():
    sys.stderr.write("on\\n")
    sys.stderr.flush()
    time.sleep(30)

main.run(["doctor"])
"""


def test_sigterm_ends_with_143() -> None:
    with subprocess.Popen([sys.executable, "-c", SLEEPER], cwd=ROOT, stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        assert child.stderr.readline() == "on\n"
        child.send_signal(signal.SIGTERM)
        assert child.wait(timeout=20) == main.TERMINATED
        assert child.stderr.read() == ""


# ---------------------------------------------------------------------------------------------------------- flags, tty


def test_global_flags_may_stand_anywhere() -> None:
    assert main.hoist(["ask", "-q", "why", "--debug"]) == ["-q", "--debug", "ask", "why"]
    assert main.hoist(["ask", "--", "-q"]) == ["ask", "--", "-q"]


def test_quiet_silences_messages_only(mplus, home) -> None:
    assert mplus("library", "list").err != ""
    ran = mplus("library", "list", "--quiet")
    assert (ran.out, ran.err, ran.code) == ("", "", 0)


def test_no_colour_unless_forced_in_a_pipe(mplus, novels) -> None:
    assert "\x1b[" not in mplus("library", "list").out
    os.environ["FORCE_COLOR"] = "1"
    assert "\x1b[" in mplus("library", "list").out
    assert "\x1b[" not in mplus("library", "list", "--no-color").out
    os.environ["NO_COLOR"] = "1"
    assert "\x1b[" not in mplus("library", "list").out


def test_colour_setting_is_honoured(mplus, novels) -> None:
    assert mplus("config", "set", "colour", "always").code == 0
    assert "\x1b[" in mplus("library", "list").out
    assert "\x1b[" not in mplus("library", "list", "--no-color").out


def test_tables_in_pipes_are_not_cut(mplus, home) -> None:
    title = "A title as long as only the eighteenth century could make them, " * 4
    make_library(home, "novels", book(title=title))
    assert " ".join(title.split()) in mplus("docs", "list").out


# ------------------------------------------------------------------------------------------------------------ libraries


def test_removing_asks_and_never_where_nobody_can_answer(mplus, novels) -> None:
    for arguments in (("library", "remove", "novels"), ("docs", "forget", "1")):
        ran = mplus(*arguments, stdin="y\n")
        assert ran.code == 2
        assert "--yes" in ran.err
    assert novels.is_dir()
    assert mplus("docs", "forget", "1", "--yes").code == 0
    assert mplus("docs", "list", "--json").json == {"documents": []}
    assert mplus("library", "remove", "novels", "--yes").code == 0
    assert not novels.exists()


def test_a_library_goes_out_and_comes_back(mplus, novels, tmp_path) -> None:
    file = tmp_path / "novels.mplus"
    assert mplus("library", "export", "novels", str(file)).code == 0
    again = mplus("library", "export", "novels", str(file))
    assert again.code == 2
    assert "--overwrite" in again.err
    before = file.read_bytes()
    assert mplus("library", "export", "novels", str(file), "--overwrite").code == 0
    assert file.read_bytes() == before
    assert mplus("library", "import", str(file), "--name", "copy").code == 0
    assert mplus("library", "rename", "copy", "second").code == 0
    names = [entry["name"] for entry in mplus("library", "list", "--json").json["libraries"]]
    assert names == ["novels", "second"]
    assert mplus("library", "verify", "second").code == 0
    assert mplus("library", "gc", "second", "--json").json["freed_bytes"] >= 0


def test_an_export_that_is_not_there_is_an_input_that_is_not_there(mplus, tmp_path) -> None:
    ran = mplus("library", "import", str(tmp_path / "novels.mplus"))
    assert (ran.code, "no such file" in ran.err) == (4, True)


def test_verify_names_what_is_damaged(mplus, novels) -> None:
    shard = next((novels / "memory").glob("*.safetensors"))
    shard.chmod(0o600)
    shard.write_bytes(b"x" * shard.stat().st_size)
    ran = mplus("library", "verify", "novels")
    assert ran.code == 8
    assert shard.name[:12] in ran.out
    last = mplus("library", "verify", "novels", "--json").json
    assert last["damaged"] >= 1


def test_a_damaged_library_is_listed_with_its_problem(mplus, novels) -> None:
    (novels / "catalog.sqlite").write_bytes(b"not a database" * 100)
    ran = mplus("library", "list", "--json")
    assert ran.code == 0
    assert ran.json["libraries"][0]["problem"]
    assert mplus("library", "remove", "novels", "--yes").code == 0


def test_the_only_library_needs_no_name_and_two_do(mplus, novels, home) -> None:
    assert mplus("docs", "list").code == 0
    make_library(home, "essays", book("Essays", "Words. " * 100))
    ran = mplus("docs", "list")
    assert ran.code == 2
    assert "essays, novels" in ran.err
    assert mplus("config", "set", "library", "essays").code == 0
    assert "Essays" in mplus("docs", "list").out


@pytest.mark.parametrize("name", ["..", "../x", "a/b", ".hidden", "", "x" * 100, "-rf"])
def test_a_library_name_never_leaves_its_folder(mplus, novels, name) -> None:
    assert mplus("library", "rename", "--", "novels", name).code == 2
    assert mplus("library", "show", "--", name).code in (2, 3)
    assert novels.is_dir()


def on_a_terminal(*arguments: str, answer: str = "", **environment: str) -> tuple[int, str]:
    """Run a command line on a pseudo-terminal; returns its exit code and all that the screen got."""
    keyboard, screen = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "mplus_cli.main", *arguments], cwd=ROOT, stdin=screen, stdout=screen, stderr=screen,
        env={**os.environ, "TERM": "xterm", **environment},
    )  # fmt: skip
    os.close(screen)
    os.write(keyboard, answer.encode())
    shown = b""
    with contextlib.suppress(OSError):  # the child has closed its end
        while part := os.read(keyboard, 4096):
            shown += part
    os.close(keyboard)
    return child.wait(timeout=30), shown.decode()


def test_a_person_is_asked_and_may_say_no(novels) -> None:
    code, shown = on_a_terminal("library", "remove", "novels", answer="n\n")
    assert code == 1
    assert "[y/N]" in shown
    assert novels.is_dir()
    assert on_a_terminal("library", "remove", "novels", answer="y\n")[0] == 0
    assert not novels.exists()


def test_a_terminal_gets_colours_unless_it_is_dumb_or_they_are_unwanted(novels) -> None:
    assert "\x1b[" in on_a_terminal("library", "list")[1]
    for unwanted in ({"TERM": "dumb"}, {"NO_COLOR": "1"}):
        assert "\x1b[" not in on_a_terminal("library", "list", **unwanted)[1]
    assert "\x1b[" not in on_a_terminal("library", "list", "--no-color")[1]


# ------------------------------------------------------------------------------------------------------------ documents


def test_text_and_pages_are_the_stored_ones(mplus, novels) -> None:
    assert mplus("docs", "show", "war-and-peace", "--text").out == TEXT
    page = mplus("docs", "show", "1", "--pages", "1", "--json").json["pages"][0]
    assert page["text"] == TEXT[page["start"] : page["end"]]
    assert mplus("docs", "show", "1", "--pages", "90-99").code == 3
    assert mplus("docs", "show", "1", "--pages", "x").code == 2
    assert "Book Two" in mplus("docs", "toc", "1").out
    assert [entry["title"] for entry in mplus("docs", "toc", "1", "--json").json["sections"]] == [
        "Book One",
        "Book Two",
    ]


def test_a_question_from_an_empty_pipe_is_refused(mplus, novels) -> None:
    assert mplus("ask", "-", stdin="").code == 2


@pytest.mark.parametrize("events", [("--after", " "), ("--after", "They meet.", "--option", "")])
def test_an_empty_event_is_refused_before_anything_is_loaded(mplus, novels, events) -> None:
    ran = mplus("next", *events)
    assert (ran.code, "event is empty" in ran.err) == (2, True)


def test_a_file_without_events_proposes_none(mplus, novels, tmp_path) -> None:
    (tmp_path / "events.txt").write_text("\n \n")
    ran = mplus("next", "--after", "They meet.", "--choose", str(tmp_path / "events.txt"))
    assert (ran.code, "names no events" in ran.err) == (2, True)
    ran = mplus("next", "--after", "They meet.", "--choose", "-", stdin="\n")
    assert (ran.code, "Standard input names no events" in ran.err) == (2, True)


def test_next_needs_a_past(mplus, novels) -> None:
    ran = mplus("next", "--option", "They dance.")
    assert ran.code == 2
    assert "--after" in ran.err


# ----------------------------------------------------------------------------------------------------- config, complete


def test_settings_show_their_origin(mplus, home) -> None:
    os.environ["MPLUS_DEVICE"] = "cpu"
    assert mplus("config", "set", "library", "novels").code == 0
    shown = mplus("config", "show", "--json").json["settings"]
    assert shown["library"] == {"value": "novels", "origin": "file"}
    assert shown["device"] == {"value": "cpu", "origin": "environment"}
    assert shown["dtype"]["origin"] == "default"
    assert mplus("config", "set", "library").code == 0
    assert mplus("config", "show", "--json").json["settings"]["library"]["origin"] == "default"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_printed(mplus, shell) -> None:
    ran = mplus("completion", shell)
    assert ran.code == 0
    assert "_MPLUS_COMPLETE" in ran.out
    assert mplus("completion", "csh").code == 2


def test_the_shell_completes_commands_libraries_and_documents(novels) -> None:
    def complete(words: str) -> list[str]:
        extra = {"_MPLUS_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
        return script(env={**os.environ, **extra}).stdout.split()

    assert complete("mplus li") == ["library"]
    assert complete("mplus library show no") == ["novels"]
    assert complete("mplus docs show --library novels wa") == ["war-and-peace"]


def test_offline_reaches_whatever_could_open_a_connection(mplus) -> None:
    ran = mplus("--offline", "model", "pull", "mplus-8b", "--json")
    assert ran.code == 6
    assert "offline" in ran.json["error"]["message"]
    assert os.environ["HF_HUB_OFFLINE"] == "1"


def test_help_of_an_error_names_the_command(mplus) -> None:
    assert "mplus library show --help" in mplus("library", "show").err
    assert mplus("library").code == 2


def test_json_lines_are_plain_json(capsys) -> None:
    terminal.configure()
    terminal.json_line({"title": "Война и мир", "sign": "\u202e"})
    assert json.loads(capsys.readouterr().out) == {"title": "Война и мир", "sign": "\ufffd"}
