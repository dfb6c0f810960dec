"""Any exception as one that a person can read: of our tree, of the command line, of the system, or unexpected."""

from __future__ import annotations

import errno
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import typer

from mplus_cli.errors import ModelMissing, MplusError, NotEnoughSpace, NotFound, UsageError, interrupted


def as_mplus_error(error: BaseException) -> MplusError:
    """Any error as one that a person can read: of our tree, of the command line, of the system, or unexpected."""
    if isinstance(error, MplusError):
        return error
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return interrupted(str(error))
    if isinstance(error, typer.TyperException):
        return _usage_error(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NotEnoughSpace(f"The disk is full: {error.filename or error.strerror}.").with_traceback(
            error.__traceback__
        )
    if isinstance(error, MemoryError):
        return NotEnoughSpace("There is not enough memory.").with_traceback(error.__traceback__)
    if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
        return NotFound(f"{error.strerror}: {error.filename}.", "Check the path.").with_traceback(error.__traceback__)
    if isinstance(error, OSError) and error.errno == errno.EROFS:
        return MplusError(
            f"The disk is mounted read-only: {error.filename or error}.", "MPLUS_HOME names a folder to write to."
        ).with_traceback(error.__traceback__)
    if isinstance(error, PermissionError):
        return MplusError(
            f"No permission: {error.filename or error}.", "Check the owner and the permissions of that path."
        ).with_traceback(error.__traceback__)
    return _model_error(error) or _unexpected(error)


def _model_error(error: BaseException) -> MplusError | None:
    """The errors of the model room, which knows no exit codes; known by name, because it imports torch."""
    remedy = getattr(error, "remedy", "") or None
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "CheckpointError" in kinds:
        return ModelMissing(str(error), remedy).with_traceback(error.__traceback__)
    if "ModelError" in kinds:
        return UsageError(str(error), remedy).with_traceback(error.__traceback__)
    if "OutOfMemoryError" in kinds:
        return NotEnoughSpace("The GPU has not enough memory.", "`mplus plan` says what is needed; or --device cpu.")
    return None


def _usage_error(error: Any) -> UsageError:
    """A mistake on the command line, with the help page of the command it was made on."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "mplus"
    if type(error).__name__ == "NoArgsIsHelpError":
        return UsageError(f"`{path}` needs a command.", f"See `{path} --help`.")
    return UsageError(error.format_message(), f"See `{path} --help`.")


def _unexpected(error: BaseException) -> MplusError:
    """A fault of ours: one line for the person, the traceback in a file of the state folder."""
    summary = f"Unexpected {type(error).__name__}: {error}"
    try:
        path = _write_traceback(error)
    except Exception:  # the report must not hide the fault
        return MplusError(summary).with_traceback(error.__traceback__)
    return MplusError(summary, f"The traceback is in {path}; --debug shows it.").with_traceback(error.__traceback__)


def _write_traceback(error: BaseException) -> Path:
    from mplus_cli.library.shards import private_folder
    from mplus_cli.settings import places

    path = private_folder(places().state) / "errors.log"
    stamp = time.strftime("%Y-%m-%d %H:%M:%S")
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a", encoding="utf-8") as log:
        log.write(f"--- {stamp} {' '.join(sys.argv[1:2])}\n{''.join(traceback.format_exception(error))}\n")
    return path
