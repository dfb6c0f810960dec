"""What a row format costs: bytes, error of decoded rows, and how many planted facts are still answered.

Every document is written once and its rows are then kept in every format, so all formats are asked the same questions
behind the same writing: differences are of pairs. Facts, distances and answers are those of `model.evaluation.needles`.

python -m model.evaluation.row_formats CHECKPOINT --data FOLDER
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace

from model.evaluation.common import (
    Document,
    Estimate,
    Subject,
    arguments,
    background_texts,
    behind,
    held_out_books,
    ratio,
    report,
    run,
    table,
    wilson,
)
from model.evaluation.metrics import normalised
from model.evaluation.needles import Episode, make_episode
from model.generate import Reader
from model.memory import ReadRows, as_stored, join
from model.row_sizes import FORMATS, chunk_bytes

DISTANCES = (100, 1000)
ERROR_CHUNKS = 200  # chunks whose rows are decoded for the error
PARTS = ("keys", "values", "retrieval")


def kept_in(document: Document, row_format: str) -> Document:
    """A document that was written in bf16, in another format."""
    count = len(document.rows) // len(document.lengths)
    plain = document.rows.widened()
    chunks = [plain.part(start, start + count) for start in range(0, len(plain), count)]
    return replace(document, rows=join([as_stored(one, row_format) for one in chunks]))


def relative_errors(wanted: ReadRows, found: ReadRows) -> dict[str, float]:
    """Root mean square error over that of what varies: a part that all rows of a layer share is taken off first."""
    errors = {}
    for name in PARTS:
        true, kept = getattr(wanted, name).float(), getattr(found, name).float()
        spread = (true - true.mean(1, keepdim=True)).square().mean((1, 2))
        errors[name] = float(((true - kept).square().mean((1, 2)) / spread).sqrt().mean())
    return errors


def right(subject: Subject, episode: Episode, view: Sequence[Document]) -> bool:
    """Whether a question is answered behind a view: latent memory only, greedy, exact match."""
    prompt = subject.tokenizer.encode(episode.fact.prompt)
    said, _ = subject.answer(Reader(subject.model, subject.memory(view)), prompt)
    return normalised(said) == normalised(episode.fact.answer)


def exact(
    subject: Subject,
    episodes: Sequence[Episode],
    others: Sequence[Document],
    distances: Sequence[int],
    formats: Sequence[str],
) -> dict[str, dict[int, list[bool]]]:
    """For every format and distance, which questions were answered."""
    found: dict[str, dict[int, list[bool]]] = {name: {distance: [] for distance in distances} for name in formats}
    for name in formats:
        crowd = [kept_in(one, name) for one in others]
        for number, episode in enumerate(episodes):
            first = kept_in(episode.document, name)
            for distance in distances:
                view = behind(first, crowd, distance, number)
                found[name][distance].append(right(subject, episode, view))
    return found


def token_bytes(subject: Subject, row_format: str) -> float:
    """Bytes of rows on disk for every token of full chunks."""
    config = subject.config
    chunk = chunk_bytes(row_format, config.layers, config.memory_rows, config.key_value_dim, config.retriever_dim)
    return sum(chunk) / config.chunk_tokens


def change(bf16: Sequence[bool], other: Sequence[bool]) -> Estimate:
    """How much more often a format answers than bf16, over pairs of the same question."""
    return ratio([float(one) - float(two) for one, two in zip(other, bf16, strict=True)])


def measure(subject: Subject, options: argparse.Namespace) -> None:
    """Print the table."""
    books = held_out_books(options.data)
    others = subject.write_all(background_texts(subject, books, max(options.distances)))
    episodes = [make_episode(subject, books, number, options) for number in range(options.limit)]
    written = join([one.rows for one in others]).widened().part(0, ERROR_CHUNKS * subject.config.memory_rows)
    sample = Document("sample", written, (subject.config.chunk_tokens,) * (len(written) // subject.config.memory_rows))
    formats = ["bf16", *(name for name in options.formats if name != "bf16")]
    answered = exact(subject, episodes, others, options.distances, formats)
    bf16, results = answered["bf16"], {}
    for name in formats:
        errors = relative_errors(written, kept_in(sample, name).rows.widened())
        points = {
            str(distance): {"exact": wilson(sum(found), len(found)), "change": change(bf16[distance], found)}
            for distance, found in answered[name].items()
        }
        results[name] = {"bytes a token": token_bytes(subject, name), "error": errors, "distances": points}
    head = ["format", "bytes a token", *(f"error of {part}" for part in PARTS)]
    head += [words for distance in options.distances for words in (f"{distance} chunks", "against bf16")]
    rows = [
        [name, f"{one['bytes a token']:,.0f}", *(f"{one['error'][part]:.4f}" for part in PARTS),
         *(point[what] for point in one["distances"].values() for what in ("exact", "change"))]
        for name, one in results.items()
    ]  # fmt: skip
    print(table(head, rows), end="\n\n")
    report("row formats", subject, options, results)


def main(words: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = arguments(__doc__, 200)
    parser.add_argument("--distances", type=int, nargs="+", default=list(DISTANCES), help="other chunks in between")
    parser.add_argument("--formats", nargs="+", default=list(FORMATS), choices=list(FORMATS), help="compared with bf16")
    parser.set_defaults(form="question", trained_words=False, memory_dtype="bf16")
    run(measure, parser.parse_args(words))


if __name__ == "__main__":
    main()
