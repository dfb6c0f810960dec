"""The console script `mplus`: imports the program, so that Ctrl-C while it is imported ends quietly, too."""

from __future__ import annotations

import signal
import sys
from typing import NoReturn


def run() -> NoReturn:
    """Import the program and run the command line; Ctrl-C before its own handling of errors exits with 130."""
    try:
        from mplus_cli.main import run as run_command_line

        run_command_line()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # impatience must not bring the traceback back
        sys.exit(_interrupted())


def _interrupted() -> int:
    """Say that the program was interrupted; returns the exit code."""
    from mplus_cli import terminal
    from mplus_cli.errors import interrupted

    error = interrupted()
    if "--json" in sys.argv:
        terminal.json_line(terminal.error_json(error))
    else:
        terminal.say(error.message, always=True)
    return error.exit_code


if __name__ == "__main__":
    run()
