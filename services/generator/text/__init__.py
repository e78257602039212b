"""From tokens to text: deltas, stop strings, citations."""
