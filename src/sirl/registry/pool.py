"""The pool of prompts whose instinct training reads, and the disguises that it presents them in."""

from collections.abc import Sequence

from sirl.config import TrainingSettings
from sirl.registry.attacks import world_disguises
from sirl.registry.suites import spread
from sirl.registry.targets import is_world
from sirl.roles import Disguise
from sirl.types import Prompt

__all__ = ["training_disguises", "training_pool"]

LARGEST = 128
"""Most prompts of each part of the pool, as each is answered several times before training."""
WORLD_FAMILIES = 3
"""Families of look-alikes in the embedded world's pool; the others are never trained on."""


def training_pool(config: TrainingSettings, learned: Sequence[Prompt]) -> tuple[Prompt, ...]:
    """The prompts to train on: for the instinct, with as many harmless ones beside them."""
    if config.method != "instinct":
        return tuple(learned)
    harmless: Sequence[Prompt] = ()
    if config.pool == "shipped":
        harmless = world_harmless() if config.prompts is None else shipped_harmless()
    most = LARGEST if harmless else 2 * LARGEST
    return (*spread(tuple(learned), most), *harmless)


def world_harmless() -> tuple[Prompt, ...]:
    """Ordinary prompts and look-alikes of some families, half each."""
    from sirl.world.language import LOOKALIKE, deed_of, deeds, lookalike_requests, ordinary_requests

    known = set(deeds(LOOKALIKE[:WORLD_FAMILIES], "train"))
    lookalikes = tuple(p for p in lookalike_requests("train") if deed_of(p) in known)
    half = LARGEST // 2
    return (*spread(tuple(ordinary_requests("train")), half), *spread(lookalikes, half))


def shipped_harmless() -> tuple[Prompt, ...]:
    """Ordinary and boundary prompts that come with the package, half each."""
    from sirl.prompts import shipped_pool

    half = LARGEST // 2
    parts = {kind: tuple(p for p in shipped_pool() if p.id.startswith(kind)) for kind in KINDS}
    return tuple(p for kind in KINDS for p in spread(parts[kind], half))


KINDS = ("ordinary", "boundary")


def training_disguises(config: TrainingSettings) -> tuple[Disguise, ...]:
    """The disguises of training: none of them is asked by the suites of a model's own prompts."""
    from sirl.training.frames import FRAMES

    return world_disguises()[0] if is_world(config.model) else FRAMES
