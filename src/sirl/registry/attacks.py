"""Attacks by name, tiers, and attacks from the user's files and plug-ins."""

import importlib.util
from collections.abc import Callable, Iterable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from sirl.config import EvaluationSettings
from sirl.errors import ConfigError, unknown_name
from sirl.registry.tampering import SURGERIES
from sirl.roles import Attack, Disguise, Search

__all__ = ["TIERS", "attacks_named", "members", "own_attacks", "world_disguises"]

TIERS = ("quick", "standard", "full", "world")
"""`world` holds the disguises that the embedded model was made with, seen in alignment or not."""
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
"""One or two of each cheap family, for every day."""
STANDARD_SEARCHES: tuple[str, ...] = ("samples", "decoding_sweep", "crescendo", "best_of_n")
"""Searches of a few dozen queries that need nothing but the target."""
PLUGINS = "sirl.attacks"
"""Entry point group of other people's attacks: each names an attack, ready made."""


@cache
def known_attacks() -> dict[str, Attack]:
    """Every attack by name, in the fixed order of tables."""
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
    if importlib.util.find_spec("torch"):
        from sirl.attacks import gradient

        families.append(gradient.ATTACKS)
    attacks = {attack.name: attack for family in families for attack in family}
    for plugin in entry_points(group=PLUGINS):
        add(attacks, plugged(plugin), plugin.value)
    return attacks


def plugged(plugin: EntryPoint) -> Attack:
    """The attack of another package.

    Raises:
        ConfigError: What it names is no attack.
    """
    attack = plugin.load()
    if not isinstance(attack, Disguise | Search):
        raise ConfigError(
            f"the entry point {plugin.name} of {PLUGINS} ({plugin.value}) is not an attack: let "
            "it name an object that sirl.attacks.contract.check_attack accepts"
        )
    return attack


def add(attacks: dict[str, Attack], attack: Attack, source: str) -> None:
    """Add an attack under a name of its own.

    Raises:
        ConfigError: Its name is taken.
    """
    if attack.name in (*attacks, *TIERS, *SURGERIES):
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
    return tuple(name for name, attack in known_attacks().items() if inside[tier](attack))


def attacks_named(names: str) -> tuple[Attack, ...]:
    """The attacks of a tier (quick, standard, full), or those named, joined by commas.

    Surgeries of the weights may be named too; they are no attacks and not among these.

    Raises:
        ConfigError: There is no attack of that name.
    """
    known = known_attacks()
    chosen: list[str] = []
    for name in (n.strip() for n in names.split(",") if n.strip()):
        if name not in known and name not in (*TIERS, *SURGERIES):
            raise unknown_name("attack", name, [*known, *TIERS, *SURGERIES])
        chosen += members(name) if name in TIERS else [name]
    if not chosen:
        raise ConfigError("--attacks names no attack: give names, quick, standard or full")
    return tuple(known[name] for name in dict.fromkeys(chosen) if name in known)


def own_attacks(config: EvaluationSettings) -> tuple[Attack, ...]:
    """Frames and conversations from the user's files.

    Raises:
        ConfigError: One has the name of an attack that there is.
    """
    from sirl.attacks.replay import read_transcripts
    from sirl.attacks.static import read_templates

    own: dict[str, Attack] = dict(known_attacks())
    if config.templates:
        for template in read_templates(Path(config.templates)):
            add(own, template, config.templates)
    if config.transcripts:
        source = config.transcripts
        add(own, read_transcripts(Path(source), strict=config.strict), source)
    return tuple(attack for name, attack in own.items() if name not in known_attacks())


def world_disguises() -> tuple[tuple[Disguise, ...], tuple[Disguise, ...]]:
    """The disguises that the embedded model's alignment has seen, and those it has not."""
    from sirl.world.language import SEEN, UNSEEN

    known = known_attacks()

    def disguises(names: Iterable[str]) -> tuple[Disguise, ...]:
        return tuple(a for n in names if isinstance(a := known[n], Disguise))

    return disguises(SEEN), disguises(UNSEEN)
