"""Questions on real passages: the passage in memory, or in the prompt (re-reading)."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from model.errors import ModelError
from model.training.data import Asked, Corpus, Episode, Span, Words, sentences
from model.training.needles import answer_tokens, question_tokens
from model.training.searches import content_words
from model.training.tokenizer import json_lines

TRAINED_ON = ("fairytaleqa", "qamr", "babi", "onestopqa")  # sets whose licence allows weights to be shipped
LONGEST_ANSWER = 60  # characters


@dataclass(frozen=True, slots=True)
class Question:
    """A question about a passage; `support`: characters of the passage that hold the answer, (0, 0) if unknown."""

    set: str
    passage: str
    question: str
    answers: tuple[str, ...]
    support: Span
    title: str = ""


def read_questions(folder: Path, sets: tuple[str, ...] = TRAINED_ON, limit: int = 20_000) -> list[Question]:
    """Questions with short answers of some sets. Raises ModelError where the folder has none of them."""
    found: list[Question] = []
    for name in sets:
        for file in (folder / f"{name}.jsonl.xz", folder / f"{name}.jsonl"):
            if file.is_file():
                some = [q for raw in json_lines(file) if (q := parse(name, raw)) is not None]
                random.Random(name).shuffle(some)
                found += some[:limit]
    if not found:
        raise ModelError(f"no questions in {folder}", f"it should hold one of: {', '.join(sets)} (.jsonl or .jsonl.xz)")
    return found


def parse(name: str, raw: dict[str, object]) -> Question | None:
    """One line of a question file, None where it has no passage or only long answers."""
    passage, answers = raw.get("context"), raw.get("answers")
    if not isinstance(passage, str) or not isinstance(answers, list):
        return None
    short = tuple(str(a).strip() for a in answers if 0 < len(str(a).strip()) <= LONGEST_ANSWER)
    if not short or not str(raw["question"]).strip():
        return None
    question = re.sub(r"\s*\?\s*$", "?", str(raw["question"]).strip())
    support = raw.get("support")
    hint = str(support[-1]) if isinstance(support, list) and support else ""
    return Question(
        name, passage, question, short, find_support(passage, question, short, hint), str(raw.get("title", ""))
    )


def sentence_spans(passage: str) -> list[Span]:
    """Character spans of the sentences of a passage, by their closing marks."""
    ends = [m.end() for m in re.finditer(r"[.!?][\"”’')]*(?=\s|$)|\n", passage)]
    bounds = [0, *ends, len(passage)]
    return [(a, b) for a, b in pairwise(bounds) if passage[a:b].strip()]


def find_support(passage: str, question: str, answers: tuple[str, ...], hint: str) -> Span:
    """The sentence that holds the answer and shares most words with the question."""
    if hint and hint in passage:
        return passage.index(hint), passage.index(hint) + len(hint)
    asked = {w.lower()[:5] for w in content_words(question)}

    def worth(span: Span) -> float:
        text = passage[span[0] : span[1]]
        shared = len(asked & {w.lower()[:5] for w in content_words(text)})
        holds = any(answer.lower() in text.lower() for answer in answers)
        return 2.0 * holds + shared / (1 + len(asked))

    spans = sentence_spans(passage)
    return max(spans, key=worth) if spans else (0, 0)


def encode_passage(words: Words, one: Question) -> tuple[list[int], Span]:
    """Tokens of the passage, and the token span of its support."""
    ids, offsets = words.offsets(one.passage)
    inside = [i for i, (a, b) in enumerate(offsets) if a < one.support[1] and b > one.support[0]]
    return ids, (inside[0], inside[-1] + 1) if inside else (0, 0)


def cut_around(rng: random.Random, ids: list[int], span: Span, most: int) -> tuple[list[int], Span]:
    """At most `most` tokens of a passage that still hold the span."""
    if len(ids) <= most:
        return ids, span
    low, high = max(0, span[1] - most), min(span[0], len(ids) - most)
    start = rng.randint(low, high) if low <= high else min(span[0], len(ids) - most)
    return ids[start : start + most], (max(0, span[0] - start), min(most, span[1] - start))


def spelled(rng: random.Random, one: Question) -> tuple[str, str]:
    """Question and one of its shortest answers."""
    return one.question, min(one.answers, key=len) if rng.random() < 0.8 else rng.choice(one.answers)


def memory_question(
    rng: random.Random, words: Words, corpus: Corpus, one: Question, total: int, room: int
) -> Episode | None:
    """The passage in memory among book text, the question in the prompt; None where they do not fit."""
    ids, span = cut_around(rng, *encode_passage(words, one), total)
    before = rng.randint(0, total - len(ids))
    filler = corpus.passage(rng, total)
    tokens = filler[:before] + ids + filler[before + len(ids) :]
    episode = Episode(tokens, [], [], kind="memory question")
    return _asked(rng, words, episode, one, [], room, ((span[0] + before, span[1] + before),))


def prompt_question(
    rng: random.Random, words: Words, corpus: Corpus, one: Question, total: int, room: int
) -> Episode | None:
    """The passage in the prompt, in front of the question, behind a memory of book text (re-reading)."""
    question, _ = spelled(rng, one)
    spare = room - len(question_tokens(words, question)) - 24
    if spare < 32:
        return None
    ids, _ = cut_around(rng, *encode_passage(words, one), spare)
    if len(ids) < spare - 32 and rng.random() < 0.5:  # several passages, as re-reading hands them over
        other = corpus.passage(rng, rng.randint(16, spare - len(ids) - 8))
        ids = [*ids, *words.newline, *other] if rng.random() < 0.5 else [*other, *words.newline, *ids]
    episode = Episode(corpus.passage(rng, total) if total else [], [], [], kind="prompt question")
    return _asked(rng, words, episode, one, [*ids, *words.newline], room)


def prompt_cloze(rng: random.Random, words: Words, corpus: Corpus, total: int, room: int) -> Episode | None:
    """A passage of a book in the prompt with questions made from it."""
    from model.training.searches import search_in

    both = corpus.passage(rng, total + rng.randint(48, max(49, room - 64)))
    passage = both[total:]
    prompt, weights = [*passage, *words.newline], [0.0] + [0.1] * len(passage)
    asked: list[Asked] = []
    for _ in range(3):
        made = search_in(rng, words, passage)
        if made is None:
            continue
        answered = answer_tokens(words, made[1])
        if len(prompt) + len(made[0]) + len(answered) > room:
            break
        end = len(prompt) + len(made[0])
        asked.append(Asked((0, end), (end, end + len(answered))))
        prompt += made[0] + answered
        weights += [0.0] * len(made[0]) + [1.0] * len(answered)
    return Episode(both[:total], prompt, weights, asked, kind="prompt cloze") if asked else None


def _asked(
    rng: random.Random,
    words: Words,
    episode: Episode,
    one: Question,
    passage: list[int],
    room: int,
    support: tuple[Span, ...] = (),
) -> Episode | None:
    question, answer = spelled(rng, one)
    asked, answered = question_tokens(words, question), answer_tokens(words, answer)
    if len(passage) + len(asked) + len(answered) > room:
        return None
    start = len(passage) + len(asked)
    episode.prompt = passage + asked + answered
    episode.weights = [0.05] * start + [1.0] * len(answered)
    episode.asked = [Asked((0, start), (start, start + len(answered)), support)]
    return episode


def has_sentences(words: Words, tokens: list[int]) -> bool:
    """Whether a passage holds at least one whole sentence."""
    return bool(sentences(tokens, words.ends))
