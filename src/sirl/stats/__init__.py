"""Rates with intervals, paired tests and agreement.

The few formulas are written out, since scikit-learn, statsmodels and krippendorff would be three
more dependencies of the bare install; scipy gives the distributions.
"""

from sirl.stats.agreement import cohen_kappa, krippendorff_alpha
from sirl.stats.changes import clustered_difference
from sirl.stats.paired import Paired, holm, mcnemar, minimum_detectable_change, power_hint
from sirl.stats.rates import (
    Outcomes,
    Rate,
    any_rate,
    corrected_mean_rate,
    mean,
    mean_rate,
    otsu,
    rate,
    wilson,
)
from sirl.stats.repetition import repetition

__all__ = [
    "Outcomes",
    "Paired",
    "Rate",
    "any_rate",
    "clustered_difference",
    "cohen_kappa",
    "corrected_mean_rate",
    "holm",
    "krippendorff_alpha",
    "mcnemar",
    "mean",
    "mean_rate",
    "minimum_detectable_change",
    "otsu",
    "power_hint",
    "rate",
    "repetition",
    "wilson",
]
