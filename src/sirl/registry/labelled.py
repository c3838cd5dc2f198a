"""Checks labelled answers before a judge is measured on them."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from sirl.errors import ConfigError
from sirl.judges.fitted_on import ANSWERS, fitted_on
from sirl.roles import Judge
from sirl.text import normalised

if TYPE_CHECKING:
    from sirl.analysis.calibration import JudgeCalibration, Labels

__all__ = ["LABELS_HASH", "check_labels", "known_answers_marked"]

LABELS_HASH = "labels_sha256"
"""Key in a fitted classifier's metadata: the hash of the file that it was fitted on. It is all that
classifiers of older versions know of their answers."""


def members_of(judge: Judge) -> Iterator[Judge]:
    """A judge and the judges inside it."""
    yield judge
    for inner in (*getattr(judge, "judges", ()), *filter(None, [getattr(judge, "judge", None)])):
        yield from members_of(inner)


def check_labels(judge: Judge, labels: "Labels") -> None:
    """Check that a judge of the embedded world is measured only on the world's requests.

    Raises:
        ConfigError: A request is not one of the world's.
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
                f"--judge {world[0]} judges only the embedded world, and {row.id!r} of "
                f"{labels.source} is not one of its requests: give --judge rules"
            )


def known_answers_marked(
    found: "JudgeCalibration",
    judge: Judge,
    labels: "Labels",
    rules_know: Callable[[Iterable[str]], int] = fitted_on,
) -> "tuple[JudgeCalibration, list[str]]":
    """The calibration with the number of answers the judge was fitted on, and a warning if any."""
    overlap, fitted = 0, ""
    for member in members_of(judge):
        count, about = 0, getattr(member, "about", {})
        if member.name == "rules":
            count = rules_know(row.answer for row in labels.rows)
        elif ANSWERS in about:
            count = fitted_on((row.answer for row in labels.rows), about[ANSWERS])
        elif about.get(LABELS_HASH) == labels.sha256:
            count = len(labels.rows)
        if count > overlap:
            overlap, fitted = count, member.name
    if not overlap:
        return found, []
    sentence = (
        f"{overlap} of the {len(labels.rows)} labelled answers are among those that {fitted} was "
        "fitted on: these figures flatter it and are not a measurement; label answers of "
        "another source"
    )
    return replace(found, fitted_on=overlap), [sentence]
