"""Inverse cloze: questions made from the sentences of a book, so that the retriever learns to find passages.

A question is some of a sentence's words, in order or shuffled, with a question word in front; the word that is left
out is the answer. It is noisy, free, and as varied as the books themselves.
"""

from __future__ import annotations

import random
import re

from model.training.data import Asked, Corpus, Episode, Search, Span, Words, sentences
from model.training.fact_words import many
from model.training.needles import answer_tokens, question_tokens

WORD = re.compile(r"[A-Za-z][A-Za-z'’-]*[A-Za-z]|[A-Za-z]|\d+")
COMMON = frozenset(
    many(
        """
        a an the and or but nor so if then than that this these those there here it its he him his she her hers
        they them their we us our you your i me my mine who whom whose which what when where why how is are was
        were be been being am do does did done have has had having will would shall should can could may might
        must not no yes of in on at to from by for with about into over under after before as up down out off
        again very too also only just more most some any all each every other such own same s t don now said one
        upon
        """
    )
)
ASKING = ("What", "Who", "Where", "Which", "When", "Why", "How")
GLUE = ("did", "the", "of", "was", "in", "to", "a", "with", "that", "is", "do", "by", "his", "her")
HEADS = {
    "name": ("Who", "Who", "What", "Which", "Where", "Whom"),
    "number": ("How many", "When", "What"),
    "word": ("What", "What", "Which", "Where", "How", "Who"),
}


def content_words(sentence: str) -> list[str]:
    """Words that carry the matter of a sentence, in order."""
    return [word for word in WORD.findall(sentence) if word.lower() not in COMMON and len(word) > 1]


def varied(rng: random.Random, word: str) -> str:
    """A word as a question would have it: sometimes another ending or case."""
    draw = rng.random()
    if draw < 0.1:
        return re.sub(r"(ing|ed|es|s)$", "", word) or word
    if draw < 0.15 and word[-1:].isalpha():
        return word + rng.choice(("s", "ed", "ing"))
    if draw < 0.18:
        return word.lower()
    return word


def answer_word(rng: random.Random, words: list[str], sentence: str) -> tuple[str, str]:
    """The word to leave out and its kind: a name, a number or another word."""
    names = [w for w in words if w[0].isupper() and not sentence.lstrip(" \n“\"'").startswith(w)]
    numbers = [w for w in words if w.isdigit()]
    if numbers and rng.random() < 0.5:
        return rng.choice(numbers), "number"
    if names and rng.random() < 0.7:
        return rng.choice(names), "name"
    return rng.choice(words), "word"


def question_about(rng: random.Random, sentence: str) -> tuple[str, str] | None:
    """A question-like piece of a sentence and the word left out; None where the sentence says too little."""
    words = content_words(sentence)
    if len(words) < 3:
        return None
    answer, kind = answer_word(rng, words, sentence)
    rest = [w for w in words if w != answer]
    if len(rest) < 2:
        return None
    head = rng.choice(HEADS[kind])
    draw = rng.random()
    if draw < 0.25:
        return f"{head} {span_of(rng, sentence, answer)}?", answer
    most = min(len(rest), rng.choice((2, 2, 3, 3, 4, 5, 6)))
    start = rng.randrange(len(rest) - most + 1) if rng.random() < 0.5 else -1
    picked = rest[start : start + most] if start >= 0 else [rest[i] for i in sorted(rng.sample(range(len(rest)), most))]
    if draw > 0.75:
        rng.shuffle(picked)
    out = []
    for word in picked:
        if rng.random() < 0.45:
            out.append(rng.choice(GLUE))
        out.append(varied(rng, word))
    return f"{head} {' '.join(out)}?", answer


def span_of(rng: random.Random, sentence: str, without: str) -> str:
    """Some words in a row of a sentence, as they stand, without one word."""
    words = [w for w in sentence.split() if without not in w]
    length = min(len(words), rng.randint(4, 12))
    start = rng.randrange(max(1, len(words) - length + 1))
    return " ".join(words[start : start + length]).strip(" .,;:!?“”\"'—-")


def search_in(
    rng: random.Random, words: Words, tokens: list[int], most: int = 28
) -> tuple[list[int], str, Span] | None:
    """A question about one sentence of a passage: (prompt tokens, answer, span of the sentence), None if none fits."""
    spans = sentences(tokens, words.ends)
    rng.shuffle(spans)
    for start, end in spans[:4]:
        made = question_about(rng, words.decode(tokens[start:end]))
        if made is not None:
            asked = question_tokens(words, made[0])
            if len(asked) <= most:
                return asked, made[1], (start, end)
    return None


def searches_for(rng: random.Random, words: Words, episodes: list[Episode], each: int) -> list[Search]:
    """Questions for the retriever alone about the written text of every episode that is a text."""
    found = []
    for number, episode in enumerate(episodes):
        if episode.language and episode.tokens:
            for _ in range(each):
                made = search_in(rng, words, episode.tokens)
                if made is not None:
                    found.append(Search(number, made[0], [made[2]]))
    return found


def cloze_episode(rng: random.Random, words: Words, corpus: Corpus, total: int, room: int) -> Episode | None:
    """Book text in memory, and questions about its sentences with the word left out as the answer."""
    tokens = corpus.passage(rng, total)
    episode = Episode(tokens, [], [], kind="cloze")
    for _ in range(3):
        made = search_in(rng, words, tokens)
        if made is None:
            continue
        asked, answer, span = made
        answered = answer_tokens(words, answer)
        start = len(episode.prompt)
        if start + len(asked) + len(answered) > room:
            break
        end = start + len(asked)
        episode.asked.append(Asked((start, end), (end, end + len(answered)), (span,)))
        episode.prompt += asked + answered
        episode.weights += [0.05] * len(asked) + [1.0] * len(answered)
    return episode if episode.prompt else None
