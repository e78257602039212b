"""The ways to answer, one module each, and what some of them share."""
