"""Whole corpora at once: encoded beside the indexer, or taken over from an index that exists."""
