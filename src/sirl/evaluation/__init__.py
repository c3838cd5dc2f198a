"""Evaluation: asks a model attacks, harmless prompts and tasks, and records judged answers."""
