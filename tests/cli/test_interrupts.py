"""Ctrl-C at any moment ends with 130 and one sentence, and promises to go on only where that is true."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mplus_cli.assistant.interrupt import Interruption
from mplus_cli.errors import Interrupted
from mplus_cli.failures import as_mplus_error

ROOT = Path(__file__).parents[2]
INTERRUPTED_IMPORT = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit that it is ignored
class Finder:
    def find_spec(self, name, path, target=None):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
from mplus_cli.launch import run
run()
"""


def interrupted_import(*arguments: str) -> subprocess.CompletedProcess:
    words = [sys.executable, "-c", INTERRUPTED_IMPORT, *arguments]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_ctrl_c_while_the_program_is_imported_ends_quietly() -> None:
    ended = interrupted_import("ask", "Who?")
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "Interrupted.\n")


def test_ctrl_c_while_the_program_is_imported_is_json_where_json_was_asked_for() -> None:
    ended = interrupted_import("ask", "--json", "Who?")
    assert json.loads(ended.stdout)["error"]["exit_code"] == ended.returncode == 130
    assert ended.stderr == ""


def test_an_interrupted_question_is_not_promised_to_go_on() -> None:
    shown = as_mplus_error(KeyboardInterrupt())
    assert (shown.message, shown.remedy) == ("Interrupted.", "")


def test_a_reading_stopped_at_once_is_promised_to_go_on() -> None:
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGINT)
        assert interruption.wanted
        with pytest.raises(KeyboardInterrupt) as stopped:
            signal.raise_signal(signal.SIGINT)
    assert as_mplus_error(stopped.value).remedy == Interrupted.remedy
