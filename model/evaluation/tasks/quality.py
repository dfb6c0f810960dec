"""QuALITY (arXiv 2112.08608): multiple-choice questions about articles and stories of about 5,000 tokens.

The benchmark's own file: a line has article_id, article, and questions, each with question, options, gold_label
(counted from 1; the published test set has none) and difficult (1: people in a hurry mostly failed). The options are
ranked by likelihood. An article with HTML in it is stripped of it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

from model.evaluation.tasks.records import Record, drawn, present, records
from model.evaluation.tasks.task import Item, Limits, Needed, Task

FILE = Needed(
    "quality/QuALITY.v1.0.1.htmlstripped.dev|quality/QuALITY.v1.0.1.dev",
    "github.com/nyu-mll/quality (data/v1.0.1)",
    "CC BY 4.0; each article its own",
)
BLOCK = re.compile(r"(?i)</?(p|br|div|h[1-6]|hr|li|ul|ol|tr|table|blockquote|pre)\b[^<>]*>")
TAG = re.compile(r"(?s)<!--.*?-->|</?[a-zA-Z][^<>]*>")


def stripped(text: str) -> str:
    """Text without HTML: blocks become paragraphs, other tags nothing, entities characters."""
    bare = html.unescape(TAG.sub("", BLOCK.sub("\n\n", text)))
    return re.sub(r"\s*\n\s*\n\s*", "\n\n", bare).strip()


def group(pair: tuple[Record, Record]) -> str:
    """hard or easy."""
    return "hard" if pair[1].raw.get("difficult") == 1 else "easy"


def item(article: Record, one: Record) -> Item:
    """One question. Raises ModelError where it lacks something."""
    options, label = one.texts("options"), one.raw.get("gold_label")
    if not isinstance(label, int) or not 1 <= label <= len(options):
        raise one.lacks("gold_label", "the number of the right option")
    return Item(f"{article.id('article_id')}/{one.line}", (stripped(article.text("article")),), one.text("question"),
                (options[label - 1],), options, group((article, one)))  # fmt: skip


def load(data: Path, limits: Limits) -> Iterator[Item]:
    """Questions, drawn of the hard and of the easy ones."""
    pairs = [(article, one) for article in records(present(FILE, data)) for one in article.parts("questions")]
    yield from (item(article, one) for article, one in drawn(pairs, limits, "quality", group))


QUALITY_TASKS = (
    Task("quality", "one of four answers about a long article or story", "accuracy", load, (FILE,), 0.25,
         "QuALITY, arXiv 2112.08608"),
)  # fmt: skip
