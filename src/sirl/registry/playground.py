"""Disguises and prompts that the playground of `sirl guard serve` offers."""

from sirl.registry.attacks import known_attacks
from sirl.registry.targets import is_world
from sirl.roles import Disguise
from sirl.types import Need

__all__ = ["example_requests", "playground_disguises"]


def playground_disguises(*, prefill: bool) -> dict[str, Disguise]:
    """Disguises by name that need nothing of the target, or only that it continues a begun answer.

    `prefill`: whether it does.
    """
    offered: frozenset[Need] = frozenset({"opener"} if prefill else ())
    return {
        name: attack
        for name, attack in known_attacks(gradient=False).items()
        if isinstance(attack, Disguise) and attack.needs <= offered and name != "direct"
    }


def example_requests(model: str) -> dict[str, str]:
    """A request of each kind that the embedded model knows, by kind; for other models none."""
    if not is_world(model):
        return {}
    from sirl.world.language import lookalike_requests, ordinary_requests, unsafe_requests

    kinds = {
        "unsafe": unsafe_requests,
        "ordinary": ordinary_requests,
        "look-alike": lookalike_requests,
    }
    return {kind: requests("test")[0].request for kind, requests in kinds.items()}
