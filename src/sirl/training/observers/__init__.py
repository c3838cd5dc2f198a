"""Observers of training: log, trackers, checkpoints, sentinel, stop. Each is one file."""

__all__ = ["OWN_NAMES"]

OWN_NAMES = frozenset(
    {
        "broken",
        "checkpoints",
        "log",
        "mini-evaluations",
        "progress",
        "sentinel",
        "stop",
        "trackers",
    }
)
"""Names by which a run and its checkpoints know its own observers."""
