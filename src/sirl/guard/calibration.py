"""The threshold of the guard, from harmless answers alone (split conformal prediction).

The statistic of an answer is its highest score. If n ordinary answers and a new one are
exchangeable, the new one exceeds the k-th smallest of the n with probability at most alpha, where
k = ceil((n + 1)(1 - alpha)). The realised false-alarm rate of one calibration varies around alpha:
it has a Beta(n + 1 - k, k) distribution.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor, isfinite
from typing import Any

from scipy.special import betaincinv

from sirl.errors import ConfigError, InputError
from sirl.guard.documents import CalibrationShape, check_shape

__all__ = [
    "Binding",
    "Calibration",
    "false_alarm_range",
    "needed",
    "rank_of",
    "threshold_of",
]


GIVEN = {
    "dtype": "--dtype {0}",
    "new_tokens": "--new-tokens {0}",
    "upstream_model": "--upstream-model {0}, or --model URL#{0}",
}
"""Parts of the mode that a user gives, with the flag; the others come from the calibration."""


def rank_of(n: int, alpha: float, group: str = "ordinary") -> int:
    """The rank, from 1, of the order statistic that is the threshold, of n answers of a group.

    >>> rank_of(99, 0.01), rank_of(1000, 0.01)
    (99, 991)

    Raises:
        InputError: n answers cannot support alpha.
    """
    share = decimal(alpha)
    if not 0 < share < 1:
        raise InputError(f"alpha {alpha} is not a false-alarm rate: give one between 0 and 1")
    rank = n + 1 - floor((n + 1) * share)
    if rank > n:
        if not n:
            raise InputError(
                f"no answer to {group} prompts is left, since refusals do not count: give more of "
                "these prompts, or more --new-tokens if answers are cut early"
            )
        raise InputError(
            f"{n} answers to {group} prompts cannot support alpha {alpha}, which needs at least "
            f"{needed(alpha)} (refusals do not count): give more of these prompts, a higher "
            f"--limit, or an alpha of at least {ceil(1e4 / (n + 1)) / 1e4}"
        )
    return rank


def needed(alpha: float) -> int:
    """The fewest answers of a group that support alpha.

    >>> needed(0.01), needed(0.03)
    (99, 33)
    """
    return -(-1 // decimal(alpha)) - 1


def decimal(alpha: float) -> Fraction:
    """The decimal that was written, not its binary neighbour."""
    return Fraction(str(alpha))


def threshold_of(scores: Sequence[float], alpha: float) -> float:
    """The threshold that ordinary answers exceed with probability at most alpha.

    >>> threshold_of([0.3, 0.1, 0.2], 0.25)
    0.3

    Raises:
        InputError: There are too few scores for alpha, or one is not finite.
    """
    if not all(map(isfinite, scores)):
        raise InputError("a score of an ordinary answer is not finite: check the model's weights")
    return sorted(scores)[rank_of(len(scores), alpha) - 1]


def false_alarm_range(n: int, alpha: float) -> tuple[float, float]:
    """Central 95% of the false-alarm rates that a calibration with n answers realises.

    >>> [round(x, 4) for x in false_alarm_range(1000, 0.01)]
    [0.0048, 0.017]
    """
    rank = rank_of(n, alpha)
    low, high = (float(betaincinv(n + 1 - rank, rank, p)) for p in (0.025, 0.975))
    return low, high


@dataclass(frozen=True)
class Binding:
    """What a calibration is valid for."""

    weights: str
    """SHA-256 of the weights."""
    template: str
    """SHA-256 of the chat template with its arguments."""
    mode: Mapping[str, Any]
    """How answers are sampled and watched."""

    def refuse_other(self, other: "Binding", where: str) -> None:
        """Check that a model and the way it is watched are those of the calibration.

        Raises:
            ConfigError: They are others.
        """
        again = "run sirl guard calibrate again"
        changed = sorted(
            (k for k in {*self.mode, *other.mode} if self.mode.get(k) != other.mode.get(k)),
            key=lambda k: (k in GIVEN, k),  # no flag helps while another change needs calibrating
        )
        # The same weights in another dtype have another hash: that says nothing about the model.
        if self.weights != other.weights and "dtype" not in changed:
            what, way = "other weights than this model has", "calibrate this model"
        elif self.template != other.template:
            what, way = "another chat template", f"give its --template-arguments, or {again}"
        elif changed:
            key, own = changed[0], self.mode.get(changed[0])
            what = f"{key} {own}, not {other.mode.get(key)}"
            flag = GIVEN.get(key, "").format(own)
            way = f"give the same {key} ({flag}), or {again}" if flag and own else again
        else:
            return
        raise ConfigError(f"the calibration in {where} is for {what}: {way}")


@dataclass(frozen=True)
class Calibration:
    """Scores of harmless answers, and what they hold for.

    Answers come in groups, such as plain ordinary prompts and ordinary prompts in disguises. The
    threshold is the highest of the groups' own thresholds, so the rate holds in every group.
    """

    binding: Binding
    alpha: float
    """The false-alarm rate that was asked for."""
    scores: Mapping[str, Mapping[str, tuple[float, ...]]]
    """Group -> detector -> the highest score of each answer, in ascending order."""

    @property
    def sizes(self) -> dict[str, int]:
        """Group -> number of answers."""
        return {group: min(map(len, own.values())) for group, own in self.scores.items()}

    @property
    def detectors(self) -> tuple[str, ...]:
        """Detectors that have scores in all groups."""
        first, *others = self.scores.values()
        return tuple(name for name in first if all(name in own for own in others))

    def threshold(self, detector: str, alpha: float | None = None) -> float:
        """The threshold of a detector at alpha; that of the calibration without one."""
        rate = self.alpha if alpha is None else alpha
        return max(threshold_of(own[detector], rate) for own in self.scores.values())

    def check_detector(self, detector: str, where: str) -> None:
        """Check that a detector has a threshold.

        Raises:
            InputError: It has no scores in a group.
        """
        if detector not in self.detectors:
            raise InputError(
                f"{where} lacks scores of {detector} in a group: run sirl guard calibrate again"
            )

    def sentence(self) -> str:
        """The false-alarm rate, in words."""
        parts = []
        for group, n in self.sizes.items():
            low, high = false_alarm_range(n, self.alpha)
            parts.append(f"{low:.2%} to {high:.2%} of {group} answers (n {n})")
        return (
            f"in each group of harmless prompts at most {self.alpha:.2%} of the answers raise an "
            "alarm, on average over calibrations. One calibration may be above or below this: at a "
            f"group's own threshold, 95 of 100 calibrations give {', '.join(parts)}. The threshold "
            "is the highest of these, so the other groups have fewer alarms"
        )

    def document(self) -> dict[str, Any]:
        """The calibration as JSON."""
        return {
            "weights": self.binding.weights,
            "template": self.binding.template,
            "mode": dict(self.binding.mode),
            "alpha": self.alpha,
            "groups": {
                group: {"n": n, "realised": list(false_alarm_range(n, self.alpha))}
                for group, n in self.sizes.items()
            },
            "thresholds": {name: self.threshold(name) for name in self.detectors},
            "scores": {
                group: {name: list(values) for name, values in own.items()}
                for group, own in self.scores.items()
            },
        }

    @classmethod
    def revived(cls, document: Mapping[str, Any], where: str) -> "Calibration":
        """The calibration from its JSON.

        Raises:
            InputError: The document is damaged.
        """
        check_shape(CalibrationShape, document, where)
        binding = Binding(document["weights"], document["template"], dict(document["mode"]))
        scores = {
            group: {name: tuple(map(float, values)) for name, values in own.items()}
            for group, own in document["scores"].items()
        }
        found = cls(binding, document["alpha"], scores)
        try:
            kept = found.document()["thresholds"] == document["thresholds"]
        except InputError as error:
            raise InputError(
                f"the scores in {where} support no threshold ({error}): run sirl guard calibrate "
                "again"
            ) from error
        if not kept:
            raise InputError(
                f"the thresholds in {where} do not fit its scores: run sirl guard calibrate again"
            )
        return found
