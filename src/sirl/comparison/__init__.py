"""Comparison of two evaluated models: changes, gate, win rate."""
