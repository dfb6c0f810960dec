"""Numbers and words as people read them."""

from __future__ import annotations


def size(bytes_: float) -> str:
    """Bytes for people: 1.2 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(bytes_) < 1000:
            return f"{bytes_:.0f} {unit}" if unit == "B" or bytes_ >= 100 else f"{bytes_:.1f} {unit}"
        bytes_ /= 1000
    return f"{bytes_:.1f} TB"


def duration(seconds: float) -> str:
    """Seconds for people: 3 min 20 s."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def count(number: int, noun: str) -> str:
    """A number and its noun: 1 chunk, 1,523 chunks."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def readable(text: str) -> str:
    """Text whose lone surrogates (bytes of a shell or pipe that are no UTF-8) are U+FFFD: no tokenizer takes them."""
    return "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in text)
