"""How often the sentences that mplus shows hold the answer, on sets of questions with known answers.

    python -m mplus_cli.measure passages --data FOLDER --sets literaryqa,xquad_en --no-memory --json

FOLDER holds `<set>.jsonl.xz`, an object a line with "question", "answers", and "context" or a "context_id" of
`<set>.contexts.jsonl.xz`. Long contexts are books of their own; short ones are joined to one book, so that the right
place must be found. Libraries are made in MPLUS_HOME and used again. Without --no-memory the model reads the books.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import lru_cache
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

from mplus_cli import listing, terminal
from mplus_cli.assistant.ask import FLOOR, Session, prompt
from mplus_cli.assistant.ingest import Desk as Reading
from mplus_cli.assistant.ingest import ingest_document
from mplus_cli.assistant.interrupt import Interruption
from mplus_cli.assistant.passages import sentences
from mplus_cli.assistant.recall import Found, Recollection, find, recollect
from mplus_cli.assistant.view import Births, view_of
from mplus_cli.documents.chunking import balanced_chunks
from mplus_cli.documents.document import Document, document_id
from mplus_cli.documents.read import read
from mplus_cli.errors import UsageError
from mplus_cli.events import Answered, AskOptions, IngestOptions, Opened
from mplus_cli.library.library import Library
from mplus_cli.library.records import ModelIdentity
from mplus_cli.settings import Settings, load, places
from mplus_cli.shelf import names

BOOK_WORDS = 2_500  # from which a context is a book of its own
APART = ("babi",)  # sets whose short contexts contradict each other
LONGEST_ANSWER = 6  # words; longer answers stand in no book to the letter
UNTOLD = {"yes", "no", "nothing", "none"}
PIECE = re.compile(r"\s?\w{1,5}|\s+|[^\w\s]")  # about as long as a small model's tokens
WITHOUT_MODEL = ModelIdentity("none", "0" * 64, 64, 64, 1, 64, "none", 0)
RANKS = 20  # sentences looked at
SHOWN = AskOptions().top  # quotes
BREAK = re.compile(r"—|--|-\s*\n\s*")  # between words, or inside a word at the end of a line
MARK = re.compile(r"[^\w\s]")  # typographic marks, too: books have them, SQuAD's answers do not


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, its accepted answers in normal form, and the passage that it was asked about."""

    question: str
    answers: tuple[str, ...]
    passage: str  # in normal form


@dataclass(slots=True)
class Book:
    """A text and the questions about it."""

    title: str
    text: str
    questions: list[Asked] = field(default_factory=list)


@lru_cache(maxsize=2_048)
def normal(text: str) -> str:
    """A text of a book as SQuAD compares answers: dashes are spaces, other marks nothing; a space at either end."""
    from model.evaluation.metrics import normalised

    return f" {normalised(MARK.sub('', BREAK.sub(' ', text)))} "


def lines_of(folder: Path, name: str) -> list[dict[str, Any]]:
    """The objects of NAME.jsonl.xz or NAME.jsonl; none where there is no such file. Raises ModelError for damage."""
    from model.training.tokenizer import json_lines

    files = (folder / f"{name}{end}" for end in (".jsonl.xz", ".jsonl"))
    return next((list(json_lines(file)) for file in files if file.is_file()), [])


def in_half(key: str, half: str) -> bool:
    """Whether a passage belongs to the half named `tune` or `test`; every one belongs to `all`."""
    return half == "all" or (hashlib.sha256(key.encode()).digest()[0] % 2 == 0) == (half == "tune")


def read_set(folder: Path, name: str, half: str, limit: int) -> list[Book]:
    """The books of one set, with at most `limit` questions of one half whose short answer stands in their passage.

    Raises UsageError where the set is not in the folder.
    """
    rows = lines_of(folder, name)
    if not rows:
        raise UsageError(f"There is no {name}.jsonl.xz in {folder}.")
    contexts = {str(one["context_id"]): str(one["text"]) for one in lines_of(folder, f"{name}.contexts")}
    texts = {_key(one, contexts): contexts.get(_key(one, contexts)) or str(one["context"]) for one in rows}
    books = _books(name, texts)
    chosen = [one for one in rows if in_half(_key(one, contexts), half)]
    for one in random.Random(0).sample(chosen, len(chosen)):
        passage = normal(texts[_key(one, contexts)])
        answers = tuple(answer for answer in map(normal, one["answers"]) if _fits(answer, passage))
        if answers and (not limit or sum(len(book.questions) for book in set_of(books)) < limit):
            books[_key(one, contexts)].questions.append(Asked(str(one["question"]), answers, passage))
    return [book for book in set_of(books) if book.questions]


def _key(row: dict[str, Any], contexts: dict[str, str]) -> str:
    return str(row["context_id"]) if contexts else document_id(str(row["context"]))


def _fits(answer: str, passage: str) -> bool:
    return 0 < len(answer.split()) <= LONGEST_ANSWER and answer.strip() not in UNTOLD and answer in passage


def _books(name: str, texts: dict[str, str]) -> dict[str, Book]:
    """For every passage the book that holds it."""
    apart = {key for key, text in texts.items() if name in APART or len(text.split()) >= BOOK_WORDS}
    if name == "fairytaleqa":
        apart = set()
    joined = Book(name, "\n\n".join(text for key, text in texts.items() if key not in apart))
    return {key: Book(f"{name} {key}", text) if key in apart else joined for key, text in texts.items()}


def set_of(books: dict[str, Book]) -> list[Book]:
    """Every book once."""
    return list({id(book): book for book in books.values()}.values())


# ------------------------------------------------------------------------------------------------------------ reading


def document_of(book: Book) -> Document:
    """A book as the reader of text files gives it."""
    return read(BytesIO(book.text.encode()), name=f"{book.title}.txt", encoding="utf-8")


def read_without_model(document: Document, library: Library) -> None:
    """Put a document into a library whose rows are empty: only its text can be searched."""
    chunks = balanced_chunks(document.text, [match.span() for match in PIECE.finditer(document.text)], 64)
    size = library.identity.chunks_per_shard
    with library.writing() as writer:
        for first in range(writer.begin(document, chunks).chunks_read, len(chunks), size):
            count = min(size, len(chunks) - first)
            tail = None if first + count == len(chunks) else b"-"
            writer.commit(document.id, first, count, f"{document.id} {first}".encode(), tail)
        writer.finish(document.id)


def library_of(name: str, documents: Sequence[Document], settings: Settings, memory: bool) -> str:
    """The name of a library of these documents, made or completed in MPLUS_HOME; the model reads them, or nobody."""
    folder, library_name = places().libraries, f"measure-{name}{'' if memory else '-text'}"
    if memory:
        with Interruption() as interruption:
            reader = Reading(library_name, settings, IngestOptions(), interruption)
            for document in documents:
                for event in ingest_document(reader, document):
                    if isinstance(event, Opened):
                        terminal.say(f"{event.title}: {event.chunks} chunks")
        return library_name
    if library_name not in names(folder):
        Library.create(folder / library_name, WITHOUT_MODEL).close()
    with closing(Library.open(folder / library_name)) as library:
        known = {record.id for record in library.documents()}
        for document in documents:
            if document.id not in known:
                read_without_model(document, library)
    return library_name


# ------------------------------------------------------------------------------------------------------------- asking


class Asker:
    """Finds the sentences for questions about one book of a library: by full-text search, the memory, or both."""

    def __init__(self, session: Session, document: str, text: bool, memory: bool) -> None:
        self.session, self.text, self.memory = session, text, memory
        if memory:
            self.sight = session.sight((document,), None)
            self.view, self.births = self.sight.view, self.sight.births
        else:
            self.view = view_of(session.library, (document,), None)
            self.births = Births(session.library, self.view, 64, 0)

    def find(self, question: str) -> Found:
        """The sentences that are brought to a question, best first."""
        recollection = Recollection()
        if self.memory:
            engine = self.session.engine
            trace = self.session.read(self.sight, prompt(engine, question), 64).trace
            recollection = recollect(trace, self.births, engine.config.ranking_layers)
        return find(self.session.library, self.view, self.births, recollection, question, self.text)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one question: the rank (0 is best) of the first sentence with the answer, or None."""

    question: str
    rank: int | None
    placed: int | None  # likewise, in the passage that was asked about
    quoted: int | None  # likewise, of the quotes that are shown
    chance: float  # share of the passage's book's sentences that hold the answer
    seconds: float
    support: float
    best: str


def outcome(asker: Asker, asked: Asked, book: list[str]) -> Outcome:
    """Ask one question. `book`: its sentences in normal form."""
    begun = time.monotonic()
    found = asker.find(asked.question)
    seconds = time.monotonic() - begun
    texts = [normal(one.sentence.text) for one in found.scored[:RANKS]]
    holds = [any(answer in text for answer in asked.answers) for text in texts]
    placed = [held and text in asked.passage for held, text in zip(holds, texts, strict=True)]
    chance = sum(any(answer in text for answer in asked.answers) for text in book) / max(1, len(book))
    best = found.scored[0] if found.scored else None
    shown = [normal(quote.text) for quote in islice(asker.session.quotes(asker.view, found.scored), SHOWN)]
    quoted = _first([any(answer in text for answer in asked.answers) for text in shown])
    return Outcome(asked.question, _first(holds), _first(placed), quoted, chance, seconds,
                   best.support if best else 0.0, best.sentence.text if best else "")  # fmt: skip


def _first(flags: Sequence[bool]) -> int | None:
    return flags.index(True) if True in flags else None


def summary(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Shares of questions: answer in the first sentence, the first five, the best 20; in quotes; by chance; seconds."""
    count = max(1, len(outcomes))

    def share(flags: Iterable[bool]) -> float:
        return round(sum(flags) / count, 3)

    seconds = sorted(one.seconds for one in outcomes) or [0.0]
    return {
        "questions": len(outcomes),
        "first": share(one.rank == 0 for one in outcomes),
        "top5": share(one.rank is not None and one.rank < 5 for one in outcomes),
        "top20": share(one.rank is not None for one in outcomes),
        "quoted_first": share(one.quoted == 0 for one in outcomes),
        "quoted_top5": share(one.quoted is not None for one in outcomes),
        "first_right_place": share(one.placed == 0 for one in outcomes),
        "top5_right_place": share(one.placed is not None and one.placed < 5 for one in outcomes),
        "chance_first": round(sum(one.chance for one in outcomes) / count, 3),
        "chance_top5": round(sum(1 - (1 - one.chance) ** 5 for one in outcomes) / count, 3),
        "median_s": round(seconds[len(seconds) // 2], 3),
        "slowest_s": round(seconds[-1], 3),
    }


def passages(name: str, books: Sequence[Book], settings: Settings, text: bool, memory: bool) -> list[Outcome]:
    """Every question of a set asked of its book."""
    documents = [document_of(book) for book in books]
    session = Session(library_of(name, documents, settings, memory), settings)
    outcomes = []
    with closing(session):
        for book, document in zip(books, documents, strict=True):
            asker = Asker(session, document.id, text, memory)
            whole = [normal(one.text) for one in sentences(document.id, document.text, 0, len(document.text))]
            outcomes += [outcome(asker, asked, whole) for asked in book.questions]
    return outcomes


# ------------------------------------------------------------------------------------------- abstaining, own words


def strict(sets: dict[str, list[Book]], settings: Settings, text: bool, memory: bool) -> Iterator[dict[str, Any]]:
    """For every set what --strict does: support of its questions, and of as many that belong to other books."""
    every = [(book.title, asked) for books in sets.values() for book in books for asked in book.questions]
    for name, books in sets.items():
        documents = [document_of(book) for book in books]
        present: list[float] = []
        absent: list[float] = []
        with closing(Session(library_of(name, documents, settings, memory), settings)) as session:
            for book, document in zip(books, documents, strict=True):
                asker = Asker(session, document.id, text, memory)
                outcomes = [outcome(asker, asked, []) for asked in book.questions]
                present += [one.support for one in outcomes if one.rank is not None and one.rank < 5]
                others = [asked for title, asked in every if title != book.title]
                foreign = random.Random(book.title).sample(others, min(len(others), len(book.questions)))
                absent += [outcome(asker, asked, []).support for asked in foreign]
        yield {"set": name, **rates(present, absent)}


def rates(present: Sequence[float], absent: Sequence[float]) -> dict[str, float]:
    """Shares at the floor: wrong abstentions where the answer was found, wrong answers where there is none."""
    pairs = [(one > other) + 0.5 * (one == other) for one in present for other in absent]
    return {
        "floor": FLOOR,
        "present": len(present),
        "wrong_abstentions": round(sum(one < FLOOR for one in present) / max(1, len(present)), 3),
        "absent": len(absent),
        "wrong_answers": round(sum(one >= FLOOR for one in absent) / max(1, len(absent)), 3),
        "told_apart": round(sum(pairs) / max(1, len(pairs)), 3),
        "present_tenth": round(sorted(present)[len(present) // 10], 3) if present else 0.0,
    }


def answers(name: str, books: Sequence[Book], settings: Settings, text: bool) -> dict[str, float]:
    """Token F1 and containment of the model's own words, of the best sentence, and of what is answered."""
    from model.evaluation.metrics import best_f1

    documents = [document_of(book) for book in books]
    kinds: dict[str, list[tuple[float, bool]]] = {"words": [], "sentence": [], "answer": []}
    spoken = 0
    with closing(Session(library_of(name, documents, settings, True), settings)) as session:
        for book, document in zip(books, documents, strict=True):
            options = AskOptions(books=(document.id,), max_tokens=24, text_search=text)
            for asked in book.questions:
                *_, event = session.ask(asked.question, options)
                assert isinstance(event, Answered)
                answer = event.answer
                spoken += answer.answer_from == "model"
                best = next((source.sentence for source in answer.sources), "")
                for kind, said in (("words", answer.model_words or answer.answer), ("sentence", best),
                                   ("answer", answer.answer)):  # fmt: skip
                    whole = normal(said)
                    kinds[kind].append((best_f1(whole, asked.answers), any(one in whole for one in asked.answers)))
    count = max(1, len(kinds["answer"]))
    report: dict[str, float] = {"questions": len(kinds["answer"]), "model_answers": round(spoken / count, 3)}
    for kind, found in kinds.items():
        report[f"{kind}_f1"] = round(sum(score for score, _ in found) / count, 3)
        report[f"{kind}_contains"] = round(sum(holds for _, holds in found) / count, 3)
    return report


# ------------------------------------------------------------------------------------------------------- command line


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m mplus_cli.measure", description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=["passages", "strict", "answers"])
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--sets", required=True, metavar="NAME,...")
    parser.add_argument("--half", choices=["tune", "test", "all"], default="all", help="passages by their hash")
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="questions of a set; 0 for all")
    parser.add_argument("--no-text", action="store_true", help="without full-text search")
    parser.add_argument("--no-memory", action="store_true", help="without a model")
    parser.add_argument("--model", metavar="NAME")
    parser.add_argument("--misses", action="store_true", help="print questions whose first sentence is wrong")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    settings = load({"model": options.model})
    text, memory = not options.no_text, not options.no_memory
    sets = {name: read_set(options.data, name, options.half, options.limit) for name in options.sets.split(",")}
    if options.what == "strict":
        for report in strict(sets, settings, text, memory):
            listing.measured({"half": options.half, **report}, options.json)
    for name, books in sets.items():
        if options.what == "answers":
            found = answers(name, books, settings, text)
            listing.measured({"set": name, "half": options.half, **found}, options.json)
        if options.what == "passages":
            outcomes = passages(name, books, settings, text, memory)
            listing.measured({"set": name, "half": options.half, **summary(outcomes)}, options.json)
            for one in outcomes if options.misses else ():
                if one.rank != 0:
                    terminal.say(f"{one.rank} {one.question} | {one.best}")


if __name__ == "__main__":
    main()
