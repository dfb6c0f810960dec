"""Questions on real passages: token F1 with the passage in the prompt, in memory, in memory behind others, absent.

in the prompt: the passage as text in front of the question, behind an empty memory. just read: the passage is all that
the memory holds, the prompt is the question alone. behind 50: the same after 50 chunks of held-out books. absent: those
50 chunks without the passage.

python -m model.evaluation.questions CHECKPOINT --data FOLDER
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model.errors import ModelError
from model.evaluation.common import (
    Document,
    Subject,
    arguments,
    background_texts,
    behind,
    held_out_books,
    ratio,
    report,
    run,
    table,
)
from model.evaluation.metrics import best_f1
from model.training.tokenizer import json_lines

SETS = ("fairytaleqa", "xquad_en", "onestopqa", "babi")
BEHIND = 50
LONGEST = 24  # tokens of an answer
CONDITIONS = ("in the prompt", "just read", f"behind {BEHIND}", "absent")


@dataclass(frozen=True, slots=True)
class Item:
    """A question about a passage, and its right answers."""

    passage: str
    question: str
    answers: tuple[str, ...]


def read_items(data: Path, name: str, limit: int, seed: int) -> list[Item]:
    """Questions of a set, drawn by the seed. Raises ModelError where the set is missing."""
    file = next((f for end in (".jsonl.xz", ".jsonl") if (f := data / "qa" / "dev" / f"{name}{end}").is_file()), None)
    if file is None:
        raise ModelError(f"no qa/dev/{name}.jsonl.xz in {data}", "name the data folder with --data")
    raw = [one for one in json_lines(file) if one.get("context") and one.get("answers")]
    random.Random(f"{seed}/{name}").shuffle(raw)
    return [Item(str(one["context"]), str(one["question"]), tuple(map(str, one["answers"]))) for one in raw[:limit]]


def prompt_with(subject: Subject, item: Item) -> tuple[list[int], bool]:
    """Passage and question as one prompt, and whether the passage had to be cut to fit the window."""
    asked, ids = subject.question(item.question), subject.tokenizer.encode(item.passage.strip() + "\n")
    room = subject.config.window - len(asked) - LONGEST
    return ids[:room] + asked, len(ids) > room


def answers(subject: Subject, item: Item, number: int, others: Sequence[Document]) -> dict[str, str]:
    """The model's answer in every condition."""
    passage = subject.write(f"passage {number}", subject.tokenizer.encode(item.passage.strip()))
    asked = subject.question(item.question)
    prompts = dict.fromkeys(CONDITIONS, asked) | {CONDITIONS[0]: prompt_with(subject, item)[0]}
    views = {
        CONDITIONS[0]: [],
        CONDITIONS[1]: [passage],
        CONDITIONS[2]: behind(passage, others, BEHIND, number),
        CONDITIONS[3]: behind(None, others, BEHIND, number),
    }
    return {name: subject.answer(subject.reader(views[name]), prompts[name], LONGEST)[0] for name in CONDITIONS}


def measure(subject: Subject, options: argparse.Namespace) -> None:
    """Print the table, a few answers, and the JSON line."""
    others = subject.write_all(background_texts(subject, held_out_books(options.data), 4 * BEHIND))
    rows, results = [], {}
    for name in options.sets:
        items = read_items(options.data, name, options.limit, options.seed)
        said = [answers(subject, item, number, others) for number, item in enumerate(items)]
        scores = {c: [best_f1(one[c], item.answers) for one, item in zip(said, items, strict=True)] for c in CONDITIONS}
        means = {condition: ratio(values) for condition, values in scores.items()}
        against = {f"{c} / prompt": ratio(scores[c], scores[CONDITIONS[0]]) for c in CONDITIONS[1:]}
        cut = sum(prompt_with(subject, item)[1] for item in items)
        rows.append([name, len(items), *means.values(), *against.values()])
        results[name] = {**means, **against, "passages cut to the window": cut,
                         "examples": examples(items, said, options.show)}  # fmt: skip
    print(table(["set", "questions", *CONDITIONS, *(f"{c} / prompt" for c in CONDITIONS[1:])], rows))
    report("questions", subject, options, results)


def examples(items: Sequence[Item], said: Sequence[dict[str, str]], count: int) -> list[dict[str, str]]:
    """The first questions with what was said."""
    pairs = zip(items[:count], said[:count], strict=True)
    return [{"question": item.question, "right": item.answers[0], **one} for item, one in pairs]


def main(words: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = arguments(__doc__, 100)
    parser.add_argument("--sets", nargs="*", default=list(SETS))
    parser.add_argument("--show", type=int, default=3, help="answers of each set to put into the JSON line")
    run(measure, parser.parse_args(words))


if __name__ == "__main__":
    main()
