"""Ctrl-C during long work: the first asks for a stop at the next safe place, the second stops at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

from mplus_cli.errors import Interrupted


class Interruption:
    """A context in which the first SIGINT only sets `wanted`; the second one raises KeyboardInterrupt with a remedy.

    signals: others that are meant so, too. `number`: the one that came.
    """

    def __init__(self, *signals: signal.Signals) -> None:
        self.wanted = False
        self.number: int | None = None
        self._signals = signal.SIGINT, *signals
        self._before: list[Any] = []

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = [signal.signal(one, self._first) for one in self._signals]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one, before in zip(self._signals, self._before, strict=False):
            signal.signal(one, before)

    def _first(self, number: int, frame: FrameType | None) -> None:
        if self.wanted:
            raise KeyboardInterrupt(Interrupted.remedy)
        self.wanted, self.number = True, number
