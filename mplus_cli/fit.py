"""Fit the weights by which sentences are ranked: python -m mplus_cli.fit --data FOLDER --sets NAME,... --out FILE.

Questions with known answers are asked of their books by full-text search alone, as `mplus_cli.measure` does. The
weights make the sentences that stand in the right passage and hold the answer likely among the candidates (softmax),
with a penalty on their squares. The memory's score takes no part: its weight is given, so that a library of any model
can be ranked by the same file.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from mplus_cli.assistant.ask import Session
from mplus_cli.assistant.judgement import SHORTLIST, Look, looks
from mplus_cli.assistant.passages import score
from mplus_cli.assistant.recall import Recollection, look
from mplus_cli.assistant.view import Births, view_of
from mplus_cli.measure import document_of, library_of, normal, read_set
from mplus_cli.settings import Settings

WITHOUT_TEXT = 0.3  # share of questions for which the text search's score is left out: `--no-text` must work too
PENALTY = 2e-3
ROUNDS = 300


@dataclass(frozen=True, slots=True)
class Example:
    """The candidates of one question, and which of them are right."""

    looks: list[Look]
    right: list[bool]


def examples(data: Path, name: str, half: str, limit: int) -> Iterator[Example]:
    """The questions of a set for which a right sentence is on the shortlist."""
    settings, rng = Settings(), random.Random(name)
    books = read_set(data, name, half, limit)
    documents = [document_of(book) for book in books]
    with closing(Session(library_of(f"fit-{name}", documents, settings, False), settings)) as session:
        for book, document in zip(books, documents, strict=True):
            view = view_of(session.library, (document.id,), None)
            births = Births(session.library, view, 64, 0)
            for asked in book.questions:
                sight = look(session.library, view, births, Recollection(), asked.question, True)
                scored = score(sight.question, sight.candidates, sight.weights, sight.memory, sight.text)
                chosen = sorted(range(len(scored)), key=lambda at: -scored[at].support)[:SHORTLIST]
                texts = [normal(sight.candidates[at].text) for at in chosen]
                right = [any(one in text for one in asked.answers) and text in asked.passage for text in texts]
                if any(right):
                    seen = looks(sight, chosen)
                    if rng.random() < WITHOUT_TEXT:
                        seen = [one | {"text": 0.0} for one in seen]
                    yield Example(seen, right)


def fit(found: Sequence[Example], memory: float) -> dict[str, float]:
    """Weights by name; that of the memory's score is `memory` times the weight of nearness."""
    import torch

    names = sorted({name for one in found for look in one.looks for name in look} - {"memory"})
    widest = max(len(one.looks) for one in found)
    inputs, right = torch.zeros(len(found), widest, len(names)), torch.zeros(len(found), widest, dtype=torch.bool)
    there = torch.zeros_like(right)
    for row, one in enumerate(found):
        there[row, : len(one.looks)] = True
        right[row, : len(one.looks)] = torch.tensor(one.right)
        inputs[row, : len(one.looks)] = torch.tensor([[look.get(name, 0.0) for name in names] for look in one.looks])
    weights = torch.zeros(len(names), requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=ROUNDS, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        scores = (inputs @ weights).masked_fill(~there, -torch.inf)
        likely = scores.logsumexp(1) - scores.masked_fill(~right, -torch.inf).logsumexp(1)
        whole = likely.mean() + PENALTY * weights.square().sum()
        whole.backward()
        return whole

    optimizer.step(loss)
    values = {name: round(value, 3) for name, value in zip(names, weights.tolist(), strict=True)}
    near = values["near"] - values["behind best"]
    return {name: value for name, value in values.items() if value} | {"memory": round(memory * near, 3)}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m mplus_cli.fit", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--sets", required=True, metavar="NAME,...")
    parser.add_argument("--half", choices=["tune", "test", "all"], default="tune")
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="questions of a set; 0 for all")
    parser.add_argument("--memory", type=float, default=0.35, help="weight of the memory's score beside nearness")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    options = parser.parse_args()
    found = [
        one for name in options.sets.split(",") for one in examples(options.data, name, options.half, options.limit)
    ]
    weights = fit(found, options.memory)
    options.out.write_text(json.dumps(weights, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(json.dumps({"questions": len(found), "weights": len(weights)}))


if __name__ == "__main__":
    main()
