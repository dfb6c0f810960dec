"""Does the retriever find the passage? Stored chunks, questions with known passages, ranks and shares.

python -m model.evaluation.retrieval CHECKPOINT --text FILE --questions FOLDER
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from model.mplus import KeysValues, MPlus
from model.retriever import chunk_strengths
from model.training.data import Span, Words, row_indices
from model.training.needles import own_tokens, question_tokens
from model.training.questions import encode_passage, read_questions
from model.training.searches import search_in
from model.training.tokenizer import json_lines, plain


@dataclass(slots=True)
class Stored:
    """A book in memory: rows (L, M, d), retrieval keys (L, M, h), chunk lengths."""

    rows: Tensor
    keys: Tensor
    lengths: list[int]
    count: int  # K

    @property
    def chunks(self) -> int:
        """Number of chunks."""
        return len(self.lengths)


@dataclass(frozen=True, slots=True)
class Query:
    """A question and the tokens of the book that answer it."""

    ids: list[int]
    support: Span
    text: str = ""


@torch.no_grad()
def store(model: MPlus, tokens: Sequence[int], chunk: int) -> Stored:
    """Write a text chunk by chunk, as ingest does."""
    count = -(-len(tokens) // chunk)
    bounds = [round(i * len(tokens) / count) for i in range(count + 1)]
    newest, rows = model.start_rows(1), []
    for low, high in itertools.pairwise(bounds):
        newest, _ = model.write(torch.tensor([tokens[low:high]]), newest)
        rows.append(newest[:, 0])
    whole = torch.cat(rows, 1)
    keys = torch.stack([model.key(layer, whole[layer][None])[0] for layer in range(model.config.layers)])
    lengths = [high - low for low, high in itertools.pairwise(bounds)]
    return Stored(whole, keys, lengths, model.config.memory_rows)


@torch.no_grad()
def row_scores(model: MPlus, stored: Stored, ids: Sequence[int], own: slice) -> tuple[Tensor, Tensor]:
    """Scores of all rows in all layers for a prompt read behind the full memory (L, M), and of the chunks (L, T).

    Chunks are ranked as `mplus ask` ranks them: late interaction of the question's `own` tokens with each chunk's
    best rows.
    """
    config, found, chunks = model.config, [], []
    pool = min(config.pool_rows, stored.rows.shape[1])
    asked = torch.tensor([list(ids)])

    def prefix_of(layer: int, hidden: Tensor) -> KeysValues:
        each = (model.query(layer, hidden)[0] @ stored.keys[layer].T).sigmoid()  # (n, M)
        scores = each.mean(0)
        found.append(scores)
        chunks.append(chunk_strengths(each.unflatten(1, (stored.chunks, -1)).amax(2)[own]))
        old = scores[: len(scores) - pool]
        top = old.topk(min(config.recall_rows, len(old))).indices.sort().values
        rows = torch.cat([stored.rows[layer][top], stored.rows[layer][len(scores) - pool :]])
        return model.project_layer(layer, rows[None])

    model.read(asked, prefix_of)
    return torch.stack(found), torch.stack(chunks)


def measure(model: MPlus, stored: Stored, queries: Sequence[Query], own: slice) -> dict[str, float]:
    """Rank of the right chunk, and what the R recalled rows of each layer hold of the sentence.

    `own`: the tokens of the queries that are the question's.
    """
    ranks, hit, share = [], [], []
    citing = list(model.config.ranking_layers)
    for query in queries:
        scores, strengths = row_scores(model, stored, query.ids, own)
        right = torch.tensor(row_indices(query.support, stored.lengths, stored.count))
        if not len(right):
            continue
        order = strengths[citing].sum(0)
        ranks.append(int((order > order[torch.unique(right // stored.count)].max()).sum()))
        top = scores.topk(min(model.config.recall_rows, scores.shape[1]), 1).indices
        found = torch.isin(right, top[0])[None] if len(top) == 0 else torch.stack([torch.isin(right, t) for t in top])
        hit.append(found.any(1).float().mean().item())
        share.append(found.float().mean().item())
    place = torch.tensor(ranks, dtype=torch.float)
    at = {f"chunk@{k}": (place < k).float().mean().item() for k in (1, 4, 10, 48)}
    chance = model.config.recall_rows / stored.rows.shape[1]
    means = {"hit": sum(hit) / len(hit), "coverage": sum(share) / len(share)}
    return {**at, **means, "chance": chance, "questions": float(len(ranks))}


def book_queries(words: Words, tokens: list[int], count: int, seed: int = 0) -> list[Query]:
    """Inverse cloze questions about a book."""
    rng, found = random.Random(seed), []
    while len(found) < count:
        at = rng.randrange(max(1, len(tokens) - 200))
        made = search_in(rng, words, tokens[at : at + 200])
        if made is not None:
            found.append(Query(made[0], (made[2][0] + at, made[2][1] + at)))
    return found


def tale_queries(words: Words, folder: Path, count: int, tokens_wanted: int) -> tuple[list[int], list[Query]]:
    """fairytaleqa passages in a row until there are enough tokens, and questions about them."""
    tokens: list[int] = []
    places: dict[str, int] = {}
    queries = []
    for one in read_questions(folder, ("fairytaleqa",)):
        ids, span = encode_passage(words, one)
        if one.passage not in places:
            if len(tokens) > tokens_wanted:
                continue
            places[one.passage] = len(tokens)
            tokens += [*ids, *words.newline]
        if span[1]:
            base = places[one.passage]
            queries.append(Query(question_tokens(words, one.question), (span[0] + base, span[1] + base), one.question))
    return tokens, queries[:count]


def run(model: MPlus, words: Words, text: Path, title: str, questions: Path, count: int) -> dict[str, dict[str, float]]:
    """Both measurements: inverse cloze on a held-out book, real questions on held-out tales."""
    book = next(d for d in json_lines(text) if d["title"] == title)
    tokens = words.encode(plain(str(book["text"])))
    chunk, own = model.config.chunk_tokens, own_tokens(words)
    report = {title: measure(model, store(model, tokens, chunk), book_queries(words, tokens, count), own)}
    tales, queries = tale_queries(words, questions, count, 1000 * chunk)
    if len(tales) < 1000 * chunk:
        tales += tokens[: 1000 * chunk - len(tales)]
    report["fairytaleqa"] = measure(model, store(model, tales, chunk), queries, own)
    return report


def main() -> None:
    """Command line."""
    from model.checkpoint import load

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--title", default="The Adventures of Tom Sawyer, Complete")
    parser.add_argument("--questions", type=Path, required=True)
    parser.add_argument("--count", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = load(options.checkpoint, device="cpu", dtype="float32").model
    words = Words(options.tokenizer or options.checkpoint / "tokenizer.json")
    report = run(model, words, options.text, options.title, options.questions, options.count)
    print(json.dumps({k: {a: round(b, 3) for a, b in v.items()} for k, v in report.items()}, indent=1))


if __name__ == "__main__":
    main()
