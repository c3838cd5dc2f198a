"""The pool of prompts whose instinct training reads, and the disguises that it presents them in."""

from collections.abc import Sequence
from dataclasses import replace

from sirl.config import Settings, TrainingSettings
from sirl.prompts import shipped_pool
from sirl.registry.attacks import world_disguises
from sirl.registry.suites import spread
from sirl.registry.targets import is_world
from sirl.roles import Disguise
from sirl.types import Prompt

__all__ = ["WORLD_FAMILIES", "harmless_pool", "shared_out", "training_disguises"]

LARGEST, ASKED = 512, 128
"""Maximum number of prompts of each part of the pool, and of those whose answers are sampled."""
WORLD_FAMILIES = 3
"""Families of look-alikes in the embedded world's pool; the others are never trained on."""


def harmless_pool(config: TrainingSettings, learned: Sequence[Prompt]) -> tuple[Prompt, ...]:
    """Harmless prompts for the instinct, in addition to the user's; none by setting."""
    if config.method != "instinct" or config.pool != "shipped":
        return ()
    return world_harmless() if config.prompts is None else shipped_harmless(learned)


def shared_out(
    config: TrainingSettings, learned: Sequence[Prompt], harmless: Sequence[Prompt]
) -> tuple[tuple[Prompt, ...], tuple[Prompt, ...], list[str]]:
    """The prompts to train on, those that the starting model answers first, and notes.

    The notes say so if not all of the user's prompts are used.
    """
    if config.method != "instinct":
        return tuple(learned), (), []
    parts = 1 if harmless else 2
    used = spread(learned, parts * LARGEST)
    notes = []
    if len(used) < len(learned):
        notes.append(
            f"instinct: {len(used)} of {len(learned)} training prompts are used, evenly spread"
        )
    asked = (*spread(used, parts * ASKED), *spread(harmless, ASKED))
    return (*used, *harmless), asked, notes


def world_harmless() -> tuple[Prompt, ...]:
    """Ordinary prompts and look-alikes of some families, half each."""
    from sirl.world.language import LOOKALIKE, deed_of, deeds, lookalike_requests, ordinary_requests

    known = set(deeds(LOOKALIKE[:WORLD_FAMILIES], "train"))
    lookalikes = [p for p in lookalike_requests("train") if deed_of(p) in known]
    half = LARGEST // 2
    return (*spread(ordinary_requests("train"), half), *spread(lookalikes, half))


def shipped_harmless(learned: Sequence[Prompt]) -> tuple[Prompt, ...]:
    """Ordinary and boundary prompts that come with the package, half each, not the user's own."""
    given = {p.request for p in learned}
    shipped = [p for p in shipped_pool() if p.request not in given]
    parts = [[p for p in shipped if p.id.startswith(kind)] for kind in ("ordinary", "boundary")]
    half = LARGEST // 2
    return tuple(replace(p, id=f"pool/{p.id}") for part in parts for p in spread(part, half))


def training_disguises(config: Settings) -> tuple[Disguise, ...]:
    """The disguises of training.

    Those of the embedded model are the attacks of its alignment, which its table asks beside
    others; those of every other model are no attacks of a suite.
    """
    from sirl.training.frames import FRAMES

    return world_disguises()[0] if is_world(config.model) else FRAMES
