"""Runs code that a model has written against tests, and lets it decide nothing.

    evaluation ── job ──> checker ── calls, plain data ──> answer
         ^                   |                             behind walls
         └───── verdict ─────┘

The tests, the expected values and the verdict are in the process of the checker; the answer's
code is in a process of its own that gets arguments of calls and gives back plain data. It can say
what its functions return, and nothing else. Nothing is imported here, so that both start fast.
"""
