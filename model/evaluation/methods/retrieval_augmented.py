"""Retrieval-augmented generation: the passages that suit a question best stand in front of it, in reading order.

The paper of M+ takes 4 passages of 4,096 tokens (BM25); here as many as the budget says, each so long that all of
them, the prompt and the answer fit the window.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from model.errors import ModelError
from model.evaluation.common import Subject
from model.evaluation.methods.context import TextInFront, read_long
from model.evaluation.methods.method import Budget

STEP = 16  # passages grow by so many tokens, so that prompts of about one length share an index


class Passage(NamedTuple):
    """Tokens of a text: the number of the text, where they start in it, and they themselves."""

    text: int
    start: int
    ids: list[int]


class Retrieval(TextInFront):
    """Cuts texts into passages of equal length and ranks them by the words of the question."""

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self.words = ""  # of the question being answered
        self._index: tuple[int, list[Passage], object] | None = None

    def read(self, text: str) -> None:
        """Take in one document; what was indexed is indexed anew."""
        super().read(text)
        self._index = None

    def respond(self, question: str, prompt: Sequence[int], most: int) -> str:
        """Answer behind the passages that suit the question's own words."""
        self.words = question
        try:
            return self.answer(prompt, most)
        finally:
            self.words = ""

    def chosen(self, prompt: Sequence[int], room: int) -> list[int]:
        """The best passages in reading order. Raises DoesNotFit where the budget's passages are longer than the model.

        Prompts that come without a question's words are searched with as they are.
        """
        passages, index = self.indexed(self.passage_tokens(prompt, room))
        if not passages:
            return []
        scores = self.scores(index, self.words or self.subject.tokenizer.decode(prompt))
        best = sorted(range(len(passages)), key=lambda n: (-scores[n], n))[: self.budget.passages]
        text = self.joined(_merged([passages[number] for number in sorted(best)])) + self.end(prompt)
        self.check_fit(len(text), prompt, room)
        return text

    def passage_tokens(self, prompt: Sequence[int], room: int) -> int:
        """Tokens of a passage: the budget's, or what the window has for each, without the newline that ends it."""
        if self.budget.passage_tokens is not None:
            return self.budget.passage_tokens
        length = self.space(prompt, room) // self.budget.passages - len(self.newline)
        return length // STEP * STEP or max(0, length)

    def indexed(self, length: int) -> tuple[list[Passage], object]:
        """Passages of a length, and their index; the last ones asked for are kept."""
        if self._index is None or self._index[0] != length:
            passages = list(self._passages(length)) if length else []
            self._index = length, passages, self.index([one.ids for one in passages]) if passages else None
        return self._index[1:]

    def _passages(self, length: int) -> Iterator[Passage]:
        for number, ids in enumerate(self.held):
            for start in range(0, len(ids), length):
                yield Passage(number, start, ids[start : start + length])

    @abstractmethod
    def index(self, passages: list[list[int]]) -> object:
        """What is computed once for passages, at least one."""

    @abstractmethod
    def scores(self, index: object, question: str) -> list[float]:
        """How well each passage suits a question."""


def _merged(passages: Sequence[Passage]) -> list[list[int]]:
    """Texts of passages in reading order; those that follow each other are one."""
    found: list[Passage] = []
    for one in passages:
        if found and found[-1].text == one.text and found[-1].start + len(found[-1].ids) == one.start:
            found[-1] = found[-1]._replace(ids=found[-1].ids + one.ids)
        else:
            found.append(one)
    return [one.ids for one in found]


class RagBM25(Retrieval):
    """By shared words, the rare ones counting more."""

    name, about = "rag-bm25", "the passages that BM25 ranks best, as text in front of the question"

    def index(self, passages: list[list[int]]) -> object:
        """Word statistics (rank_bm25, Okapi); None where no passage has a word."""
        try:
            from rank_bm25 import BM25Okapi
        except ImportError as error:
            raise ModelError("rag-bm25 needs the package rank_bm25.", "`pip install rank-bm25`.") from error
        texts = [_words(self.subject.tokenizer.decode(ids)) for ids in passages]
        return len(texts), BM25Okapi(texts) if any(texts) else None

    def scores(self, index: object, question: str) -> list[float]:
        """BM25 of every passage."""
        count, found = index
        return [0.0] * count if found is None else found.get_scores(_words(question)).tolist()


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


class RagDense(Retrieval):
    """By the cosine of mean-pooled last hidden states: the model's own, or those of an encoder that the user names."""

    name, about = "rag-dense", "the passages whose mean hidden states are nearest the question's, as text in front"

    def __init__(self, subject: Subject, budget: Budget | None = None, encoder: Path | None = None) -> None:
        """encoder: a sentence-transformers folder on this machine. Raises ModelError where it holds none."""
        self.encoder = None if encoder is None else Encoder(encoder, subject.model.device)
        super().__init__(subject, budget)

    def index(self, passages: list[list[int]]) -> object:
        """Unit vectors (n, d)."""
        if self.encoder is not None:
            return self.encoder.vectors([self.subject.tokenizer.decode(ids) for ids in passages])
        return self.stowed(torch.stack([self.vector(ids) for ids in passages]))

    def scores(self, index: object, question: str) -> list[float]:
        """Cosine of every passage with the question."""
        if self.encoder is not None:
            return (index @ self.encoder.vectors([question])[0]).tolist()
        ids = self.subject.tokenizer.encode(question)
        return (index @ self.vector(ids).to(index.device)).tolist() if ids else [0.0] * len(index)

    def bytes_held(self) -> dict[str, int]:
        """The vectors of the passages beside the text."""
        vectors = None if self._index is None else self._index[2]
        place = "device" if self.attic is None or self.encoder is not None else "disk"
        return super().bytes_held() | {place: 0 if vectors is None else vectors.nbytes}

    def vector(self, ids: Sequence[int]) -> Tensor:
        """Mean of the last hidden states of a text read behind an empty memory: (d,), float32, of length 1."""
        hidden, _ = read_long(self.model, self.front, self.subject.ids(ids), 0)
        return F.normalize(self.model.llama.model.norm(hidden)[0].float().mean(0), dim=0)


class Encoder:
    """Mean-pooled sentence vectors of a transformers encoder in a local folder."""

    BATCH = 16

    def __init__(self, folder: Path, device: torch.device) -> None:
        """Load without any network. Raises ModelError where the folder holds no encoder in safetensors."""
        from transformers import AutoModel, AutoTokenizer

        place = folder if (folder / "config.json").is_file() else folder / "0_Transformer"
        if not (place / "config.json").is_file():
            raise ModelError(f"{folder} holds no encoder.", "Name a sentence-transformers folder.")
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(place, local_files_only=True)
            model = AutoModel.from_pretrained(place, local_files_only=True, use_safetensors=True)
        except (OSError, ValueError) as error:
            raise ModelError(f"The encoder in {folder} cannot be loaded: {error}", "Fetch it again.") from error
        self.model = model.to(device).eval()
        self.longest = min(self.tokenizer.model_max_length, model.config.max_position_embeddings)

    @torch.inference_mode()
    def vectors(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors of texts (n, d); of a text longer than the encoder's window, those of its beginning."""
        found = []
        for start in range(0, len(texts), self.BATCH):
            some = self.tokenizer(
                list(texts[start : start + self.BATCH]),
                padding=True, truncation=True, max_length=self.longest, return_tensors="pt",
            ).to(self.model.device)  # fmt: skip
            weights = some["attention_mask"][:, :, None].float()
            hidden = self.model(**some).last_hidden_state.float()
            found.append(F.normalize((hidden * weights).sum(1) / weights.sum(1).clamp(min=1), dim=1))
        return torch.cat(found)
