"""The pool of prompts whose instinct is read, and the disguises of training."""

import importlib.util
from collections.abc import Sequence
from dataclasses import replace

from sirl.config import Settings, TrainingSettings
from sirl.errors import MissingExtraError
from sirl.prompts import Pool, general_prompts, read_pool, shipped_pool
from sirl.registry.attacks import world_disguises
from sirl.registry.suites import spread
from sirl.registry.targets import is_world
from sirl.roles import Disguise
from sirl.text import many, normalised
from sirl.types import Prompt

__all__ = [
    "WORLD_FAMILIES",
    "boundary_half",
    "general_tasks",
    "harmless_pool",
    "in_both_pools",
    "own_harmless",
    "shared_out",
    "training_disguises",
]

SHIPPED, NO_POOL = "shipped", "none"
NEIGHBOURS = 5
"""Training prompts to which a harmless one's closeness is measured."""
TOGETHER = 256
"""Harmless prompts compared at once."""
LARGEST, ASKED = 512, 128
"""Maximum number of prompts of each part of the pool, and of those whose answers are sampled."""
WORLD_FAMILIES = 3
"""Families of look-alikes in the embedded world's pool; the others are never trained on."""
WORLD_TASKS = 16
"""Tasks of each kind of the embedded world that a sentinel keeps an eye on."""


def own_harmless(config: TrainingSettings) -> Pool | None:
    """The user's harmless prompts of `--pool`, if it names files."""
    if not config.reads_instinct or config.pool in (SHIPPED, NO_POOL):
        return None
    return read_pool(config.pool, strict=config.strict, wanted="safe")


def harmless_pool(
    config: TrainingSettings, given: Sequence[Prompt], own: Pool | None
) -> tuple[Prompt, ...]:
    """Harmless prompts for the instinct, in addition to the user's own; none by setting.

    `given` are all prompts of `--prompts`, those held out for an evaluation too. Those of `--pool`
    may be more than are used; see `boundary_half`.
    """
    if own:
        found = own.prompts
    elif not config.reads_instinct or config.pool != SHIPPED:
        return ()
    elif config.prompts is None:
        return world_harmless()
    else:
        found = world_harmless() if is_world(config.model) else shipped_harmless()
    known = {normalised(p.request) for p in given}
    return tuple(replace(p, id=f"pool/{p.id}") for p in found if normalised(p.request) not in known)


def in_both_pools(own: Pool | None, harmless: Sequence[Prompt]) -> list[str]:
    """A sentence if some of the user's harmless prompts are training prompts too."""
    if not own or not (n := len(own.prompts) - len(harmless)):
        return []
    return [
        f"{many(n, 'prompt is', 'prompts are')} both in --prompts and in --pool {own.source}, "
        "whose prompts are harmless: used as of --prompts only; leave such prompts out of one file"
    ]


def boundary_half(
    harmless: Sequence[Prompt], learned: Sequence[Prompt]
) -> tuple[tuple[Prompt, ...], list[str]]:
    """The harmless prompts to use, with a sentence if some are left out.

    Half of them are those nearest to the training prompts, which are the hardest to tell apart;
    the others are spread evenly over the rest.

    Raises:
        MissingExtraError: There are more than are used, and scikit-learn is not installed.
    """
    if len(harmless) <= LARGEST:
        return tuple(harmless), []
    order = nearest_first(harmless, learned)
    near = set(order[: LARGEST // 2])
    rest = [p for n, p in enumerate(harmless) if n not in near]
    chosen = {p.id for p in spread(rest, LARGEST - len(near))}
    used = tuple(p for n, p in enumerate(harmless) if n in near or p.id in chosen)
    return used, [
        f"pool: {len(used)} of {len(harmless)} harmless prompts are used, the {len(near)} that are "
        "nearest to the training prompts, and others evenly spread"
    ]


def nearest_first(harmless: Sequence[Prompt], learned: Sequence[Prompt]) -> list[int]:
    """Indices of harmless prompts by their mean cosine to the `NEIGHBOURS` nearest learned ones.

    Vectors are TF-IDF of words and pairs of words.
    """
    if importlib.util.find_spec("sklearn") is None:
        raise MissingExtraError(f"--pool with more than {LARGEST} prompts", "eval")
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = [[p.request for p in prompts] for prompts in (harmless, learned)]
    vectors = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2)).fit([*texts[0], *texts[1]])
    mine, others = (vectors.transform(own) for own in texts)
    closeness = np.concatenate(
        [
            np.sort((mine[n : n + TOGETHER] @ others.T).toarray(), axis=1)[:, -NEIGHBOURS:].mean(1)
            for n in range(0, len(harmless), TOGETHER)
        ]
    )
    order: list[int] = np.argsort(-closeness, kind="stable").tolist()
    return order


def shared_out(
    config: TrainingSettings, learned: Sequence[Prompt], harmless: Sequence[Prompt]
) -> tuple[tuple[Prompt, ...], tuple[Prompt, ...], list[str]]:
    """The prompts to train on, those that the starting model answers first, and notes.

    The notes say so if not all of the user's prompts are used. Harmless prompts are trained on by
    `--method instinct` only.
    """
    if not config.reads_instinct:
        return tuple(learned), (), []
    parts = 1 if harmless else 2
    used = spread(learned, parts * LARGEST)
    notes = []
    if len(used) < len(learned):
        notes.append(
            f"instinct: {len(used)} of {len(learned)} training prompts are used, evenly spread"
        )
    asked = (*spread(used, parts * ASKED), *spread(harmless, ASKED))
    if config.method != "instinct":
        return tuple(learned), asked, []
    return (*used, *harmless), asked, notes


def world_harmless() -> tuple[Prompt, ...]:
    """Ordinary prompts and look-alikes of some families, half each."""
    from sirl.world.language import LOOKALIKE, deed_of, deeds, lookalike_requests, ordinary_requests

    known = set(deeds(LOOKALIKE[:WORLD_FAMILIES], "train"))
    lookalikes = [p for p in lookalike_requests("train") if deed_of(p) in known]
    half = LARGEST // 2
    return (*spread(ordinary_requests("train"), half), *spread(lookalikes, half))


def shipped_harmless() -> tuple[Prompt, ...]:
    """Ordinary and boundary prompts that come with the package, half each."""
    shipped = shipped_pool()
    parts = [[p for p in shipped if p.id.startswith(kind)] for kind in ("ordinary", "boundary")]
    return tuple(p for part in parts for p in spread(part, LARGEST // 2))


def general_tasks(config: TrainingSettings) -> tuple[Prompt, ...]:
    """Tasks that a sentinel watches for damage; neither trained on nor evaluated with."""
    if not config.sentinel:
        return ()
    if not is_world(config.model):
        return general_prompts()
    from sirl.world.benchmarks import Programs, Sums

    return tuple(p for kind in (Sums(), Programs()) for p in kind.others()[:WORLD_TASKS])


def training_disguises(config: Settings) -> tuple[Disguise, ...]:
    """The disguises of training.

    Those of the embedded model are the attacks of its alignment, which its table asks beside
    others; those of other models are not attacks of any suite.
    """
    from sirl.training.frames import FRAMES

    return world_disguises()[0] if is_world(config.model) else FRAMES
