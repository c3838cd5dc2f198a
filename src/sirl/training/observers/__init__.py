"""Observers of training: log, trackers, checkpoints, sentinel, stop. Each is one file."""
