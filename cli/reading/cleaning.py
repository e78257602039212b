"""What no reader sees goes out of a text, and what was mangled on its way comes right. Everything is counted."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

_SOFT_HYPHEN = "\u00ad"
_CONTROL = re.compile(
    "\x1b\\[[0-?]*[ -/]*[@-~]"  # a terminal's colours
    "|[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufeff\ufffe\uffff\ud800-\udfff]"
)
"""Control characters other than white space, marks and code points that are none, and halves of pairs."""


def clean(text: str) -> tuple[str, Counter[str]]:
    """The text in Unicode's composed form (NFC), and what was changed: `mojibake_lines` that had been decoded
    wrongly once and are repaired, `control_characters` and `soft_hyphens` that are gone, `composed_characters`.

    White space stays as it is, line ends too. A text with nothing to clean is returned unchanged.
    """
    counts: Counter[str] = Counter()
    if not text.isascii():
        text, counts["mojibake_lines"] = _repaired(text)
        counts["soft_hyphens"] = text.count(_SOFT_HYPHEN)
        text = text.replace(_SOFT_HYPHEN, "")
    text, counts["control_characters"] = _CONTROL.subn("", text)
    if not unicodedata.is_normalized("NFC", text):
        composed = unicodedata.normalize("NFC", text)
        counts["composed_characters"] = max(1, len(text) - len(composed))
        text = composed
    return text, +counts


def _repaired(text: str) -> tuple[str, int]:
    from ftfy import fix_encoding
    from ftfy.badness import is_bad

    if not is_bad(text):
        return text, 0
    lines = text.split("\n")
    repaired = [fix_encoding(line) if is_bad(line) else line for line in lines]
    return "\n".join(repaired), sum(before != after for before, after in zip(lines, repaired, strict=True))
