"""The embedded world: a small language with requests, an oracle, and a model to harden."""
