"""Documents of a folder as tokens of the base's tokenizer, and lessons cut from them (spec, 7.2)."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from model.errors import CheckpointError, ModelError, TrainingError
from model.tokenizer import TextTokenizer
from model.training.pretrained_stages import SHORT, PretrainedStage, Text
from model.training.saves import kept
from model.training.tokenizer import documents

REPEAT = "Repeat: "
REPEAT_FREE = 5  # tokens of a repetition that nothing foretells
CONTINUATION, REPETITION, SHORT_DOCUMENT = "continuation", "repeat", "short"


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a step is given: chunks that are written, and the sentence that is read after them."""

    contexts: tuple[tuple[int, ...], ...]
    sentence: tuple[int, ...]
    learn_from: int  # tokens of the sentence before this one are not predicted
    label: str
    document: int


class Documents:
    """Tokens of all documents in one memory-mapped array. A document's number is its place in the folder."""

    def __init__(self, tokens: np.ndarray, bounds: np.ndarray) -> None:
        """tokens (n,) uint32; bounds (documents + 1,)."""
        self.tokens, self.bounds = tokens, bounds
        self.lengths = np.diff(bounds)
        self._kept: tuple[PretrainedStage, list[np.ndarray], list[float]] | None = None

    def __len__(self) -> int:
        return len(self.lengths)

    def read(self, number: int) -> list[int]:
        """Token numbers of a document."""
        return list(map(int, self.tokens[self.bounds[number] : self.bounds[number + 1]]))

    def draw(self, rng: random.Random, stage: PretrainedStage) -> int:
        """A document, its length by the stage's weights. Raises TrainingError where none is long enough."""
        choices, weights = self._fitting(stage)
        if not any(weights):
            raise TrainingError(
                f"none of the {len(self):,} documents has the length that the stage asks for",
                f"add documents of {2 * stage.chunk_least} tokens and more, or change the stage's documents",
            )
        chosen = choices[rng.choices(range(len(choices)), weights)[0]]
        return int(chosen[rng.randrange(len(chosen))])

    def _fitting(self, stage: PretrainedStage) -> tuple[list[np.ndarray], list[float]]:
        """Document numbers of every bucket, and its weight, 0 where it is empty."""
        if self._kept is None or self._kept[0] is not stage:
            long_enough = self.lengths >= 2 * stage.chunk_least
            bounds = [(bucket.least, bucket.most) for bucket in stage.documents]
            choices = [
                np.flatnonzero(long_enough & (self.lengths >= least) & (self.lengths < most)) for least, most in bounds
            ]
            weights = [one.weight if len(some) else 0.0 for one, some in zip(stage.documents, choices, strict=True)]
            self._kept = stage, choices, weights
        return self._kept[1:]


def base_tokenizer(folder: Path) -> TextTokenizer:
    """The tokenizer of a base. Raises TrainingError where the folder has none."""
    try:
        return TextTokenizer.from_folder(folder)
    except CheckpointError as fault:
        raise TrainingError(
            fault.message.rstrip("."), "put the tokenizer.json of the base model into its folder"
        ) from fault


def tokenise_documents(folder: Path, tokenizer: Path, text: Text, work: Path) -> Documents:
    """Tokenise a folder of JSON Lines into `work` (once for a tokenizer and selection), memory-mapped.

    Raises TrainingError where the folder has no text, or the disk is full.
    """
    words = base_tokenizer(tokenizer)
    digest = hashlib.sha256((tokenizer / "tokenizer.json").read_bytes())
    digest.update(json.dumps([str(folder.resolve()), text.pattern, text.skip, text.most]).encode())
    name = f"documents-{digest.hexdigest()[:16]}"
    cache, bounds = work / f"{name}.u32", work / f"{name}.json"
    if not bounds.is_file():
        try:
            with kept("the tokens"):
                work.mkdir(parents=True, exist_ok=True)
                _tokenise(folder, words, text, cache, bounds)
        except ModelError as fault:
            cache.unlink(missing_ok=True)
            raise TrainingError(fault.message, fault.remedy) from fault
    return Documents(np.memmap(cache, np.uint32, "r"), np.array(json.loads(bounds.read_text("utf-8"))))


def _tokenise(folder: Path, words: TextTokenizer, text: Text, cache: Path, bounds: Path) -> None:
    ends = [0]
    with cache.open("wb") as out:
        for document in islice(documents(folder, text.pattern), text.skip, text.skip + text.most):
            ids = words.encode(str(document.get("text", "")))
            if ids:
                out.write(np.array(ids, np.uint32).tobytes())
                ends.append(ends[-1] + len(ids))
    if len(ends) == 1:
        raise TrainingError(f"the documents of {folder} are empty", "name a folder with text in it")
    new = bounds.with_suffix(".new")
    new.write_text(json.dumps(ends), encoding="utf-8")
    new.replace(bounds)


def lesson(
    rng: random.Random, source: Documents, stage: PretrainedStage, most_contexts: int, instruction: tuple[int, ...]
) -> Lesson:
    """Draw a document and cut it: a sentence at its end, chunks right before it, at most `most_contexts`.

    With the stage's share the sentence repeats the chunks instead, behind `instruction` (not where that is empty).
    """
    number = source.draw(rng, stage)
    tokens = source.read(number)
    is_short = len(tokens) < SHORT
    sizes = (stage.chunk_least, stage.chunk_most) if is_short else (stage.sentence_least, stage.sentence_most)
    room = len(tokens) - stage.chunk_least  # one chunk at least stands before the sentence
    start = len(tokens) - rng.randint(min(sizes[0], room), min(sizes[1], room))
    least = min(stage.chunk_least if is_short else stage.long_chunk_least, start)
    contexts = chunks_before(rng, tokens[:start], least, stage.chunk_most, most_contexts)
    if instruction and rng.random() < stage.repeat:
        return repetition(contexts, instruction, stage.sentence_most, number)
    label = SHORT_DOCUMENT if is_short else CONTINUATION
    return Lesson(contexts, tuple(tokens[start:]), 1, label, number)


def chunks_before(
    rng: random.Random, tokens: list[int], least: int, longest: int, most: int
) -> tuple[tuple[int, ...], ...]:
    """At most `most` chunks of `least`..`longest` tokens that end where `tokens` end; a shorter rest is left out."""
    found: list[tuple[int, ...]] = []
    end = len(tokens)
    while len(found) < most and end >= least:
        start = max(0, end - rng.randint(least, longest))
        found.append(tuple(tokens[start:end]))
        end = start
    return tuple(reversed(found))


def repetition(contexts: tuple[tuple[int, ...], ...], instruction: tuple[int, ...], most: int, number: int) -> Lesson:
    """The newest chunks that fit into a sentence, and the sentence that says them again."""
    repeated: list[tuple[int, ...]] = []
    for chunk in reversed(contexts):
        if repeated and sum(map(len, repeated)) + len(chunk) > most - len(instruction):
            break
        repeated.insert(0, chunk)
    sentence = (*instruction, *(token for chunk in repeated for token in chunk))[:most]
    return Lesson(tuple(repeated), sentence, len(instruction) + REPEAT_FREE, REPETITION, number)


def joined(given: Lesson, most: int) -> tuple[int, ...]:
    """Contexts and sentence as one text, its last `most` tokens."""
    return (*(token for chunk in given.contexts for token in chunk), *given.sentence)[-most:]
