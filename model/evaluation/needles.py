"""Planted facts: how often is a sentence that was read long ago still answered?

A document of about four chunks of held-out book text holds four facts of one kind about people with held-out names, in
held-out words, so that only the name tells which value is asked for. Then other documents are read, and one fact is
asked for: latent memory only, greedy, exact match. Every question has its own document.

python -m model.evaluation.needles CHECKPOINT --data FOLDER
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from model.evaluation.common import (
    DOCUMENT_CHUNKS,
    Book,
    Document,
    Estimate,
    Subject,
    arguments,
    background_texts,
    behind,
    held_out_books,
    pool_only,
    ratio,
    report,
    run,
    table,
    wilson,
)
from model.evaluation.metrics import normalised
from model.generate import Reader, RetrievalTrace
from model.tokenizer import TextTokenizer
from model.training import fact_words
from model.training import needles as made
from model.training.data import Span
from model.training.questions import sentence_spans

DISTANCES = (0, 10, 100, 1000, 4000)
CROWD = 1000  # chunks with look-alike facts
FACTS = 4  # facts of a document, and its chunks
ALIKE = 0.18  # share of look-alikes' first names, and of their last names, that are held-out ones
FORMS = ("question", "cloze", "pair")


@dataclass(frozen=True, slots=True)
class Asked:
    """A fact as it is planted, the text that asks for it, and its value."""

    sentence: str
    prompt: str
    answer: str
    name: str


def value_count(kind: str, held: bool = True) -> int:
    """How many values a kind of fact can have: guessing among them is right once in so many."""
    cities = fact_words.HELD_CITY if held else fact_words.CITY
    lists = {"city": cities, "job": fact_words.JOB, "place": fact_words.PLACE, "food": fact_words.FOOD}
    if kind == "number":
        return 900
    return len(fact_words.COLOUR) * len(fact_words.ANIMAL) if kind == "animal" else len(lists[kind])


def look_alike_name(rng: random.Random) -> str:
    """A name that shares its first or its last name with the held-out ones, or neither; never both."""
    while True:
        first, last = rng.random() < ALIKE, rng.random() < ALIKE
        if not (first and last):
            firsts = fact_words.HELD_FIRST if first else fact_words.FIRST
            lasts = fact_words.HELD_LAST if last else fact_words.LAST
            return f"{rng.choice(firsts)} {rng.choice(lasts)}"


def make_fact(rng: random.Random, kind: str, form: str, held: bool, name: str) -> Asked:
    """A fact about `name`, and how it is asked for: by a question, by its own beginning, or by the name alone."""
    value, thing = made.value(rng, kind, held), rng.choice(fact_words.THING)
    if form == "pair":
        return Asked(f"{name} {value}.", f"Question: {name}? Answer:", value, name)
    statements, questions = fact_words.TEMPLATES[kind]
    said = (statements[-1] if held else rng.choice(statements[:-1])).format(n=name, v=value, o=thing)
    if form == "cloze":
        return Asked(said, " " + said[: said.rindex(value)].rstrip(), value, name)
    asked = (questions[-1] if held else rng.choice(questions[:-1])).format(n=name, v=value, o=thing)
    return Asked(said, f"Question: {asked} Answer:", value, name)


def make_facts(rng: random.Random, kind: str, form: str, held: bool, count: int, alike: bool = False) -> list[Asked]:
    """Facts of one kind about different people; `alike`: people who only resemble those that are asked for."""
    names: dict[str, None] = {}
    while len(names) < count:
        names[look_alike_name(rng) if alike else made.person(rng, held)] = None
    return [make_fact(rng, kind, form, held, name) for name in names]


def plant(
    rng: random.Random, tokenizer: TextTokenizer, text: str, facts: Sequence[Asked], tokens: int
) -> tuple[list[int], list[Span]]:
    """Put facts behind sentences of a text, one in each part of it; about `tokens` tokens in all.

    Returns the tokens of the document and the token span of every fact, in order.
    """
    room = tokens - sum(len(tokenizer.encode(f" {fact.sentence}")) for fact in facts)
    sentences: list[str] = []
    for start, end in sentence_spans(text):
        room -= len(tokenizer.encode(text[start:end]))
        if room < 0 and len(sentences) >= len(facts):
            break
        sentences.append(text[start:end])
    places = [rng.randrange(len(sentences) * n // len(facts), max(1, len(sentences) * (n + 1) // len(facts)))
              for n in range(len(facts))]  # fmt: skip
    whole, spans = "", []
    for number, sentence in enumerate(sentences):
        whole += sentence
        for fact in (one for one, place in zip(facts, places, strict=True) if place == number):
            spans.append((len(whole), len(whole) + 1 + len(fact.sentence)))
            whole += f" {fact.sentence}"
    ids, offsets = tokenizer.encode_with_offsets(whole)
    return ids, [token_span(offsets, span) for span in spans]


def token_span(offsets: Sequence[Span], span: Span) -> Span:
    """The tokens that overlap characters [start, end)."""
    inside = [number for number, (start, end) in enumerate(offsets) if start < span[1] and end > span[0]]
    return inside[0], inside[-1] + 1


@dataclass(frozen=True, slots=True)
class Episode:
    """A document with facts in memory, and the one that is asked for with its token span."""

    kind: str
    document: Document
    fact: Asked
    span: Span
    others: tuple[str, ...]  # the values of the document's other facts


def passage(rng: random.Random, books: Sequence[Book], characters: int) -> str:
    """Some text of a book, from the start of a sentence in its second half (background is from the first)."""
    book = rng.choice(books).text
    start = book.find(". ", rng.randrange(len(book) // 2, max(len(book) // 2 + 1, len(book) - characters))) + 2
    return book[start : start + characters]


def make_episode(subject: Subject, books: Sequence[Book], number: int, options: argparse.Namespace) -> Episode:
    """The episode of a number: its kind in turn, everything else drawn from the seed."""
    rng = random.Random(f"{options.seed}/{number}")
    kind = fact_words.KINDS[number % len(fact_words.KINDS)]
    facts = make_facts(rng, kind, options.form, not options.trained_words, FACTS)
    tokens = FACTS * subject.config.chunk_tokens
    ids, spans = plant(rng, subject.tokenizer, passage(rng, books, 20 * tokens), facts, tokens)
    asked = rng.randrange(len(facts))
    others = tuple(normalised(fact.answer) for fact in facts if fact.answer != facts[asked].answer)
    return Episode(kind, subject.write(f"facts {number}", ids), facts[asked], spans[asked], others)


def crowd(
    subject: Subject, books: Sequence[Book], kind: str, options: argparse.Namespace, chunks: int
) -> list[Document]:
    """Documents with a look-alike fact of the same kind and wording for every chunk."""
    rng, length = random.Random(f"{options.seed}/{kind}"), DOCUMENT_CHUNKS * subject.config.chunk_tokens
    facts = make_facts(rng, kind, options.form, not options.trained_words, chunks, alike=True)
    texts = []
    for start in range(0, chunks, DOCUMENT_CHUNKS):
        some, ids = facts[start : start + DOCUMENT_CHUNKS], []
        while len(ids) < length:  # a long sentence may leave a document short
            ids, _ = plant(rng, subject.tokenizer, passage(rng, books, 8 * length), some, length + 100)
        texts.append((f"crowd {kind}/{start}", ids[:length]))
    return subject.write_all(texts)


@dataclass(slots=True)
class Tally:
    """Answers of one point of a curve."""

    right: list[tuple[str, bool]] = field(default_factory=list)
    mistaken: list[bool] = field(default_factory=list)  # the value of another fact of the document
    found: list[float] = field(default_factory=list)
    share: list[float] = field(default_factory=list)

    def exact(self) -> Estimate:
        """Share of right answers."""
        return wilson(sum(right for _, right in self.right), len(self.right))

    def by_kind(self) -> dict[str, float]:
        """Share of right answers of every kind of fact."""
        kinds = {kind: [right for one, right in self.right if one == kind] for kind, _ in self.right}
        return {kind: sum(some) / len(some) for kind, some in kinds.items()}


def recalled(subject: Subject, episode: Episode, trace: RetrievalTrace) -> tuple[float, float]:
    """Over the layers: how often a row of the fact's sentence is among the recalled, and which share of its rows."""
    rows = torch.tensor(subject.rows_of(episode.document, episode.span), dtype=torch.long)
    if not len(rows):  # with fewer rows than tokens some tokens have none of their own
        return 0.0, 0.0
    found = torch.stack([torch.isin(rows, recalled) for recalled in trace.recalled]).float()
    return found.amax(1).mean().item(), found.mean().item()


def ask(subject: Subject, episode: Episode, view: Sequence[Document], tallies: dict[bool, Tally]) -> None:
    """Ask one question behind a view, with long-term memory and without, and note how it went."""
    prompt, whole = subject.tokenizer.encode(episode.fact.prompt), subject.memory(view)
    for long_term, memory in ((True, whole), (False, pool_only(whole))):
        text, trace = subject.answer(Reader(subject.model, memory), prompt)
        tally = tallies[long_term]
        tally.right.append((episode.kind, normalised(text) == normalised(episode.fact.answer)))
        tally.mistaken.append(normalised(text) in episode.others)
        found, share = recalled(subject, episode, trace)
        tally.found.append(found)
        tally.share.append(share)


def curves(
    subject: Subject, episodes: Sequence[Episode], others: Sequence[Document], distances: Sequence[int]
) -> dict[tuple[int, bool], Tally]:
    """Both curves: {(distance, with long-term memory): Tally}; where all rows fit the pool the two are one."""
    tallies: dict[tuple[int, bool], Tally] = {}
    for distance in distances:
        both = {True: Tally(), False: Tally()}
        for number, episode in enumerate(episodes):
            ask(subject, episode, behind(episode.document, others, distance, number), both)
        tallies |= {(distance, long_term): tally for long_term, tally in both.items()}
    return tallies


def crowds(
    subject: Subject, episodes: Sequence[Episode], books: Sequence[Book], options: argparse.Namespace
) -> dict[bool, Tally]:
    """The same questions with look-alike facts in every other chunk."""
    tallies = {True: Tally(), False: Tally()}
    for kind in sorted({one.kind for one in episodes}):
        others = crowd(subject, books, kind, options, options.crowd)
        chunks = sum(len(one.lengths) for one in others)
        for number, episode in enumerate(one for one in episodes if one.kind == kind):
            ask(subject, episode, behind(episode.document, others, chunks, number), tallies)
    return tallies


def chance(episodes: Sequence[Episode], held: bool) -> dict[str, float]:
    """Right by guessing: any value of the kind, or one of the values in the document."""
    kinds = [1 / value_count(one.kind, held) for one in episodes]
    return {"a value of that kind": sum(kinds) / len(kinds), "a value of the document": 1 / FACTS}


def measure(subject: Subject, options: argparse.Namespace) -> None:
    """Print the tables."""
    books = held_out_books(options.data)
    distances = [distance for distance in options.distances if distance >= 0]
    others = subject.write_all(background_texts(subject, books, max(distances, default=0)))
    episodes = [make_episode(subject, books, number, options) for number in range(options.limit)]
    tallies = curves(subject, episodes, others, distances)
    crowded = crowds(subject, episodes, books, options) if options.crowd else {}
    rows = [[distance, tallies[distance, True].exact(), tallies[distance, False].exact()] for distance in distances]
    if crowded:
        rows.append([f"{options.crowd}, look-alikes in every chunk", crowded[True].exact(), crowded[False].exact()])
    print(table(["chunks between", "with long-term memory", "pool only"], rows))
    guesses = chance(episodes, not options.trained_words)
    print("\nby guessing " + ", ".join(f"{what}: {share:.3f}" for what, share in guesses.items()), end="\n\n")
    retrieval = retrieved(subject, episodes, tallies, crowded, options.crowd)
    print(table(["chunks between", "a row of the sentence recalled", "chance", "share of its rows", "chance"],
                [[name, *values] for name, values in retrieval.items()]))  # fmt: skip
    results = {
        "exact": {f"{d}{'' if long else ' pool only'}": t.exact() for (d, long), t in tallies.items()},
        "crowd": {"long-term": crowded[True].exact(), "pool only": crowded[False].exact()} if crowded else {},
        "another value of the document": {
            str(d): wilson(sum(t.mistaken), len(t.mistaken)) for (d, long), t in tallies.items() if long
        },
        "by kind": {str(d): t.by_kind() for (d, long), t in tallies.items() if long},
        "chance": guesses,
        "retriever": retrieval,
    }
    report("needles", subject, options, results)


def retrieved(
    subject: Subject, episodes: Sequence[Episode], tallies: dict, crowded: dict, crowd_chunks: int
) -> dict[str, list[object]]:
    """What the retriever recalled at every distance, against drawing R rows at random."""
    rows = sum(e.span[1] - e.span[0] for e in episodes) / len(episodes)
    found: dict[str, list[object]] = {}
    curve = [(str(d), d, tally) for (d, long), tally in tallies.items() if long and d >= 100]
    for name, chunks, tally in [*curve, *([("look-alikes", crowd_chunks, crowded[True])] if crowded else [])]:
        share = min(1.0, subject.config.recall_rows / ((chunks + FACTS) * subject.config.memory_rows))
        found[name] = [ratio(tally.found), round(1 - (1 - share) ** rows, 4), ratio(tally.share), round(share, 4)]
    return found


def main(words: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = arguments(__doc__, 200)
    parser.add_argument(
        "--distances", type=int, nargs="*", default=list(DISTANCES), help="other chunks read before asking"
    )
    parser.add_argument("--crowd", type=int, default=CROWD, help="chunks with look-alike facts; 0: leave that out")
    parser.add_argument("--form", choices=FORMS, default="question", help="how a fact is asked for")
    parser.add_argument("--trained-words", action="store_true", help="names and wordings of training, to compare")
    run(measure, parser.parse_args(words))


if __name__ == "__main__":
    main()
