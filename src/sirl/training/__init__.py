"""The loop, the step, and the checkpoints."""
