"""The embedded world: a small language, requests in it, judges, and a model to harden."""
