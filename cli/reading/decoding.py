"""Bytes as text, in whatever encoding they are."""

from __future__ import annotations

import codecs
import re

from cli.reading.parsed import Unreadable

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CANDIDATES = [
    *("cp1252", "cp1250", "cp1251", "koi8_r", "cp1253", "cp1254", "cp1255", "cp1256"),
    *("cp932", "euc_jp", "gb18030", "big5", "cp949"),
]
"""Encodings that files without a mark are found in. More candidates mean more wrong guesses for short texts."""
_WESTERN = set("àâäáãåæçéèêëíìîïñóòôöõøœúùûüßÀÂÄÁÃÅÆÇÉÈÊËÍÎÏÑÓÒÔÖÕØŒÚÙÛÜ“”„‘’‚–—…•€£§©®™°«»·¿¡´\xa0")
_MAX_WESTERN_SHARE = 0.3
"""Of Western text's bytes above 127; Greek and Cyrillic have more than half."""
_MAX_BROKEN_SHARE = 0.001
_MIN_NULS = 4
_SAMPLE_BYTES = 1 << 16


def decode(content: bytes) -> tuple[str, int]:
    """The text without its byte order mark, line ends as they are, and how many bytes could not be decoded.

    Raises Unreadable for what is no text.
    """
    encoding = encoding_of(content)
    try:
        return content.decode(encoding), 0
    except UnicodeDecodeError:
        text = content.decode(encoding, errors="replace")
        return text, max(1, text.count("\ufffd"))


def encoding_of(content: bytes) -> str:
    """A name for `bytes.decode`. Raises Unreadable for what is no text."""
    for mark, encoding in _BOMS:
        if content.startswith(mark):
            return encoding
    if b"\0" in content:
        return _wide_encoding(content)
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        return _guessed(content, error.start)
    return "utf-8"


def _wide_encoding(content: bytes) -> str:
    """UTF-16 without a mark: at least a third of one half of its bytes is NUL and none of the other half."""
    sample = content[:_SAMPLE_BYTES]
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    is_half_nul = max(even, odd) >= max(_MIN_NULS, len(sample) / 6) and min(even, odd) == 0
    if len(content) % 2 == 0 and is_half_nul:
        return "utf-16-le" if odd else "utf-16-be"
    raise Unreadable(f"is no text: byte {content.index(0):,} is NUL")


def _guessed(content: bytes, first_broken: int) -> str:
    if _is_damaged_utf8(content):
        return "utf-8"
    from charset_normalizer import from_bytes

    guess = from_bytes(content, cp_isolation=_CANDIDATES).best()
    if guess is None:
        raise Unreadable(f"is no text: byte {first_broken:,} is not UTF-8 and no other encoding fits")
    return "cp1252" if _is_western(content) else guess.encoding


def _is_damaged_utf8(content: bytes) -> bool:
    """Much is UTF-8 beyond ASCII, and what is not is a thousandth."""
    text = content.decode("utf-8", errors="replace")
    num_broken = len(re.findall("\ufffd+", text))
    num_foreign = sum(1 for character in text if character > "\x7f") - text.count("\ufffd")
    return num_foreign > 10 * num_broken and num_broken <= max(1, _MAX_BROKEN_SHARE * len(text))


def _is_western(content: bytes) -> bool:
    """Short texts of Western Europe are guessed wrong; their few foreign letters give them away."""
    high = [byte for byte in content[:_SAMPLE_BYTES] if byte > 0x7F]
    if len(high) > _MAX_WESTERN_SHARE * min(len(content), _SAMPLE_BYTES):
        return False
    return set(bytes(high).decode("cp1252", errors="replace")) <= _WESTERN
