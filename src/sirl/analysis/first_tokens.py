"""First-token refusal mass, next to the refusals among sampled answers.

The mass is the probability that an answer begins with a token that begins the model's refusals; it
is exact, while one sampled answer is 0 or 1. Which tokens these are is learned from the answers of
the evaluation itself: those of low entropy are refusals, as `sirl.instinct` reads them.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isnan
from typing import Any

from sirl.decisions import find_openers
from sirl.errors import TrainingError
from sirl.instinct import find_instinct
from sirl.stats import mean_rate
from sirl.types import HARMLESS, Completion, Record

__all__ = ["Openers", "find_refusal_openers", "first_answers", "summarise_mass"]

READ = ("attack", *HARMLESS)


@dataclass(frozen=True)
class Openers:
    """The first tokens of a model's refusals."""

    pieces: tuple[str, ...]
    """Their texts; none if the answers do not show them."""
    cut: float = float("nan")
    """Mean token entropy of refusals in nats, at most."""
    reason: str = ""
    """Why there are none."""


def find_refusal_openers(records: Sequence[Record]) -> Openers:
    """The tokens that begin answers of low entropy and hardly any other.

    Args:
        records: Answers of one model; those that an attack began are left out.
    """
    own = [r for r in records if r.kind in READ and r.pieces and not is_begun(r)]
    ids = {piece: n for n, piece in enumerate(dict.fromkeys(r.pieces[0] for r in own))}
    answers = [
        Completion(r.id, (), (ids[r.pieces[0]],), "", (), (r.mean_entropy,), r.finish)
        for r in own
        if not isnan(r.mean_entropy)
    ]
    try:
        found = find_instinct(answers)
    except TrainingError:
        return Openers((), reason=f"{len(answers)} answers are too few to tell refusals by entropy")
    if not found.has_two_modes:
        return Openers((), found.cut, "the entropies of the answers have one mode")
    names = list(ids)
    pieces = tuple(names[n] for n in find_openers(answers, found.cut))
    why = "" if pieces else "no first token is specific to answers of low entropy"
    return Openers(pieces, found.cut, why)


def first_answers(records: Sequence[Record], searches: Collection[str]) -> list[Record]:
    """The answers whose first token is compared: no searches, tasks or begun answers."""
    return [
        r
        for r in records
        if r.kind in READ and r.attack not in searches and not r.fault and not is_begun(r)
    ]


def is_begun(record: Record) -> bool:
    """Whether the attack has begun the answer."""
    return record.messages[-1].role == "assistant"


def summarise_mass(
    openers: Openers, records: Sequence[Record], masses: Mapping[str, float]
) -> dict[str, Any]:
    """Mean refusal mass and sampled refusals: per attack, over attacks, of harmless prompts.

    Args:
        openers: The tokens that begin refusals.
        records: The answers of `first_answers`, with the verdicts of a judge of refusals.
        masses: Refusal mass by key of a record.
    """
    if openers.reason:
        sentence = f"first-token refusal mass is not known: {openers.reason}"
        return {"openers": [], "reason": openers.reason, "sentence": sentence}
    unsafe = by_attack([r for r in records if r.kind == "attack"])
    harmless = {kind: [r for r in records if r.kind == kind] for kind in HARMLESS}
    words = ", ".join(map(repr, openers.pieces))
    found: dict[str, Any] = {
        "openers": list(openers.pieces),
        "cut": openers.cut,
        "by_attack": {name: both({name: own}, masses) for name, own in unsafe.items()},
        "over_refusal": {k: both({k: own}, masses) for k, own in harmless.items() if own},
        "sentence": f"refusals begin with {words}; the first-token refusal mass is the exact "
        "probability of these tokens and misses refusals that follow words of help",
    }
    if unsafe:
        found["mean"] = both(unsafe, masses)
    return found


def by_attack(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Records by attack."""
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(record.attack, []).append(record)
    return found


def both(groups: Mapping[str, Sequence[Record]], masses: Mapping[str, float]) -> dict[str, Any]:
    """The mean mass with its interval, and the share of the same answers that refused."""
    mass = {name: {r.behaviour_id: masses[r.key] for r in own} for name, own in groups.items()}
    refused = {name: {r.behaviour_id: r.refused for r in own} for name, own in groups.items()}
    return {**asdict(mean_rate(mass)), "sampled": mean_rate(refused).value}
