"""Text as streams of tokens, episodes made from it, and batches of episodes.

Everything is drawn from `random.Random(seed/step)`: the data position of a run is its step number, so a resumed run
sees the same batches as an unbroken one.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from model.errors import ModelError
from model.training.saves import kept
from model.training.tokenizer import documents, plain

Span = tuple[int, int]


class Words:
    """A tokenizer with the tables that episode makers need: which tokens end a sentence or start a word."""

    def __init__(self, file: Path) -> None:
        if not file.is_file():
            raise ModelError(f"no tokenizer at {file}", "run the tokenizer stage first")
        self.tokenizer = Tokenizer.from_file(str(file))
        size = self.tokenizer.get_vocab_size()
        pieces = [self.tokenizer.id_to_token(i) or "" for i in range(size)]
        self.size = size
        self.ends = np.array([any(mark in piece for mark in ".!?Ċ") for piece in pieces])
        self.starts = np.array([piece.startswith(("Ġ", "Ċ")) for piece in pieces])
        self.newline = self.encode("\n")
        self._cached = lru_cache(100_000)(lambda text: tuple(self.tokenizer.encode(text).ids))

    def encode(self, text: str) -> list[int]:
        """Token numbers of a text."""
        return list(self.tokenizer.encode(text).ids)

    def short(self, text: str) -> list[int]:
        """Token numbers of a short text that comes again and again (kept)."""
        return list(self._cached(text))

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token numbers."""
        return str(self.tokenizer.decode(list(ids)))

    def offsets(self, text: str) -> tuple[list[int], list[Span]]:
        """Token numbers and the character span of each."""
        encoded = self.tokenizer.encode(text)
        return list(encoded.ids), list(encoded.offsets)


class Corpus:
    """Books as one array of token numbers, with the bounds of each book."""

    def __init__(self, tokens: np.ndarray, bounds: Sequence[int], titles: Sequence[str] = ()) -> None:
        self.tokens, self.bounds, self.titles = tokens, np.asarray(bounds), list(titles)
        if len(tokens) < 2:
            raise ModelError("the text is empty", "name a folder with text in it")

    def passage(self, rng: random.Random, length: int) -> list[int]:
        """`length` tokens in a row, of one book where a book is long enough."""
        at = rng.randrange(max(1, len(self.tokens) - length))
        book = int(np.searchsorted(self.bounds, at, side="right"))
        if book < len(self.bounds) and at + length > self.bounds[book]:
            at = max(int(self.bounds[book - 1]) if book else 0, int(self.bounds[book]) - length)
        found: list[int] = self.tokens[at : at + length].tolist()
        while len(found) < length:  # a corpus shorter than the passage
            found += found[: length - len(found)]
        return found


def read_corpus(cache: Path) -> Corpus:
    """A corpus that `tokenise` wrote (memory-mapped)."""
    about = json.loads(cache.with_suffix(".json").read_text(encoding="utf-8"))
    return Corpus(np.memmap(cache, dtype=np.uint16, mode="r"), about["starts"], about["titles"])


def tokenise(folder: Path, words: Words, cache: Path, pattern: str, limit: int) -> Corpus:
    """Tokenise the documents of a folder into `cache` (once for these files and words), at most about `limit` tokens.

    Raises ModelError where the folder has no text, TrainingError on a full disk.
    """
    about = cache.with_suffix(".json")
    source = source_of(folder, words, pattern, limit)
    if not about.exists() or json.loads(about.read_text(encoding="utf-8")).get("source") != source:
        about.unlink(missing_ok=True)
        arrays, bounds, titles = [], [0], []
        for document in documents(folder, pattern):
            arrays.append(np.array(words.encode(plain(str(document["text"]))), np.uint16))
            bounds.append(bounds[-1] + len(arrays[-1]))
            titles.append(str(document.get("title", "")))
            if bounds[-1] >= limit:
                break
        if bounds[-1] == 0:
            raise ModelError(f"the documents of {folder} are empty", "name a folder with text in it")
        with kept("the tokens"):
            cache.parent.mkdir(parents=True, exist_ok=True)
            cache.write_bytes(np.concatenate(arrays).data)
            about.write_text(json.dumps({"source": source, "starts": bounds, "titles": titles}), encoding="utf-8")
    return read_corpus(cache)


def source_of(folder: Path, words: Words, pattern: str, limit: int) -> str:
    """A name for what is tokenised: names and sizes of the files, and the tokenizer."""
    files = sorted((file.name, file.stat().st_size) for file in folder.glob(pattern))
    told = json.dumps([files, pattern, limit]) + words.tokenizer.to_str()
    return hashlib.sha256(told.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Asked:
    """One question of a prompt. Spans are half open."""

    question: Span  # of the prompt: the tokens whose queries search the memory
    answer: Span  # of the prompt: what counts as an exact match
    support: tuple[Span, ...] = ()  # of what was written: what it should find; named twice, counts twice


@dataclass(slots=True)
class Episode:
    """What is written into memory, and the prompt that is then read behind it."""

    tokens: list[int]  # written, chunk by chunk
    prompt: list[int]
    weights: list[float]  # weight of predicting each prompt token
    asked: list[Asked] = field(default_factory=list)
    language: bool = True  # whether `tokens` are a text worth modelling
    kind: str = ""

    def single(self) -> list[Episode]:
        """One episode for each question, its prompt cut to that question; itself where it asks none."""
        found = []
        for one in self.asked:
            start, end = one.question[0], one.answer[1]
            moved = Asked((0, one.question[1] - start), (one.answer[0] - start, end - start), one.support)
            found.append(replace(self, prompt=self.prompt[start:end], weights=self.weights[start:end], asked=[moved]))
        return found or [self]


@dataclass(slots=True)
class Search:
    """A question about the tokens of one episode of a batch, for the retriever alone."""

    episode: int
    query: list[int]
    support: list[Span]


@dataclass(slots=True)
class Batch:
    """Episodes as tensors. Shapes: chunks T x (B, n_t); prompt and weights (P, n), one or more prompts an episode."""

    chunks: list[Tensor]
    prompt: Tensor
    weights: Tensor
    episodes: list[Episode]  # B
    prompts: list[Episode]  # P, the same episodes or parts of them
    owner: Tensor  # (P,) the episode of each prompt
    searches: list[Search]
    language: Tensor  # (B,) bool
    full: bool = False  # whether the prompts are read behind a memory with drops and recall

    @property
    def lengths(self) -> list[int]:
        """Tokens of each chunk."""
        return [chunk.shape[1] for chunk in self.chunks]


def chunk_lengths(rng: random.Random, count: int, chunk: int) -> list[int]:
    """Lengths of the chunks of an episode: full, or as balanced chunking leaves them, or a short last one."""
    draw = rng.random()
    if draw < 0.5 or not count:
        return [chunk] * count
    if draw < 0.85:
        return [rng.randint(chunk - max(1, chunk // 12), chunk)] * count
    return [chunk] * (count - 1) + [rng.randint(1, chunk)]


def collate(episodes: list[Episode], lengths: Sequence[int], searches: list[Search], single: int = 0) -> Batch:
    """Stack episodes whose tokens are as long as `lengths` together; prompts are padded on the right.

    `single`: so many questions of an episode are prompts of their own, each with a memory recalled for it alone.
    """
    written = torch.tensor([e.tokens for e in episodes], dtype=torch.long)
    assert written.shape[1] == sum(lengths), "every episode fills its chunks"
    parts = [(row, one) for row, e in enumerate(episodes) for one in (e.single()[:single] if single else [e])]
    width = max(2, max(len(one.prompt) for _, one in parts))
    prompt, weights = torch.zeros(len(parts), width, dtype=torch.long), torch.zeros(len(parts), width)
    for number, (_, one) in enumerate(parts):
        prompt[number, : len(one.prompt)] = torch.tensor(one.prompt)
        weights[number, : len(one.prompt)] = torch.tensor(one.weights)
    chunks = list(written.split(list(lengths), 1)) if lengths else []
    language = torch.tensor([e.language for e in episodes])
    owner = torch.tensor([row for row, _ in parts])
    return Batch(chunks, prompt, weights, episodes, [one for _, one in parts], owner, searches, language)


def row_indices(span: Span, lengths: Sequence[int], rows: int) -> list[int]:
    """Memory rows (of T * K, oldest first) that hold the tokens of a span.

    A chunk of n tokens leaves its tokens in the last n of its K rows; of a chunk longer than K only the last K stay.
    """
    found, start = [], 0
    for number, length in enumerate(lengths):
        for at in range(max(span[0], start), min(span[1], start + length)):
            row = rows - length + (at - start)
            if row >= 0:
                found.append(number * rows + row)
        start += length
    return found


def sentences(tokens: Sequence[int], ends: np.ndarray, least: int = 6, most: int = 60) -> list[Span]:
    """Spans of whole sentences in a passage, by the tokens that end one."""
    marks = np.flatnonzero(ends[np.asarray(tokens)]) + 1
    spans = zip(marks[:-1].tolist(), marks[1:].tolist(), strict=True)
    return [span for span in spans if least <= span[1] - span[0] <= most]


def flatten(parts: Iterable[Sequence[int]]) -> list[int]:
    """One list of many."""
    return [one for part in parts for one in part]
