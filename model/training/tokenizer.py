"""Training of the byte-level BPE tokenizer, and turning a folder of text into one array of token numbers."""

from __future__ import annotations

import json
import lzma
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from model.errors import ModelError
from model.training.saves import kept

PAD, END = "<|pad|>", "<|end|>"
MINIMUM_SAMPLE = 1_000  # characters: with fewer, merges would be noise


def documents(folder: Path, pattern: str = "*.jsonl*") -> Iterator[dict[str, object]]:
    """Objects of every JSON Lines file of a folder (plain or xz), files in name order.

    Raises ModelError where the folder holds no such file.
    """
    files = sorted(p for p in folder.glob(pattern) if p.is_file()) if folder.is_dir() else []
    if not files:
        raise ModelError(
            f"no text in {folder}: no file is called {pattern}",
            "name a folder with .jsonl or .jsonl.xz files, one object with «text» a line, or another data.pattern",
        )
    for file in files:
        yield from json_lines(file)


def json_lines(file: Path) -> Iterator[dict[str, object]]:
    """Objects of one JSON Lines file, plain or xz. Raises ModelError where a line is not an object."""
    open_text = lzma.open if file.suffix == ".xz" else open
    with open_text(file, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield json.loads(line)
            except ValueError as fault:
                raise ModelError(
                    f"{file.name}, line {number}: not JSON ({fault})", "repair or remove that line"
                ) from fault


def plain(text: str) -> str:
    """Text as the product reads it: curly quotes and dashes stay, runs of blank lines become one."""
    return re.sub(r"\n{3,}", "\n\n", text)


def train_tokenizer(texts: Iterable[str], vocabulary: int, out: Path) -> None:
    """Train a byte-level BPE with single digits on `texts`; write it to `out` (tokenizer.json).

    Every byte is a token, so no text is unknown. Numbers are cut into digits, because a number that is one token
    cannot be copied digit by digit. Raises ModelError where the texts are nearly empty, TrainingError on a full disk.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    sample = [plain(t) for t in texts]
    if sum(map(len, sample)) < MINIMUM_SAMPLE:
        raise ModelError("too little text to train a tokenizer", f"give at least {MINIMUM_SAMPLE} characters")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.Split(Regex(r"\n"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sample, trainer)
    with kept("the tokenizer"):
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(tokenizer.to_str(pretty=True), encoding="utf-8")
