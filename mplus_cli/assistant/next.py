"""What happens next: candidate events ranked by their likelihood behind the memory, or continuations proposed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import exp
from typing import TYPE_CHECKING

from mplus_cli.assistant.engine import translated, until_stop
from mplus_cli.assistant.view import View, memory_of, reader_of
from mplus_cli.events import Candidate, NextEvent, NextOptions, Ranked, Recalled, Source, Timing
from mplus_cli.words import readable

if TYPE_CHECKING:
    from torch import Tensor

    from model.generate import Reader
    from mplus_cli.assistant.ask import Session, Sight

CONTEXT_TOKENS = 160  # of the text before a reading position
NEWLINE = "\n"  # the prompt behind which a candidate is scored on its own


def next_events(session: Session, options: NextOptions) -> Iterator[NextEvent]:
    """Loaded, Recalled (the past that was remembered), Ranked. Raises NotFound, UsageError."""
    begun = time.monotonic()
    after, candidates = (tuple(map(readable, events)) for events in (options.after, options.candidates))
    options = replace(options, after=after, candidates=candidates)
    sight = session.sight(options.books, options.until)
    load = time.monotonic() - begun
    yield session.loaded(sight, load)
    past = context(session, sight, options)
    ids = session.encode(past, options.max_tokens)
    with translated():
        _, _, trace = sight.reader.prefill(ids)
        found = session.find(sight, past, trace, text_search=True)
        sources = session.sources(sight, found, found.scored, options.top)
        yield Recalled(sources)
        first = time.monotonic() - begun
        judge = rank if options.candidates else propose
        ranked = judge(session, sight, ids, options)
    timing = Timing(round(load, 3), round(first, 3), round(time.monotonic() - begun, 3))
    yield Ranked(ranked, session.engine.record.name, timing, not options.candidates, sources)


def context(session: Session, sight: Sight, options: NextOptions) -> str:
    """The past as text: the events that were named, or the last sentences before the reading position."""
    if options.after:
        return " ".join(finished(event) for event in options.after)
    extent = sight.view.extents[-1]
    text = session.library.text(extent.document.id)[: extent.end]
    return text[-CONTEXT_TOKENS * 4 :].partition(" ")[2].strip()


def finished(event: str) -> str:
    """An event as a sentence."""
    words = " ".join(event.split())
    return words if words[-1:] in '.!?…"”' else f"{words}."


def rank(session: Session, sight: Sight, ids: Tensor, options: NextOptions) -> tuple[Candidate, ...]:
    """Candidates by what the past adds to their likelihood, likeliest first.

    That is their mean log-likelihood per token after the past, less the one behind nothing (Holtzman et al., arXiv
    2104.08315): common words are likely anywhere.
    """
    means = likelihoods(session, sight.reader, ids, options.candidates)
    alone = likelihoods(session, nothing(session), session.encode(NEWLINE, 0), options.candidates)
    gains = [mean - base for mean, base in zip(means, alone, strict=True)]
    weights = [exp(gain - max(gains)) for gain in gains]
    ranked = [
        (gain, Candidate(text, round(mean, 4), round(weight / sum(weights), 4),
                         candidate_sources(session, sight, text, options), round(base, 4)))
        for text, mean, base, gain, weight in zip(options.candidates, means, alone, gains, weights, strict=True)
    ]  # fmt: skip
    return tuple(candidate for _, candidate in sorted(ranked, key=lambda one: -one[0]))


def likelihoods(session: Session, reader: Reader, ids: Tensor, candidates: Sequence[str]) -> list[float]:
    """Mean log-likelihood per token of candidates behind a prompt (1, n)."""
    import torch

    tokens = [session.engine.tokenizer.encode(f" {finished(text)}") for text in candidates]
    tensors = [torch.tensor(one, device=ids.device) for one in tokens]
    return [float(values.mean()) for values in reader.likelihoods(ids, tensors)]


def nothing(session: Session) -> Reader:
    """A reader that remembers nothing."""
    memory, _ = memory_of(session.library, View(()), session.engine)
    return reader_of(session.engine, memory)


def candidate_sources(session: Session, sight: Sight, text: str, options: NextOptions) -> tuple[Source, ...]:
    """What the memory knows of one candidate."""
    if not options.top:
        return ()
    _, _, trace = sight.reader.prefill(session.encode(text, 0))
    found = session.find(sight, text, trace, text_search=False)
    return session.sources(sight, found, found.scored, 1)


def propose(session: Session, sight: Sight, ids: Tensor, options: NextOptions) -> tuple[Candidate, ...]:
    """Continuations of the past in the model's own words, likeliest first."""
    from model.generate import Sampling

    proposed: dict[str, float] = {}
    for number in range(options.count):
        steps = list(
            sight.reader.generate(ids, Sampling(options.max_tokens, options.temperature, options.seed + number))
        )
        pieces = session.engine.tokenizer.pieces(step.token for step in steps)
        text = "".join(until_stop(pieces, session.engine.config.stop)).strip()
        if text and steps:
            proposed.setdefault(text, sum(step.log_likelihood for step in steps) / len(steps))
    total = sum(exp(mean) for mean in proposed.values()) or 1.0
    ranked = [Candidate(text, round(mean, 4), round(exp(mean) / total, 4)) for text, mean in proposed.items()]
    return tuple(sorted(ranked, key=lambda one: -one.log_likelihood))
