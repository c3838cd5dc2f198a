"""Capability benchmarks: tasks with checkable answers, read from files."""
