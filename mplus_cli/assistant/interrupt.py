"""Ctrl-C while a book is read: the first asks for a stop at the next safe place, the second stops at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

from mplus_cli.errors import Interrupted


class Interruption:
    """A context in which the first SIGINT only sets `wanted`; the second one raises KeyboardInterrupt with a remedy."""

    def __init__(self) -> None:
        self.wanted = False
        self._before: Any = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._first)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _first(self, number: int, frame: FrameType | None) -> None:
        if self.wanted:
            raise KeyboardInterrupt(Interrupted.remedy)
        self.wanted = True
