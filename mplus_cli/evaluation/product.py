"""The product as a method of the evaluation suite: texts go into a real library, questions through a real session."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from model.evaluation.methods.method import Budget, Method
from mplus_cli.assistant.ask import Session, Sight
from mplus_cli.assistant.engine import Engine
from mplus_cli.assistant.ingest import Desk, ingest_document
from mplus_cli.assistant.interrupt import Interruption
from mplus_cli.documents.read import read
from mplus_cli.events import Answered, AskOptions, IngestOptions
from mplus_cli.models import find_model
from mplus_cli.settings import Settings, places

if TYPE_CHECKING:
    from torch import Tensor

    from model.evaluation.common import Subject
    from model.layer_cache import LayerCache


class Product(Method):
    """`mplus ask`: the memory recalls, the best passages are re-read, the answer is the model's or the book's words."""

    name, about = "mplus", "the product: latent recall and full-text search, the best passages re-read"
    text_search = True

    def __init__(self, subject: Subject, budget: Budget | None = None) -> None:
        from model.checkpoint import Checkpoint

        read_by, folder = subject.checkpoint, subject.checkpoint.folder
        written_by = Checkpoint(subject.writer, read_by.background, read_by.fingerprint, folder)
        record = find_model(str(folder), places().models)
        self.reading = Engine(record, read_by, subject.tokenizer)
        self.writing = Engine(record, written_by, subject.tokenizer)
        self.settings = Settings(model=str(folder), memory_dtype=subject.row_format)
        self._home = TemporaryDirectory(prefix="mplus-eval-")
        self._session: Session | None = None
        self._libraries = 0
        super().__init__(subject, budget)

    def reset(self) -> None:
        """Begin a new library."""
        super().reset()
        self._close()
        self._libraries += 1
        self._size: int | None = None

    @property
    def library(self) -> str:
        """The name of the library that is being read into."""
        return f"texts-{self._libraries}"

    def read(self, text: str) -> None:
        """Ingest a text as a document of its own; the same text again is already read."""
        super().read(text)
        self._close()
        self._size = None
        if not text.strip():
            return
        document = read(BytesIO(text.encode()), name=f"text {len(self.held)}.txt", encoding="utf-8")
        desk = Desk(self.library, self.settings, IngestOptions(), Interruption(), self.writing)
        with self._at_home():
            for _ in ingest_document(desk, document):
                pass

    def respond(self, question: str, prompt: Sequence[int], most: int) -> str:
        """The answer that `mplus ask` prints; nothing where nothing was read."""
        if not self._has_library():
            return ""
        options = AskOptions(max_tokens=most, text_search=self.text_search)
        with self._at_home():
            answers = [
                event.answer.answer for event in self._asked().ask(question, options) if isinstance(event, Answered)
            ]
        return answers[-1]

    def prefill(self, prompt: Sequence[int], room: int) -> tuple[Tensor, LayerCache]:
        """Candidates are ranked behind the library's latent memory, as `mplus next` does."""
        from model.generate import Reader

        with self._at_home():
            empty = not self._has_library()
            reader = Reader(self.model, self.subject.memory([])) if empty else self._sight().reader
            found = reader.prefill(self.subject.ids(prompt), room)
        return found.hidden, found.cache

    def bytes_held(self) -> dict[str, int]:
        """The library on disk, and the pool's rows in memory."""
        if not self._has_library():
            return {"device": 0, "host": 0, "disk": 0}
        with self._at_home():
            pool = sum(part.nbytes for layer in self._sight().reader.pool for part in layer)
        if self._size is None:  # measured once for all questions about a text
            self._size = sum(file.stat().st_size for file in self._folder().rglob("*") if file.is_file())
        return {"device": pool, "host": 0, "disk": self._size}

    def _asked(self) -> Session:
        if self._session is None:
            self._session = Session(self.library, self.settings, self.reading)
        return self._session

    def _sight(self) -> Sight:
        return self._asked().sight((), None)

    def _folder(self) -> Path:
        return Path(self._home.name) / "libraries" / self.library

    def _has_library(self) -> bool:
        return self._folder().is_dir()

    def _close(self) -> None:
        if self._session is not None:
            self._session.close()
        self._session = None

    @contextmanager
    def _at_home(self) -> Iterator[None]:
        """With MPLUS_HOME on the folder of this method."""
        before = os.environ.get("MPLUS_HOME")
        os.environ["MPLUS_HOME"] = self._home.name
        try:
            yield
        finally:
            if before is None:
                del os.environ["MPLUS_HOME"]
            else:
                os.environ["MPLUS_HOME"] = before


class ProductWithoutSearch(Product):
    """The product with `--no-text`: only the memory finds passages."""

    name, about = "mplus-no-text", "the product without full-text search: only the memory finds passages"
    text_search = False


PRODUCTS: dict[str, type[Method]] = {one.name: one for one in (Product, ProductWithoutSearch)}
