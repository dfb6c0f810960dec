"""Shapes, stories and stages small enough to train for seconds."""

from __future__ import annotations

import random
from pathlib import Path

from model.training.cli import Sources, prepare
from model.training.loop import Run
from model.training.stages import Plan, Shape, Stage

SHAPE = Shape(
    vocabulary=320, width=32, layers=2, heads=2, key_value_heads=1, feed_forward=48, rows=8, pool_chunks=3,
    recall_chunks=2, retriever=8, window=128, name="tiny",
)  # fmt: skip
NOUNS = ["king", "queen", "fox", "bird", "ship", "tower", "river", "letter", "sword", "garden", "miller", "baker"]
VERBS = ["found", "lost", "carried", "hid", "saw", "bought", "painted", "followed"]


def story(seed: int, sentences: int = 120) -> str:
    """Plain invented sentences."""
    rng = random.Random(seed)
    made = (
        f"The {rng.choice(NOUNS)} {rng.choice(VERBS)} the {rng.choice(NOUNS)} near the {rng.choice(NOUNS)}."
        for _ in range(sentences)
    )
    return " ".join(made)


def tiny_stage(**changes: object) -> Stage:
    """A stage of a few quick steps."""
    plain: dict[str, object] = {
        "steps": 6, "batch": 4, "chunks": (1, 2), "room": 24, "mixture": {"repeat": 1.0}, "bfloat16": False,
        "warmup": 2, "validate_every": 1000, "save_every": 1000, "searches": 1, "full_share": 0.5, "full_chunks": 8,
    }  # fmt: skip
    return Stage(**(plain | changes))  # type: ignore[arg-type]


def new_run(folder: Path, sources: Sources, resume: bool = False, **changes: object) -> Run:
    """A run of a tiny stage."""
    stage = tiny_stage(**changes)
    return prepare(Plan(SHAPE, {"tiny": stage}, {}), stage, folder, sources, resume, None)
