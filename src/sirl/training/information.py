"""In-batch mutual information: does an answer still depend on its prompt?

A policy whose answers have become one template answers every prompt alike, with high confidence
and without any repetition inside an answer (template collapse, arXiv 2604.06268). Then an answer is
as likely after other prompts as after its own.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

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
    rows = np.array(found).reshape(len(said), AMONG)
    return float((rows[:, 0] - np.logaddexp.reduce(rows, axis=1)).mean()) + math.log(AMONG)
