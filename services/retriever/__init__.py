"""Finds candidate passages for a question; its `indexer` writes what is searched."""
