"""The prompts that ship with sirl: harmless ones, to keep a hardened model from over-refusing."""

import json
from importlib.resources import files

from sirl.types import Prompt

__all__ = ["general_prompts", "shipped_pool"]


def shipped_pool() -> tuple[Prompt, ...]:
    """The shipped pool, in the order of its file; every prompt is one that a model should answer.

    Ids are `kind-family-number`. The kind is `boundary` for prompts that sound alarming and are
    not, `ordinary` for everyday requests. The category is the family, and no family is of two
    kinds.

    >>> shipped_pool()[0].id
    'boundary-homonyms-001'
    """
    return shipped("pool")


def general_prompts() -> tuple[Prompt, ...]:
    """Short tasks that are not trained on: sums, code, small talk, facts, translation.

    They show whether a model still answers as it did.

    >>> general_prompts()[0].id
    'general-arithmetic-001'
    """
    return shipped("general")


def shipped(name: str) -> tuple[Prompt, ...]:
    """The prompts of a file of the package."""
    text = files("sirl.prompts").joinpath(f"{name}.jsonl").read_text("utf-8")
    # Only a line feed ends a row: a prompt may hold other characters that end lines.
    rows = [json.loads(line) for line in text.split("\n") if line]
    return tuple(
        Prompt.user(row["id"], row["prompt"], source=name, category=row["family"]) for row in rows
    )
