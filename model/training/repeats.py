"""Repeats: a sequence that only memory can help to predict. Random tokens trigger copying; natural text does not."""

from __future__ import annotations

import random

from model.training.data import Corpus, Episode, Words

FIRST_PLAIN = 2  # tokens below are special
LEAD = 4  # tokens of the piece before the loss counts: they say which piece is meant


def random_repeat(rng: random.Random, words: Words, total: int, room: int, question: int = 0) -> Episode:
    """Random tokens written, and a piece of them to be repeated."""
    tokens = [rng.randrange(FIRST_PLAIN, words.size) for _ in range(total)]
    return piece_of(rng, tokens, room, "repeat", language=False)


def text_repeat(rng: random.Random, corpus: Corpus, total: int, room: int) -> Episode:
    """Book text written, and a piece of it to be repeated."""
    return piece_of(rng, corpus.passage(rng, total), room, "text repeat", language=True)


def piece_of(rng: random.Random, tokens: list[int], room: int, kind: str, language: bool) -> Episode:
    """An episode that repeats a piece of its own tokens; the first LEAD tokens are the query."""
    length = min(room, max(LEAD + 1, len(tokens) - 1))
    start = rng.randrange(max(1, len(tokens) - length + 1))
    piece = tokens[start : start + length]
    weights = [0.0] * LEAD + [1.0] * (len(piece) - LEAD)
    return Episode(tokens, piece, weights[: len(piece)], answers=[], language=language, kind=kind)


def continuation(rng: random.Random, corpus: Corpus, total: int, room: int, weight: float) -> Episode:
    """Book text, and the text that follows it, read behind its memory."""
    both = corpus.passage(rng, total + room)
    return Episode(both[:total], both[total:], [0.0] + [weight] * (room - 1), kind="continuation")
