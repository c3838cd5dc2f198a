"""Models: loading them, and their log-probabilities and entropies in chunks."""
