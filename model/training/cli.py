"""`mplus train STAGE`: one stage of a plan, in a folder of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from model.errors import TrainingError
from model.mplus import MPlus
from model.training.attention import use_grouped_attention
from model.training.data import Words, tokenise
from model.training.export import export
from model.training.lexical import begin_searching
from model.training.loop import Run, Step, Validate, in_bfloat16
from model.training.mixture import Mixture
from model.training.pretrained import train_on_base
from model.training.pretrained_stages import has_base
from model.training.probe import Probe
from model.training.questions import read_questions
from model.training.saves import kept, not_begun_anew
from model.training.stages import Plan, Stage, read_plan
from model.training.start import initialise, log_frequencies
from model.training.tokenizer import documents, train_tokenizer

TOKENIZER, ALL = "tokenizer", "all"
TOKENIZER_FILE = "tokenizer.json"
FINISHED = "model"  # folder of the checkpoint that the last stage of «all» leaves
FREQUENCY_SAMPLE = 5_000_000  # tokens counted for the first weights


@dataclass(frozen=True, slots=True)
class Sources:
    """Folders of a training: text and questions (JSON Lines, plain or xz), and what is kept between stages."""

    text: Path
    questions: Path | None
    work: Path  # tokenizer.json and tokenised text


def train(
    stage: str,
    config: Path,
    out: Path,
    sources: Sources,
    *,
    resume: bool = False,
    start: Path | None = None,
    base: Path | None = None,
    threads: int | None = None,
    validate: Validate | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Step]:
    """Run one stage of a plan; yields its steps. `start`: the run folder of the stage before; `base`: the
    folder of a pretrained base, instead of the one that the configuration names.

    `validate`: what a run measures of itself on the way (planted facts, `model.training.probe`, if none is named).
    A configuration with a [base] trains adapters on that base, see `model.training.pretrained`.

    Raises TrainingError for folders without text or questions, unknown settings, runs that are there already,
    checkpoints of another shape and full disks.
    """
    if threads:
        torch.set_num_threads(threads)
    if has_base(config):
        yield from train_on_base(
            stage, config, sources.text, sources.work, out,
            base=base, resume=resume, start=start, validate=validate, stop=stop,
        )  # fmt: skip
        return
    plan = read_plan(config)
    if stage == TOKENIZER:
        make_tokenizer(plan, sources, out)
        return
    if stage == ALL:
        yield from train_all(plan, out, sources, resume, start, validate, stop)
        return
    if stage not in plan.stages:
        raise TrainingError(
            f"{config.name} has no stage «{stage}»", f"it has: {', '.join([TOKENIZER, ALL, *plan.stages])}"
        )
    run = prepare(plan, plan.stages[stage], out, sources, resume, start)
    yield from run.train(validate or Probe(run.mixture, run.bank), stop)


def train_all(
    plan: Plan,
    out: Path,
    sources: Sources,
    resume: bool,
    start: Path | None,
    validate: Validate | None,
    stop: Callable[[], bool],
) -> Iterator[Step]:
    """The tokenizer, then every stage of the plan in a folder of its own, then the checkpoint in out/model."""
    for stage in plan.stages.values():  # before the first of them takes an hour
        wants_questions(stage, sources)
    if not (sources.work / TOKENIZER_FILE).exists():
        make_tokenizer(plan, sources, out)
    for name, stage in plan.stages.items():
        run = prepare(plan, stage, out / name, sources, resume, start)
        yield from run.train(validate or Probe(run.mixture, run.bank), stop)
        if stop():
            return
        start = out / name
    assert start is not None, "a plan has stages"
    export(start, out / FINISHED)


def prepare(plan: Plan, stage: Stage, out: Path, sources: Sources, resume: bool, start: Path | None) -> Run:
    """A run of a stage, with data at hand and weights loaded."""
    wants_questions(stage, sources)
    not_begun_anew(out, resume)
    words = Words(sources.work / TOKENIZER_FILE)
    corpus = tokenise(
        sources.text,
        words,
        sources.work / "text.u16",
        str(plan.data.get("pattern", "*.jsonl*")),
        int(plan.data.get("tokens", 30_000_000)),
    )
    questions = read_questions(sources.questions) if sources.questions else []
    torch.manual_seed(stage.seed)
    shape = replace(plan.shape, vocabulary=words.size)
    sample = torch.from_numpy(corpus.tokens[:FREQUENCY_SAMPLE].astype(np.int64))
    model = initialise(MPlus(shape.config()), frequencies=log_frequencies(sample, words.size))
    if in_bfloat16(stage):
        use_grouped_attention(model)
    run = Run(out, model, Mixture(stage, words, corpus, questions, shape.config().chunk_tokens))
    if start is not None:
        same_tokenizer(start, sources.work)
    with kept("the run"):
        out.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(sources.work / TOKENIZER_FILE, out / TOKENIZER_FILE)
    if resume and run.resume():
        return run
    if start is not None and not Run(start, model, run.mixture).resume(weights_only=True):
        raise TrainingError(f"{start} holds no saved run", "name the folder of a stage that has run")
    if stage.lexical:
        begin_searching(model, corpus, stage.seed, layers=stage.lexical_layers)
    return run


def wants_questions(stage: Stage, sources: Sources) -> None:
    """Raises TrainingError for a stage that asks about passages where no folder of questions is named."""
    if stage.asks and sources.questions is None:
        raise TrainingError("this stage asks questions about passages", "name a folder of them with --questions")


def same_tokenizer(start: Path, work: Path) -> None:
    """Raises TrainingError where a run has other tokens than those at hand."""
    before = start / TOKENIZER_FILE
    if before.is_file() and before.read_bytes() != (work / TOKENIZER_FILE).read_bytes():
        raise TrainingError(f"{start} was trained with another tokenizer", f"put its {TOKENIZER_FILE} into {work}")


def make_tokenizer(plan: Plan, sources: Sources, out: Path) -> None:
    """The tokenizer stage: a sample of the text and all question texts."""
    most = int(plan.data.get("sample_characters", 40_000_000))

    def sample() -> Iterator[str]:
        left = most
        for document in documents(sources.text, str(plan.data.get("pattern", "*.jsonl*"))):
            text = str(document["text"])[:80_000]
            left -= len(text)
            yield text
            if left < 0:
                break
        for one in read_questions(sources.questions, limit=4000) if sources.questions else []:
            yield f"{one.passage}\nQuestion: {one.question} Answer: {one.answers[0]}\n"

    with kept("the run"):
        out.mkdir(parents=True, exist_ok=True)
    train_tokenizer(sample(), plan.shape.vocabulary, sources.work / TOKENIZER_FILE)
