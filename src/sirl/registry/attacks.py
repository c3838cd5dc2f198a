"""Attacks by name, tiers, and attacks from the user's files and plug-ins."""

import importlib.util
from collections.abc import Callable, Iterable, Sequence, Set
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from sirl.config import EvaluationSettings
from sirl.errors import ConfigError, shown, unknown_name
from sirl.registry.plugins import (
    FORM,
    FUNCTION,
    from_plugin,
    loaded,
    member,
    names_in,
    require_words,
)
from sirl.registry.tampering import SURGERIES
from sirl.roles import Attack, Disguise, Search
from sirl.types import NEEDS, PREFILLS, Budget

__all__ = [
    "APART",
    "TIERS",
    "attack_names",
    "attacks_named",
    "members",
    "own_attacks",
    "prefills_named",
    "world_disguises",
]

TIERS = ("quick", "standard", "full", "world")
"""`world` has the disguises of the embedded model, seen in its alignment or not."""
QUICK: tuple[str, ...] = (
    "direct",
    "role_play",
    "prefix_injection",
    "refusal_suppression",
    "story",
    "past_tense",
    "typo_noise",
    "few_shot",
    "prefilled_opener",
)
"""One or two attacks of each cheap family."""
STANDARD_SEARCHES: tuple[str, ...] = ("samples", "decoding_sweep", "crescendo", "best_of_n")
"""Searches of a few dozen queries that need nothing but the target."""
GRADIENT = ("gcg", "gcg_anti_refusal", "gcg_low_entropy", "rank_prefill")
"""Attacks that import torch, which takes seconds: loaded only where one of them is asked for."""
APART = (*SURGERIES, *PREFILLS)
"""What `--attacks` also names and is no attack: its answers are counted apart."""
PLUGINS = "sirl.attacks"
"""Entry point group of other packages; each entry point is an attack object or its class."""


@cache
def known_attacks(*, gradient: bool = True) -> dict[str, Attack]:
    """Every attack by name, in the fixed order of tables; on request all but the gradient ones."""
    from sirl.attacks import (
        attacker,
        carriers,
        conversation,
        decoding,
        search,
        static,
        transforms,
        translation,
    )

    frames = tuple(frame.text for frame in static.ATTACKS if frame.name != "direct")
    families: list[Iterable[Attack]] = [
        static.ATTACKS,
        transforms.ATTACKS,
        carriers.ATTACKS,
        conversation.ATTACKS,
        decoding.ATTACKS,
        search.ATTACKS,
        (search.Genetic(frames), search.Fuzz(frames)),
        translation.ATTACKS,
        attacker.ATTACKS,
    ]
    if gradient and importlib.util.find_spec("torch"):
        from sirl.attacks import gradient as gradients
        from sirl.attacks import rank

        families += [gradients.ATTACKS, rank.ATTACKS]
    attacks = {attack.name: attack for family in families for attack in family}
    for plugin in entry_points(group=PLUGINS):
        add(attacks, plugged(plugin), plugin.value)
    return attacks


def plugged(plugin: EntryPoint) -> Attack:
    """Load the attack of another package.

    Raises:
        ConfigError: The entry point is not an attack.
    """
    return attack_of(f"of the entry point {plugin.name} of {PLUGINS}", loaded(plugin))


def attack_of(name: str, found: Any) -> Attack:  # noqa: ANN401 - of the user's
    """The attack that a plug-in or the user's file names: an object, or a class to make it of.

    Raises:
        ConfigError: It is none.
    """
    attack: Attack = from_plugin("attack", name, found, Attack)
    require_words("attack", name, attack, ("name", "family"))
    require_needs(name, attack)
    if isinstance(attack, Search) and not is_budget(attack.budget):
        raise ConfigError(
            f"the attack {name} has the budget {shown(attack.budget)}: give it a sirl.types.Budget "
            "of at least one query"
        )
    return attack


def require_needs(name: str, attack: Attack) -> None:
    """Check what an attack says that it needs.

    Raises:
        ConfigError: It does not say it, or names a need that there is not.
    """
    needs: object = attack.needs
    if not isinstance(needs, Set):
        lacks = "lacks needs" if needs is None else f"has the needs {shown(needs)}"
        raise ConfigError(
            f"the attack {name} {lacks}: give it a set of them, such as frozenset(), which "
            "needs nothing"
        )
    if unknown := sorted(map(shown, needs - NEEDS)):
        raise ConfigError(
            f"the attack {name} needs {', '.join(unknown)}, which there is not: "
            f"{', '.join(sorted(NEEDS))} are known"
        )


def is_budget(budget: object) -> bool:
    """Whether it is a budget that allows a query."""
    return isinstance(budget, Budget) and isinstance(budget.queries, int) and budget.queries > 0


def add(
    attacks: dict[str, Attack], attack: Attack, source: str, taken: Sequence[str] = GRADIENT
) -> None:
    """Add an attack under its name, which is none of `taken`, nor any that `--attacks` knows.

    Raises:
        ConfigError: The name is taken.
    """
    if attack.name in (*attacks, *taken, *TIERS, *APART):
        raise ConfigError(f"the attack {attack.name!r} of {source} has a name that is taken")
    attacks[attack.name] = attack


def members(tier: str) -> tuple[str, ...]:
    """Names of the attacks of a tier, in the order of tables."""
    from sirl.world.language import SEEN, UNSEEN

    inside: dict[str, Callable[[Attack], bool]] = {
        "quick": lambda a: a.name in QUICK,
        "standard": lambda a: isinstance(a, Disguise) or a.name in STANDARD_SEARCHES,
        "full": lambda _: True,
        "world": lambda a: a.name in ("direct", *SEEN, *UNSEEN),
    }
    known = known_attacks(gradient=tier == "full")
    return tuple(name for name, attack in known.items() if inside[tier](attack))


def attack_names() -> tuple[str, ...]:
    """The names of all attacks; imports no torch."""
    gradient = GRADIENT if importlib.util.find_spec("torch") else ()
    return (*known_attacks(gradient=False), *gradient)


def attacks_named(names: str) -> tuple[Attack, ...]:
    """The attacks of a comma-separated list of names, tiers and `python:MODULE:NAME`.

    Names of weight surgeries and curves of prefills are accepted and left out of the result.

    Raises:
        ConfigError: A name is unknown, or there is none.
    """
    known = attack_names()
    chosen: list[str] = []
    own: dict[str, Attack] = {}
    for name in dict.fromkeys(names_in(names)):
        if name.startswith(FUNCTION):
            attack = attack_of(name, member("attack", name, {}))
            add(own, attack, name, taken=known)
            chosen.append(attack.name)
            continue
        if name not in known and name not in (*TIERS, *APART):
            if Path(name).is_file():
                raise ConfigError(
                    f"{name} is a file, and --attacks takes names: give templates with --templates"
                )
            raise unknown_name("attack", name, [*known, *TIERS, *APART, FORM])
        chosen += members(name) if name in TIERS else [name]
    if not chosen:
        raise ConfigError("--attacks names no attack: give names, quick, standard or full")
    attacks = known_attacks(gradient=not set(GRADIENT).isdisjoint(chosen)) | own
    return tuple(attacks[name] for name in dict.fromkeys(chosen) if name in attacks)


def prefills_named(names: str) -> tuple[str, ...]:
    """The curves of prefills in a comma-separated list of names; the tier full has all."""
    given = {n.strip() for n in names.split(",")}
    return PREFILLS if "full" in given else tuple(n for n in PREFILLS if n in given)


def own_attacks(config: EvaluationSettings) -> tuple[Attack, ...]:
    """Attacks from the user's files: prompt templates and conversations.

    Raises:
        ConfigError: A name is taken.
    """
    from sirl.attacks.replay import read_transcripts
    from sirl.attacks.static import read_templates

    known = known_attacks(gradient=False)
    own: dict[str, Attack] = dict(known)
    if config.templates:
        for template in read_templates(Path(config.templates)):
            add(own, template, config.templates)
    if config.transcripts:
        source = config.transcripts
        add(own, read_transcripts(Path(source), strict=config.strict), source)
    return tuple(attack for name, attack in own.items() if name not in known)


def world_disguises() -> tuple[tuple[Disguise, ...], tuple[Disguise, ...]]:
    """The disguises seen in the embedded model's alignment, and the unseen ones."""
    from sirl.world.language import SEEN, UNSEEN

    known = known_attacks(gradient=False)

    def disguises(names: Iterable[str]) -> tuple[Disguise, ...]:
        return tuple(a for n in names if isinstance(a := known[n], Disguise))

    return disguises(SEEN), disguises(UNSEEN)
