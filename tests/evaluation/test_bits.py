"""Laws of bits per byte: every arm scores the same tokens, and no arm sees them."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest

from model.evaluation import bits
from model.evaluation.common import Subject, held_out_books


@pytest.fixture(scope="module")
def book(subject: Subject, data: Path) -> bits.ReadBook:
    one = held_out_books(data)[0]
    return bits.read_book(subject, one.title, one.text)


def test_every_arm_reads_up_to_the_scored_tokens_and_not_into_them(book: bits.ReadBook) -> None:
    starts = book.starts()
    for place in bits.places(random.Random(0), book, 3, 8):
        for chunks, prompt in bits.arms(book, place, (16, 64)).values():
            assert prompt.stop == place.start < place.end <= len(book.ids)
            assert starts[chunks] <= prompt.start, "memory and prompt do not overlap"


def test_text_arms_have_no_memory_and_as_many_tokens_as_asked_for(book: bits.ReadBook) -> None:
    for place in bits.places(random.Random(1), book, 3, 8):
        found = bits.arms(book, place, (16,))
        assert found["text 16"][0] == 0
        assert len(found["text 16"][1]) == min(16, place.start)
        assert found["memory + text 16"][1] == found["text 16"][1]


def test_all_arms_are_asked_for_the_same_tokens(subject: Subject, book: bits.ReadBook) -> None:
    asked: list[tuple[int, ...]] = []

    class Spy(Subject):
        def __init__(self) -> None:
            self.__dict__.update(subject.__dict__)

        def reader(self, documents):  # type: ignore[no-untyped-def]
            found = subject.reader(documents)

            class Reader:
                @staticmethod
                def likelihoods(ids, continuations):  # type: ignore[no-untyped-def]
                    asked.extend(tuple(one.tolist()) for one in continuations)
                    return found.likelihoods(ids, continuations)

            return Reader()

    scored = bits.score_book(Spy(), book, 0, 1, 8, (16, 32))
    arms = 5
    assert len(asked) == arms * len(scored)
    for number in range(len(scored)):
        assert len(set(asked[number * arms : (number + 1) * arms])) == 1


def test_places_are_spread_over_the_tenths_of_the_book(book: bits.ReadBook) -> None:
    found = bits.places(random.Random(2), book, 1, 8)
    assert {place.tenth for place in found} == set(range(bits.TENTHS))
    for place in found:
        assert place.tenth == place.start * bits.TENTHS // len(book.ids)


def test_bytes_are_those_of_the_scored_text(subject: Subject, book: bits.ReadBook) -> None:
    for place in bits.places(random.Random(3), book, 1, 8):
        text = subject.tokenizer.decode(book.ids[place.start : place.end])
        assert bits.byte_count(book, place) == len(text.encode())


def test_bits_of_a_random_model_are_about_those_of_guessing(subject: Subject, book: bits.ReadBook) -> None:
    place = bits.places(random.Random(4), book, 1, 8)[5]
    cost = bits.bits(subject, book, place, place.chunks, range(place.prompt, place.start))
    assert cost / 8 == pytest.approx(math.log2(subject.config.llama.vocab_size), rel=0.1)


def test_an_arm_against_itself_makes_no_difference() -> None:
    scored = [bits.Scored(0, 10, {"memory": 20.0 + n, "text 16": 30.0}) for n in range(5)]
    assert bits.difference(scored, "memory", "memory").value == 0
    lower = bits.difference(scored, "memory", "text 16")
    assert lower.value == pytest.approx(-0.8)
    assert lower.high < 0
