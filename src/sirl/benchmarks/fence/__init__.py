"""Tests code written by a model, which cannot influence the verdict.

    evaluation ── job ──> checker ── calls, plain data ──> answer
         ^                   |                             in a sandbox
         └───── verdict ─────┘

The tests, the expected values and the verdict are in the checker process; the answer's code is in
a separate process that receives arguments of calls and returns plain data. It determines the
return values of its functions and nothing else. This module imports nothing, so that both
processes start fast.
"""
