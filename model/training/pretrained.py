"""Training M+ on a pretrained Llama-family base, alone or under `accelerate launch` (paper, section 4; spec, 7).

python -m model.training.pretrained 1 --config FILE --text FOLDER --work FOLDER --out FOLDER
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from model.errors import ModelError, TrainingError
from model.training.loop import Step, Validate
from model.training.lora import build
from model.training.pretrained_data import REPEAT, base_tokenizer, tokenise_documents
from model.training.pretrained_distributed import Together, join, leave, place
from model.training.pretrained_plan import Machine, estimate
from model.training.pretrained_run import PretrainedRun, first_memory
from model.training.pretrained_saves import export, saved
from model.training.pretrained_stages import PretrainedPlan, PretrainedStage, read_pretrained_plan
from model.training.pretrained_tasks import Teacher
from model.training.saves import not_begun_anew

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


def train_pretrained(
    stage: str,
    plan: PretrainedPlan,
    text: Path,
    work: Path,
    out: Path,
    *,
    resume: bool = False,
    start: Path | None = None,
    together: Together | None = None,
    validate: Validate | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Step]:
    """Run one stage; yields its steps, and writes the checkpoint out/model after the last one.

    `start`: the run folder of the stage before, or of the same stage on another machine (weights alone). Raises
    TrainingError for folders without text, bases without tokenizer, runs of another shape and full disks.
    """
    together = Together() if together is None else together
    chosen = stage_of(plan, stage)
    not_begun_anew(out, resume)
    run = prepare(plan, chosen, text, work, out, together)
    if not (resume and run.resume()) and start is not None:
        run.begin(start)
    yield from run.train(validate, stop)
    if run.step >= chosen.steps and together.first:
        export(Path(plan.base.checkpoint), saved(out), plan.config(chosen), out / "model")


def train_on_base(
    stage: str,
    config: Path,
    text: Path,
    work: Path,
    out: Path,
    *,
    base: Path | None = None,
    resume: bool = False,
    start: Path | None = None,
    validate: Validate | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Step]:
    """`train_pretrained` with a configuration file, in as many processes as were launched; only the first yields."""
    plan = read_pretrained_plan(config, base)
    together = join()
    try:
        for step in train_pretrained(
            stage, plan, text, work, out,
            resume=resume, start=start, together=together, validate=validate, stop=stop,
        ):  # fmt: skip
            if together.first:
                yield step
    finally:
        leave(together)


def stage_of(plan: PretrainedPlan, name: str) -> PretrainedStage:
    """A stage by its name. Raises TrainingError where the plan has none."""
    if name not in plan.stages:
        raise TrainingError(f"there is no stage «{name}»", f"stages are: {', '.join(plan.stages)}")
    return plan.stages[name]


def prepare(
    plan: PretrainedPlan, stage: PretrainedStage, text: Path, work: Path, out: Path, together: Together
) -> PretrainedRun:
    """A run with its documents at hand and its base loaded."""
    base = Path(plan.base.checkpoint)
    config = plan.config(stage)
    words = base_tokenizer(base)
    if together.first:
        tokenise_documents(text, base, plan.text, work)
    together.any(False)  # the others read what the first has tokenised
    source = tokenise_documents(text, base, plan.text, work)
    learner = build(base, config, base_dtype(plan, together), stage.seed)
    place(learner, together)
    state = first_memory(learner, stage, together)
    return PretrainedRun(out, Teacher(learner, stage, state, source, tuple(words.encode(REPEAT)), together))


def base_dtype(plan: PretrainedPlan, together: Together) -> torch.dtype:
    """In which format the base computes. Raises TrainingError for an unknown one."""
    name = plan.base.dtype
    if name == "auto":
        return torch.bfloat16 if together.device.type == "cuda" else torch.float32
    if name not in DTYPES:
        raise TrainingError(f"unknown number format {name!r}", f"base.dtype is auto, {' or '.join(DTYPES)}")
    return DTYPES[name]


def arguments() -> argparse.ArgumentParser:
    """The command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m model.training.pretrained", description=__doc__)
    parser.add_argument("stage", help="1, 2, 3 or a stage of the configuration")
    parser.add_argument("--config", type=Path, required=True, help="TOML with a [base]")
    parser.add_argument("--base", type=Path, help="folder of the base, instead of base.checkpoint")
    parser.add_argument("--text", type=Path, help="folder of JSON Lines with text, plain or xz")
    parser.add_argument("--work", type=Path, help="folder for tokenised text")
    parser.add_argument("--out", type=Path, help="folder of the run")
    parser.add_argument("--start", type=Path, help="run folder to begin from (weights and memory)")
    parser.add_argument("--resume", action="store_true", help="go on where the run in --out stopped")
    parser.add_argument("--plan", action="store_true", help="print what memory and time the stage needs, and stop")
    parser.add_argument("--processes", type=int, default=1, help="with --plan: processes, each with a GPU")
    parser.add_argument("--sharded", action="store_true", help="with --plan: the base lies in parts on all of them")
    parser.add_argument("--tflops", type=float, default=300.0, help="with --plan: sustained TFLOP/s of a GPU")
    return parser


def run(options: argparse.Namespace) -> None:
    """Do what the command line asks; one line of JSON a step on standard output, from the first process."""
    if options.plan:
        plan = read_pretrained_plan(options.config, options.base)
        machine = Machine(options.processes, options.sharded, options.tflops)
        print(estimate(plan.config(stage_of(plan, options.stage)), stage_of(plan, options.stage), machine))
        return
    for name in ("text", "work", "out"):
        if getattr(options, name) is None:
            raise TrainingError(f"--{name} is missing", "name the folders --text, --work and --out")
    interruption = Interruption()
    for step in train_on_base(
        options.stage, options.config, options.text, options.work, options.out, base=options.base,
        resume=options.resume, start=options.start, stop=interruption.wanted,
    ):  # fmt: skip
        line = {"step": step.number, "losses": step.losses, "seconds": round(step.seconds, 3)}
        print(json.dumps(line | {"time": round(time.time())}), flush=True)
    if interruption.seen:
        raise KeyboardInterrupt


class Interruption:
    """Remembers Ctrl-C and SIGTERM until the step that is under way is done; a second one ends at once."""

    def __init__(self) -> None:
        self.seen = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._remember)

    def _remember(self, number: int, frame: object) -> None:
        if self.seen:
            raise KeyboardInterrupt
        self.seen = True

    def wanted(self) -> bool:
        """Whether one has come."""
        return self.seen


def main() -> int:
    """Entry point; one line and a remedy where something cannot be used."""
    try:
        run(arguments().parse_args())
    except ModelError as fault:
        print(f"{fault.message}\n{fault.remedy}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped as asked; the run is saved.\nAdd --resume to go on.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
