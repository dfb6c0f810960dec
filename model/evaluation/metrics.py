"""Scorers, as the benchmarks define them: SQuAD's and LongBench's F1 and exact match, ROUGE-L, RULER's string match."""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

ARTICLES, PUNCTUATION = re.compile(r"\b(a|an|the)\b"), str.maketrans("", "", string.punctuation)


def normalised(text: str) -> str:
    """As SQuAD 1.1 and LongBench compare: lower case, without punctuation, articles and extra space."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def token_f1(answer: str, gold: str) -> float:
    """Harmonic mean of precision and recall of the words that two answers share; 0 where they share none."""
    said, wanted = normalised(answer).split(), normalised(gold).split()
    shared = sum((Counter(said) & Counter(wanted)).values())
    return 2 * shared / (len(said) + len(wanted)) if shared else 0.0


def best_f1(answer: str, golds: Sequence[str]) -> float:
    """F1 against the answer of several that fits best."""
    return max(token_f1(answer, gold) for gold in golds)


def exact_match(answer: str, golds: Sequence[str]) -> float:
    """1 where the answer equals one of the accepted ones in normal form."""
    return float(any(normalised(answer) == normalised(gold) for gold in golds))


def rouge_l(answer: str, golds: Sequence[str]) -> float:
    """ROUGE-L F of the accepted answer that fits best, by the library `rouge-score` (without stemming)."""
    return max(_rouge().score(gold, answer)["rougeL"].fmeasure for gold in golds)


@lru_cache(maxsize=1)
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"])


def match_all(answer: str, golds: Sequence[str]) -> float:
    """RULER's string match: the share of the wanted strings that the answer holds, whatever their case."""
    return sum(gold.lower() in answer.lower() for gold in golds) / len(golds)


def match_any(answer: str, golds: Sequence[str]) -> float:
    """1 where the answer holds one of the accepted answers in normal form, as whole words."""
    said = f" {normalised(answer)} "
    return float(any(f" {normalised(gold)} " in said for gold in golds if normalised(gold)))


@dataclass(frozen=True, slots=True)
class Metric:
    """A scorer of answers; or, with `answers` None, of the candidates' likelihoods."""

    name: str
    answers: Callable[[str, Sequence[str]], float] | None
    higher: bool = True  # whether more is better


METRICS = {
    one.name: one
    for one in (
        Metric("f1", best_f1),
        Metric("exact match", exact_match),
        Metric("rouge-l", rouge_l),
        Metric("match all", match_all),
        Metric("match any", match_any),
        Metric("accuracy", None),
        Metric("bits per byte", None, higher=False),
    )
}


def chosen(likelihoods: Sequence[Sequence[float]]) -> int:
    """The candidate with the best mean log-likelihood of a token; the first of equals."""
    means = [sum(one) / max(1, len(one)) for one in likelihoods]
    return means.index(max(means))


def score_options(
    metric: str, options: Sequence[str], answers: Sequence[str], found: Sequence[Sequence[float]]
) -> float:
    """Accuracy: 1 where the best candidate is right. Bits per byte: of the right candidate's text."""
    if metric == "bits per byte":
        right = options.index(answers[0])
        return -sum(found[right]) / math.log(2) / len(options[right].encode())
    assert metric == "accuracy", f"{metric} does not score candidates"
    return float(options[chosen(found)] in answers)
