"""Laws of next events: the first candidate is what happens, the others are not, and memory ends before it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from model.evaluation import bits, events
from model.evaluation.common import Subject, held_out_books


@pytest.fixture(scope="module")
def choices(data: Path) -> list[events.Choice]:
    return events.make_choices(random.Random(0), held_out_books(data)[0].text, 30)


def test_the_first_candidate_is_what_happens_next(data: Path, choices: list[events.Choice]) -> None:
    text = held_out_books(data)[0].text
    assert choices
    for choice in choices:
        assert events.cleaned(text[choice.at :]).startswith(choice.candidates[0])
        assert text[: choice.at].strip().endswith(choice.context)


def test_candidates_are_six_different_events_of_the_book_of_nearly_equal_length(
    data: Path, choices: list[events.Choice]
) -> None:
    text = events.cleaned(held_out_books(data)[0].text)
    for choice in choices:
        assert len(set(choice.candidates)) == events.CANDIDATES
        assert all(one in text for one in choice.candidates)
        lengths = sorted(map(len, choice.candidates))
        assert lengths[0] >= events.LEAST
        assert lengths[-1] < 3 * events.LEAST


def test_an_event_ends_where_it_is_long_enough_whatever_paragraphs_it_crosses() -> None:
    text = "One.\n\n" + "Two and more words. " * 40
    starts = [start for start, _ in events.sentence_spans(text)]
    start, end = events.event(text, starts, 0)
    assert events.LEAST <= len(text[start:end].strip()) < 2 * events.LEAST


def test_memory_holds_nothing_of_what_is_to_be_guessed(
    subject: Subject, data: Path, choices: list[events.Choice]
) -> None:
    one = held_out_books(data)[0]
    book = bits.read_book(subject, one.title, one.text)
    starts = book.starts()
    for choice in choices:
        before = events.chunks_before(book, choice.at)
        assert book.offsets[starts[before] - 1][1] <= choice.at
        assert book.offsets[starts[before + 1] - 1][1] > choice.at, "and everything else"


def test_an_oracle_is_always_right_and_a_tie_is_not() -> None:
    assert events.true_first([-1.0, -2.0, -3.0])
    assert not events.true_first([-2.0, -1.0, -3.0])
    assert not events.true_first([-1.0, -1.0])


def test_a_book_of_a_few_sentences_has_no_events() -> None:
    assert events.make_choices(random.Random(0), "It rained. Nothing happened.", 5) == []
