"""Text in terminal cells: how wide it is, where it is cut, and whether rows of it fit side by side. Prints nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

GAP = 2  # cells between two columns
LEAST_CELLS = 12  # of a column of words: narrower ones break nearly every word


def cells(text: str) -> int:
    """How many cells of a terminal the text takes: two for a Chinese character, none for a combining mark."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def shortened(text: str, most: int) -> str:
    """The text, or its beginning and an ellipsis where it is wider than `most` cells; cut between words if possible."""
    if cells(text) <= most:
        return text
    kept = ""
    for character in text:
        if cells(kept + character) >= most:
            break
        kept += character
    whole = kept.rpartition(" ")[0] if text[len(kept) : len(kept) + 1] not in ("", " ") else kept
    return f"{(whole if 2 * len(whole) > len(kept) else kept).rstrip()}…"


def fits(rows: Sequence[Sequence[str]], right: Sequence[bool], width: int) -> bool:
    """Whether the columns fit into `width` cells, with words given at least their own width or LEAST_CELLS.

    right: for each column, whether it holds numbers, which are never broken.
    """
    widths = _widths(rows, right)
    least = [wide if number else min(wide, LEAST_CELLS) for wide, number in zip(widths, right, strict=True)]
    return sum(least) + GAP * (len(least) - 1) <= width


def columns(rows: Sequence[Sequence[str]], right: Sequence[bool]) -> Iterator[str]:
    """Rows as lines whose columns stand below each other; nothing is cut or wrapped."""
    widths = _widths(rows, right)
    for row in rows:
        padded = (
            " " * (width - cells(cell)) + cell if number else cell + " " * (width - cells(cell))
            for cell, width, number in zip(row, widths, right, strict=True)
        )
        yield (" " * GAP).join(padded).rstrip()


def _widths(rows: Sequence[Sequence[str]], right: Sequence[bool]) -> list[int]:
    return [max((cells(row[column]) for row in rows), default=0) for column in range(len(right))]
