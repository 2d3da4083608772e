"""Bytes to characters: the byte-order mark decides, then UTF-8, then a guess that must be sure of itself."""

from __future__ import annotations

import codecs
import re

import regex

_MARKS = (  # longest first: the mark of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CONTROL = re.compile(r"[\x01-\x06\x0e-\x1a\x1c-\x1f\x7f]")  # what no text uses; NUL is counted apart
_SAYS = regex.compile(r"[\p{L}\p{M}\p{N}\p{So}\p{Sc}]")  # letters, digits, emoji, signs of currency
_SURROGATE = re.compile("[\ud800-\udfff]")
_SAMPLE = 1 << 16
_MOST_CONTROL = 0.02
_MOST_NUL = 0.2  # UTF-16 without a mark reads as about half NUL
_MOST_CHAOS = 0.1
_FEWEST_TO_GUESS = 200  # bytes; with fewer only Western text, where most bytes are ASCII, can be told
_WESTERN = re.compile(r"[\x00-\x7fÀ-ÖØ-öø-ÿŒœŠšŽžŸ\xa0¡¢£¥§©«®°²³´µ·»¼½¾¿€™–—‘’‚“”„•…]+")
_UNTOLD = "binary, or an encoding that cannot be told; save it as UTF-8"


class Undecodable(ValueError):
    """The bytes are no text; the message says what they look like."""


def encoding_of_mark(data: bytes) -> tuple[str, int] | None:
    """(encoding, length of the byte-order mark), None where there is no mark."""
    return next(((name, len(mark)) for mark, name in _MARKS if data.startswith(mark)), None)


def decode(data: bytes, *, declared: str = "") -> str:
    """The text of a file, line ends as they stand, without NUL and without byte-order marks at its beginning.

    Args:
        declared: an encoding that the file names itself (HTML's charset), tried after the mark and UTF-8.
    Raises:
        Undecodable: binary data, or an encoding that cannot be told.
    """
    marked = encoding_of_mark(data)
    try:
        text = data[marked[1] :].decode(marked[0]) if marked else data.decode("utf-8")
    except UnicodeDecodeError as error:
        if marked:
            raise Undecodable(f"begins with the mark of {marked[0]} but byte {error.start} does not fit it") from None
        text = _guessed(data, declared)
    if text.count("\0") > _MOST_NUL * len(text):
        raise Undecodable("binary, or UTF-16 without a byte-order mark; save it as UTF-8")
    return clean(_checked(text.lstrip("\ufeff")))  # programs that add a mark add a second one


def clean(text: str) -> str:
    """``text`` without NUL, and U+FFFD for lone surrogates; offsets are counted in what this returns."""
    text = text.replace("\0", "") if "\0" in text else text
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def says_something(text: str) -> bool:
    """Whether there is anything to find in ``text``: not in blanks, punctuation and characters of no width alone."""
    return _SAYS.search(text) is not None


def _checked(text: str) -> str:
    sample = text[:_SAMPLE]
    if len(_CONTROL.findall(sample)) > _MOST_CONTROL * len(sample):
        raise Undecodable("binary")
    return text


def _guessed(data: bytes, declared: str) -> str:
    if b"\0" in data:
        raise Undecodable("binary")
    if declared:
        try:
            return data.decode(declared)
        except (LookupError, UnicodeDecodeError):
            pass
    _checked(data[:_SAMPLE].decode("latin-1"))
    if len(data) < _FEWEST_TO_GUESS:
        text = data.decode("cp1252", errors="replace")
        if _WESTERN.fullmatch(text) and 4 * sum(byte > 127 for byte in data) <= len(data):
            return text
        raise Undecodable(_UNTOLD)
    from charset_normalizer import from_bytes

    best = from_bytes(data[:_SAMPLE]).best()
    if best is None or best.chaos > _MOST_CHAOS:
        raise Undecodable(_UNTOLD)
    try:
        return data.decode(best.encoding)
    except UnicodeDecodeError:
        raise Undecodable(f"looks like {best.encoding} but does not decode; save it as UTF-8") from None
