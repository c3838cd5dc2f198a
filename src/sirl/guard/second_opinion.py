"""A second opinion on an alarm: the model's own answer behind the fresh header, a few tokens long.

The alarm stands if this answer is a refusal: of low entropy, and begun like the model's refusals.
"""

from collections.abc import Sequence

from sirl.guard.checks import Check, CheckReader
from sirl.rollouts.local import Row, SampleBuffer, like_lengths
from sirl.rollouts.native import NativeEngine
from sirl.types import Completion, Prompt, Sampling

__all__ = ["LENGTH", "second_opinions"]

LENGTH = 20
"""Tokens of the answer at most."""
ROWS = 64
"""Answers per batch."""
GREEDY = Sampling(temperature=0.0)


def second_opinions(reader: CheckReader, checks: Sequence[Check], cut: float) -> list[bool]:
    """Whether the model refuses behind each check.

    Args:
        reader: Knows the model and the tokens that begin its refusals.
        checks: The answers so far.
        cut: Mean token entropy in nats below which an answer is a refusal.
    """
    chat, found = reader.chat, dict[int, bool]()
    engine = NativeEngine(chat, 0, LENGTH, GREEDY)
    ids = [reader.ids(check) for check in checks]
    same = chat.manner.like_prompts or chat.manner.padding != "left"
    for chosen in like_lengths([len(row) for row in ids], ROWS, same=same):
        rows = [Row(Prompt(str(i), ()), ids[i], 0, 0) for i in chosen]
        draft = SampleBuffer(rows, chat, LENGTH, GREEDY)
        engine.decode([ids[i] for i in chosen], draft, 1)
        for i, answer in zip(chosen, draft.completions(chat, 0), strict=True):
            found[i] = refuses(answer, cut, reader.openers)
    return [found[i] for i in range(len(checks))]


def refuses(answer: Completion, cut: float, openers: Sequence[int]) -> bool:
    """Whether an answer is a refusal; without common openers entropy alone decides."""
    begins = not openers or answer.token_ids[0] in openers
    return answer.mean_entropy < cut and begins
