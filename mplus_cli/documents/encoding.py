"""Bytes to characters: by byte order mark, by declaration, as UTF-8; only then by guessing, and the guess is shown."""

from __future__ import annotations

import codecs
import re
from encodings.aliases import aliases

from mplus_cli.documents.draft import lines_and_spaces
from mplus_cli.errors import Unreadable, UsageError

MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Codecs of Python that are no character sets, or that take quadratic time on hostile input.
NOT_CHARACTER_SETS = {
    *("base64_codec", "bz2_codec", "hex_codec", "quopri_codec", "rot_13", "uu_codec", "zlib_codec"),
    *("punycode", "idna", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "oem"),
}
CHARACTER_SETS = {name.replace("_", "") for name in {*aliases.values(), "utf_8_sig"} - NOT_CHARACTER_SETS}
DECLARED = (
    re.compile(rb"""^\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']"""),
    re.compile(rb"""<meta[^>]{0,400}?charset\s*=\s*["']?\s*([A-Za-z0-9._-]{1,40})""", re.IGNORECASE),
)
SAMPLE_BYTES = 64 * 1024  # guessing takes seconds on whole books, and is no better


def decode(data: bytes, encoding: str | None = None, markup: bool = False) -> tuple[str, list[str]]:
    """The text, with \\n line ends and plain spaces, and a warning for people when its encoding was guessed.

    `encoding` is what the person said and wins; `markup` lets XML and HTML declarations speak. Raises UsageError for
    an unknown encoding, Unreadable for bytes that are no text in it.
    """
    if encoding is not None:
        return lines_and_spaces(decode_as_told(data, encoding)), []
    text, warnings = decode_by_rule(data, markup) or decode_by_guess(data)
    return lines_and_spaces(text), warnings


def decode_as_told(data: bytes, encoding: str) -> str:
    """Decode with the encoding that a person named."""
    name = character_set(encoding)
    if name is None:
        raise UsageError(
            f"unknown encoding {encoding!r}", remedy="Name one like utf-8, cp1252, iso-8859-2 or shift_jis."
        )
    text = data.decode(name, errors="replace")
    if "\ufffd" in text and text.count("\ufffd") > len(text) // 10:
        raise Unreadable(f"the bytes are not {encoding}", remedy="Leave out --encoding, or name another one.")
    return text.removeprefix("\ufeff")


def decode_by_rule(data: bytes, markup: bool) -> tuple[str, list[str]] | None:
    """By byte order mark, by declaration, or as UTF-8; None when none of them fits."""
    for mark, name in MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(name, errors="replace"), []
    for name in [*filter(None, [declared(data) if markup else None]), "utf-8"]:
        try:
            if not (name == "utf-8" and has_binary(data)):
                return data.decode(name), []
        except (UnicodeDecodeError, LookupError):
            continue
    return None


def decode_by_guess(data: bytes) -> tuple[str, list[str]]:
    """By the statistics of charset-normalizer; Unreadable when it finds no character set that fits."""
    from charset_normalizer import from_bytes

    middle = len(data) // 2
    sample = data if len(data) <= 2 * SAMPLE_BYTES else data[:SAMPLE_BYTES] + data[middle : middle + SAMPLE_BYTES]
    best = from_bytes(sample).best()
    if best is None or character_set(best.encoding) is None:
        raise Unreadable(
            "the bytes are no text in any known encoding", remedy="Name it with --encoding, if it is text."
        )
    text = data.decode(best.encoding, errors="replace")
    if has_binary(text.encode("utf-8", "replace")):
        raise Unreadable("the file holds binary data, not text")
    confidence = round(100 * (1 - best.chaos))
    return text.removeprefix("\ufeff"), [f"encoding guessed: {best.encoding} (confidence {confidence} %)"]


def declared(data: bytes) -> str | None:
    """The character set that an XML or HTML declaration names, as browsers understand it."""
    for pattern in DECLARED:
        if found := pattern.search(data[:2_048]):
            name = character_set(found[1].decode("ascii"))
            if name in ("iso8859_1", "latin_1", "ascii"):
                return "utf-8" if name == "ascii" else "cp1252"
            # The declaration was readable as ASCII, so the bytes are not what it says.
            return None if name is None or name.startswith(("utf_16", "utf_32")) else name
    return None


def character_set(name: str) -> str | None:
    """Python's name of a character set; None for what is not one."""
    try:
        found = codecs.lookup(name).name.replace("-", "_").lower()
    except (LookupError, ValueError):
        return None
    return found if found.replace("_", "") in CHARACTER_SETS else None


def has_binary(data: bytes) -> bool:
    """More control characters than any text has: NUL and its neighbours, more than one in a hundred."""
    sample = data[:SAMPLE_BYTES]
    control = len(sample) - len(sample.translate(None, CONTROL_BYTES))
    return control * 100 > len(sample)


CONTROL_BYTES = bytes(code for code in range(32) if code not in b"\t\n\r\x0c\x0b\x1b\x1a")
