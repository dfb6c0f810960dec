"""Scorers against tables computed by hand, as the benchmarks' own scorers compute them."""

from __future__ import annotations

import math

import pytest

from model.evaluation import metrics

F1 = [  # answer, right answer, F1: 2 * shared / (words of one + words of the other), articles left out
    ("Paris", "Paris", 1.0),
    ("the purse of gold", "a purse of gold", 1.0),
    ("Paris.", "paris", 1.0),
    ("purse", "purse of gold", 2 * 1 / (1 + 3)),
    ("gold of purse", "purse of gold", 1.0),
    ("dog dog", "dog", 2 * 1 / (2 + 1)),
    ("a red dog in town", "the red cat", 2 * 1 / (4 + 2)),
    ("cat", "dog", 0.0),
    ("", "dog", 0.0),
    ("", "the", 0.0),  # SQuAD 1.1 and LongBench: nothing shared is nothing
    ("well-known", "well known", 0.0),  # punctuation goes without a space
    ("wasn’t", "wasn't", 0.0),  # and only ASCII punctuation goes
]


@pytest.mark.parametrize(("answer", "gold", "wanted"), F1)
def test_f1_is_what_the_hand_computes(answer: str, gold: str, wanted: float) -> None:
    assert metrics.token_f1(answer, gold) == pytest.approx(wanted)
    assert metrics.token_f1(gold, answer) == pytest.approx(wanted)


def test_the_best_of_several_right_answers_counts() -> None:
    assert metrics.best_f1("in Rome", ["Paris", "Rome", "in Rome"]) == 1.0
    assert metrics.exact_match("The Rome!", ["Paris", "rome"]) == 1.0
    assert metrics.exact_match("in Rome", ["Paris", "rome"]) == 0.0


def test_rouge_l_is_the_longest_common_subsequence() -> None:
    # of 4 and 6 words, 3 in order: precision 3/4, recall 3/6
    assert metrics.rouge_l("the cat sat down", ["the black cat sat on it"]) == pytest.approx(2 * 0.75 * 0.5 / 1.25)


def test_string_matches() -> None:
    assert metrics.match_all("It is 123 and 456.", ["123", "789"]) == 0.5
    assert metrics.match_any("He went to the Paris of old.", ["London", "paris"]) == 1.0
    assert metrics.match_any("He went to Parisian places.", ["paris"]) == 0.0


def test_candidates_are_compared_by_the_mean_of_their_tokens() -> None:
    assert metrics.chosen([[-3.0], [-2.0, -2.0]]) == 1
    assert metrics.score_options("accuracy", ["a", "b"], ["b"], [[-3.0], [-2.0, -2.0]]) == 1.0
    assert metrics.score_options("accuracy", ["a", "b"], ["a"], [[-3.0], [-2.0, -2.0]]) == 0.0


def test_bits_per_byte_count_bytes_of_the_text() -> None:
    assert metrics.score_options("bits per byte", ["né"], ["né"], [[-math.log(2) * 6]]) == pytest.approx(2.0)
