"""Tasks with checkable answers, read from files: what a model can still do."""
