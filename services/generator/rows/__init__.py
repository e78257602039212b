"""Answers of transformers' models, written together, and those that are searched for beside them."""
