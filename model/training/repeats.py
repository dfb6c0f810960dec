"""Repeats: a sequence that only memory can help to predict. Random tokens trigger copying; natural text does not."""

from __future__ import annotations

import random

from model.training.data import Corpus, Episode, Words

FIRST_PLAIN = 2  # tokens below are special
LEAD = 2  # tokens of a piece before the loss counts: they say which piece is meant
PIECE = (6, 28)  # tokens of a piece


def random_repeat(rng: random.Random, words: Words, total: int, room: int) -> Episode:
    """Random tokens written, and a piece of them to be repeated."""
    tokens = [rng.randrange(FIRST_PLAIN, words.size) for _ in range(total)]
    return pieces_of(rng, tokens, room, "repeat", language=False)


def text_repeat(rng: random.Random, corpus: Corpus, total: int, room: int) -> Episode:
    """Book text written, and a piece of it to be repeated."""
    return pieces_of(rng, corpus.passage(rng, total), room, "text repeat", language=True)


def pieces_of(rng: random.Random, tokens: list[int], room: int, kind: str, language: bool) -> Episode:
    """An episode that repeats pieces of its own tokens, from random places.

    Short pieces from anywhere: with one long piece a model finds out that "so many rows back" is right as well, and
    learns positions in place of content.
    """
    prompt: list[int] = []
    weights: list[float] = []
    while room - len(prompt) > LEAD and len(tokens) > LEAD:
        length = min(rng.randint(*PIECE), room - len(prompt), len(tokens))
        start = rng.randrange(len(tokens) - length + 1)
        prompt += tokens[start : start + length]
        weights += ([0.0] * LEAD + [1.0] * length)[:length]
    return Episode(tokens, prompt or tokens[:1], weights or [0.0], language=language, kind=kind)


def continuation(rng: random.Random, corpus: Corpus, total: int, room: int, weight: float) -> Episode:
    """Book text, and the text that follows it, read behind its memory."""
    both = corpus.passage(rng, total + room)
    return Episode(both[:total], both[total:], [0.0] + [weight] * (room - 1), kind="continuation")
