"""Methods that hold latent memory: M+ itself, the same without long-term memory, and no memory at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from model.evaluation.common import Document, pool_only
from model.evaluation.methods.method import Method
from model.generate import Memory, Reader
from model.layer_cache import LayerCache
from model.staging import Staged


class Latent(Method):
    """M+: every row that was read is in the pool or in long-term memory, of which a prompt recalls R rows a layer."""

    name, about = "mplus-latent", "latent memory alone: pool and recalled long-term rows, nothing re-read"

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self.documents: list[Document] = []
        self._reader: Reader | None = None

    def read(self, text: str) -> None:
        """Write a document into memory, chunk by chunk."""
        super().read(text)
        if self.held[-1]:
            self.documents.append(self.put_away(self.write(f"text {len(self.documents)}", self.held[-1])))
        self._reader = None

    def write(self, name: str, ids: Sequence[int]) -> Document:
        """One document as memory."""
        return self.subject.written.document(name, ids)

    def put_away(self, document: Document) -> Document:
        """A document whose rows lie where they lie until a prompt recalls them."""
        if self.attic is None:
            return document
        hidden = None if document.hidden is None else self.attic.tensor(document.hidden)
        return replace(document, rows=self.attic.rows(document.rows), hidden=hidden)

    def memory(self) -> Memory:
        """What a prompt may see."""
        return self.subject.memory(self.documents)

    def reader(self) -> Reader:
        """A reader behind the memory, kept until something else is read."""
        if self._reader is None:
            self._reader = self.make_reader(self.memory())
            if self.attic is not None:
                self._reader.pool = Staged(self._reader.pool.parts, self._reader.mover, resident=False)
            if self.budget.rows is not None:
                self._reader.recall_rows = max(0, self.budget.rows - len(self._reader.memory.membership.pool[0]))
        return self._reader

    def make_reader(self, memory: Memory) -> Reader:
        """How a memory is read: methods that recall in another way override this."""
        return Reader(self.model, memory)

    def prefill(self, prompt: Sequence[int], room: int) -> tuple[Tensor, LayerCache]:
        """Recall for the prompt, layer by layer, and read it behind what was recalled."""
        found = self.reader().prefill(self.subject.ids(prompt), room)
        return found.hidden, found.cache

    def bytes_held(self) -> dict[str, int]:
        """Rows in read form lie on the host, the pool's on the device too; offloaded, in files and on the host."""
        rows = [document.rows for document in self.documents]
        size = sum(part.nbytes for one in rows for part in one.tensors().values())
        pool = sum(part.nbytes for layer in self.reader().pool.parts for part in layer)
        return self.by_place(pool, size)

    def by_place(self, pool: int, size: int) -> dict[str, int]:
        """Bytes of the pool and of all rows, where they are."""
        if self.attic is None:
            return {"device": pool, "host": size, "disk": size}
        return {"device": 0, "host": pool, "disk": size}


class PoolOnly(Latent):
    """MemoryLLM's memory: rows that the pool drops are lost."""

    name, about = "memoryllm", "the pool alone: what it drops is lost"

    def memory(self) -> Memory:
        """The pool without long-term memory."""
        return pool_only(super().memory())


class NoContext(Latent):
    """What the weights know: nothing is read."""

    name, about = "no-context", "nothing is read: what the weights know"

    def read(self, text: str) -> None:
        """Nothing."""
