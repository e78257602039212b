"""The language that a text is written in."""

from __future__ import annotations

import functools
import re
from typing import Protocol

MIN_LETTERS = 40
"""Shorter texts say too little. A quarter of it for scripts that say more with a letter."""
MIN_PROBABILITY = 0.9
SAMPLE_CHARACTERS = 4_000
_NO_PROSE = re.compile(r"```.*?```|`[^`\n]*`|https?://\S+|<[^>\n]*>|[\d_]+", re.DOTALL)


class _Identifier(Protocol):
    def classify(self, text: str) -> tuple[str, float]: ...


def language_of(text: str) -> str:
    """ISO 639-1. Empty when the text is too short or the classifier unsure. Looks at the first 4,000 characters."""
    sample = " ".join(_NO_PROSE.sub(" ", text[:SAMPLE_CHARACTERS]).split())
    num_letters = sum(4 if character > "\u2e7f" else 1 for character in sample if character.isalpha())
    if num_letters < MIN_LETTERS:
        return ""
    language, probability = _identifier().classify(sample)
    return language if probability >= MIN_PROBABILITY and len(language) == 2 else ""


@functools.cache
def _identifier() -> _Identifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # type: ignore[import-untyped]

    identifier: _Identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    return identifier
