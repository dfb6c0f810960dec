"""Bytes to characters: by byte order mark, by declaration, as UTF-8; only then by guessing, and the guess is shown."""

from __future__ import annotations

import codecs
import re
from encodings import normalize_encoding
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
WESTERN = {"English", "German", "French", "Spanish", "Italian", "Dutch", "Portuguese", "Swedish", "Danish", "Norwegian"}
ASCII_SHARE = 0.7  # of bytes that no statistics can place, but that may still be Western text
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
        return decode_as_western(data)
    name = best.encoding
    western = best.language in WESTERN or (best.language == "Unknown" and mostly_ascii(sample))
    if western and fits(sample, "cp1252"):
        name = "cp1252"  # by far the likeliest for these languages, and statistics cannot tell it from its cousins
    text = data.decode(name, errors="replace")
    if has_binary(text.encode("utf-8", "replace")):
        raise Unreadable("the file holds binary data, not text")
    confidence = round(100 * (1 - best.chaos))
    return text.removeprefix("\ufeff"), [f"encoding guessed: {name} (confidence {confidence} %)"]


def fits(data: bytes, name: str) -> bool:
    """Whether every byte has a meaning in this character set."""
    try:
        data.decode(name)
    except UnicodeDecodeError:
        return False
    return True


def mostly_ascii(data: bytes) -> bool:
    return sum(byte < 128 for byte in data) >= ASCII_SHARE * len(data)


def decode_as_western(data: bytes) -> tuple[str, list[str]]:
    """The most common encoding that is not UTF-8, for bytes that are mostly ASCII; Unreadable for others."""
    if has_binary(data) or not mostly_ascii(data[:SAMPLE_BYTES]):
        raise Unreadable(
            "the bytes are no text in any known encoding", remedy="Name it with --encoding, if it is text."
        )
    return data.decode("cp1252", errors="replace"), ["encoding unknown: read as cp1252"]


def declared(data: bytes) -> str | None:
    """The character set that an XML or HTML declaration names, as browsers understand it."""
    for pattern in DECLARED:
        if found := pattern.search(data[:2_048]):
            name = character_set(found[1].decode("ascii"))
            if name in ("latin_1", "ascii"):
                return "utf-8" if name == "ascii" else "cp1252"
            # The declaration was readable as ASCII, so the bytes are not what it says.
            return None if name is None or name.startswith(("utf_16", "utf_32")) else name
    return None


def character_set(name: str) -> str | None:
    """Python's name of a character set; None for what is not one."""
    plain = normalize_encoding(name).lower()
    found = aliases.get(plain, plain)
    try:
        codecs.lookup(found)
    except (LookupError, ValueError):
        return None
    return None if found in NOT_CHARACTER_SETS else found


def has_binary(data: bytes) -> bool:
    """More control characters than any text has: NUL and its neighbours, more than one in a hundred."""
    sample = data[:SAMPLE_BYTES]
    control = len(sample) - len(sample.translate(None, CONTROL_BYTES))
    return control * 100 > len(sample)


# what logs and manual pages of a terminal have is none: bell, backspace, escape; it is taken out where text is printed
CONTROL_BYTES = bytes(code for code in range(32) if code not in b"\a\b\t\n\r\x0c\x0b\x1b\x1a")
