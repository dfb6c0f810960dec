"""Laws of planted facts: what is planted, what is asked for, and that an oracle scores 1."""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.evaluation import needles
from model.evaluation.common import Subject, background_texts, held_out_books
from model.generate import Reader, RetrievalTrace
from model.training import fact_words
from model.training import needles as made
from tests.training.tiny import story

OPTIONS = argparse.Namespace(seed=0, form="question", trained_words=False, crowd=40)


class Oracle(Subject):
    """Knows the answer of every prompt."""

    known: dict[str, str]

    def answer(self, reader: Reader, prompt: Sequence[int], most: int = 16) -> tuple[str, RetrievalTrace]:
        _, _, trace = reader.prefill(self.ids(prompt))
        return self.known[self.tokenizer.decode(prompt)], trace


@pytest.fixture(scope="module")
def oracle(checkpoint: Path) -> Oracle:
    return Oracle(checkpoint, "cpu", "float32")


def episodes(subject: Subject, data: Path, count: int = 6) -> list[needles.Episode]:
    return [needles.make_episode(subject, held_out_books(data), number, OPTIONS) for number in range(count)]


def test_an_oracle_scores_1_at_every_distance_with_and_without_look_alikes(oracle: Oracle, data: Path) -> None:
    asked = episodes(oracle, data)
    oracle.known = {one.fact.prompt: one.fact.answer for one in asked}
    others = oracle.write_all(background_texts(oracle, held_out_books(data), 40))
    tallies = needles.curves(oracle, asked, others, (0, 10, 40))
    tallies |= needles.crowds(oracle, asked, held_out_books(data), OPTIONS)
    assert {tally.exact().value for tally in tallies.values()} == {1.0}


def test_an_oracle_of_wrong_values_scores_0_and_is_called_mistaken(oracle: Oracle, data: Path) -> None:
    asked = [one for one in episodes(oracle, data) if one.others]
    oracle.known = {one.fact.prompt: one.others[0] for one in asked}
    tally = needles.curves(oracle, asked, [], (0,))[0, True]
    assert tally.exact().value == 0
    assert all(tally.mistaken)


@pytest.mark.parametrize("form", needles.FORMS)
@pytest.mark.parametrize("kind", fact_words.KINDS)
def test_facts_of_a_document_are_of_one_kind_about_different_held_out_people(kind: str, form: str) -> None:
    facts = needles.make_facts(random.Random(1), kind, form, held=True, count=4)
    assert len({fact.name for fact in facts}) == len({fact.prompt for fact in facts}) == 4
    for fact in facts:
        first, last = fact.name.split()
        assert first in fact_words.HELD_FIRST
        assert last in fact_words.HELD_LAST
        assert fact.answer in fact.sentence
        assert fact.name in fact.prompt
        assert fact.answer not in fact.prompt


def test_training_never_says_what_is_held_out() -> None:
    rng = random.Random(0)
    held = [statements[-1] for statements, _ in fact_words.TEMPLATES.values()]
    for _ in range(300):
        kind = rng.choice(fact_words.KINDS)
        fact = needles.make_fact(rng, kind, "question", False, "Anna Quint")
        shapes = [said.format(n="Anna Quint", v=fact.answer, o=thing) for said in held for thing in fact_words.THING]
        assert fact.sentence not in shapes


def test_nobody_of_the_crowd_is_asked_for() -> None:
    rng = random.Random(0)
    crowd = {needles.look_alike_name(rng) for _ in range(2000)}
    asked = {f"{first} {last}" for first in fact_words.HELD_FIRST for last in fact_words.HELD_LAST}
    assert not crowd & asked
    assert {name.split()[0] for name in crowd} & set(fact_words.HELD_FIRST)


def test_planted_sentences_stand_whole_in_the_text_at_their_spans(subject: Subject) -> None:
    facts = needles.make_facts(random.Random(2), "city", "question", True, 4)
    ids, spans = needles.plant(random.Random(3), subject.tokenizer, story(9), facts, 400)
    assert subject.tokenizer.decode(ids).count(facts[0].sentence) == 1
    for fact, (start, end) in zip(facts, spans, strict=True):
        assert fact.sentence in subject.tokenizer.decode(ids[start:end])
        assert len(subject.tokenizer.decode(ids[start:end])) <= len(fact.sentence) + 3
    assert spans == sorted(spans)


def test_recalling_all_rows_of_the_sentence_is_1_and_none_is_0(subject: Subject, data: Path) -> None:
    (episode,) = episodes(subject, data, 1)
    rows = torch.tensor(subject.rows_of(episode.document, episode.span))
    layers = subject.config.layers
    assert needles.recalled(subject, episode, RetrievalTrace(recalled=[rows] * layers)) == (1.0, 1.0)
    assert needles.recalled(subject, episode, RetrievalTrace(recalled=[rows[:0]] * layers)) == (0.0, 0.0)
    one = needles.recalled(subject, episode, RetrievalTrace(recalled=[rows[:1]] * layers))
    assert one == (1.0, pytest.approx(1 / len(rows)))
    rowless = replace(episode, span=(episode.span[0], episode.span[0]))  # fewer rows than tokens can leave it none
    assert needles.recalled(subject, rowless, RetrievalTrace(recalled=[rows] * layers)) == (0.0, 0.0)


@pytest.mark.parametrize("kind", fact_words.KINDS)
def test_values_are_as_many_as_can_be_drawn(kind: str) -> None:
    rng = random.Random(0)
    assert len({made.value(rng, kind, True) for _ in range(20_000)}) == needles.value_count(kind)


def test_the_crowd_has_as_many_chunks_as_asked_for(subject: Subject, data: Path) -> None:
    for kind in fact_words.KINDS:
        found = needles.crowd(subject, held_out_books(data), kind, OPTIONS, 80)
        assert [len(one.lengths) for one in found] == [40, 40]
