"""`make eval-smoke`: every method by every task, tiny: invented files, a checkpoint of random weights, the command.

`python -m tests.evaluation.smoke` leaves with 1 where any pair raised or left no prediction. Nothing is fetched.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.evaluation.tasks.invented import event_line, fill, novel, write

FOX = {"id": "x", "question": "What did the fox find?", "answers": ["a key", "a small key"],
       "context": "The fox found a key near the tower. The queen lost it.", "context_id": "t", "title": "qa1",
       "kind": "action"}  # fmt: skip
OPTIONS = {"options": ["a key", "a hat", "a nut", "a pin"]}
PROMPT = "Read the tale.\n\nTale: {context}\n\nQuestion: {input}\nAnswer:"
LONGBENCH = ("2wikimqa", "hotpotqa", "musique", "qasper", "multifieldqa_en", "narrativeqa")
PLAIN = ("qamr", "xquad_en", "hotpotqa_sample100", "fairytaleqa", "literaryqa", "squality", "loogle")
LENGTH = "200"  # words of made texts


def data_folder(folder: Path) -> Path:
    """A file of our own for every task that is registered."""
    fill(folder)
    write(folder / "eventqa/tale.jsonl", [event_line(0)])
    _longbench(folder)
    book = {"id": 1, "context": novel(4, 20), "input": "Who slept?", "answer": ["the fox"]}
    write(folder / "infinitebench/longbook_qa_eng.jsonl", [book])
    write(folder / "infinitebench/longbook_choice_eng.jsonl", [book | OPTIONS | {"answer": ["a nut"]}])
    _squad(folder)
    for name in PLAIN:
        write(folder / f"qa/dev/{name}.jsonl", [FOX])
        write(folder / f"qa/dev/{name}.contexts.jsonl", [{"context_id": "t", "text": novel(5, 10)}])
    write(folder / "qa/dev/onestopqa.jsonl", [FOX | OPTIONS | {"level": "Ele"}])
    _talk(folder)
    exam = FOX | {"task": "tpo", "context": None}
    write(folder / "qa/dev/leval.contexts.jsonl", [{"context_id": "t", "text": novel(6, 10)}])
    free, choice = exam | {"evaluation": "f1"}, exam | OPTIONS | {"evaluation": "exam", "answers": ["a key"]}
    write(folder / "qa/dev/leval.jsonl", [free, choice])
    asked = [{"question": "What?", "gold_label": 3, "difficult": 0} | OPTIONS]
    write(folder / "quality/QuALITY.v1.0.1.dev", [{"article_id": "1", "article": novel(7, 10), "questions": asked}])
    return folder


def _longbench(folder: Path) -> None:
    write(folder / "longbench/dataset2prompt.json", [dict.fromkeys(LONGBENCH, PROMPT)])
    write(folder / "longbench/dataset2maxlen.json", [dict.fromkeys(LONGBENCH, 8)])
    row = {"_id": "1", "input": "Who slept?", "context": novel(3, 10), "answers": ["the fox"], "length": 5}
    for name in LONGBENCH:
        write(folder / f"longbench/{name}.jsonl", [row])


def _squad(folder: Path) -> None:
    """Articles with a passage of some 250 words each, and one question."""
    articles = [
        {"title": f"T{number}", "paragraphs": [{
            "context": " ".join(novel(10 + number, 20).split()[:250]),
            "qas": [{"id": str(number), "question": "Who slept?", "answers": [{"text": "the fox"}]}],
        }]}
        for number in range(3)
    ]  # fmt: skip
    write(folder / "squad/dev-v1.1.json", [{"data": articles, "version": "1.1"}])
    write(folder / "nq/mine.jsonl", [FOX])


def _talk(folder: Path) -> None:
    """A conversation with a question that it answers and one that it does not."""
    write(folder / "qa/dev/locomo.contexts.jsonl", [{"context_id": "c", "text": "(D1:1) A: Hello. (D1:2) B: Hi."}])
    asked = [{"id": f"q{n}", "context_id": "c", "question": f"What {n}?", "answers": ["hello"], "category": n,
              "adversarial_answer": "a trap"} for n in (1, 5)]  # fmt: skip
    write(folder / "qa/dev/locomo.jsonl", asked)


def checkpoint_folder(folder: Path) -> Path:
    """Two layers of random weights and a tokenizer."""
    import torch

    from model.checkpoint import save
    from model.mplus import MPlus
    from model.training.tokenizer import train_tokenizer
    from tests.training.tiny import SHAPE, story

    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    save(MPlus(SHAPE.config()), folder)
    train_tokenizer((story(number) for number in range(4)), SHAPE.vocabulary, folder / "tokenizer.json")
    return folder


def memory_tokens(model: Path, file: Path) -> Path:
    """Memory tokens for `rmt`, seeded and untrained."""
    import torch

    from model.recurrent import learner, save_tokens

    torch.manual_seed(0)
    save_tokens(*learner(model, 4, 2), 2, model, file)
    return file


def run_task(task: str, methods: Sequence[str], model: Path, data: Path, out: Path, more: Sequence[str] = ()) -> int:
    """`mplus eval run` of one task into the run folder that all tasks share; its exit code."""
    from mplus_cli.main import execute

    words = ["-q", "eval", "run", "--model", model, "--data", data, "--out", out, "--tasks", task, "--limit", 1]
    words += ["--lengths", LENGTH, "--device", "cpu", "--dtype", "float32", "--methods", ",".join(methods), "--debug"]
    return execute([str(word) for word in [*words, *more]])


def undone(out: Path, tasks: Sequence[str], methods: Sequence[str]) -> list[str]:
    """Pairs without a prediction."""
    file = out / "predictions.jsonl"
    lines = map(json.loads, file.read_text("utf-8").splitlines() if file.is_file() else [])
    done = {(one["task"], one["method"]) for one in lines}
    return [f"{task} by {method}" for task in tasks for method in methods if (task, method) not in done]


def smoke(folder: Path, tasks: Sequence[str] = (), methods: Sequence[str] = ()) -> list[str]:
    """Run tasks by methods, all by default, in a folder; pairs that did not work."""
    from mplus_cli.evaluation.running import all_methods, all_tasks

    tasks, methods = tasks or list(all_tasks()), methods or list(all_methods())
    data, model, out = data_folder(folder / "data"), checkpoint_folder(folder / "model"), folder / "run"
    more = ["--rmt", str(memory_tokens(model, folder / "rmt.safetensors"))] if "rmt" in methods else []
    for task in tasks:
        started, code = time.perf_counter(), run_task(task, methods, model, data, out, more)
        print(f"{task}: exit code {code}, {time.perf_counter() - started:.1f} s", file=sys.stderr)
    return undone(out, tasks, methods)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", default="")
    parser.add_argument("--methods", default="")
    options = parser.parse_args()
    started = time.perf_counter()
    with TemporaryDirectory() as folder:
        os.environ["MPLUS_HOME"] = f"{folder}/home"
        tasks, methods = (list(filter(None, text.split(","))) for text in (options.tasks, options.methods))
        failed = smoke(Path(folder), tasks, methods)
    for pair in failed:
        print(f"FAILED {pair}", file=sys.stderr)
    print(f"{time.perf_counter() - started:.0f} s, {len(failed)} pairs failed", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
