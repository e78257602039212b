"""The front door: takes a question through the three stages. Holds no model and imports no torch."""
