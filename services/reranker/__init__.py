"""Judges candidates against the question."""
