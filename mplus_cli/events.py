"""What the assistant tells as it works: events travel up as values; commands render them or print them as JSON.

`to_json()` of an event is the shape that scripts rely on (docs/commands.md): a `"event"` name for those that stream,
and one plain object for the result of `ask` and `next`. Numbers are plain, times are seconds, positions are character
offsets into the document's text (`mplus docs show --text`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Status = Literal["read", "already-read", "refused"]
AnswerFrom = Literal["model", "text"]
FoundBy = Literal["memory", "text", "both"]
Json = dict[str, Any]

# ---------------------------------------------------------------------------------------------------- what is wanted


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """How to read: what `mplus ingest` was told. `None` means: the library's, the settings' or the machine's choice."""

    password: str | None = None
    encoding: str | None = None
    model: str | None = None  # a model at hand by name, or a folder; a new library keeps it
    device: str | None = None  # cpu, cuda, cuda:1
    dtype: str | None = None  # float32, bfloat16
    dry_run: bool = False  # parse and cut, write nothing
    stdin_name: str | None = None  # what to call standard input


@dataclass(frozen=True, slots=True)
class AskOptions:
    """How to answer one question; `conversation` holds earlier (question, answer) pairs of a chat, oldest first."""

    books: tuple[str, ...] = ()  # as typed: id, slug or title; empty: the whole library
    until: str | None = None  # reading position as typed: chapter title or number, `p.340`, `50%`
    top: int = 5  # sources shown
    max_tokens: int = 64
    temperature: float = 0.0
    seed: int = 0
    strict: bool = False  # Answered(abstained=True) where nothing supports an answer; the command exits with 9
    reread: bool = True  # second pass with the best passages as text
    text_search: bool = True  # full-text search helps the memory
    conversation: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class NextOptions:
    """What to rank or continue; without candidates, `count` continuations of `max_tokens` tokens are proposed."""

    after: tuple[str, ...] = ()  # past events, oldest first
    until: str | None = None
    candidates: tuple[str, ...] = ()
    books: tuple[str, ...] = ()
    top: int = 5  # sources shown per candidate
    count: int = 3
    max_tokens: int = 48
    temperature: float = 0.7
    seed: int = 0


# ------------------------------------------------------------------------------------------------------------- ingest


@dataclass(frozen=True, slots=True)
class Opened:
    """A document was parsed and cut; `status` says whether it is new, goes on where it stopped, or is read already."""

    document: str  # id
    title: str
    chunks: int
    tokens: int
    pages_read: int
    pages_total: int
    status: Literal["new", "resumed", "already-read"] = "new"
    chunks_read: int = 0  # committed by an earlier, interrupted ingest
    warnings: tuple[str, ...] = ()

    def to_json(self) -> Json:
        """One line of the stream, `"event": "opened"`."""
        return {"event": "opened", **plain(self)}


@dataclass(frozen=True, slots=True)
class ChunkRead:
    """A chunk became memory (it is safe on disk when `committed` reaches its number)."""

    document: str  # id
    chunk: int  # 1-based: chunks of this document read so far
    chunks: int
    tokens_per_second: float
    page: str  # as people call it
    seconds_left: float  # for this document
    committed: int = 0  # chunks of this document that are safe on disk
    title: str = ""

    def to_json(self) -> Json:
        """One line of the stream, `"event": "chunk"`."""
        return {"event": "chunk", **plain(self)}


@dataclass(frozen=True, slots=True)
class DocumentReport:
    """What became of one input. `skipped` holds one line per page or chapter that could not be read."""

    id: str
    title: str
    status: Status
    reason: str = ""
    chunks: int = 0
    tokens: int = 0
    pages_read: int = 0
    pages_total: int = 0
    skipped: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    remedy: str = ""  # for the person, where it was refused

    def to_json(self) -> Json:
        """An entry of `documents` in the last line of `ingest --json`."""
        return plain(self)


@dataclass(frozen=True, slots=True)
class DocumentDone:
    """One input is read, was read already, or is refused."""

    report: DocumentReport

    def to_json(self) -> Json:
        """One line of the stream, `"event": "document"`."""
        return {"event": "document", **self.report.to_json()}


@dataclass(frozen=True, slots=True)
class IngestDone:
    """The end of an ingest: every input in the order given."""

    documents: tuple[DocumentReport, ...]
    tokens_per_second: float  # while the model read: without parsing and loading
    seconds: float  # in all

    def to_json(self) -> Json:
        """The last line of the stream, `"event": "done"`."""
        return {
            "event": "done",
            "documents": [report.to_json() for report in self.documents],
            "tokens_per_second": self.tokens_per_second,
            "seconds": self.seconds,
        }


# ------------------------------------------------------------------------------------------------------ ask and next


@dataclass(frozen=True, slots=True)
class Source:
    """A passage behind an answer; `quote` is exactly the document's text from `start` to `end`."""

    document: str  # id
    title: str
    chapter: str
    page: int  # index, from 1
    page_label: str  # as printed
    page_kind: str  # index, label, page-list, location
    start: int
    end: int
    quote: str
    share: float  # of the recalled rows that name a chunk, those born here: 0 to 1
    support: float  # how well the sentence supports the answer: 0 to 1 (docs/memory.md names the scorer)
    found_by: FoundBy
    sentence: str = ""  # of the quote, the one that was found

    def to_json(self) -> Json:
        """An entry of `sources`."""
        return plain(self)


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds: until the model and library were at hand, until the first token, in all."""

    load_s: float
    first_token_s: float
    total_s: float


@dataclass(frozen=True, slots=True)
class Loaded:
    """Model and library are at hand."""

    model: str
    library: str
    documents: int
    chunks: int  # that this question may know
    seconds: float

    def to_json(self) -> Json:
        """`"event": "loaded"`."""
        return {"event": "loaded", **plain(self)}


@dataclass(frozen=True, slots=True)
class Recalled:
    """The memory has answered the retriever; the passages that will be re-read, best first."""

    sources: tuple[Source, ...]

    def to_json(self) -> Json:
        """`"event": "recalled"`."""
        return {"event": "recalled", "sources": [source.to_json() for source in self.sources]}


@dataclass(frozen=True, slots=True)
class Token:
    """The next piece of the answer as text."""

    text: str

    def to_json(self) -> Json:
        """`"event": "token"`."""
        return {"event": "token", "text": self.text}


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer, whose words it is (the model's, or the best sentence of the book), and what stands behind it."""

    answer: str
    answer_from: AnswerFrom
    abstained: bool
    sources: tuple[Source, ...]
    model: str
    timing: Timing
    model_words: str = ""  # what the model said, where the book's sentence is the answer
    supported: bool = True  # whether something in the text supports the answer

    def to_json(self) -> Json:
        """The one object of `ask --json`."""
        return {
            "answer": self.answer,
            "answer_from": self.answer_from,
            "abstained": self.abstained,
            "sources": [source.to_json() for source in self.sources],
            "model": self.model,
            "model_words": self.model_words,
            "supported": self.supported,
            "timing": plain(self.timing),
        }


@dataclass(frozen=True, slots=True)
class Answered:
    """The end of a question."""

    answer: Answer

    def to_json(self) -> Json:
        """The one object of `ask --json`."""
        return self.answer.to_json()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A possible next event: mean log-likelihood per token (nats), and its share after softmax over the candidates.

    `log_likelihood_alone`: the same likelihood without any past, which is taken off before the softmax; None for
    proposals.
    """

    text: str
    log_likelihood: float
    probability: float
    sources: tuple[Source, ...] = ()
    log_likelihood_alone: float | None = None

    def to_json(self) -> Json:
        """An entry of `candidates`."""
        return {
            "text": self.text,
            "log_likelihood": self.log_likelihood,
            "log_likelihood_alone": self.log_likelihood_alone,
            "probability": self.probability,
            "sources": [source.to_json() for source in self.sources],
        }


@dataclass(frozen=True, slots=True)
class Ranked:
    """Next events, likeliest first; `proposed` where they are the model's own continuations."""

    candidates: tuple[Candidate, ...]
    model: str
    timing: Timing
    proposed: bool = False
    sources: tuple[Source, ...] = field(default=())

    def to_json(self) -> Json:
        """The one object of `next --json`."""
        return {
            "candidates": [candidate.to_json() for candidate in self.candidates],
            "proposed": self.proposed,
            "sources": [source.to_json() for source in self.sources],
            "model": self.model,
            "timing": plain(self.timing),
        }


IngestEvent = Opened | ChunkRead | DocumentDone | IngestDone
AskEvent = Loaded | Recalled | Token | Answered
NextEvent = Loaded | Recalled | Token | Ranked
Event = Opened | ChunkRead | DocumentDone | IngestDone | Loaded | Recalled | Token | Answered | Ranked


def plain(value: Any) -> Json:
    """A dataclass as JSON types: tuples become lists."""
    return {key: list(item) if isinstance(item, tuple) else item for key, item in asdict(value).items()}
