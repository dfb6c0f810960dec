"""The retriever alone: projections trained against the rows of whole books, everything else frozen.

Rows are written once and kept; a step reads a few questions behind some of them and compares each with thousands of
rows, half of them from the question's own book. This is what decides whether the right page of a novel is found.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import Tensor

from model.devices import cpu_has_bf16
from model.mplus import KeysValues, MPlus
from model.training.data import Corpus, Search, Span, Words, row_indices
from model.training.losses import any_row_loss, each_row_loss, row_scores
from model.training.memory import padded
from model.training.needles import facts, plant, question_tokens
from model.training.questions import Question, encode_passage
from model.training.searches import search_in
from model.training.stages import Stage

Asked = list[tuple[list[int], Span]]  # questions and where the stream answers them
LONGEST_PASSAGE = 600  # tokens


@dataclass(slots=True)
class Shelf:
    """Streams of text in memory. rows: (L, S, M, d) bfloat16, tokens: S lists, questions about each stream."""

    rows: Tensor
    tokens: list[list[int]]
    lengths: list[int]
    asked: list[Asked]


def stream_of(
    rng: random.Random, words: Words, corpus: Corpus, questions: list[Question], total: int, kind: str
) -> tuple[list[int], Asked]:
    """Tokens of one stream and questions with known places: a book, passages with real questions, or planted facts."""
    if kind == "facts":
        return facts_stream(rng, words, corpus, total)
    if kind == "book":
        return corpus.passage(rng, total), []
    tokens: list[int] = []
    asked: Asked = []
    while len(tokens) < total:
        one = rng.choice(questions)
        ids, span = encode_passage(words, one)
        if span[1] and len(ids) < LONGEST_PASSAGE:
            asked.append((question_tokens(words, one.question), (span[0] + len(tokens), span[1] + len(tokens))))
            tokens += [*ids, *words.newline]
    return tokens[:total], [(query, span) for query, span in asked if span[1] <= total]


def facts_stream(rng: random.Random, words: Words, corpus: Corpus, total: int) -> tuple[list[int], Asked]:
    """Book text with about one planted fact in each 64 tokens, many of a kind."""
    made = facts(rng, total // 64, one_type=False, pairs=0.0)
    tokens, spans = plant(rng, corpus.passage(rng, total), [words.encode(" " + one.sentence) for one in made])
    return tokens, [(question_tokens(words, one.question), span) for one, span in zip(made, spans, strict=True)]


@torch.no_grad()
def fill_shelf(
    model: MPlus, words: Words, corpus: Corpus, questions: list[Question], streams: int, chunks: int, seed: int
) -> Shelf:
    """Write `streams` texts of `chunks` chunks each, side by side."""
    rng = random.Random(seed)
    chunk = model.config.chunk_tokens
    lengths = [chunk - (number % 3 == 1) - 2 * (number % 5 == 2) for number in range(chunks)]
    kinds = ["book", "questions", "book", "facts"] if questions else ["book", "facts"]
    texts = [
        stream_of(rng, words, corpus, questions, sum(lengths), kinds[number % len(kinds)]) for number in range(streams)
    ]
    written = torch.tensor([tokens for tokens, _ in texts]).split(lengths, 1)
    newest, rows = model.start_rows(streams), []
    for ids in written:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=cpu_has_bf16()):
            newest, _ = model.write(ids, newest)
        rows.append(newest.to(torch.bfloat16))
    return Shelf(torch.cat(rows, 2), [tokens for tokens, _ in texts], lengths, [asked for _, asked in texts])


def draw(rng: random.Random, words: Words, shelf: Shelf, count: int, streams: list[int]) -> list[Search]:
    """Questions about some streams: the stream's own where it has some, else inverse cloze."""
    found: list[Search] = []
    while len(found) < count:
        stream = rng.choice(streams)
        if shelf.asked[stream] and rng.random() < 0.7:
            query, span = rng.choice(shelf.asked[stream])
            found.append(Search(stream, query[:40], [span]))
            continue
        at = rng.randrange(max(1, len(shelf.tokens[stream]) - 160))
        made = search_in(rng, words, shelf.tokens[stream][at : at + 160])
        if made is not None:
            found.append(Search(stream, made[0], [(made[2][0] + at, made[2][1] + at)]))
    return found


def entering(
    model: MPlus, shelf: Shelf, searches: list[Search], generator: torch.Generator
) -> tuple[list[Tensor], Tensor]:
    """Hidden states of questions that enter each layer (L x (Q, n, d)), behind a full pool of rows, and their mask."""
    ids, mask = padded(searches)
    flat = shelf.rows.flatten(1, 2)
    size = model.config.pool_rows if torch.rand((), generator=generator) < 0.7 else 0
    pool = flat[:, torch.randint(flat.shape[1], (size,), generator=generator).sort().values].float()
    states: list[Tensor] = []

    def prefix_of(layer: int, hidden: Tensor) -> KeysValues:
        states.append(hidden)
        keys, values = model.project_layer(layer, pool[layer][None])
        return KeysValues(keys.expand(len(ids), -1, -1, -1), values.expand(len(ids), -1, -1, -1))

    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=cpu_has_bf16()):
        for _ in model.layers_behind(model.embed(ids), prefix_of):
            pass
    return states, mask


def shelf_loss(
    model: MPlus, words: Words, shelf: Shelf, step: int, seed: int, questions: int, others: int
) -> tuple[Tensor, Tensor]:
    """Loss of one step and the share of positive rows among the best R of the candidates."""
    rng, generator = random.Random(f"{seed}/{step}"), torch.Generator().manual_seed(seed * 7919 + step)
    streams = rng.sample(range(len(shelf.tokens)), min(2, len(shelf.tokens)))
    searches = draw(rng, words, shelf, questions, streams)
    states, mask = entering(model, shelf, searches, generator)
    rows, each = model.config.memory_rows, shelf.rows.shape[2]
    right = [[s.episode * each + r for r in row_indices(s.support[0], shelf.lengths, rows)] for s in searches]
    index = torch.cat([
        torch.tensor(sorted({one for some in right for one in some})),
        *(stream * each + torch.randint(each, (others // 2,), generator=generator) for stream in streams),
    ]).unique()  # fmt: skip
    place = {int(row): at for at, row in enumerate(index.tolist())}
    positive = torch.zeros(len(searches), len(index), dtype=torch.bool)
    negative = torch.ones_like(positive)
    for number, some in enumerate(right):
        positive[number, [place[one] for one in some]] = True
        if some:
            negative[number] = (index < min(some)) | (index > max(some) + 24)
    losses, found = [], []
    flat = shelf.rows.flatten(1, 2)
    for layer in range(model.config.layers):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=cpu_has_bf16()):
            keys = model.key(layer, flat[layer][index].float()[None])[0]
            scores = row_scores(model.query(layer, states[layer]), keys, mask)
        losses.append((each_row_loss(scores, positive, negative) + any_row_loss(scores, positive, negative)) / 2)
        top = scores.detach().topk(min(len(index), model.config.recall_rows // 4), 1).indices
        found.append((positive.gather(1, top).sum(1) / positive.sum(1).clamp_min(1)).mean())
    return torch.stack(losses).mean(), torch.stack(found).mean()


@dataclass
class Shelves:
    """The shelf of each step: other texts every so many steps, drawn from the step's number (a resumed run agrees)."""

    model: MPlus
    words: Words
    corpus: Corpus
    questions: list[Question]
    stage: Stage
    _shelf: Shelf | None = None
    _since: int = -1

    def loss(self, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of a step, and what it reports."""
        since = step - step % self.stage.refill
        if since != self._since:
            self._shelf, self._since = None, since
        if self._shelf is None:
            self._shelf = fill_shelf(
                self.model, self.words, self.corpus, self.questions, self.stage.streams, self.stage.stream_chunks,
                self.stage.seed * 1_000_003 + since,
            )  # fmt: skip
        loss, found = shelf_loss(
            self.model, self.words, self._shelf, step, self.stage.seed, self.stage.batch, self.stage.others
        )
        return loss, {"search": loss.detach(), "found": found}


def only_projections(model: MPlus) -> None:
    """Freeze everything but the retriever."""
    model.requires_grad_(False)
    model.retrievers.requires_grad_(True)
