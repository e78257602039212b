"""Texts to encode: the docstrings of Python's standard library, which are everywhere and of every length."""

from __future__ import annotations

import ast
import random
import sysconfig
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tokenizers import Tokenizer

from chassis import checkpoint

MIN_TOKENS, MAX_TOKENS = 8, 180
QUESTION = "Which process writes the published index?"
"""11 tokens with the two special ones, for what is measured alone."""


@cache
def texts(count: int) -> list[str]:
    """That many docstrings of 8 to 180 tokens, special tokens included, shuffled with a fixed seed."""
    found = sorted({" ".join(text.split()) for text in _docstrings()})
    random.Random(0).shuffle(found)
    tokenizer = _tokenizer()
    kept = [text for text in found[: 4 * count] if MIN_TOKENS <= len(tokenizer.encode(text)) <= MAX_TOKENS]
    return kept[:count]


@cache
def questions(count: int) -> list[str]:
    """First sentences of such texts: what a user might ask, by length."""
    tokenizer = _tokenizer()
    firsts = dict.fromkeys(text.partition(". ")[0] for text in texts(4 * count))
    return [text for text in firsts if MIN_TOKENS <= len(tokenizer.encode(text)) <= 40][:count]


def _docstrings() -> Iterator[str]:
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                tree = ast.parse(path.read_text(encoding="utf-8"))
            except (SyntaxError, UnicodeDecodeError):
                continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield ast.get_docstring(node) or ""


@cache
def _tokenizer() -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(checkpoint.find("embedded").path / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
