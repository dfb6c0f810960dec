"""Scores of items of which some are about one text: intervals that draw texts, not items.

Questions about one text share what makes it easy or hard. Drawing them one by one would count a text with ten questions
as ten texts, so whole texts are drawn (cluster bootstrap: Davison and Hinkley, Bootstrap Methods, 1997, section 3.8).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from model.evaluation.common import ROUNDS, Estimate, ratio, wilson


@dataclass(slots=True)
class Scores:
    """Scores in the order in which they were added, and the text that each is about."""

    values: list[float] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def add(self, value: float, text: str) -> None:
        """One more item."""
        self.values.append(value)
        self.texts.append(text)

    def by_text(self) -> tuple[np.ndarray, np.ndarray]:
        """Sum of the scores of every text, and how many there are: two of (texts,)."""
        number = {text: place for place, text in enumerate(dict.fromkeys(self.texts))}
        places = np.asarray([number[text] for text in self.texts], int)
        return np.bincount(places, self.values, len(number)), np.bincount(places, minlength=len(number)).astype(float)

    def differing(self) -> int:
        """Texts whose mean is not 0."""
        return int((np.abs(self.by_text()[0]) > 1e-12).sum())


def mean(scores: Scores) -> Estimate:
    """Mean over items with its percentile bootstrap interval over texts; `count` is the number of items."""
    sums, counts = scores.by_text()
    return replace(ratio(sums.tolist(), counts.tolist()), count=len(scores.values))


def estimate_of(scores: Scores, metric: str) -> Estimate:
    """Mean with its interval: Wilson's where every score is 0 or 1 and every text has one item; else a bootstrap.

    Where all scores are 0, or all are 1, draws say nothing: Wilson's interval then counts texts in place of items. No
    interval where other scores are all equal, or all are about one text.
    """
    sums, counts = scores.by_text()
    sharp = metric != "bits per byte" and all(score in (0.0, 1.0) for score in scores.values)
    equal = len(set(scores.values)) <= 1
    if sharp and (equal or len(sums) == len(scores.values)):
        return replace(wilson(int((sums / counts).sum()), len(sums)), count=len(scores.values))
    return bootstrapped(mean(scores))


def bootstrapped(found: Estimate) -> Estimate:
    """An estimate whose interval is nan where draws of equal values left it no width."""
    return replace(found, low=math.nan, high=math.nan) if found.low == found.high else found


def mean_of_means(tasks: Sequence[Scores], seed: int = 0) -> Estimate:
    """Mean of the means of several tasks, with a bootstrap interval that draws texts within each task."""
    samples = [one.by_text() for one in tasks]
    if not samples or not all(len(sums) for sums, _ in samples):
        return Estimate(math.nan, math.nan, math.nan, 0)
    rng, drawn = np.random.default_rng(seed), []
    for sums, counts in samples:
        chosen = rng.integers(len(sums), size=(ROUNDS, len(sums)))
        drawn.append(sums[chosen].sum(1) / counts[chosen].sum(1))
    low, high = np.percentile(np.mean(drawn, 0), [2.5, 97.5])
    value = float(np.mean([sums.sum() / counts.sum() for sums, counts in samples]))
    return Estimate(value, min(value, float(low)), max(value, float(high)), sum(len(one.values) for one in tasks))
