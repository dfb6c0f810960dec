"""Full-text search over chunks: an FTS5 table that stores no text, only where words stand.

The table is contentless: the text stands once, in `texts`. Scripts that write no spaces between words (Chinese,
Japanese, Thai) are indexed character by character and asked for as pairs of neighbours.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from mplus_cli.library.records import TextHit
from mplus_cli.library.stopwords import content_words

UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_CHARACTER = re.compile(f"[{UNSPACED}]")
_WORD = re.compile(rf"[{UNSPACED}]+|(?:(?![{UNSPACED}_])\w)+")
# reading positions as one value: a condition each, for a thousand documents, would be more than SQLite takes
KNOWN = "WITH known (id, first_unknown) AS MATERIALIZED (SELECT key, value FROM json_each(?))"
MOST_TERMS = 64  # of one question; a pasted page would otherwise scan the whole index


def searchable(text: str) -> str:
    """Chunk text as the index gets it: lone surrogates and NUL gone, characters of unspaced scripts set apart."""
    clean = text.encode("utf-8", "replace").decode("utf-8").replace("\0", " ")
    return _CHARACTER.sub(r" \g<0> ", clean)


def match_expression(query: str) -> str:
    """The user's words as quoted terms joined by OR; empty when there is no word in them."""
    words = content_words(_WORD.findall(query.encode("utf-8", "replace").decode("utf-8")))
    terms = dict.fromkeys(term for word in words for term in _terms(word))
    return " OR ".join(f'"{term}"' for term in list(terms)[:MOST_TERMS])


def _terms(word: str) -> list[str]:
    if not _CHARACTER.match(word):
        return [word]
    return [" ".join(pair) for pair in pairwise(word)] or [word]


def add(connection: sqlite3.Connection, rows: Iterable[tuple[int, str]]) -> None:
    """Index chunks: (rowid of `chunks`, text)."""
    connection.executemany(
        "INSERT INTO passages (rowid, text) VALUES (?, ?)", ((rowid, searchable(text)) for rowid, text in rows)
    )


def discard(connection: sqlite3.Connection, rows: Iterable[tuple[int, str]]) -> None:
    """Take chunks out of the index, given the text that was added; `merge` then removes the words for good."""
    connection.executemany(
        "INSERT INTO passages (passages, rowid, text) VALUES ('delete', ?, ?)",
        ((rowid, searchable(text)) for rowid, text in rows),
    )


def merge(connection: sqlite3.Connection) -> None:
    """Rewrite the index as one segment, without what was discarded."""
    connection.execute("INSERT INTO passages (passages) VALUES ('optimize')")


def clear(connection: sqlite3.Connection) -> None:
    """Empty the index."""
    connection.execute("INSERT INTO passages (passages) VALUES ('delete-all')")


def entries(connection: sqlite3.Connection) -> Iterator[tuple[str, int, int]]:
    """Every word of the index as it is stored, in its order, with the chunk (rowid) and the place where it stands."""
    connection.execute(
        "CREATE VIRTUAL TABLE IF NOT EXISTS temp.passage_words USING fts5vocab (main, passages, instance)"
    )
    for row in connection.execute("SELECT term, doc, offset FROM temp.passage_words"):
        yield row[0], row[1], row[2]


def chunks_with(connection: sqlite3.Connection, word: str, until: Mapping[str, int]) -> int:
    """In how many chunks a word stands: the chunks of these documents up to the given ones, or all for none given."""
    expression = match_expression(word)
    if not expression:
        return 0
    if not until:
        found = connection.execute("SELECT count(*) FROM passages WHERE passages MATCH ?", [expression]).fetchone()
        return int(found[0])
    # CROSS JOIN keeps this order: SQLite would begin with every chunk of every document
    counted = f"""
        {KNOWN}
        SELECT count(*) FROM passages
        CROSS JOIN chunks ON chunks.id = passages.rowid
        CROSS JOIN documents ON documents.number = chunks.document
        CROSS JOIN known ON known.id = documents.id AND chunks.number < known.first_unknown
        WHERE passages MATCH ?
    """
    return int(connection.execute(counted, [json.dumps(dict(until)), expression]).fetchone()[0])


def sizes(connection: sqlite3.Connection) -> list[tuple[int, bytes]]:
    """What bm25 knows of lengths: that of every chunk, and the sums (FTS5's record 1); for verifying.

    Sums of nothing may be written as zeros or not at all.
    """
    chunks = connection.execute("SELECT id, sz FROM passages_docsize ORDER BY id")
    sums = connection.execute("SELECT id, block FROM passages_data WHERE id = 1")
    return [*map(tuple, chunks), *((row[0], bytes(row[1]).rstrip(b"\0")) for row in sums)]


def search(
    connection: sqlite3.Connection,
    query: str,
    documents: Sequence[str] | None,
    until: Mapping[str, int],
    limit: int,
) -> list[TextHit]:
    """The best chunks that were read, best first; ties in reading order. See `Library.search`."""
    expression = match_expression(query)
    if not expression or limit < 1 or (documents is not None and not documents):
        return []
    conditions = [
        "passages MATCH ?",
        "chunks.number < documents.chunks_read",
        "chunks.number < coalesce(known.first_unknown, documents.chunks_read)",
    ]
    values = [json.dumps(dict(until)), expression]
    if documents is not None:
        conditions.append("documents.id IN (SELECT value FROM json_each(?))")
        values.append(json.dumps(list(documents)))
    rows = connection.execute(
        f"""
        {KNOWN}
        SELECT documents.id AS document, chunks.number AS chunk, -bm25(passages) AS score
        FROM passages
        JOIN chunks ON chunks.id = passages.rowid
        JOIN documents ON documents.number = chunks.document
        LEFT JOIN known ON known.id = documents.id
        WHERE {" AND ".join(conditions)}
        ORDER BY bm25(passages), documents.number, chunks.number
        LIMIT ?
        """,
        [*values, limit],
    )
    return [TextHit(row["document"], row["chunk"], row["score"]) for row in rows]
