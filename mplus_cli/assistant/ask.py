"""Questions: the memory recalls, the best passages are re-read as text behind it, the answer names its sources."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from math import exp
from typing import TYPE_CHECKING

from mplus_cli.assistant.engine import Engine, load_engine, model_for, require_rows, translated, until_stop
from mplus_cli.assistant.next import next_events
from mplus_cli.assistant.passages import Scored, in_context, supported
from mplus_cli.assistant.recall import Found, Recollection, find, recollect
from mplus_cli.assistant.view import Births, View, memory_of, reader_of, view_of
from mplus_cli.documents.document import page_at, section_at
from mplus_cli.errors import UsageError
from mplus_cli.events import (
    Answer,
    Answered,
    AnswerFrom,
    AskEvent,
    AskOptions,
    Loaded,
    NextEvent,
    NextOptions,
    Recalled,
    Source,
    Timing,
    Token,
)
from mplus_cli.library.library import Library
from mplus_cli.settings import Settings, places, size_in_bytes
from mplus_cli.shelf import path_of
from mplus_cli.words import readable

if TYPE_CHECKING:
    from torch import Tensor

    from model.generate import Prefilled, Reader, RetrievalTrace

CONFIDENCE = 0.5  # mean probability of an answer token from which the model's own words are the answer
FLOOR = 0.42  # support under which --strict abstains; calibrated in docs/evaluation.md
PASSAGES = 4  # passages re-read at most


@dataclass(slots=True)
class Sight:
    """A view with its memory, ready for questions."""

    view: View
    births: Births
    reader: Reader


@dataclass(frozen=True, slots=True)
class Quote:
    """A sentence in its context: characters [start, end) of its document."""

    scored: Scored
    start: int
    end: int
    text: str


class Session:
    """A library and a model at hand for any number of questions; asking changes neither."""

    def __init__(self, library_name: str, settings: Settings, engine: Engine | None = None) -> None:
        self.settings, self.library_name = settings, library_name
        self._engine = engine
        self._library: Library | None = None
        self._sights: dict[tuple[tuple[str, ...], str | None], Sight] = {}

    def close(self) -> None:
        """Let go of the library."""
        if self._library is not None:
            self._library.close()
            self._library = None
        self._sights.clear()

    @property
    def library(self) -> Library:
        """The library, opened at first use. Raises NotFound, LibraryDamaged."""
        if self._library is None:
            self._library = Library.open(path_of(places().libraries, self.library_name))
        return self._library

    @property
    def engine(self) -> Engine:
        """The model in its reading role; refuses a library of another model."""
        if self._engine is None:
            library = self.library
            self._engine = load_engine(self.settings, "read", model_for(library.identity, self.settings))
            require_rows(library, self._engine)
        return self._engine

    def sight(self, books: Sequence[str], until: str | None) -> Sight:
        """The memory of some books up to a position; kept for the next question."""
        key = (tuple(books), until)
        if key not in self._sights:
            view = view_of(self.library, books, until)
            memory, births = memory_of(self.library, view, self.engine, self.settings.memory_cap)
            self._sights = {key: Sight(view, births, reader_of(self.engine, memory, self.device_limit()))}
        return self._sights[key]

    def device_limit(self) -> int | None:
        """Bytes of a GPU that asking may take; a limit that stands in the settings says nothing to a CPU."""
        asked_for = self.settings.origins.get("max_vram") == "flag"
        idle = self.engine.model.device.type == "cpu" and not asked_for
        return None if idle else size_in_bytes(self.settings.max_vram)

    def ask(self, question: str, options: AskOptions) -> Iterator[AskEvent]:
        """Answer one question: Loaded, Recalled, Tokens, Answered.

        Raises UsageError for a question without words, NotFound for books and positions that are not there or hold
        nothing yet, LibraryDamaged, ModelMissing.
        """
        question = readable(question)
        if not any(map(str.isalnum, question)):
            raise UsageError("The question has no words.", "Ask with at least one.")
        begun = time.monotonic()
        sight = self.sight(options.books, options.until)
        load = time.monotonic() - begun
        yield self.loaded(sight, load)
        with translated():
            asked = prompt(self.engine, question, options.conversation)
            first_pass = self.read(sight, asked, options.max_tokens)
            found = self.find(sight, question, first_pass.trace, options.text_search)
        yield Recalled(self.sources(sight, found, found.scored, options.top))
        held = bool(self.engine.config.extra.get("hold_back"))  # a small model speaks only when the text supports it
        readings: list[Sequence[Scored]] = [found.scored[:PASSAGES]] if options.reread else []
        if held or not readings:
            readings.insert(0, ())  # what memory alone says comes first: long prompts are hard for a small model
        first = 0.0
        for reading in readings:
            words, confidence = "", 0.0
            with translated():
                for piece, confidence in self.answer_pieces(sight, question, options, reading, first_pass):  # noqa: B007
                    first = first or time.monotonic() - begun
                    words += piece
                    if not held:
                        yield Token(piece)
            total = time.monotonic() - begun
            timing = Timing(round(load, 3), round(first or total, 3), round(total, 3))
            answer = self.judge(sight, question, options, found, (words.strip(), confidence), timing)
            if answer.abstained or answer.answer_from == "model":
                break
        if held and answer.answer_from == "model" and words:
            yield Token(words)
        yield Answered(answer)

    def loaded(self, sight: Sight, seconds: float) -> Loaded:
        """What is at hand."""
        documents = len(sight.view.extents)
        return Loaded(self.engine.record.name, self.library_name, documents, sight.view.chunks, round(seconds, 3))

    def encode(self, text: str, room: int) -> Tensor:
        """A prompt as token ids (1, n); a prompt that does not fit the window loses its beginning."""
        import torch

        ids = self.engine.tokenizer.encode(text)[-self._longest(room) :]
        return torch.tensor([ids], device=self.engine.model.device)

    def _longest(self, room: int) -> int:
        return max(1, self.engine.prompt_tokens - room)

    def read(self, sight: Sight, asked: Prompt, room: int) -> Prefilled:
        """Read a prompt behind a memory; its own words alone point at chunks."""
        import torch

        tokens, offsets = self.engine.tokenizer.encode_with_offsets(asked.text)
        ids = torch.tensor([tokens[-self._longest(room) :]], device=self.engine.model.device)
        own = [any(start < last and end > first for first, last in asked.own) for start, end in offsets]
        return sight.reader.prefill(ids, room, asked=torch.tensor(own[-ids.shape[1] :]))

    def find(self, sight: Sight, question: str, trace: RetrievalTrace, text_search: bool) -> Found:
        """The passages that the memory, and full-text search, bring to a question, best first."""
        recollection = recollect(trace, sight.births, self.engine.config.ranking_layers)
        return find(self.library, sight.view, sight.births, recollection, question, text_search)

    def answer_pieces(
        self, sight: Sight, question: str, options: AskOptions, reading: Sequence[Scored], first_pass: Prefilled
    ) -> Iterator[tuple[str, float]]:
        """The model's answer piece by piece, each with the mean token probability so far.

        `first_pass`: the question alone, which is continued where nothing is re-read. What is re-read is read behind
        the memory that the question recalled: passages would recall their like.
        """
        from model.generate import Sampling, continue_from

        tokenizer, config = self.engine.tokenizer, self.engine.config
        asked = prompt(self.engine, question, options.conversation).text
        room = self.engine.prompt_tokens - options.max_tokens - len(tokenizer.encode(asked)) - 8
        passages = self.passages(sight, reading, room)
        hidden, cache, recalled = first_pass
        if passages:
            ids = self.encode(passages + asked, options.max_tokens)
            hidden, cache, _ = sight.reader.prefill(ids, options.max_tokens, recalled)
        stops = {tokenizer.id_of(token) for token in ("</s>", "<|end_of_text|>", "<|eot_id|>", "<|endoftext|>")}
        sampling = Sampling(
            options.max_tokens, options.temperature, options.seed, frozenset(stop for stop in stops if stop is not None)
        )
        steps: list[float] = []

        def tokens() -> Iterator[int]:
            for step in continue_from(self.engine.model, hidden[:, -1:], cache, sampling):
                steps.append(step.log_likelihood)
                yield step.token

        for piece in until_stop(tokenizer.pieces(tokens()), config.stop):
            yield piece, exp(sum(steps) / len(steps))

    def passages(self, sight: Sight, reading: Sequence[Scored], budget: int) -> str:
        """What is quoted of the best sentences, in reading order, as text of at most `budget` tokens."""
        chosen: list[Quote] = []
        for quote in self.quotes(sight.view, reading):
            cost = len(self.engine.tokenizer.encode(quote.text)) + 2
            if cost <= budget:
                budget -= cost
                chosen.append(quote)
        order = {extent.document.id: number for number, extent in enumerate(sight.view.extents)}
        chosen.sort(key=lambda quote: (order[quote.scored.sentence.document], quote.start))
        return "".join(f"{quote.text}\n" for quote in chosen)

    def judge(
        self, sight: Sight, question: str, options: AskOptions, found: Found, said: tuple[str, float], timing: Timing
    ) -> Answer:
        """Whose words are the answer: the model's where the text supports them, else the best sentence of the books.

        Where nothing is re-read, memory alone was asked: the model's, whatever they are.
        """
        words, confidence = said
        read = [one.sentence for one in found.scored[: max(PASSAGES, options.top)]]
        support = supported(words, question, read)
        floor = float(self.engine.config.extra.get("support_floor", FLOOR))
        wanted = float(self.engine.config.extra.get("answer_confidence", CONFIDENCE))
        best = found.scored[0] if found.scored else None
        abstained = options.strict and (best is None or best.support < floor)
        origin: AnswerFrom = "model"
        answer = words
        supports = support is not None
        if best is not None and (options.reread or not words) and (support is None or confidence < wanted):
            origin, answer, support, supports = "text", best.sentence.text, best.sentence, True
        first = [one for one in found.scored if one.sentence is support]
        rest = [one for one in found.scored if one.sentence is not support]
        sources = self.sources(sight, found, [*first, *rest], options.top)
        if abstained:
            return Answer("", "model", True, sources, self.engine.record.name, timing, words, False)
        return Answer(
            " ".join(answer.split()), origin, False, sources, self.engine.record.name, timing,
            words if origin == "text" else "", supports,
        )  # fmt: skip

    def quotes(self, view: View, scored: Iterable[Scored]) -> Iterator[Quote]:
        """Sentences in their context, quoting nothing twice, nothing behind the view and nothing of another chapter."""
        ends = {extent.document.id: extent.end for extent in view.extents}
        limits: dict[str, list[tuple[int, int]]] = {}  # of a document: borders, and what was quoted
        for one in scored:
            sentence = one.sentence
            if sentence.document not in limits:
                limits[sentence.document] = self._borders(sentence.document, ends[sentence.document])
            taken = limits[sentence.document]
            if any(start <= sentence.start < end for start, end in taken):
                continue
            low = max((end for start, end in taken if start <= sentence.start), default=0)
            high = min(start for start, _ in taken if start > sentence.start)
            text = self.library.text(sentence.document)
            start, end = in_context(text, sentence, low, high)
            taken.append((start, end))
            yield Quote(one, start, end, text[start:end])

    def _borders(self, document: str, end: int) -> list[tuple[int, int]]:
        """Where chapters of a document begin and end, and what may be quoted of it: spans without length."""
        sections = self.library.sections(document)
        return [(at, at) for at in {end, *(border for one in sections for border in (one.start, one.end))}]

    def sources(self, sight: Sight, found: Found, scored: Iterable[Scored], count: int) -> tuple[Source, ...]:
        """The first `count` quotes of sentences, best first, with chapter and page.

        Behind the first, of those alone that support something.
        """
        useful = (one for number, one in enumerate(scored) if one.support > 0 or number == 0)
        return tuple(
            self._source(sight, found.recollection, one) for one in islice(self.quotes(sight.view, useful), count)
        )

    def _source(self, sight: Sight, recollection: Recollection, quote: Quote) -> Source:
        sentence = quote.scored.sentence
        record = next(extent.document for extent in sight.view.extents if extent.document.id == sentence.document)
        section = section_at(self.library.sections(record.id), sentence.start)
        page = page_at(self.library.pages(record.id), sentence.start)
        keys = sight.births.chunks_at(sentence.document, sentence.start, sentence.end)
        return Source(
            document=record.id,
            title=record.title,
            chapter=section.title if section else "",
            page=page.index if page else 0,
            page_label=page.label if page else "",
            page_kind=record.page_kind,
            start=quote.start,
            end=quote.end,
            quote=quote.text,
            sentence=sentence.text,
            share=round(sum(recollection.shares.get(key, 0.0) for key in keys), 4),
            support=round(quote.scored.support, 4),
            found_by=recollection.found_by(keys),
        )

    def next_events(self, options: NextOptions) -> Iterator[NextEvent]:
        """Rank candidate next events, or propose continuations: Loaded, Recalled, Ranked."""
        yield from next_events(self, options)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text to read behind a memory, and the characters of it that are a reader's or an answer's own words."""

    text: str
    own: tuple[tuple[int, int], ...]


def prompt(engine: Engine, question: str, conversation: Sequence[tuple[str, str]] = ()) -> Prompt:
    """The question in the words that the model was trained with, behind what was said before."""
    before, _, behind = engine.config.prompt.partition("{question}")
    said = [pair for asked, answer in conversation for pair in ((before, asked), (f"{behind} ", answer), ("\n", ""))]
    text, own = "", []
    for frame, words in (*said, (before, " ".join(question.split())), (behind, "")):
        start = len(text) + len(frame)
        text += frame + words
        own += [(start, len(text))] if words else []
    return Prompt(text, tuple(own))
