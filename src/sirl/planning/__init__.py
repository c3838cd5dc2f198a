"""Estimates of memory, time and disk of training."""
