"""The deterministic mixture: step number in, batch out."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch

from model.training.data import Asked, Batch, Corpus, Episode, Words, chunk_lengths, collate
from model.training.needles import NeedleSettings, alike, needle_episode, vocabulary_of
from model.training.questions import Question, memory_question, prompt_cloze, prompt_question
from model.training.repeats import continuation, random_repeat, text_repeat
from model.training.searches import cloze_episode, searches_for
from model.training.stages import Stage

ALIKE_STEPS = 6  # steps in a row whose facts are of one kind: as many as fill a bank
ALIKE_NAMES = 24  # first names, and last names, of the people in them
FREE_ROOM = (
    48  # tokens of a prompt that asks nothing, where each question is a prompt of its own: all are as wide as one
)
FREE = ("repeat", "text repeat", "continuation")
TRIES = 8  # a question whose answer does not fit is drawn anew


@dataclass
class Mixture:
    """Batches of a stage. `batch(step)` depends on the stage, the data and the step only."""

    stage: Stage
    words: Words
    corpus: Corpus
    questions: list[Question]
    chunk: int
    _by_set: dict[str, list[Question]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for one in self.questions:
            self._by_set.setdefault(one.set, []).append(one)
        self.needles = NeedleSettings(
            one_type=self.stage.one_type,
            cloze=self.stage.cloze,
            pairs=self.stage.pairs,
            questions=self.stage.questions,
            density=self.stage.density,
            words=vocabulary_of(self.words, self.corpus, self.stage.sayings),
            same_share=self.stage.alike,
        )

    def random(self, step: int) -> random.Random:
        """The source of all draws of a step."""
        return random.Random(f"{self.stage.seed}/{step}")

    def generator(self, step: int) -> torch.Generator:
        """The source of the drops of a step."""
        return torch.Generator().manual_seed(self.stage.seed * 1_000_003 + step)

    def batch(self, step: int) -> Batch:
        """The batch of a step."""
        rng = self.random(step)
        long = rng.random() < self.stage.long_share
        full = rng.random() < self.stage.full_share
        count = rng.choice((0, 1)) if long else rng.choice(self.stage.chunks)
        size = self.stage.long_batch if long else self.stage.batch
        room = self.stage.long_room if long else self.stage.room
        weights = self.stage.long_mixture if long else self.stage.mixture
        short = rng.random() < self.stage.short
        lengths = [rng.randint(6, self.chunk // 2)] * count if short else chunk_lengths(rng, count, self.chunk)
        how = self.needles_at(step)
        single = self.stage.full_questions if full and not long else 0
        episodes = [self.episode(rng, weights, sum(lengths), room, how, single > 0) for _ in range(size)]
        searches = searches_for(rng, self.words, episodes, self.stage.searches) if count else []
        return replace(collate(episodes, lengths, searches, single), full=full)

    def needles_at(self, step: int) -> NeedleSettings:
        """How facts are made in a step: those of a share of its episodes resemble those of the steps around it."""
        if not self.stage.alike:
            return self.needles
        rng = random.Random(f"{self.stage.seed}/alike/{step // ALIKE_STEPS}")
        return replace(self.needles, same=alike(rng, self.needles.words, ALIKE_NAMES))

    def episode(
        self, rng: random.Random, weights: dict[str, float], total: int, room: int, how: NeedleSettings, single: bool
    ) -> Episode:
        """An episode of a kind drawn by weight; `single`: each of its questions will be a prompt of its own."""
        kind = rng.choices(list(weights), list(weights.values()))[0]
        room = min(room, FREE_ROOM) if single and kind in FREE else room
        made = None
        for _ in range(TRIES):
            made = made or self._make(kind, rng, total, room, how)
        return made or continuation(rng, self.corpus, total, min(room, 64), 0.3)

    def _make(self, kind: str, rng: random.Random, total: int, room: int, how: NeedleSettings) -> Episode | None:
        words, corpus = self.words, self.corpus
        makers: dict[str, Callable[[], Episode | None]] = {
            "repeat": lambda: random_repeat(rng, words, total, room),
            "text repeat": lambda: text_repeat(rng, corpus, total, room),
            "needle": lambda: needle_episode(rng, words, corpus, total, room, how),
            "cloze": lambda: cloze_episode(rng, words, corpus, total, room),
            "continuation": lambda: continuation(rng, corpus, total, room, 0.3),
            "memory question": lambda: memory_question(rng, words, corpus, self.question(rng), total, room),
            "prompt question": lambda: prompt_question(rng, words, corpus, self.question(rng), total, room),
            "prompt cloze": lambda: prompt_cloze(rng, words, corpus, total, room),
            "prompt needle": lambda: self._prompt_needle(rng, total, room, how),
        }
        made = makers[kind]()
        return made if made is None or made.prompt else None

    def question(self, rng: random.Random) -> Question:
        """A question of a set drawn by the fourth root of its size: small sets count too."""
        names = list(self._by_set)
        name = rng.choices(names, [len(self._by_set[n]) ** 0.25 for n in names])[0]
        return rng.choice(self._by_set[name])

    def _prompt_needle(self, rng: random.Random, total: int, room: int, how: NeedleSettings) -> Episode | None:
        inside = needle_episode(rng, self.words, self.corpus, rng.randint(40, room - 110), 100, how)
        lead = [*inside.tokens, *self.words.newline]
        prompt = lead + inside.prompt
        shift = len(lead)
        asked = [Asked((0, one.question[1] + shift), (one.answer[0] + shift, one.answer[1] + shift))
                 for one in inside.asked]  # fmt: skip
        written = self.corpus.passage(rng, total) if total else []
        weights = [0.0] + [0.05] * (len(lead) - 1) + inside.weights
        return Episode(written, prompt, weights, asked, kind="prompt needle") if asked else None
