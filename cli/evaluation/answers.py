"""Whether an answer is right: a gold answer inside the words quoted, or equal to what was written."""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = set(string.punctuation)
_SPACED = r"[^\W\u0e00-\u0eff\u1000-\u109f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"
"""A letter or digit of a script that puts spaces between words."""


def is_in_evidence(gold_answers: Sequence[str], quotes: Sequence[str]) -> bool:
    """True when the quotes hold a gold answer, in whole words. Case, white space and Unicode form do not count."""
    evidence = _normalised(" ".join(quotes))
    return any(_holds(evidence, _normalised(answer)) for answer in gold_answers)


def exact_match(gold_answers: Sequence[str], text: str) -> float:
    """1 when the text equals a gold answer as SQuAD compares them, else 0."""
    return float(any(_squad(text) == _squad(answer) for answer in gold_answers))


def f1(gold_answers: Sequence[str], text: str) -> float:
    """Of the best gold answer: the harmonic mean of the shares of words that both have, as SQuAD counts them.

    Rajpurkar et al., "SQuAD: 100,000+ Questions for Machine Comprehension of Text", 2016; its evaluation script.
    """
    return max(_f1(_squad(answer).split(), _squad(text).split()) for answer in gold_answers)


def _normalised(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _holds(evidence: str, answer: str) -> bool:
    before = rf"(?<!{_SPACED})" if re.match(_SPACED, answer[0]) else ""
    after = rf"(?!{_SPACED})" if re.match(_SPACED, answer[-1]) else ""
    return re.search(before + re.escape(answer) + after, evidence) is not None


def _squad(text: str) -> str:
    letters = "".join(character for character in text.lower() if character not in _PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", letters).split())


def _f1(gold: Sequence[str], written: Sequence[str]) -> float:
    if not gold or not written:
        return float(gold == written)
    num_common = (Counter(gold) & Counter(written)).total()
    return 2 * num_common / (len(gold) + len(written))
