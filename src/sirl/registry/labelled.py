"""What can be measured of a judge on labelled answers, and what is no measurement."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from sirl.errors import ConfigError
from sirl.judges.fitted_on import fitted_on
from sirl.roles import Judge
from sirl.text import normalised

if TYPE_CHECKING:
    from sirl.analysis.calibration import Calibration, Labels

__all__ = ["LABELS_HASH", "check_labels", "known_answers_marked"]

LABELS_HASH = "labels_sha256"
"""Where a fitted classifier keeps the hash of the file that it was fitted on."""


def members_of(judge: Judge) -> Iterator[Judge]:
    """A judge, and those that it asks."""
    yield judge
    for inner in (*getattr(judge, "judges", ()), *filter(None, [getattr(judge, "judge", None)])):
        yield from members_of(inner)


def check_labels(judge: Judge, labels: "Labels") -> None:
    """See that a judge of the embedded world is measured on answers to its requests.

    Raises:
        ConfigError: A request is none of the world's.
    """
    world = [j.name for j in members_of(judge) if j.name in ("oracle", "world_harm")]
    if not world:
        return
    from sirl.world.language import lookalike_requests, ordinary_requests, unsafe_requests

    families = (lookalike_requests, ordinary_requests, unsafe_requests)
    known = {normalised(p.request) for f in families for p in (*f("train"), *f("test"))}
    for row in labels.rows:
        if normalised(row.request) not in known:
            raise ConfigError(
                f"--judge {world[0]} judges the embedded world alone, and {row.id!r} of "
                f"{labels.source} is none of its requests: give --judge rules"
            )


def known_answers_marked(
    found: "Calibration",
    judge: Judge,
    labels: "Labels",
    rules_know: Callable[[Iterable[str]], int] = fitted_on,
) -> "tuple[Calibration, list[str]]":
    """The measurement with the number of answers that the judge was fitted on, and a sentence."""
    known, fitted = 0, ""
    for member in members_of(judge):
        count = 0
        if member.name == "rules":
            count = rules_know(row.answer for row in labels.rows)
        elif getattr(member, "about", {}).get(LABELS_HASH) == labels.sha256:
            count = len(labels.rows)
        if count > known:
            known, fitted = count, member.name
    if not known:
        return found, []
    sentence = (
        f"{known} of the {len(labels.rows)} labelled answers are among those that {fitted} was "
        "fitted on: these figures flatter it and are no measurement; label answers of another "
        "source"
    )
    return replace(found, fitted_on=known), [sentence]
