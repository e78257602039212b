"""The token ids of random models."""

VOCABULARY = 60
PAD, END, START = 0, 1, 2
MAX_POSITIONS = 400
