"""What makes vectors comparable: they were made by the same encoder, read in the same way."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

Fingerprint = dict[str, str]
"""Property → value: weights (sha256), pooling, prompts, lengths, passage format, dimension."""


def digest(fingerprint: Mapping[str, str]) -> str:
    """16 hexadecimal digits that stand for all of it."""
    canonical = json.dumps(dict(fingerprint), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def makers(encoder: Mapping[str, str], splitter: Mapping[str, str]) -> tuple[str, str]:
    """Who may have made what an index holds: encoder and splitter; the encoder alone, of passages that were brought."""
    return digest(joined(encoder, splitter)), digest(encoder)


def joined(encoder: Mapping[str, str], splitter: Mapping[str, str]) -> Fingerprint:
    """What both are, in one: `encoder.weights`, `splitter.max_tokens` …"""
    return {
        **{f"encoder.{name}": value for name, value in encoder.items()},
        **{f"splitter.{name}": value for name, value in splitter.items()},
    }


def differences(index: Mapping[str, str], encoder: Mapping[str, str]) -> dict[str, str]:
    """Property → how the index's differs from the running encoder's. Empty when they agree."""
    return {
        name: f"index: {index.get(name, 'absent')}; encoder: {encoder.get(name, 'absent')}"
        for name in sorted(index.keys() | encoder.keys())
        if index.get(name) != encoder.get(name)
    }
