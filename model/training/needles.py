"""Planted facts: sentences about invented people, hidden in running text, and the questions that ask for them.

Names, values and templates are parted into those of training and those held out for measuring. In a one-type episode
all facts are of the same kind, so that only the name tells them apart: mixed kinds give the answer away.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from model.training.data import Asked, Corpus, Episode, Span, Words, flatten
from model.training.fact_words import (
    ANIMAL,
    ASIDES,
    BEFORE,
    BEHIND,
    CITY,
    COLOUR,
    FIRST,
    FOOD,
    HELD_CITY,
    HELD_FIRST,
    HELD_LAST,
    JOB,
    KINDS,
    LAST,
    PAIR,
    PLACE,
    SYLLABLES,
    THING,
    TRAINED,
)
from model.training.sayings import Saying, say, sayings_of

QUESTION, ANSWER = "Question:", " Answer:"  # around a question in every prompt


@dataclass(frozen=True, slots=True)
class Fact:
    """A sentence, a question about it and the answer."""

    sentence: str
    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Words of books that stand beside those of the lists: what is learnt for a few words holds for those few only."""

    names: tuple[str, ...] = ()
    nouns: tuple[str, ...] = ()
    sayings: tuple[Saying, ...] = ()
    said: float = 0.0  # share of the statements that are sayings


@dataclass(frozen=True, slots=True)
class Alike:
    """What the facts of some steps in a row have in common: their kind, and few first and last names."""

    kind: str
    first: tuple[str, ...]
    last: tuple[str, ...]


def syllables(rng: random.Random) -> str:
    """An invented name."""
    return "".join(rng.choice(SYLLABLES) for _ in range(rng.choice((2, 2, 3)))).capitalize()


def invented(rng: random.Random, names: Sequence[str]) -> str:
    """Something that can be a name: one of `names`, where there are any, or syllables."""
    return rng.choice(names) if names and rng.random() < 0.5 else syllables(rng)


def vocabulary_of(words: Words, corpus: Corpus, said: float = 0.0, tokens: int = 3_000_000) -> Vocabulary:
    """Words and (where `said` wants some) sayings of the books' first tokens, sorted; none that is held out.

    Names stand inside of a sentence with a capital; nouns end a phrase that began with an article or a possessive.
    """
    held = {*HELD_FIRST, *HELD_LAST, *HELD_CITY}
    text = words.decode(corpus.tokens[:tokens].tolist())
    names = set(re.findall(r"(?<=[a-z,] )[A-Z][a-z]{2,9}\b", text))
    nouns = set(re.findall(r"\b(?:the|a|an|his|her|of) ([a-z]{3,10})(?=[,.;])", text))
    sayings = sayings_of(" ".join(text.split()), nouns) if said else ()
    return Vocabulary(tuple(sorted(names - held)), tuple(sorted(nouns)), sayings, said if sayings else 0.0)


def person(rng: random.Random, held: bool, names: Sequence[str] = ()) -> str:
    """First and last name, of the held-out lists or of the training's: from its lists, from `names`, or invented."""
    if held:
        return f"{rng.choice(HELD_FIRST)} {rng.choice(HELD_LAST)}"
    return " ".join(name_part(rng, listed, names) for listed in (FIRST, LAST))


def name_part(rng: random.Random, listed: Sequence[str], names: Sequence[str]) -> str:
    """A first or a last name of the training."""
    return rng.choice(listed) if rng.random() < 0.4 else invented(rng, names)


def alike(rng: random.Random, words: Vocabulary, count: int) -> Alike:
    """A kind, and `count` first and last names, so that many people share one of theirs."""
    first, last = (tuple(name_part(rng, some, words.names) for _ in range(count)) for some in (FIRST, LAST))
    return Alike(rng.choice(tuple(TRAINED)), first, last)


def value(rng: random.Random, kind: str, held: bool, words: Vocabulary = Vocabulary()) -> str:
    """A value of a kind of fact: of its list, or (where `words` has some) a noun of the books a fifth of the time."""
    if kind == "number":
        return str(rng.randrange(100, 1000))
    if kind == "year":
        return str(rng.randrange(1500, 2000))
    if kind == "friend":
        return person(rng, held, words.names)
    if kind == "city":
        return rng.choice(HELD_CITY) if held else rng.choice(CITY) if rng.random() < 0.4 else invented(rng, words.names)
    listed = {"job": JOB, "place": PLACE, "food": FOOD, "animal": ANIMAL, "thing": THING}[kind]
    word = rng.choice(words.nouns if words.nouns and rng.random() < 0.2 else listed)
    return f"{rng.choice(COLOUR)} {word}" if kind == "animal" else word


def fact(
    rng: random.Random, kind: str, held: bool = False, words: Vocabulary = Vocabulary(), same: Alike | None = None
) -> Fact:
    """One fact about a new person; with `same` one who shares a name with others."""
    name = f"{rng.choice(same.first)} {rng.choice(same.last)}" if same else person(rng, held, words.names)
    if kind == PAIR:
        found = value(rng, rng.choice(KINDS), held, words)
        return Fact(f"{name} {found}.", f"{name}?", found)
    found, thing = value(rng, kind, held, words), rng.choice(THING)
    statements, questions = TRAINED[kind]
    if held:
        said, asked = statements[-1], questions[-1]
    elif words.said and rng.random() < words.said and "{o}" not in questions[0]:
        said, asked = say(rng, words.sayings, questions[:-1], free=kind == "thing")
    else:
        said = dressed(rng, with_aside(rng, rng.choice(statements[:-1]), words.nouns))
        asked = rng.choice(questions[:-1])
    return Fact(said.format(n=name, v=found, o=thing), asked.format(n=name, v=found, o=thing), found)


def with_aside(rng: random.Random, statement: str, nouns: Sequence[str]) -> str:
    """A statement as it is, or (four times in ten where it begins with the name) with another noun behind the name.

    What else could be a value stands near it then, and only what the question asks for tells them apart.
    """
    if not statement.startswith("{n} ") or rng.random() >= 0.4:
        return statement
    listed = rng.choice((JOB, PLACE, FOOD, THING, ANIMAL))
    other = rng.choice(nouns if nouns and rng.random() < 0.7 else listed)
    return "{n}" + rng.choice(ASIDES).replace("{w}", other) + statement.removeprefix("{n}")


def dressed(rng: random.Random, statement: str) -> str:
    """A statement as it is, or with some words before or behind it."""
    if rng.random() < 0.25:
        start = statement if statement.startswith("{") else statement[0].lower() + statement[1:]
        statement = f"{rng.choice(BEFORE)} {start}"
    return statement[:-1] + rng.choice(BEHIND) + "." if rng.random() < 0.2 else statement


def facts(
    rng: random.Random,
    count: int,
    one_type: bool,
    pairs: float,
    held: bool = False,
    words: Vocabulary = Vocabulary(),
    same: Alike | None = None,
) -> list[Fact]:
    """`count` facts about different people; with `one_type` all of one kind, with `same` of its kind and names."""
    kinds = KINDS if held else tuple(TRAINED)
    only = PAIR if rng.random() < pairs else same.kind if same else rng.choice(kinds)
    found: list[Fact] = []
    names: set[str] = set()
    for _ in range(count * 4):
        one = fact(rng, only if one_type or same else rng.choice(kinds), held, words, same)
        if one.question not in names and len(found) < count:
            names.add(one.question)
            found.append(one)
    return found


def plant(
    rng: random.Random, text: list[int], sentences: list[list[int]], ends: object = None
) -> tuple[list[int], list[Span]]:
    """Put token sentences into a text at random places; the text loses as many tokens at its end.

    Returns the tokens (as many as before) and the span of each sentence, in the order given.
    """
    room = len(text) - sum(map(len, sentences))
    assert room >= 0, "facts must fit"
    cuts = sorted(rng.randrange(room + 1) for _ in sentences)
    out: list[int] = []
    spans: list[Span] = []
    at = 0
    for cut, sentence in zip(cuts, sentences, strict=True):
        out += text[at:cut]
        at = cut
        spans.append((len(out), len(out) + len(sentence)))
        out += sentence
    return out + text[at:room], spans


def question_tokens(words: Words, question: str) -> list[int]:
    """The prompt of a question, up to where the answer starts."""
    return words.short(QUESTION) + words.encode(" " + question) + words.short(ANSWER)


def own_tokens(words: Words) -> slice:
    """The tokens of such a prompt that are the question's own."""
    return slice(len(words.short(QUESTION)), -len(words.short(ANSWER)))


def answer_tokens(words: Words, answer: str) -> list[int]:
    """An answer and the newline that ends it."""
    return words.encode(" " + answer) + words.newline


def value_span(tokens: list[int], sentence: Span, value: list[int]) -> Span:
    """Where a sentence tells its value: the last place inside it where the value's tokens stand; empty if nowhere."""
    start, end = sentence
    for at in range(end - len(value), start - 1, -1):
        if tokens[at : at + len(value)] == value:
            return at, at + len(value)
    return start, start


@dataclass(frozen=True, slots=True)
class NeedleSettings:
    """How facts are made: per 64 tokens of text, the share of one-type, cloze and name-value episodes."""

    density: tuple[int, ...] = (1, 2, 3)
    one_type: float = 0.7
    cloze: float = 0.4
    pairs: float = 0.3
    questions: int = 4
    question_weight: float = 0.1
    words: Vocabulary = Vocabulary()  # beside those of the lists
    same: Alike | None = None  # what a share of the episodes has in common with those of other episodes
    same_share: float = 0.0


def needle_episode(
    rng: random.Random, words: Words, corpus: Corpus, total: int, room: int, how: NeedleSettings, held: bool = False
) -> Episode:
    """Facts planted in running text, and a prompt that asks for some of them."""
    count = max(1, round(total / 64 * rng.choice(how.density)))
    same = how.same if rng.random() < how.same_share else None
    made = facts(rng, count, rng.random() < how.one_type, how.pairs, held, how.words, same)
    encoded = [words.encode(" " + one.sentence) for one in made]
    while encoded and sum(map(len, encoded)) > total:
        encoded.pop()
        made.pop()
    tokens, spans = plant(rng, corpus.passage(rng, total), encoded)
    episode = Episode(tokens, [], [], kind="needle")
    order = list(range(len(made)))
    rng.shuffle(order)
    for index in order[: how.questions]:
        ask(rng, words, episode, made[index], spans[index], room, how)
    return episode


def ask(
    rng: random.Random, words: Words, episode: Episode, one: Fact, span: Span, room: int, how: NeedleSettings
) -> None:
    """Add a question (or the sentence up to its value) and its answer to the prompt, where there is room."""
    if rng.random() < how.cloze and one.answer in one.sentence:
        asked = words.encode(" " + one.sentence[: one.sentence.rindex(one.answer)].rstrip())
    else:
        asked = question_tokens(words, one.question)
    answer = answer_tokens(words, one.answer)
    start = len(episode.prompt)
    if start + len(asked) + len(answer) > room:
        return
    end = start + len(asked)
    told = value_span(episode.tokens, span, answer[:-1])
    episode.asked.append(Asked((start, end), (end, end + len(answer)), (span, told)))
    episode.prompt += asked + answer
    episode.weights += [how.question_weight] * len(asked) + [1.0] * len(answer)


def passage_of(words: Words, made: list[Fact]) -> list[int]:
    """Facts as one passage of text."""
    return flatten(words.encode(" " + one.sentence) for one in made)
