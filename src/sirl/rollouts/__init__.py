"""Engines: sample completions from local models, endpoints and functions."""
