"""Documents written before: their rows depend on the tokens alone, so no method writes what another wrote."""

from __future__ import annotations

import time
from array import array
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model.evaluation.common import Document

ROOM = 2 * 2**30  # bytes of rows that are kept; those that were asked for longest ago go first


class Written:
    """Documents by their tokens, and the seconds that were spared by not writing them again."""

    def __init__(self, write: Callable[[str, Sequence[int], bool], Document], room: int = ROOM) -> None:
        self.write, self.room = write, room
        self.spared_s, self.bytes = 0.0, 0
        self._kept: OrderedDict[bytes, tuple[Document, float]] = OrderedDict()

    def document(self, name: str, ids: Sequence[int], keep_hidden: bool = False) -> Document:
        """A document under a name, with the hidden states of its rows where they are asked for."""
        key = sha256(array("L", ids).tobytes()).digest()
        found = self._kept.get(key)
        if found is None or (keep_hidden and found[0].hidden is None):
            document = self._new(key, name, ids, keep_hidden)
        else:
            document, seconds = found
            self._kept.move_to_end(key)
            self.spared_s += seconds
        return replace(document, name=name, hidden=document.hidden if keep_hidden else None)

    def _new(self, key: bytes, name: str, ids: Sequence[int], keep_hidden: bool) -> Document:
        started = time.perf_counter()
        document = self.write(name, ids, keep_hidden)
        if before := self._kept.pop(key, None):
            self.bytes -= size(before[0])
        self._kept[key] = document, time.perf_counter() - started
        self.bytes += size(document)
        while self.bytes > self.room and len(self._kept) > 1:
            self.bytes -= size(self._kept.popitem(last=False)[1][0])
        return document


def size(document: Document) -> int:
    """Bytes of a document's rows and hidden states."""
    parts = [*document.rows.tensors().values(), *([] if document.hidden is None else [document.hidden])]
    return sum(part.nbytes for part in parts)
