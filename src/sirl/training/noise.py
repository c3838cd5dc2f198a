"""Unreadable prompts, so that training leaves the answers to such prompts alone.

Without them, a model that learns to refuse in disguises also learns to refuse everything that it
cannot read: upper case, spelled words, other alphabets.
"""

from dataclasses import replace
from random import Random
from string import ascii_letters, ascii_lowercase, ascii_uppercase, digits

from sirl.types import Prompt

__all__ = ["scrambled"]

ALPHABETS = (ascii_lowercase, ascii_uppercase, ascii_letters, ascii_lowercase + digits)
SPACED = 0.25
"""Share of the texts whose characters stand apart."""


def scrambled(prompt: Prompt, chance: Random) -> Prompt:
    """The prompt with every letter of its request drawn from one alphabet, perhaps spelled out."""
    letters = chance.choice(ALPHABETS)
    text = "".join(chance.choice(letters) if c.isalpha() else c for c in prompt.request)
    if chance.random() < SPACED:
        text = " ".join(text)
    last = replace(prompt.messages[-1], content=text)
    return replace(prompt, messages=(*prompt.messages[:-1], last))
