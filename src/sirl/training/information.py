"""In-batch mutual information: does an answer still depend on its prompt?

A policy whose answers have become one template answers every prompt alike, with high confidence
and without any repetition inside an answer (template collapse, arXiv 2604.06268). Then an answer is
as likely after other prompts as after its own.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from sirl.stats import mean
from sirl.types import Completion

__all__ = ["mutual_information"]

AMONG = 4
"""Prompts with which an answer is scored, its own among them."""


def mutual_information(
    answers: Sequence[Completion],
    likelihoods: Callable[[Sequence[Completion]], Sequence[float]],
) -> float | None:
    """Mutual information of prompts and answers, in nats; None for fewer than `AMONG` prompts.

    The estimate is the mean of log p(answer | own prompt) - log mean p(answer | prompt), over the
    own prompt and the next ones in turn. It is 0 if the answers do not depend on the prompts, and
    at most log `AMONG`.

    Args:
        answers: One to each prompt.
        likelihoods: Log-probability of each completion under the policy, in nats.
    """
    said = [answer for answer in answers if answer.token_ids]
    if len(said) < AMONG:
        return None
    crossed = [
        replace(answer, prompt_ids=said[(n + k) % len(said)].prompt_ids)
        for n, answer in enumerate(said)
        for k in range(AMONG)
    ]
    found = likelihoods(crossed)
    rows = [found[n : n + AMONG] for n in range(0, len(found), AMONG)]
    return mean([own - log_mean([own, *others]) for own, *others in rows])


def log_mean(logs: Sequence[float]) -> float:
    """The logarithm of a mean, from logarithms."""
    top = max(logs)
    return top + math.log(mean([math.exp(x - top) for x in logs]))
