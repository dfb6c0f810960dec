"""What all measurements share: held-out text, documents written into memory, answers, intervals, tables.

Everything runs on the product's path: a checkpoint in its reading role, chunks written one behind the other from the
learned start rows, rows in read form and in the format of a library, the same membership, the same reader.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import Cache

from model.checkpoint import Checkpoint, load
from model.errors import ModelError
from model.evaluation.written import Written
from model.generate import Memory, Reader, RetrievalTrace, Sampling, continue_from
from model.matrices import AUTO
from model.matrices import FORMATS as MATRICES
from model.membership import Membership, ViewChunk, log_membership
from model.memory import ReadRows, Rows, RowTable, as_stored, join
from model.mplus import MPlus
from model.plain import is_plain, plain_llama
from model.row_sizes import DEFAULT, FORMATS
from model.tokenizer import TextTokenizer
from model.training.data import row_indices
from model.training.tokenizer import json_lines, plain
from model.writing import write_chunks

DOCUMENT_CHUNKS = 40  # chunks of one document of background text
TOGETHER = 16  # documents written at a time: they do not depend on each other
ROUNDS = 2000  # bootstrap samples


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured number with its 95 % interval, and how many questions or passages it rests on."""

    value: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def wilson(hits: int, total: int) -> Estimate:
    """A share with Wilson's interval."""
    if not total:
        return Estimate(math.nan, math.nan, math.nan, 0)
    z, share = 1.959964, hits / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return Estimate(share, max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half)), total)


def ratio(numerators: Sequence[float], denominators: Sequence[float] | None = None, seed: int = 0) -> Estimate:
    """Sum over sum (a mean, without denominators) with its percentile bootstrap interval over the pairs."""
    top = np.asarray(numerators, float)
    bottom = np.ones_like(top) if denominators is None else np.asarray(denominators, float)
    if not len(top) or not bottom.sum():
        return Estimate(math.nan, math.nan, math.nan, len(top))
    drawn = np.random.default_rng(seed).integers(len(top), size=(ROUNDS, len(top)))
    sums = bottom[drawn].sum(1)
    rounds = top[drawn].sum(1)[sums != 0] / sums[sums != 0]
    value, (low, high) = float(top.sum() / bottom.sum()), np.percentile(rounds, [2.5, 97.5])
    return Estimate(value, min(value, float(low)), max(value, float(high)), len(top))


@dataclass(frozen=True, slots=True)
class Document:
    """A text in memory: its name (the seed of its drops), its rows, and the tokens of each of its chunks.

    hidden: the rows before they are projected (L, n, d), bf16, where they were asked for.
    """

    name: str
    rows: Rows
    lengths: tuple[int, ...]
    hidden: Tensor | None = None

    def first(self, chunks: int) -> Document:
        """The document as far as its first chunks."""
        count = chunks * (len(self.rows) // len(self.lengths))
        hidden = None if self.hidden is None else self.hidden[:, :count]
        return Document(self.name, self.rows.part(0, count), self.lengths[:chunks], hidden)


class Subject:
    """The checkpoint that is measured, and the format of the rows that it writes.

    plain: a Llama without memory training, which cannot write latent memory. weights: how those that answer are kept.
    """

    def __init__(
        self, folder: Path, device: str = "auto", dtype: str = "auto", row_format: str = "bf16", weights: str = "dense"
    ) -> None:
        self.plain = is_plain(folder)
        self.row_format = "bf16" if self.plain else row_format
        self.checkpoint: Checkpoint = (
            plain_llama(folder, device, dtype) if self.plain else load(folder, "read", device, dtype, weights)
        )
        self.model: MPlus = self.checkpoint.model
        self.config = self.model.config
        alike = self.config.adapters is None and self.model.weights == "dense"
        self.writer = self.model if alike else load(folder, "write", device, dtype).model
        self.tokenizer = TextTokenizer.from_folder(folder)
        shipped = self.checkpoint.background_rows()
        self.background = None if shipped is None else as_stored(shipped)
        self.shipped = self.checkpoint.background.pool.shape[1] if self.checkpoint.background else 0
        self.written = Written(self.write)

    def lengths(self, tokens: int) -> tuple[int, ...]:
        """Tokens of the chunks of a document: nearly equal, none above the chunk size."""
        count = -(-tokens // self.config.chunk_tokens)
        return tuple(high - low for low, high in pairwise(tokens * part // count for part in range(count + 1)))

    def write(self, name: str, ids: Sequence[int], keep_hidden: bool = False) -> Document:
        """Write one document into memory, as ingest does. Raises ModelError for a Llama without memory training."""
        lengths = self.lengths(len(ids))
        kept: list[Tensor] | None = [] if keep_hidden else None
        rows = self._rows([ids], lengths, kept)[0]
        return Document(name, rows, lengths, torch.cat(kept, 2)[:, 0] if kept else None)

    def write_all(self, texts: Sequence[tuple[str, Sequence[int]]]) -> list[Document]:
        """Write documents of equal length, several at a time."""
        written = []
        for start in range(0, len(texts), TOGETHER):
            some = texts[start : start + TOGETHER]
            lengths = self.lengths(len(some[0][1]))
            rows = self._rows([ids for _, ids in some], lengths)
            written += [Document(name, one, lengths) for (name, _), one in zip(some, rows, strict=True)]
        return written

    @torch.inference_mode()
    def _rows(
        self, texts: Sequence[Sequence[int]], lengths: Sequence[int], kept: list[Tensor] | None = None
    ) -> list[Rows]:
        """Rows of texts of equal length; their hidden rows (L, B, K, d), bf16, are put into `kept`."""
        if self.plain:
            raise ModelError("A Llama without memory training writes no latent memory.", "Use the method raw-kv.")
        newest = self.checkpoint.first_rows()[:, None].expand(-1, len(texts), -1, -1)
        chunks = torch.tensor([list(ids) for ids in texts], device=self.model.device).split(list(lengths), 1)
        found: list[list[Rows]] = [[] for _ in texts]
        for written in write_chunks(self.writer, chunks, newest, self.row_format):
            if kept is not None:
                kept.append(written.newest.to("cpu", torch.bfloat16))
            for parts, rows in zip(found, written.rows, strict=True):
                parts.append(rows)
        return [join(parts) for parts in found]

    def memory(self, documents: Sequence[Document]) -> Memory:
        """The memory of documents read in this order."""
        blocks = [self.background, *(one.rows for one in documents)]
        table = RowTable([block for block in blocks if block is not None])
        view = [ViewChunk(one.name, number) for one in documents for number in range(len(one.lengths))]
        config, offset = self.config, len(self.background) if self.background is not None else 0
        membership = log_membership(view, config.layers, config.memory_rows, config.pool_rows, self.shipped, offset)
        return Memory(table, membership, offset)

    def reader(self, documents: Sequence[Document]) -> Reader:
        """A reader behind the memory of some documents."""
        return Reader(self.model, self.memory(documents))

    def rows_of(self, document: Document, span: tuple[int, int]) -> list[int]:
        """Row numbers that hold the tokens of a span of a document that comes first in a view."""
        offset = len(self.background) if self.background is not None else 0
        return [offset + row for row in row_indices(span, document.lengths, self.config.memory_rows)]

    def ids(self, tokens: Sequence[int]) -> Tensor:
        """Tokens as a prompt (1, n)."""
        return torch.tensor([list(tokens)], device=self.model.device)

    def question(self, question: str) -> list[int]:
        """Tokens of a question in the words that the model was trained with."""
        return self.tokenizer.encode(self.config.prompt.format(question=" ".join(question.split())))

    def answer(self, reader: Reader, prompt: Sequence[int], most: int = 16) -> tuple[str, RetrievalTrace]:
        """The greedy answer up to the first stop string, and what the prompt recalled."""
        hidden, cache, trace = reader.prefill(self.ids(prompt), most)
        return self.greedy(hidden, cache, most), trace

    def greedy(self, hidden: Tensor, cache: Cache, most: int) -> str:
        """The greedy answer behind a prompt that was read, up to the first stop string."""
        stops = {found[0] for text in self.config.stop if len(found := self.tokenizer.encode(text)) == 1}
        steps = continue_from(self.model, hidden[:, -1:], cache, Sampling(most, stop_ids=frozenset(stops)))
        said = self.tokenizer.decode([step.token for step in steps])
        for text in self.config.stop:
            said = said.split(text)[0]
        return said.strip()


def pool_only(memory: Memory) -> Memory:
    """The same pool, and no long-term memory: nothing can be recalled."""
    count = len(memory.membership.pool[0])
    if not count:
        return memory
    layers = enumerate(memory.membership.pool)
    keys, values = zip(*(memory.table.gather(layer, rows) for layer, rows in layers), strict=True)
    retrieval = torch.zeros(len(keys), count, memory.table.retrieval_width, dtype=torch.bfloat16)
    rows = ReadRows(torch.stack(keys), torch.stack(values), retrieval)
    return Memory(RowTable([rows]), Membership([torch.arange(count)] * len(keys), oldest=count))


@dataclass(frozen=True, slots=True)
class Book:
    """A held-out book."""

    title: str
    text: str


def held_out_books(data: Path) -> list[Book]:
    """The books that no training text holds. Raises ModelError where the folder has none."""
    for name in ("valid_books.jsonl.xz", "valid_books.jsonl"):
        if (file := data / "text" / name).is_file():
            return [Book(str(raw["title"]), plain(str(raw["text"]))) for raw in json_lines(file)]
    raise ModelError(f"no text/valid_books.jsonl.xz in {data}", "name the data folder with --data")


def background_texts(subject: Subject, books: Sequence[Book], chunks: int) -> list[tuple[str, list[int]]]:
    """Tokens of at least `chunks` chunks in documents of 40, taken from the books in turn."""
    length, count = DOCUMENT_CHUNKS * subject.config.chunk_tokens, -(-chunks // DOCUMENT_CHUNKS)
    turns = -(-count // len(books))
    texts: list[list[tuple[str, list[int]]]] = []
    for number, book in enumerate(books):
        ids = subject.tokenizer.encode(book.text[: turns * length * 6])
        starts = range(0, len(ids) - length + 1, length)
        texts.append([(f"background {number}/{start}", ids[start : start + length]) for start in starts])
    found = [one[turn] for turn in range(max(map(len, texts))) for one in texts if turn < len(one)]
    if len(found) < count:
        raise ModelError(f"the held-out books have fewer than {chunks} chunks", "ask for fewer chunks")
    return found[:count]


def behind(first: Document | None, others: Sequence[Document], chunks: int, turn: int = 0) -> list[Document]:
    """A view: a document, then `chunks` chunks of others, which start at another document every turn."""
    view = [first] if first is not None else []
    for number in range(len(others)):
        if chunks <= 0:
            break
        one = others[(turn + number) % len(others)]
        view.append(one if len(one.lengths) <= chunks else one.first(chunks))
        chunks -= len(view[-1].lengths)
    assert chunks <= 0, "more chunks asked for than were written"
    return view


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def arguments(about: str | None, limit: int) -> argparse.ArgumentParser:
    """The options that every measurement has."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder with text/ and qa/")
    parser.add_argument("--limit", type=int, default=limit, help="questions or passages a point")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--memory-dtype", default=DEFAULT, choices=list(FORMATS), help="how rows are kept")
    parser.add_argument("--weights", default=AUTO, choices=[AUTO, *MATRICES], help="how weights that answer are kept")
    return parser


def report(command: str, subject: Subject, options: argparse.Namespace, results: object) -> None:
    """The last line: everything that was measured, as one JSON object."""
    plain_options = {key: str(value) if isinstance(value, Path) else value for key, value in vars(options).items()}
    known = {"model": subject.config.name, "fingerprint": subject.checkpoint.fingerprint}
    print(json.dumps({"measured": command, **known, "options": plain_options, "results": jsonable(results)}))


def jsonable(value: object) -> Any:
    """Estimates and containers of them as plain values, rounded to four places."""
    if isinstance(value, Estimate):
        return jsonable(asdict(value))
    if isinstance(value, dict):
        return {str(key): jsonable(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(one) for one in value]
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value


def run(measure: Callable[[Subject, argparse.Namespace], None], options: argparse.Namespace) -> None:
    """Load the checkpoint and measure; what the user can mend is one line on standard error and exit code 2."""
    torch.set_num_threads(options.threads)
    try:
        subject = Subject(options.checkpoint, options.device, options.dtype, options.memory_dtype, options.weights)
        measure(subject, options)
    except ModelError as error:
        print(f"{error.message} {error.remedy}".strip(), file=sys.stderr)
        raise SystemExit(2) from error
